package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/policies"
)

func policyReplayCommand() *cobra.Command {
	var f replayFlags
	c := &cobra.Command{
		Use:   "replay FILE",
		Short: "Say which past calls a proposed policy would decide otherwise",
		Long: `Decides every call in the audit log again by FILE, an access.yaml, with what the log has of
the caller and the arguments, and the time of then. It prints which would be decided
otherwise, and apart from them those of which it cannot tell, because FILE asks for
something that the log does not have: it never guesses. The log has what the policy of
then read; what that did not read, or what redaction took out, is not known. The policies
of then are the one of --config or --data and those of --then: that a person was not in a
group is known only of calls that one of them decided.
A call that only observe mode allowed counts as allowed, and a server that FILE has in
observe mode as enforced. A call that was approved counts as one that needs an approval.
Exit code 0: every call is decided as it was; 1: one is not, or cannot be told, or there
was none; 2: a policy is wrong.`,
		Example: "  wicketgate policy replay --since 7d --config wicketgate.yaml access.next.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.run(c.Context(), args[0], c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f.pastFlags.register(c)
	c.Flags().StringArrayVar(&f.then, "then", nil, "`file` of a policy that was in use then, as your version control has it (repeatable)")
	registerRego(c, &f.rego)
	c.Flags().BoolVar(&f.json, "json", false, "as JSON")
	return c
}

type replayFlags struct {
	pastFlags
	then, rego []string
	json       bool
}

func (f *replayFlags) run(ctx context.Context, file string, stdout, stderr io.Writer) error {
	p, err := f.open(ctx, time.Now())
	if err != nil {
		return err
	}
	r := replay{now: map[replayKey]*replayed{}, then: thenPolicies{}}
	rego, err := f.ownRego(ctx)
	if err != nil {
		return err
	}
	if r.policy, err = loadPolicy(ctx, policies.Files{Access: file, Rego: rego}, stderr); err != nil {
		return err
	}
	if err := f.thenPolicies(ctx, r.then, rego, stderr); err != nil {
		return err
	}
	if err := p.each(func(c pastCall) { r.add(ctx, c) }); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	show := r.table
	if f.json {
		show = r.document
	}
	if err := show(stdout, &p); err != nil {
		return err
	}
	switch {
	case p.calls == 0:
		return errors.New("there is no call in that time, so that nothing was shown: --since says how far back")
	case len(r.now) > 0:
		return errReported
	}
	return nil
}

// ownRego is the Rego that goes with every policy: what --rego names, or the configuration.
func (f *replayFlags) ownRego(ctx context.Context) ([]string, error) {
	if len(f.rego) > 0 || len(f.files) > 0 {
		return f.rego, nil
	}
	h, err := f.policyHouse(ctx)
	return h.PDP.Rego, err
}

func (f *replayFlags) thenPolicies(ctx context.Context, then thenPolicies, rego []string, stderr io.Writer) error {
	if len(f.files) == 0 {
		p, err := f.current(ctx, stderr)
		if err != nil {
			return err
		}
		then[p.Digest()] = p
	}
	for _, file := range f.then {
		p, err := loadPolicy(ctx, policies.Files{Access: file, Rego: rego}, stderr)
		if err != nil {
			return err
		}
		then[p.Digest()] = p
	}
	return nil
}

// replay decides calls again, and counts those that are not decided as they were.
type replay struct {
	policy *policies.PDP
	then   thenPolicies
	now    map[replayKey]*replayed
	same   int
}

// replayKey is what calls have in common that are one row.
type replayKey struct {
	kind                 callerKind
	subject              string
	grant                grantName
	then, thenReason     string
	now, reason, rule    string // empty: it cannot be told
	detail, missing, err string
}

type replayed struct {
	count       int
	first, last time.Time
}

func (r *replay) add(ctx context.Context, c pastCall) {
	key := replayKey{kind: c.kind, subject: c.Subject, grant: grantName{c.Server, listOf[c.action], c.what()}}
	key.then, key.thenReason = c.outcome()
	r.decide(ctx, c, &key)
	if key.now == key.then {
		r.same++
		return
	}
	row := r.now[key]
	if row == nil {
		row = &replayed{first: c.Time}
		r.now[key] = row
	}
	row.count++
	if c.Time.Before(row.first) {
		row.first = c.Time
	}
	if c.Time.After(row.last) {
		row.last = c.Time
	}
}

// outcome is how the call was decided then.
func (c *pastCall) outcome() (answer, reason string) {
	switch {
	case c.Approval != "":
		return string(policies.WantApproval), "approved"
	case c.Decision == "allow" && c.Observed != "":
		return string(policies.WantAllow), "observed " + c.Observed
	case c.Decision == "allow":
		return string(policies.WantAllow), c.Reason
	}
	answer = map[policies.Reason]string{policies.ReasonApproval: string(policies.WantApproval), policies.ReasonStepUp: string(policies.WantStepUp),
		policies.ReasonSenderConstraint: string(policies.WantSenderConstraint)}[policies.Reason(c.Reason)]
	return cmp.Or(answer, string(policies.WantDeny)), c.Reason
}

// decide fills in how it is decided now, or why that cannot be told.
func (r *replay) decide(ctx context.Context, c pastCall, key *replayKey) {
	q, err := c.request()
	if err != nil {
		key.err = "the log has no caller that can be: " + err.Error()
		return
	}
	if c.cut() {
		key.err = "the log has only the beginning of its name"
		return
	}
	k := r.then.question(&c, &q)
	e, err := r.policy.Explain(ctx, q)
	if err == nil {
		err = e.Decision.Err
	}
	if err != nil {
		key.err = "the proposed policy fails: " + err.Error()
		return
	}
	if missing := e.Missing(k.has); len(missing) > 0 {
		var names []string
		for _, f := range missing {
			names = append(names, f.String())
		}
		key.missing = strings.Join(names, ", ")
		return
	}
	answer, reason := e.Decision.Answer()
	key.now, key.reason, key.rule, key.detail = string(answer), string(reason), e.Decision.Rule, e.Decision.Detail
}

// rows are in an order that depends on the calls alone: what is decided otherwise, or what
// cannot be told.
func (r *replay) rows(told bool) (keys []replayKey, calls int) {
	for key, row := range r.now {
		if (key.now != "") == told {
			keys = append(keys, key)
			calls += row.count
		}
	}
	slices.SortFunc(keys, func(a, b replayKey) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.subject, b.subject), compareGrants(a.grant, b.grant), cmp.Compare(a.then, b.then), cmp.Compare(a.now, b.now),
			cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	return keys, calls
}

func (r *replay) table(w io.Writer, p *past) error {
	for _, line := range p.notes() {
		fmt.Fprintln(w, line)
	}
	changed, calls := r.rows(true)
	unknown, open := r.rows(false)
	fmt.Fprintf(w, "%d calls%s: %d decided as they were, %d otherwise, %d that cannot be told.\n", p.calls, p.span(), r.same, calls, open)
	r.list(w, "Decided otherwise:", changed, func(k replayKey) string {
		return fmt.Sprintf("%s (%s)%s", k.now, k.reason, dashed(k.rule, k.detail))
	})
	r.list(w, "Cannot be told:", unknown, func(k replayKey) string {
		if k.err != "" {
			return k.err
		}
		return "the log does not have: " + k.missing
	})
	return nil
}

func dashed(texts ...string) string {
	var out string
	for _, t := range texts {
		if t != "" {
			out += "; " + t
		}
	}
	return out
}

func (r *replay) list(w io.Writer, title string, keys []replayKey, now func(replayKey) string) {
	if len(keys) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CALLS\tFIRST\tLAST\tWHO\tWHAT\tTHEN\tNOW")
	for _, k := range keys {
		row := r.now[k]
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", row.count, stamp(row.first), stamp(row.last), escape(string(k.kind)+" "+k.subject), escape(k.grant.String()),
			escape(k.then+" ("+k.thenReason+")"), escape(now(k)))
	}
	_ = t.Flush() // as fmt.Fprintf: who does not read it has gone
}

func (p *past) span() string {
	if p.calls == 0 {
		return ""
	}
	return fmt.Sprintf(" from %s to %s", stamp(p.first), stamp(p.last))
}

type replayDocument struct {
	Calls     int         `json:"calls"`
	Same      int         `json:"same"`
	Notes     []string    `json:"notes"`
	Otherwise []replayRow `json:"otherwise"`
	Unknown   []replayRow `json:"unknown"`
}

type replayRow struct {
	Calls      int       `json:"calls"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	Kind       string    `json:"kind"`
	Subject    string    `json:"subject"`
	Server     string    `json:"server"`
	List       string    `json:"list"`
	Name       string    `json:"name"`
	Then       string    `json:"then"`
	ThenReason string    `json:"then_reason"`
	Now        string    `json:"now,omitzero"`
	NowReason  string    `json:"now_reason,omitzero"`
	Rule       string    `json:"rule,omitzero"`
	Detail     string    `json:"detail,omitzero"`
	Missing    string    `json:"missing,omitzero"`
	Error      string    `json:"error,omitzero"`
}

func (r *replay) document(w io.Writer, p *past) error {
	doc := replayDocument{Calls: p.calls, Same: r.same, Notes: p.notes()}
	for told, rows := range map[bool]*[]replayRow{true: &doc.Otherwise, false: &doc.Unknown} {
		*rows = []replayRow{}
		keys, _ := r.rows(told)
		for _, k := range keys {
			row := r.now[k]
			*rows = append(*rows, replayRow{row.count, row.first, row.last, string(k.kind), k.subject, k.grant.server, k.grant.list, k.grant.name,
				k.then, k.thenReason, k.now, k.reason, k.rule, k.detail, k.missing, k.err})
		}
	}
	return json.MarshalWrite(w, doc, jsontext.WithIndent("  "))
}
