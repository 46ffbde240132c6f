package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// What is in a policy, on the command line or in a log may do something to a terminal.
func TestPolicyCommandsDoNothingToATerminal(t *testing.T) {
	evil := "\x1b]0;title\a\u202e\nnew line"
	q, err := (&callerFlags{}).request("alice", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	q.Server, q.Tool = evil, evil
	check := policies.Check{Text: evil, At: evil}
	var out strings.Builder
	explain(&out, q, policies.Explanation{
		Decision: policies.Decision{Reason: policies.Reason(evil), Rule: evil, Detail: evil, Risk: evil, Err: errors.New(evil), Needs: policies.Needs{ACR: []string{evil}, By: [][]string{{evil}}}, Observed: policies.Reason(evil)},
		Roles:    []policies.RoleCheck{{Name: evil, At: evil, Named: true, When: []policies.Check{check}}, {Name: evil, Has: true}},
		Grants:   []policies.GrantCheck{{Role: evil, Rule: evil, At: evil, Checks: []policies.Check{check}}},
		Denials:  []policies.DenialCheck{{Rule: evil, At: evil, Reason: evil, Applies: true}},
	})
	grant := []policies.MatrixGrant{{Role: evil, Server: evil, Kind: evil, Name: evil, Rule: evil, At: evil, Risk: evil, Conditions: []string{evil}}}
	m := policies.Matrix{Roles: []policies.MatrixRole{{Name: evil, Who: []string{evil}, Conditions: []string{evil}}}, Grants: grant, Denials: grant}
	if err := matrixTable(&out, m); err != nil {
		t.Fatal(err)
	}
	r := replay{now: map[replayKey]*replayed{
		{subject: evil, grant: grantName{evil, "tools", evil}, thenReason: evil, missing: evil}:                       {},
		{subject: evil, grant: grantName{evil, "tools", evil}, thenReason: evil, now: evil, rule: evil, detail: evil}: {},
		{subject: evil, grant: grantName{evil, "tools", evil}, thenReason: evil, err: evil}:                           {},
	}}
	if err := r.table(&out, &past{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(out.String(), func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }) || strings.Contains(out.String(), "\nnew line") {
		t.Errorf("output: %q", out.String())
	}
	if n := strings.Count(out.String(), `\u001b]0;title\u0007\u202e\u000anew line`); n < 30 {
		t.Errorf("%d names in the output, want each: %s", n, out.String())
	}
}

// TestMatrixRunsNothingInASpreadsheet: a cell that begins with = is a formula there.
func TestMatrixRunsNothingInASpreadsheet(t *testing.T) {
	var out strings.Builder
	if err := matrixCSV(&out, policies.Matrix{Grants: []policies.MatrixGrant{{Role: "=cmd|' /C calc'!A0", Server: "+1", Kind: "-1", Name: "@SUM(A1)", Rule: "\tx", At: "a,\"b"}}}); err != nil {
		t.Fatal(err)
	}
	want := "effect,role,who,server,kind,name,risk,conditions,rule,at\nallow,'=cmd|' /C calc'!A0,,'+1,'-1,'@SUM(A1),,,'\tx,\"a,\"\"b\"\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestCallerFlagsMakeTheQuestionOfAToken(t *testing.T) {
	now := time.Date(2026, 12, 1, 9, 30, 0, 0, time.UTC)
	f := callerFlags{groups: []string{"staff"}, claims: []string{"department=finance", "level=3", "active=true", `cost="4711"`, `list=["a","b"]`}, acr: "mfa", authAge: "10m", bound: true}
	q, err := f.request("alice", now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(q.Claims), `{"department":"finance","level":3,"active":true,"cost":"4711","list":["a","b"]}`; got != want || !q.AuthTime.Equal(now.Add(-10*time.Minute)) || q.ACR != "mfa" || !q.Bound || q.Workload {
		t.Errorf("request %+v, claims %s", q, got)
	}
	for name, tt := range map[string]struct {
		flags           callerFlags
		subject, client string
		workload        bool
	}{
		"person":                         {callerFlags{}, "alice", someClient, false},
		"person by a client":             {callerFlags{client: "editor"}, "alice", "editor", false},
		"workload":                       {callerFlags{workload: true}, "robot", "robot", true},
		"client for itself":              {callerFlags{client: "robot"}, "robot", "robot", true},
		"by SPIFFE ID":                   {callerFlags{}, "spiffe://example.org/a", "spiffe://example.org/a", true},
		"workload that another acts for": {callerFlags{client: "other", workload: true}, "robot", "other", true},
	} {
		q, err := tt.flags.request(tt.subject, now)
		if err != nil || q.Subject.String() != tt.subject || q.ClientID.String() != tt.client || q.Workload != tt.workload {
			t.Errorf("%s: %+v, %v", name, q, err)
		}
	}
}

func TestPolicyWhySaysWhatIsWrongWithItsFlags(t *testing.T) {
	for args, want := range map[string]string{
		"alice mail":                                "accepts 3 arg",
		"alice mail t --arg limit":                  `--arg "limit": write NAME=VALUE`,
		"alice mail t --claim limit":                `--claim "limit": write NAME=VALUE`,
		"alice mail t --args [1]":                   "--args is no JSON object",
		"alice mail t --args {} --arg a=b":          "none of the others can be",
		"alice mail t --resource --prompt":          "none of the others can be",
		"alice mail t --time noon":                  `--time "noon": write a time like`,
		"alice mail t --auth-age soon":              `--auth-age "soon": write a number`,
		"robot mail t --workload --group staff":     "a workload is in no group",
		"spiffe://example.org/a mail t --claim a=b": "a workload is in no group",
		"alice mail t --policy nowhere.yaml":        "nowhere.yaml",
		"alice mail t --data nowhere":               "there is no nowhere here",
	} {
		var errs strings.Builder
		if code := run(t.Context(), append([]string{"policy", "why"}, strings.Fields(args)...), io.Discard, &errs); code == 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("policy why %s: exit code %d: %s", args, code, errs.String())
		}
	}
}
