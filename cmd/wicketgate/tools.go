package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/inspect"
)

func toolsCommand() *cobra.Command {
	c := &cobra.Command{Use: "tools", Short: "Approve the tool definitions of servers, or take tools away"}
	c.AddCommand(toolsListCommand(), toolsDiffCommand(), toolsApproveCommand(), toolsQuarantineCommand())
	return c
}

func toolsListCommand() *cobra.Command {
	var where whereFlags
	c := &cobra.Command{
		Use:   "list [SERVER [TOOL]]",
		Short: "List the tools that were seen, and who approved them",
		Args:  cobra.MaximumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return where.readPins(c.Context(), args, func(pins []gateway.Pin, tool string) error { return listPins(c.OutOrStdout(), pins, tool) })
		},
	}
	where.register(c)
	return c
}

func toolsDiffCommand() *cobra.Command {
	var where whereFlags
	c := &cobra.Command{
		Use:   "diff [SERVER [TOOL]]",
		Short: "Show the definitions that wait for approval",
		Long: `Shows each definition that waits, against the approved one if there is one, with its
digest and what was found in it. A finding that blocks keeps it from being approved
unless --accept names it. What a server wrote is escaped: it does nothing to a terminal.
Exit code 0: shown, or nothing waits; 1: the store cannot be read; 2: the configuration.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return where.readPins(c.Context(), args, func(pins []gateway.Pin, tool string) error { return showWaiting(c.OutOrStdout(), pins, tool) })
		},
	}
	where.register(c)
	return c
}

// readPins has the pins used that args name: all, or those of a server, of which tool is
// asked for ("": every one).
func (f *whereFlags) readPins(ctx context.Context, args []string, use func(pins []gateway.Pin, tool string) error) error {
	h, err := f.house(ctx)
	if err != nil {
		return err
	}
	store, err := openForReading(ctx, h.Store)
	if err != nil {
		return err
	}
	pins, err := pinsOf(ctx, store, args)
	if err == nil {
		err = use(pins, strings.Join(args[min(1, len(args)):], ""))
	}
	return errors.Join(err, store.Close())
}

func pinsOf(ctx context.Context, store gateway.PinStore, args []string) (all []gateway.Pin, err error) {
	servers := args[:min(1, len(args))]
	if len(args) == 0 {
		if servers, err = store.PinnedServers(ctx); err != nil {
			return nil, err
		}
	}
	for _, server := range servers {
		pins, err := store.Pins(ctx, server)
		if err != nil {
			return nil, err
		}
		all = append(all, pins...)
	}
	if len(args) > 0 && len(all) == 0 {
		return nil, fmt.Errorf("no tool of a server %q was seen: a client that lists its tools, or calls one, has the gateway see them", args[0])
	}
	if len(args) == 2 && !slices.ContainsFunc(all, func(p gateway.Pin) bool { return p.Tool == args[1] }) {
		return nil, fmt.Errorf("no tool %q of %s was seen: wicketgate tools list %s shows all", args[1], args[0], args[0])
	}
	return all, nil
}

func listPins(stdout io.Writer, pins []gateway.Pin, tool string) error {
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SERVER\tTOOL\tSTATE\tDIGEST\tSEEN\tBY\tSINCE")
	for _, p := range pins {
		if tool != "" && p.Tool != tool {
			continue
		}
		by, since := "-", "-"
		switch {
		case p.Last.Seq > 0:
			by, since = escape(p.Last.By), date(p.Last.At)
		case p.Approved:
			by = "first use"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.12s\t%s\t%s\t%s\n", escape(p.Server), escape(p.Tool), stateOf(p), p.Digest, date(p.Seen), by, since)
	}
	return t.Flush()
}

func stateOf(p gateway.Pin) string {
	switch {
	case p.Quarantined():
		return "quarantined"
	case !p.Approved:
		return "new"
	case p.Pending.Digest != "":
		return "approved, changed"
	}
	return "approved"
}

func toolsQuarantineCommand() *cobra.Command {
	var where whereFlags
	c := &cobra.Command{
		Use:   "quarantine SERVER TOOL",
		Short: "Take a tool away, whatever its definition, until it is approved anew",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return where.inPins(c.Context(), func(store gateway.PinStore) error {
				return quarantine(c.Context(), store, args, c.OutOrStdout())
			})
		},
	}
	where.register(c)
	return c
}

func quarantine(ctx context.Context, store gateway.PinStore, args []string, stdout io.Writer) error {
	pins, err := pinsOf(ctx, store, args)
	if err != nil {
		return err
	}
	o, err := orderOf(gateway.Quarantine, args[0], args[1])
	if err != nil {
		return err
	}
	i := slices.IndexFunc(pins, func(p gateway.Pin) bool { return p.Tool == args[1] })
	o.Digest = pins[i].Digest
	if err := store.OrderTool(ctx, o); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "in quarantine: %s %s. Running gateways follow within 5 seconds; wicketgate tools approve ends it.\n", escape(o.Server), escape(o.Tool))
	return nil
}

// inPins works on the pins of the store, and may change them.
func (f *whereFlags) inPins(ctx context.Context, use func(gateway.PinStore) error) error {
	h, err := f.house(ctx)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, h.Store)
	if err != nil {
		return err
	}
	return errors.Join(use(store), store.Close())
}

func orderOf(action gateway.Action, server, tool string) (gateway.Order, error) {
	by, err := user.Current()
	if err != nil {
		return gateway.Order{}, fmt.Errorf("find out who you are, for the audit log: %w", err)
	}
	return gateway.Order{Action: action, Server: server, Tool: tool, By: strings.ToValidUTF8(by.Username, "\ufffd"), At: time.Now()}, nil
}

// toolApproval is what an operator wants approved.
type toolApproval struct {
	store  gateway.PinStore
	stdout io.Writer
	pins   []gateway.Pin // of the server
	accept []string
}

func toolsApproveCommand() *cobra.Command {
	var where whereFlags
	var digest string
	var accept []string
	var all bool
	c := &cobra.Command{
		Use:   "approve SERVER [TOOL]",
		Short: "Approve the definition of a tool that you have looked at",
		Long: `Approves exactly the definition whose digest begins with --digest, as wicketgate tools
diff shows it; what the server has changed meanwhile is not approved. With --all, shows
and approves all definitions of the server that wait and in which nothing was found that
blocks. Running gateways follow within 5 seconds, and one writes who did it into its
audit log. Exit code 0: approved; 1: something that was asked for is not; 2: the
configuration.`,
		Example: "  wicketgate tools diff mail send_message --config wicketgate.yaml\n  wicketgate tools approve mail send_message --digest kJ3xO0aZ --config wicketgate.yaml",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkApprove(args, digest, accept, all); err != nil {
				return err
			}
			return where.inPins(c.Context(), func(store gateway.PinStore) error {
				pins, err := pinsOf(c.Context(), store, args[:1])
				if err != nil {
					return err
				}
				a := toolApproval{store, c.OutOrStdout(), pins, accept}
				if all {
					return a.all(c.Context())
				}
				return a.one(c.Context(), args[1], digest)
			})
		},
	}
	where.register(c)
	c.Flags().StringVar(&digest, "digest", "", "`prefix` of the digest, 8 characters or more")
	c.Flags().StringSliceVar(&accept, "accept", nil, "`code` of a finding that blocks, and is no reason for you")
	c.Flags().BoolVar(&all, "all", false, "all that wait and have no finding that blocks")
	return c
}

func checkApprove(args []string, digest string, accept []string, all bool) error {
	switch {
	case all && (len(args) == 2 || digest != "" || len(accept) > 0):
		return errors.New("--all goes with a server alone")
	case all:
		return nil
	case len(args) < 2:
		return errors.New("which tool? name it, or say --all")
	case len(digest) < 8:
		return fmt.Errorf("--digest is missing or has less than 8 characters: wicketgate tools diff %s %s shows it", escape(args[0]), escape(args[1]))
	}
	return nil
}

func (a toolApproval) one(ctx context.Context, tool, prefix string) error {
	for _, w := range waitingOf(a.pins) {
		if w.pin.Tool != tool || !strings.HasPrefix(w.Digest, prefix) {
			continue
		}
		blocked := inspect.Blocked(w.findings())
		if err := w.mayApprove(blocked, a.accept); err != nil {
			return err
		}
		return a.approve(ctx, w, strings.Join(blocked, ", "))
	}
	return fmt.Errorf("no definition of %s with the digest %s... waits: wicketgate tools diff %s shows what does", escape(tool), escape(prefix), escape(a.pins[0].Server))
}

func (a toolApproval) approve(ctx context.Context, w waiting, accepted string) error {
	o, err := orderOf(gateway.Approve, w.pin.Server, w.pin.Tool)
	if err != nil {
		return err
	}
	o.Digest, o.Accepted = w.Digest, accepted
	if err := a.store.OrderTool(ctx, o); errors.Is(err, gateway.ErrNotPending) {
		return fmt.Errorf("%s: the server has changed the definition meanwhile: look again", escape(o.Tool))
	} else if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "approved: %s %s %s. Running gateways follow within 5 seconds.\n", escape(o.Server), escape(o.Tool), o.Digest)
	return nil
}

// all approves what an operator may approve without looking for more than it prints.
func (a toolApproval) all(ctx context.Context) error {
	left, shown := 0, 0
	for _, w := range waitingOf(a.pins) {
		if w.pin.Quarantined() || w.older { // both were left on purpose
			continue
		}
		if err := w.show(a.stdout); err != nil {
			return err
		}
		shown++
		if blocked := inspect.Blocked(w.findings()); len(blocked) > 0 {
			fmt.Fprintf(a.stdout, "not approved: %s %s: %s\n", escape(w.pin.Server), escape(w.pin.Tool), strings.Join(blocked, ", "))
			left++
			continue
		}
		if err := a.approve(ctx, w, ""); err != nil {
			return err
		}
	}
	if shown == 0 {
		fmt.Fprintln(a.stdout, "nothing new waits for approval; what is in quarantine is approved by its digest")
	}
	if left > 0 {
		return fmt.Errorf("%d definitions are not approved: look at each, and approve it by --digest and --accept", left)
	}
	return nil
}
