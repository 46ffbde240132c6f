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

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// maxReason bounds what an operator says, bytes.
const maxReason = 1000

func freezeCommand() *cobra.Command {
	var where whereFlags
	var reason string
	c := &cobra.Command{
		Use:   "freeze [subject|client|server NAME]",
		Short: "Stop a person, a client or a server, or list what is stopped",
		Long: `Stops everything that a subject or client has or asks for, or every call of a server,
until wicketgate unfreeze. Running processes follow within 5 seconds, and write who
did it into their audit logs. Without arguments, lists what is frozen.`,
		Example: "  wicketgate freeze subject alice --reason 'laptop stolen' --config wicketgate.yaml",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) == 1 && args[0] == "list" {
				return listFrozen(c.Context(), where, c.OutOrStdout())
			}
			o, err := newOrder(c, where, args, reason, revocation.Subject, revocation.Client, revocation.Server)
			if err != nil {
				return err
			}
			return o.freeze(c.Context())
		},
	}
	where.register(c)
	c.Flags().StringVar(&reason, "reason", "", "`text` for the audit log and the list")
	return c
}

func unfreezeCommand() *cobra.Command {
	var where whereFlags
	var reason string
	c := &cobra.Command{
		Use:   "unfreeze subject|client|server NAME",
		Short: "Let a person, a client or a server go on",
		Long: `Ends a freeze. Access tokens from before it stay refused; refresh tokens go on working,
so that people need not log in again.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := newOrder(c, where, args, reason, revocation.Subject, revocation.Client, revocation.Server)
			if err != nil {
				return err
			}
			return o.unfreeze(c.Context())
		},
	}
	where.register(c)
	c.Flags().StringVar(&reason, "reason", "", "`text` for the audit log")
	return c
}

func revokeCommand() *cobra.Command {
	var where whereFlags
	var reason string
	c := &cobra.Command{
		Use:   "revoke token|grant|client|subject NAME",
		Short: "Refuse what was issued until now",
		Long: `Refuses a token and what comes of it (NAME is its jti, token_id in the audit log), a
grant with all its tokens (txn), or what a client or subject has: their refresh tokens
end too. They may begin anew; wicketgate freeze stops that. Running processes follow
within 5 seconds, and write who did it into their audit logs.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := newOrder(c, where, args, reason, revocation.Token, revocation.Grant, revocation.Client, revocation.Subject)
			if err != nil {
				return err
			}
			return o.revoke(c.Context())
		},
	}
	where.register(c)
	c.Flags().StringVar(&reason, "reason", "", "`text` for the audit log")
	return c
}

// order is what an operator wants done.
type order struct {
	house          houseConfig
	configured     bool // the house is that of a configuration, which names all servers
	entry          revocation.Entry
	stdout, stderr io.Writer
}

func newOrder(c *cobra.Command, where whereFlags, args []string, reason string, kinds ...revocation.Kind) (order, error) {
	kind := revocation.Kind(args[0])
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	switch {
	case !slices.Contains(kinds, kind):
		return order{}, fmt.Errorf("%s %q: write %s, and then its name", c.Name(), args[0], strings.Join(words, " or "))
	case len(args) < 2:
		return order{}, fmt.Errorf("which %s? its name is missing", kind)
	case len(reason) > maxReason:
		return order{}, fmt.Errorf("--reason is longer than %d bytes", maxReason)
	}
	if err := checkName(kind, args[1]); err != nil {
		return order{}, err
	}
	h, err := where.issuer(c.Context())
	if err != nil {
		return order{}, err
	}
	by, err := user.Current()
	if err != nil {
		return order{}, fmt.Errorf("find out who you are, for the audit log: %w", err)
	}
	e := revocation.New(kind, args[1], time.Now())
	e.Reason, e.By = strings.ToValidUTF8(reason, "\ufffd"), strings.ToValidUTF8(by.Username, "\ufffd") // gateways are told in JSON
	return order{h, where.config != "", e, c.OutOrStdout(), c.ErrOrStderr()}, nil
}

func checkName(kind revocation.Kind, name string) error {
	var err error
	switch kind {
	case revocation.Client:
		_, err = identity.ParseClientID(name)
	case revocation.Subject:
		_, err = identity.ParseSubject(name)
	case revocation.Token, revocation.Grant:
		if strings.Count(name, ".") == 2 {
			err = errors.New("that looks like a token itself, which has no place in a shell's history: want the token_id or txn of the audit log")
		} else if _, bad := identity.ParseSubject(name); bad != nil {
			err = errors.New("want the token_id or txn of the audit log")
		}
	case revocation.Server:
		if name == "" {
			err = errors.New("the name is empty")
		}
	}
	if p, bad := identity.ParsePattern(name); bad == nil && p.Any() { // it would be taken for the name of one
		err = errors.New("a pattern stops nobody: name the workload, or take the pattern out of clients")
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w", kind, name, err)
	}
	return nil
}

// in works on the store of the order.
func (o order) in(ctx context.Context, f func(storage) error) error {
	store, err := openStore(ctx, o.house.Store)
	if err != nil {
		return err
	}
	return errors.Join(f(store), store.Close())
}

func (o order) freeze(ctx context.Context) error {
	servers := o.house.Upstreams
	if o.entry.Kind == revocation.Server && o.configured && !slices.ContainsFunc(servers, func(u gateway.Upstream) bool { return u.Name == o.entry.Name }) {
		return fmt.Errorf("there is no server %s in the configuration: nothing was frozen", o.entry.Name)
	}
	o.entry.Frozen = true
	return o.in(ctx, func(store storage) error {
		if err := store.Revoke(ctx, o.entry); err != nil {
			return err
		}
		o.warn(ctx, store)
		fmt.Fprintf(o.stdout, "frozen: %s %s. Running processes follow within 5 seconds; wicketgate unfreeze %s %s ends it.\n",
			o.entry.Kind, o.entry.Name, o.entry.Kind, o.entry.Name)
		return nil
	})
}

// warn says when there is no such client, for a name with a slip stops nobody. It may
// be known by its metadata document alone, so that is no error.
func (o order) warn(ctx context.Context, store storage) {
	id, err := identity.ParseClientID(o.entry.Name)
	if o.entry.Kind != revocation.Client || err != nil {
		return
	}
	if _, err := store.Client(ctx, id); errors.Is(err, authz.ErrNotFound) && !strings.Contains(o.entry.Name, "://") {
		fmt.Fprintf(o.stderr, "note: no client %s is known: wicketgate clients list shows all\n", o.entry.Name)
	}
}

func (o order) unfreeze(ctx context.Context) error {
	lifted := revocation.Lifted(o.entry.Kind, o.entry.Name, o.entry.Created)
	lifted.Reason, lifted.By = o.entry.Reason, o.entry.By
	return o.in(ctx, func(store storage) error {
		err := store.Unfreeze(ctx, lifted)
		if errors.Is(err, revocation.ErrNotFrozen) {
			return fmt.Errorf("no %s %s is frozen: wicketgate freeze lists what is", lifted.Kind, lifted.Name)
		} else if err != nil {
			return err
		}
		fmt.Fprintf(o.stdout, "no longer frozen: %s %s\n", lifted.Kind, lifted.Name)
		return nil
	})
}

func (o order) revoke(ctx context.Context) error {
	return o.in(ctx, func(store storage) error {
		var ended int64
		err := store.InTx(ctx, func(ctx context.Context) (err error) {
			switch o.entry.Kind {
			case revocation.Grant:
				err = store.RevokeAuthorization(ctx, o.entry.Name, o.entry.Created)
			case revocation.Client, revocation.Subject:
				ended, err = store.EndAuthorizations(ctx, o.entry.Kind, o.entry.Name, o.entry.Created)
			}
			if err != nil {
				return err
			}
			return store.Revoke(ctx, o.entry)
		})
		if err != nil {
			return err
		}
		o.warn(ctx, store)
		fmt.Fprintf(o.stdout, "revoked: %s %s; %d authorizations ended. Running processes follow within 5 seconds.\n", o.entry.Kind, o.entry.Name, ended)
		return nil
	})
}

func listFrozen(ctx context.Context, where whereFlags, stdout io.Writer) (err error) {
	h, err := where.issuer(ctx)
	if err != nil {
		return err
	}
	store, err := openForReading(ctx, h.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tNAME\tSINCE\tBY\tREASON")
	for after := int64(0); ; {
		some, err := store.Revocations(ctx, after)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			return t.Flush()
		}
		for _, e := range some {
			if after = e.Seq; e.Frozen {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.Kind, e.Name, date(e.Created), e.By, shownName(e.Reason))
			}
		}
	}
}
