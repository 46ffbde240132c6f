package policies_test

import (
	"context"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/wicketgate/wicketgate/policies"
)

// builtin adds test.do() to a policy, which does what only a broken OPA does.
func builtin(do func(rego.BuiltinContext)) func(*rego.Rego) {
	f := &rego.Function{Name: "test.do", Decl: types.NewFunction(nil, types.B), Nondeterministic: true}
	return rego.FunctionDyn(f, func(b rego.BuiltinContext, _ []*ast.Term) (*ast.Term, error) {
		do(b)
		return ast.BooleanTerm(true), nil
	})
}

const allowed = `{"allow": true, "reason": "allowed", "rule": "r"}`

// A15.
func TestWhateverGoesWrongDenies(t *testing.T) {
	untilDeadline := builtin(func(b rego.BuiltinContext) { <-b.Context.Done() })
	panics := builtin(func(rego.BuiltinContext) { panic("broken") })
	for _, tt := range []struct {
		name, rules string
		options     []func(*rego.Rego)
		want        policies.Reason
	}{
		{"built-in error", "decision := " + allowed + " if to_number(input.tool) == 1", nil, policies.ReasonEvaluationError},
		{"conflict", "decision := " + allowed + "\ndecision := 1", nil, policies.ReasonEvaluationError},
		{"undefined", "decision := " + allowed + ` if input.tool == "other"`, nil, policies.ReasonUndefined},
		{"no such rule", "allow := true", nil, policies.ReasonUndefined},
		{"endless", "decision := " + allowed + " if { some i in numbers.range(1, 100000000); i < 0 }", nil, policies.ReasonTimeout},
		{"answer after the deadline", "decision := " + allowed + " if test.do()", []func(*rego.Rego){untilDeadline}, policies.ReasonTimeout},
		{"panic", "decision := " + allowed + " if test.do()", []func(*rego.Rego){panics}, policies.ReasonPanic},
		{"boolean", "decision := true", nil, policies.ReasonMalformed},
		{"set", "decision contains " + allowed, nil, policies.ReasonMalformed},
		{"list", "decision := [" + allowed + "]", nil, policies.ReasonMalformed},
		{"no rule", `decision := {"allow": true, "reason": "allowed"}`, nil, policies.ReasonMalformed},
		{"further member", `decision := {"allow": true, "reason": "allowed", "rule": "r", "deny": true}`, nil, policies.ReasonMalformed},
		{"allow is text", `decision := {"allow": "true", "reason": "allowed", "rule": "r"}`, nil, policies.ReasonMalformed},
		{"allow is a number", `decision := {"allow": 1, "reason": "allowed", "rule": "r"}`, nil, policies.ReasonMalformed},
		{"reason is null", `decision := {"allow": true, "reason": null, "rule": "r"}`, nil, policies.ReasonMalformed},
		{"rule is a list", `decision := {"allow": true, "reason": "allowed", "rule": []}`, nil, policies.ReasonMalformed},
		{"allows for a reason to deny", `decision := {"allow": true, "reason": "no_role", "rule": "r"}`, nil, policies.ReasonMalformed},
		{"denies for the reason to allow", `decision := {"allow": false, "reason": "allowed", "rule": "r"}`, nil, policies.ReasonMalformed},
		{"unknown reason", `decision := {"allow": false, "reason": "whim", "rule": ""}`, nil, policies.ReasonMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := policies.Config{Access: []byte(example), Timeout: 20 * time.Millisecond}
			p, err := policies.NewWithRego(t.Context(), cfg, "package wicketgate.access\n\n"+tt.rules, tt.options...)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // a failure is not remembered as an answer
				d := p.Decide(t.Context(), call(t, "alice", "claude", "mail", "read_message"))
				if d.Allowed() || d.Reason != tt.want || d.PolicyDigest != p.Digest() || d.Err == nil {
					t.Errorf("Decide = %+v, want denied, %s, with an error for the log", d, tt.want)
				}
			}
			if n := p.Cached(); n != 0 {
				t.Errorf("%d answers cached, want none", n)
			}
		})
	}
}

func TestNoPolicyDenies(t *testing.T) {
	for _, p := range []*policies.PDP{nil, new(policies.PDP), newPDP(t, "")} {
		for _, q := range []policies.Request{{}, call(t, "alice", "claude", "mail", "read_message")} {
			if d := p.Decide(t.Context(), q); d.Allowed() || d.Reason != policies.ReasonNoPolicy {
				t.Errorf("Decide = %+v, want denied, no_policy", d)
			}
		}
		if p.Digest() != "" {
			t.Errorf("Digest() = %q, want none", p.Digest())
		}
	}
	if (policies.Decision{}).Allowed() {
		t.Error("the zero Decision allows")
	}
}

func TestEndedContextDenies(t *testing.T) {
	p := newPDP(t, example)
	q := call(t, "alice", "claude", "mail", "read_message")
	p.Decide(t.Context(), q) // known, and still denied to a caller who is gone
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for want, ctx := range map[policies.Reason]context.Context{policies.ReasonCanceled: canceled, policies.ReasonTimeout: late} {
		if d := p.Decide(ctx, q); d.Allowed() || d.Reason != want {
			t.Errorf("Decide = %+v, want denied, %s", d, want)
		}
	}
}

func TestCallerThatGoesAwayEndsTheEvaluation(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := policies.Config{Access: []byte(example), Timeout: time.Hour}
	p, err := policies.NewWithRego(t.Context(), cfg, `package wicketgate.access

decision := `+allowed+` if {
	test.do()
	some i in numbers.range(1, 100000000)
	i < 0
}`, builtin(func(rego.BuiltinContext) { cancel() }))
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Decide(ctx, call(t, "alice", "claude", "mail", "read_message")); d.Allowed() || d.Reason != policies.ReasonCanceled {
		t.Errorf("Decide = %+v, want denied, canceled", d)
	}
}
