package policies_test

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// The audit log keeps what a policy read, and nothing else of a person or a call: enough
// to decide anew.
func TestFactsAreWhatThePolicyRead(t *testing.T) {
	pdp, err := policies.New(t.Context(), policies.Config{Access: []byte(`version: 1
roles:
  staff:
    who: {groups: [staff, other]}
    when: {active: true}
    servers:
      mail:
        tools:
          list: {arguments: {limit: {max: 100, optional: true}}}
          read:
          send: {max_age: 15m, acr: [mfa], sender_constrained: true}
`)})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	q := policies.Request{Subject: subject("alice"), ClientID: identity.MustClientID("editor"), Groups: []string{"staff", "secret"}, Claims: jsontext.Value(`{"active":true,"salary":1}`),
		ACR: "mfa", AuthTime: now, Bound: true, Action: policies.ActionCallTool, Server: "mail", Time: now}
	for _, tt := range []struct{ tool, arguments, want string }{
		{"read", `{"id":"m1","limit":3}`, `{"groups":["staff"],"claims":{"active":true}}`},
		{"list", `{"limit":3,"q":"secret"}`, `{"groups":["staff"],"claims":{"active":true},"arguments":{"limit":3}}`},
		{"list", `{"LIMIT":500,"limit":3}`, `{"groups":["staff"],"claims":{"active":true},"arguments":{"LIMIT":500,"limit":3}}`},
		{"list", `{"q":"secret"}`, `{"groups":["staff"],"claims":{"active":true},"arguments":{}}`},
		{"list", `{"limit":[1,2]}`, `{"groups":["staff"],"claims":{"active":true},"arguments":{"limit":[1,2]}}`},
		{"list", `{"limit":{"secret":1}}`, `{"groups":["staff"],"claims":{"active":true}}`},
		{"list", ``, `{"groups":["staff"],"claims":{"active":true}}`},
		{"send", `{}`, `{"groups":["staff"],"claims":{"active":true},"acr":"mfa","auth_time":1796115600,"bound":true}`},
	} {
		q.Tool, q.Arguments = tt.tool, jsontext.Value(tt.arguments)
		if tt.arguments == "" {
			q.Arguments = nil
		}
		if d := pdp.Decide(t.Context(), q); string(d.Facts) != tt.want {
			t.Errorf("%s %s: facts %s, want %s", tt.tool, tt.arguments, d.Facts, tt.want)
		}
	}
	q.Tool = "read"
	for f, want := range map[policies.Fact]bool{
		{Of: policies.FactGroup, Name: "other"}: true, {Of: policies.FactGroup, Name: "secret"}: false, {Of: policies.FactClaim, Name: "active"}: true,
		{Of: policies.FactClaim, Name: "salary"}: false, {Of: policies.FactArgument, Name: "limit"}: false, {Of: policies.FactACR}: false,
	} {
		if got := pdp.Records(q, f); got != want {
			t.Errorf("Records(read, %v) = %v", f, got)
		}
	}
	if q.Tool = "send"; !pdp.Records(q, policies.Fact{Of: policies.FactACR}) || !pdp.Records(q, policies.Fact{Of: policies.FactAuthTime}) || !pdp.Records(q, policies.Fact{Of: policies.FactBound}) {
		t.Error("the login of send is not recorded")
	}
}
