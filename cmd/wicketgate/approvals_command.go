package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/console"
)

// approvalsFlags is the flags of wicketgate approvals.
type approvalsFlags struct {
	issuer  string // URL; "": as the environment says
	comment string
	acr     string
	maxAge  time.Duration
	timeout time.Duration
	wait    waitFunc
}

// approvalsCommand waits between two polls with wait.
func approvalsCommand(wait waitFunc) *cobra.Command {
	f := approvalsFlags{wait: wait}
	c := &cobra.Command{
		Use:   "approvals",
		Short: "List, show, approve and deny calls that wait for somebody's approval",
		Long: `Does what the page ISSUER/console/ does, from a terminal. You log in for each command, in
a browser on any machine, with the code that is shown here; nothing is kept afterwards.

What a call is and its arguments come from whoever makes it: what is not printable is
shown as an escape. Exit codes: 0 it was done; 1 it was not. docs/approvals.md has more.`,
		Example: "  wicketgate approvals list\n  wicketgate approvals approve ID --comment 'agreed by phone'",
	}
	p := c.PersistentFlags()
	p.StringVar(&f.issuer, "issuer", "", "`URL` of the server (default: $"+issuerEnv+", else "+issuerOfDev+")")
	p.DurationVar(&f.maxAge, "max-age", 0, "log in anew if your login is older than this `time`")
	p.StringVar(&f.acr, "acr", "", "`kinds` of login to ask for (acr_values), the server asks by itself for those that it needs")
	p.DurationVar(&f.timeout, "timeout", 15*time.Minute, "`time` for everything, your login too")
	list := &cobra.Command{Use: "list", Short: "List the calls that wait, and what became of recent ones, as far as you may see them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c, listApprovals) }}
	show := &cobra.Command{Use: "show ID", Short: "Show one, with its arguments", Args: oneID,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, showApproval(args[0])) }}
	approve := &cobra.Command{Use: "approve ID", Short: "Approve one: the call is then made, once", Args: oneID,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, f.decide(args[0], "approve")) }}
	deny := &cobra.Command{Use: "deny ID", Short: "Deny one", Args: oneID,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, f.decide(args[0], "deny")) }}
	for _, d := range []*cobra.Command{approve, deny} {
		d.Flags().StringVar(&f.comment, "comment", "", "`text` for other approvers and the audit log")
	}
	c.AddCommand(list, show, approve, deny)
	return c
}

var approvalID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func oneID(c *cobra.Command, args []string) error {
	switch {
	case len(args) != 1:
		return fmt.Errorf("%s takes one ID: wicketgate approvals list shows them", c.CommandPath())
	case !approvalID.MatchString(args[0]):
		return fmt.Errorf("%s is no ID of a request: wicketgate approvals list shows them", shown(args[0]))
	}
	return nil
}

// errStepUp is answered when the login must be another one (RFC 9470 §3).
type errStepUp struct{ login loginAsked }

func (*errStepUp) Error() string {
	return "the server asks for a more recent, or another kind of login"
}

// run logs somebody in and does what they want. Where the server then asks for another
// login, they log in once more.
func (f approvalsFlags) run(c *cobra.Command, do func(*approver) error) error {
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	a := &approver{ctx: ctx, http: direct(http.DefaultTransport), stdout: c.OutOrStdout(), stderr: c.ErrOrStderr(), wait: f.wait}
	err := f.attempt(a, do)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w; --timeout is %s", err, f.timeout)
	}
	return err
}

func (f approvalsFlags) attempt(a *approver, do func(*approver) error) error {
	asked, err := f.asked()
	if err == nil {
		err = a.find(f.server())
	}
	if err == nil {
		err = a.logIn(asked)
	}
	if err != nil {
		return err
	}
	err = do(a)
	var stepUp *errStepUp
	if !errors.As(err, &stepUp) {
		return err
	}
	fmt.Fprintln(a.stderr, "For this, your login has to be more recent, or of another kind:")
	if err := a.logIn(stepUp.login); err != nil {
		return err
	}
	return do(a)
}

func (f approvalsFlags) server() string {
	if f.issuer != "" {
		return f.issuer
	}
	if s := os.Getenv(issuerEnv); s != "" {
		return s
	}
	return issuerOfDev
}

func (f approvalsFlags) asked() (loginAsked, error) {
	if f.maxAge < 0 || f.maxAge%time.Second != 0 {
		return loginAsked{}, fmt.Errorf("--max-age %s: write whole seconds, for example 5m", f.maxAge)
	}
	return loginAsked{acr: f.acr, maxAge: int64(f.maxAge / time.Second), hasMaxAge: f.maxAge > 0}, nil
}

func listApprovals(a *approver) error {
	var answer approvalsJSON
	if err := a.call(http.MethodGet, console.PathAPI, nil, &answer); err != nil {
		return err
	}
	return printApprovals(a.stdout, answer, time.Now())
}

func showApproval(id string) func(*approver) error {
	return func(a *approver) error {
		var one approvalJSON
		if err := a.call(http.MethodGet, console.PathAPI+"/"+id, nil, &one); err != nil {
			return err
		}
		return printApproval(a.stdout, one)
	}
}

func (f approvalsFlags) decide(id, decision string) func(*approver) error {
	return func(a *approver) error {
		var one approvalJSON
		if err := a.call(http.MethodPost, console.PathAPI+"/"+id+"/decision", map[string]string{"decision": decision, "comment": f.comment}, &one); err != nil {
			return err
		}
		return printApproval(a.stdout, one)
	}
}
