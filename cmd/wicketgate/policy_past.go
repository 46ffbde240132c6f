package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// pastFlags say which calls of the past a command is about.
type pastFlags struct {
	whereFlags
	since string
	files []string
}

func (f *pastFlags) register(c *cobra.Command) {
	f.whereFlags.register(c)
	c.Flags().StringVar(&f.since, "since", "7d", "how far back: a `duration` like 7d or 12h")
	c.Flags().StringArrayVar(&f.files, "audit", nil, "audit log `file` to read instead of the one of --config or --data, for example one of another replica or an older one (repeatable)")
}

// open says which files are read, and from when on.
func (f *pastFlags) open(ctx context.Context, now time.Time) (past, error) {
	back, ok := parseDuration(f.since)
	if !ok || back <= 0 {
		return past{}, fmt.Errorf("--since %q: write a number with s, m, h or d, for example 7d", escape(f.since))
	}
	p := past{files: f.files, since: now.Add(-back), approvers: map[string]string{}}
	if len(p.files) > 0 {
		return p, nil
	}
	h, err := f.house(ctx)
	if err != nil {
		return past{}, err
	}
	p.files = []string{h.Audit}
	return p, nil
}

// past is what audit logs tell of the calls on which policy decided.
type past struct {
	files []string
	since time.Time

	calls, unread int               // read, and lines that are none
	first, last   time.Time         // of the calls
	approvers     map[string]string // by the approval that they gave, whenever
}

// approversOf are those who gave the approvals of a use, as far as they can be named.
func (p *past) approversOf(u *usage) []string {
	names := map[string]bool{}
	for id := range u.approvals {
		if who := p.approvers[id]; who != "" && policies.CheckCaller("user", who) == nil {
			names[who] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// pastCall is one of them.
type pastCall struct {
	audit.Line
	action policies.Action // that policy decided on
	kind   callerKind
}

// callerKind tells people from workloads, which have different roles.
type callerKind string

const (
	aPerson   callerKind = "user"
	aWorkload callerKind = "client"
)

// each has use called for the calls in the order of the files.
func (p *past) each(use func(pastCall)) error {
	for _, path := range p.files {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		err = errors.Join(p.read(f, use), f.Close())
		if err != nil {
			return fmt.Errorf("read audit log %s: %w", escape(path), err)
		}
	}
	return nil
}

// read passes over what is no line. What was changed is for audit verify to find.
func (p *past) read(r io.Reader, use func(pastCall)) error {
	for line, err := range audit.Lines(r) {
		switch {
		case errors.Is(err, audit.ErrBadLine):
			p.unread++
		case err != nil:
			return err
		default:
			p.line(line, use)
		}
	}
	return nil
}

func (p *past) line(line audit.Line, use func(pastCall)) {
	if line.Kind == "approval" && line.Action == "approvals/approve" {
		p.approvers[line.Approval] = line.Operator
	}
	c := pastCall{Line: line}
	if c.Time.Before(p.since) || !c.decided() {
		return
	}
	p.calls++
	if p.first.IsZero() || c.Time.Before(p.first) {
		p.first = c.Time
	}
	if c.Time.After(p.last) {
		p.last = c.Time
	}
	use(c)
}

// decided reports whether policy said yes or no to a call, a read or a prompt; it fills in
// what of.
func (c *pastCall) decided() bool {
	switch {
	case c.Kind == audit.Intent && c.PolicyDigest != "":
	case c.Kind == audit.Denial && slices.Contains(pastDenials, policies.Reason(c.Reason)):
	default: // another kind, not by policy, or by one that gave no answer
		return false
	}
	switch {
	case c.Tool != "" && c.Action == "tools/call":
		c.action = policies.ActionCallTool
	case c.Prompt != "" && (c.Action == "prompts/get" || c.Action == "completion/complete"):
		c.action = policies.ActionGetPrompt
	case c.URI != "" && (strings.HasPrefix(c.Action, "resources/") || c.Action == "completion/complete"):
		c.action = policies.ActionReadResource
	default:
		return false
	}
	c.kind = c.caller()
	return true
}

// pastDenials are the reasons with which a policy says no, and does not fail.
var pastDenials = []policies.Reason{policies.ReasonNoPolicy, policies.ReasonNoRole, policies.ReasonNotGranted, policies.ReasonDenied, policies.ReasonDeniedByRego,
	policies.ReasonCondition, policies.ReasonHours, policies.ReasonArgument, policies.ReasonSenderConstraint, policies.ReasonStepUp, policies.ReasonApproval}

func (c *pastCall) caller() callerKind {
	if c.Workload || c.Subject == c.Client || strings.HasPrefix(c.Subject, "spiffe://") {
		return aWorkload
	}
	return aPerson
}

// what is the tool, prompt or URI.
func (c *pastCall) what() string { return c.Tool + c.Prompt + c.URI }

// cut reports whether the log has only the beginning of the name.
func (c *pastCall) cut() bool { return strings.HasSuffix(c.what(), "…") }

// request is the question, as far as the line tells.
func (c *pastCall) request() (q policies.Request, err error) {
	q = policies.Request{Action: c.action, Server: c.Server, Tool: c.Tool, Prompt: c.Prompt, DefinitionDigest: c.DefinitionDigest, Time: c.Time}
	if q.Subject, err = identity.ParseSubject(c.Subject); err != nil {
		return q, err
	}
	if q.ClientID, err = identity.ParseClientID(c.Client); err != nil {
		return q, err
	}
	for _, a := range c.Actors {
		id, err := identity.ParseClientID(a)
		if err != nil {
			return q, err
		}
		q.Actors = append(q.Actors, id)
	}
	q.Workload = c.kind == aWorkload && c.Subject != c.Client
	if q.Resource = c.URI; c.Action == "completion/complete" {
		q.Resource, q.Template = "", c.URI
	}
	return q, nil
}

// unverified is for every output: nothing here checks the chain.
const unverified = "The audit log was read as it is: wicketgate audit verify says whether it is whole."
