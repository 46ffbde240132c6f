package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/policies"
)

func policyWhyCommand() *cobra.Command {
	var f whyFlags
	c := &cobra.Command{
		Use:   "why SUBJECT SERVER TOOL",
		Short: "Explain why somebody may call a tool, or may not",
		Long: `Decides a call as the gateway would, and says by which rule, which roles the subject has
or lacks, what of every other grant of the tool does not hold, and what would make it
allowed. Without --args and --arg it is a call with no arguments; --resource and --prompt
ask about a resource's URI or a prompt instead of a tool. Nothing is called, and
whether the server has the tool and its definition is approved is not looked at.
A VALUE that is JSON is that (3, true, ["a"]), any other is text; '"3"' is the text 3.
Exit code 0: it is explained, whatever the decision; 1: it is not; 2: a policy that is
wrong.`,
		Example: "  wicketgate policy why alice mail send_message --group staff --arg to=bob@example.com\n  wicketgate policy why spiffe://example.org/agent/a mail read_message --policy access.yaml",
		Args:    cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			q, err := f.question(args, time.Now())
			if err != nil {
				return err
			}
			return f.why(c.Context(), q, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f.policyFlags.register(c)
	f.callerFlags.register(c)
	c.Flags().StringVar(&f.arguments, "args", "", "arguments of the call, one `JSON` object")
	c.Flags().StringArrayVar(&f.argument, "arg", nil, "`NAME=VALUE`, one argument of the call (repeatable)")
	c.Flags().BoolVar(&f.resource, "resource", false, "TOOL is the URI of a resource")
	c.Flags().BoolVar(&f.prompt, "prompt", false, "TOOL is the name of a prompt")
	c.MarkFlagsMutuallyExclusive("args", "arg")
	c.MarkFlagsMutuallyExclusive("resource", "prompt")
	return c
}

type whyFlags struct {
	policyFlags
	callerFlags
	arguments        string
	argument         []string
	resource, prompt bool
}

func (f *whyFlags) question(args []string, now time.Time) (policies.Request, error) {
	q, err := f.request(args[0], now)
	if err != nil {
		return q, err
	}
	q.Server = args[1]
	if q.Arguments, err = jsonObject("--arg", f.argument); err != nil {
		return q, err
	}
	if f.arguments != "" {
		q.Arguments = jsontext.Value(f.arguments)
		if !q.Arguments.IsValid() || q.Arguments.Kind() != '{' {
			return q, errors.New(`--args is no JSON object: write for example --args '{"limit": 3}'`)
		}
	}
	if q.Arguments == nil {
		q.Arguments = jsontext.Value("{}")
	}
	switch {
	case f.resource:
		q.Action, q.Resource, q.Arguments = policies.ActionReadResource, args[2], nil
	case f.prompt:
		q.Action, q.Prompt = policies.ActionGetPrompt, args[2]
	default:
		q.Action, q.Tool = policies.ActionCallTool, args[2]
	}
	return q, nil
}

func (f *whyFlags) why(ctx context.Context, q policies.Request, stdout, stderr io.Writer) error {
	p, err := f.load(ctx, stderr)
	if err != nil {
		return err
	}
	e, err := p.Explain(ctx, q)
	if err != nil && !errors.Is(err, policies.ErrNotOurs) {
		return err
	}
	explain(stdout, q, e)
	return err
}

// explanation prints one; everything in it is escaped, because a name in a policy or on
// the command line may be anything.
type explanation struct{ w io.Writer }

func (x explanation) line(indent int, format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = escape(s)
		}
	}
	fmt.Fprintf(x.w, strings.Repeat("  ", indent)+format+"\n", args...)
}

func explain(w io.Writer, q policies.Request, e policies.Explanation) {
	x := explanation{w}
	d := e.Decision
	x.line(0, "%s: %s of %s by %s %s at %s", verdict(d), q.Tool+q.Prompt+q.Resource, q.Server, kindOf(q), q.Subject.String(), q.Time.Format(time.RFC3339))
	x.line(1, "reason: %s", string(d.Reason))
	x.optional("rule", d.Rule)
	x.optional("what would make it allowed", d.Detail)
	if d.Observed != "" {
		x.line(1, "the server is in observe mode: once that ends, this is denied (%s)", string(d.Observed))
	}
	x.needs(d.Needs)
	x.optional("risk", d.Risk)
	if d.Err != nil {
		x.line(1, "error: %s", d.Err.Error())
	}
	if e.Roles == nil { // no policy, no question, or another's policy
		return
	}
	x.denials(e.Denials)
	if e.Rego {
		x.line(0, "Rego of your own can deny it too: a reason of %s says so.", string(policies.ReasonDeniedByRego))
	}
	x.grants(e.Grants)
	x.roles(e.Roles)
}

func verdict(d policies.Decision) string {
	switch {
	case d.Observed != "":
		return "ALLOWED, observed"
	case d.Allowed():
		return "ALLOWED"
	case d.Reason == policies.ReasonApproval:
		return "NEEDS AN APPROVAL"
	case d.Reason == policies.ReasonStepUp:
		return "NEEDS ANOTHER LOGIN"
	case d.Reason == policies.ReasonSenderConstraint:
		return "NEEDS A SENDER-CONSTRAINED TOKEN"
	}
	return "DENIED"
}

func kindOf(q policies.Request) string {
	if q.Workload || q.Subject.Is(q.ClientID) {
		return "workload"
	}
	return "person"
}

func (x explanation) optional(what, text string) {
	if text != "" {
		x.line(1, "%s: %s", what, text)
	}
}

func (x explanation) needs(n policies.Needs) {
	for _, roles := range n.By {
		x.line(1, "approved by somebody with role %s, not the subject", strings.Join(roles, " or "))
	}
	if n.Within > 0 {
		x.line(1, "an approval can be given and used for %s", n.Within.String())
	}
	if len(n.ACR) > 0 {
		x.line(1, "a login by %s", strings.Join(n.ACR, " or "))
	}
	if n.MaxAge > 0 {
		x.line(1, "a login at most %s ago", n.MaxAge.String())
	}
}

func (x explanation) denials(denials []policies.DenialCheck) {
	if len(denials) == 0 {
		return
	}
	x.line(0, "Denials that name it:")
	for _, c := range denials {
		x.line(1, "%s %s (%s)", mark(!c.Applies, "does not apply", "APPLIES"), c.Rule, c.At)
		if c.Reason != "" {
			x.line(2, "because %s", c.Reason)
		}
	}
}

func (x explanation) grants(grants []policies.GrantCheck) {
	if len(grants) == 0 {
		x.line(0, "No rule grants it to anybody.")
		return
	}
	x.line(0, "Rules that grant it:")
	for _, g := range grants {
		x.line(1, "%s %s (%s)", mark(g.Holds, "holds", "does not hold"), g.Rule, g.At)
		if !g.Has {
			x.line(2, "the subject does not have role %s", g.Role)
		}
		for _, c := range g.Checks {
			x.check(c)
		}
	}
}

func (x explanation) check(c policies.Check) {
	x.line(2, "%s %s (%s)", mark(c.Holds, "ok", "no:"), c.Text, c.At)
}

func (x explanation) roles(roles []policies.RoleCheck) {
	x.line(0, "Roles:")
	for _, r := range roles {
		switch {
		case r.Has:
			x.line(1, "has %s (%s)", r.Name, r.At)
		case r.Named:
			x.line(1, "would have %s, but for its conditions (%s)", r.Name, r.At)
		default:
			x.line(1, "is not in %s, which is for %s (%s)", r.Name, strings.Join(r.Who, ", "), r.At)
		}
		for _, c := range r.When {
			if r.Named {
				x.check(c)
			}
		}
	}
}

func mark(good bool, yes, no string) string {
	if good {
		return yes
	}
	return no
}
