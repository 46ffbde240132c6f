package policies_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// A denial that says what the caller sent would not fit into the audit log, and the log has
// no trace of what it does not take.
func TestLongDenialOfOwnRegoIsCut(t *testing.T) {
	const own = "package wicketgate.deny\n\ndeny contains sprintf(\"not %v\", [input.arguments.a])\n"
	p, err := policies.New(t.Context(), policies.Config{Access: []byte(toAlice(`[t]`)), Rego: []policies.Module{{Name: "own.rego", Text: own}}})
	if err != nil {
		t.Fatal(err)
	}
	q := call(t, "alice", "editor", "s", "t")
	q.Arguments = jsontext.Value(`{"a":"` + strings.Repeat("\u20ac", 100_000) + `"}`)
	if d := p.Decide(t.Context(), q); d.Reason != policies.ReasonDeniedByRego || len(d.Rule) > 4<<10 || !strings.HasPrefix(d.Rule, "wicketgate.deny: not €") {
		t.Errorf("%s, a rule of %d bytes", d.Reason, len(d.Rule))
	}
}
