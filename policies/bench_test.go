package policies_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// large is a policy with n people in a role of n/10 tools.
func large(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nroles:\n  large:\n    who:\n      users:\n        - bob\n")
	for i := range n {
		fmt.Fprintf(&b, "        - user%d\n", i)
	}
	b.WriteString("    servers:\n      mail:\n        tools:\n          - send_message\n")
	for i := range n / 10 {
		fmt.Fprintf(&b, "          - tool%d\n", i)
	}
	return b.String()
}

// many is a policy with a role for each of n patterns, of three shapes, the last of
// which is that of agent x of team n-1.
func many(n int) string {
	shapes := []string{"team%d/agent/*", "team%d/*/agent", "*/team%d/agent"}
	var b strings.Builder
	b.WriteString("version: 1\nroles:\n")
	for i := range n {
		pattern := fmt.Sprintf(shapes[(n-1-i)%len(shapes)], i)
		fmt.Fprintf(&b, "  team%d: {who: {clients: [\"spiffe://example.org/%s\"]}, servers: {mail: {tools: [read_message]}}}\n", i, pattern)
	}
	return b.String()
}

func BenchmarkDecide(b *testing.B) {
	arguments := jsontext.Value(`{"to": "x@example.com", "text": "` + strings.Repeat("hello ", 95) + `"}`)
	visible := call(b, "bob", "claude", "mail", "send_message")
	full := visible
	full.Arguments = arguments
	small, big, claims := newPDP(b, example), newPDP(b, large(20_000)), newPDP(b, finance)
	person := pay(b, `{"department":"finance","cost_centre":"4711","email":"erin@example.com"}`, "finance", "staff", "Domain Users", "vpn", "de")
	few, fleet := newPDP(b, many(20)), newPDP(b, many(2000))
	fewer, workload := reads(b, "spiffe://example.org/team19/agent/x"), reads(b, "spiffe://example.org/team1999/agent/x")
	for _, bb := range []struct {
		name   string
		decide func() policies.Decision
	}{
		{"visible/cached", func() policies.Decision { return small.Decide(b.Context(), visible) }},
		{"visible/evaluated", func() policies.Decision { return small.Evaluate(b.Context(), visible) }},
		{"arguments/cached", func() policies.Decision { return small.Decide(b.Context(), full) }},
		{"arguments/evaluated", func() policies.Decision { return small.Evaluate(b.Context(), full) }},
		{"claims/cached", func() policies.Decision { return claims.Decide(b.Context(), person) }},
		{"claims/evaluated", func() policies.Decision { return claims.Evaluate(b.Context(), person) }},
		{"20000people/cached", func() policies.Decision { return big.Decide(b.Context(), visible) }},
		{"20000people/evaluated", func() policies.Decision { return big.Evaluate(b.Context(), visible) }},
		{"20patterns/cached", func() policies.Decision { return few.Decide(b.Context(), fewer) }},
		{"20patterns/evaluated", func() policies.Decision { return few.Evaluate(b.Context(), fewer) }},
		{"2000patterns/cached", func() policies.Decision { return fleet.Decide(b.Context(), workload) }},
		{"2000patterns/evaluated", func() policies.Decision { return fleet.Evaluate(b.Context(), workload) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := bb.decide(); !d.Allowed() {
					b.Fatal(d)
				}
			}
		})
	}
}
