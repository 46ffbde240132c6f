package policies_test

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/policies"
)

const denyModule = `package wicketgate.deny

deny contains "only the newest mails" if {
	input.tool == "list_messages"
	input.arguments.limit > 10
}
`

func TestRegoTestsRunBesideThePolicy(t *testing.T) {
	tests := `package wicketgate.deny_test

import data.wicketgate.access
import data.wicketgate.deny

test_limit if count(deny.deny) == 1 with input as {"tool": "list_messages", "arguments": {"limit": 11}}

test_wrong if count(deny.deny) == 1 with input as {"tool": "list_messages", "arguments": {"limit": 10}}

test_has_access if access.decision.allow with input as {"kind": "user", "name": "dana", "action": "session", "server": "mail", "tool": ""}

test_error if regex.match("[", "x")

todo_test_later if false
`
	got, err := policies.RunRegoTests(t.Context(), policies.Config{Access: []byte(example)}, map[string]string{"deny.rego": denyModule, "deny_test.rego": tests})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range got {
		line := strings.TrimPrefix(r.Name, "data.wicketgate.deny_test.") + " " + r.At
		switch {
		case r.Passed:
			line += " passed"
		case r.Skipped:
			line += " skipped"
		case r.Err != nil:
			line += " error"
		}
		lines = append(lines, line)
	}
	want := "test_error deny_test.rego:12 error|test_has_access deny_test.rego:10 passed|test_limit deny_test.rego:6 passed|test_wrong deny_test.rego:8|todo_test_later deny_test.rego:14 skipped"
	if s := strings.Join(lines, "|"); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestRegoTestsHaveNoMoreThanAPolicyHas(t *testing.T) {
	for text, want := range map[string]string{
		"package x_test\n\ntest_a if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1/\"})\n": "undefined function http.send",
		"package x_test\n\ntest_a if {":                                      "a_test.rego:3:11: unexpected eof token",
		"package wicketgate.access\n\ndecision := {\"allow\": true} if true": "a_test.rego:1: package wicketgate.access is the policy itself",
	} {
		_, err := policies.RunRegoTests(t.Context(), policies.Config{Access: []byte(example)}, map[string]string{"a_test.rego": text})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("RunRegoTests(%q) = %v, want %q", text, err, want)
		}
	}
}
