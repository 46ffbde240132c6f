package policies_test

import (
	"os"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

func withRego(t *testing.T, text string) (*policies.PDP, error) {
	t.Helper()
	access := "version: 1\nroles: {r: {who: {users: [alice]}, servers: {s: {tools: [transfer, other]}}}}\n"
	return policies.New(t.Context(), policies.Config{Access: []byte(access), Rego: []policies.Module{{Name: "own.rego", Text: text}}})
}

// The example of docs/write-policy.md denies what it says, also after an answer that was
// not a denial.
func TestDocumentedRegoDenies(t *testing.T) {
	b, err := os.ReadFile("../docs/write-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "```rego\n")
	text, _, _ = strings.Cut(text, "```")
	p, err := withRego(t, text)
	if err != nil {
		t.Fatal(err)
	}
	q := call(t, "alice", "editor", "s", "transfer")
	far := q
	far.Actors = []identity.ClientID{identity.MustClientID("one"), identity.MustClientID("two")}
	for range 2 {
		decides(t, p, q, policies.ReasonAllowed)
		decides(t, p, far, policies.ReasonDeniedByRego)
	}
	if d := p.Decide(t.Context(), far); !strings.Contains(d.Rule, "no agent of an agent") || d.Detail != "" {
		t.Errorf("%+v, want the text for the log and none for the caller", d)
	}
	if other := newPDP(t, "version: 1\nroles: {r: {who: {users: [alice]}, servers: {s: {tools: [transfer, other]}}}}\n"); other.Digest() == p.Digest() {
		t.Error("the digest is that of the policy without the Rego")
	}
}

// Whatever is wrong with a person's own Rego is a denial, and never an allow.
func TestOwnRegoThatFailsDenies(t *testing.T) {
	for text, want := range map[string]policies.Reason{
		"deny contains x if x := to_number(input.tool)": policies.ReasonEvaluationError,
		"deny contains 7": policies.ReasonEvaluationError,
		"deny contains sprintf(\"%d\", [input.tool])":                        policies.ReasonDeniedByRego,
		"deny contains \"no\" if not input.visible":                          policies.ReasonAllowed,
		"deny contains \"no\" if f(input.tool)\n\nf(x) if x == \"transfer\"": policies.ReasonDeniedByRego,
	} {
		p, err := withRego(t, "package wicketgate.deny\n\n"+text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		decides(t, p, call(t, "alice", "editor", "s", "transfer"), want)
	}
}

// What would never deny anything is not loaded: who wrote it believes that it does.
func TestRegoThatCannotDenyIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"package wicketgate.deny\n\ndeney contains \"no\"":                            "own.rego:3:1: rule deney is used by no other",
		"package wicketgate.deny\n\ndeny contains \"no\" if input.tol == \"x\"":       "own.rego:3:29: input has no tol",
		"package wicketgate.deny\n\ndeny := true":                                     "own.rego:3:1: deny is a set of texts",
		"package wicketgate.deny\n\ndeny if true":                                     "own.rego:3:1: deny is a set of texts",
		"package wicketgate.access\n\ndecision := true":                               "own.rego:1:1: package wicketgate.access",
		"package wicketgate.deny\n\ndeny contains \"no\" if data.wicketgate.access.x": "own.rego:3:23: data.wicketgate.access.x: a denial depends on input alone",
		"package wicketgate.deny\n\ndeny contains \"no\" if http.send({})":            "own.rego:3",
		"package wicketgate.deny\n\ndeny contains":                                    "own.rego:3",
		"": "own.rego:",
	} {
		if _, err := withRego(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
