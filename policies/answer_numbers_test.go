package policies_test

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// TestAnswerWithNumbersIsRead: how long an approval can be given is a number in the answer
// of the embedded Rego, and so is the age of the approver's login.
func TestAnswerWithNumbersIsRead(t *testing.T) {
	pdp, err := policies.New(t.Context(), policies.Config{Access: []byte(`version: 1
roles:
  approver: {who: {users: [bob]}}
  writer:
    who: {users: [alice]}
    servers: {mail: {tools: {send: {approval: {by: [approver], within: 15m, max_age: 3m}}}}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	who := func(name string) identity.Subject {
		s, err := identity.ParseSubject(name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	d := pdp.Decide(t.Context(), policies.Request{Subject: who("alice"), ClientID: identity.MustClientID("app"), Action: policies.ActionCallTool, Server: "mail", Tool: "send",
		Arguments: jsontext.Value("{}"), Time: now})
	if d.Reason != policies.ReasonApproval || d.Needs.Within != 15*time.Minute || d.Needs.Rule == "" {
		t.Fatalf("the call: %+v", d)
	}
	q := policies.Request{Subject: who("bob"), ClientID: identity.MustClientID("app"), Action: policies.ActionApprove, Server: "mail", Tool: "send", Rule: d.Needs.Rule, Time: now}
	for age, want := range map[time.Duration]policies.Reason{time.Minute: policies.ReasonAllowed, 4 * time.Minute: policies.ReasonStepUp} {
		q.AuthTime = now.Add(-age)
		if d := pdp.Decide(t.Context(), q); d.Reason != want || want == policies.ReasonStepUp && d.Needs.MaxAge != 3*time.Minute {
			t.Errorf("a login of %s ago: %+v, want %s", age, d, want)
		}
	}
}
