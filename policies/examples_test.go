package policies_test

import (
	"path/filepath"
	"testing"

	"github.com/wicketgate/wicketgate/policies"
)

// TestExamples runs the cases of each example. They say what the example promises: a case
// that is allowed goes red when its grant goes, one that is denied when it is granted.
func TestExamples(t *testing.T) {
	for _, file := range globbed(t, "examples/*/access.yaml") {
		p, err := policies.Load(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range exampleCases(t, filepath.Dir(file)) {
			if _, wrong := c.Run(t.Context(), p); wrong != "" {
				t.Errorf("%s: %s: %s", c.At, c.Name, wrong)
			}
		}
	}
}

// TestExamplesByTheModel runs the same cases by the model: whoever reads it as what
// access.yaml means can rely on that.
func TestExamplesByTheModel(t *testing.T) {
	for _, file := range globbed(t, "examples/*/access.yaml") {
		doc := readModel(t, string(readFile(t, file)))
		for _, c := range exampleCases(t, filepath.Dir(file)) {
			a := doc.decide(c.Request)
			if c.Approved && a.reason == policies.ReasonApproval {
				c.Request.Rule = a.rule
				a = doc.decide(c.Request)
			}
			if c.Reason != "" && a.reason != c.Reason || a.allowed() != (c.Want == policies.WantAllow) {
				t.Errorf("%s: %s: %s, want %s %s", c.At, c.Name, a.reason, c.Want, c.Reason)
			}
		}
	}
}

func exampleCases(t *testing.T, dir string) []policies.Case {
	t.Helper()
	file := filepath.Join(dir, "cases.yaml")
	cases, err := policies.ParseCases(file, readFile(t, file))
	if err != nil || len(cases.Cases) == 0 {
		t.Fatalf("%d cases, %v", len(cases.Cases), err)
	}
	return cases.Cases
}
