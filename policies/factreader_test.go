package policies_test

import (
	"fmt"
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

// The audit log says by what a call was let through: by the caller's own claims, not by those
// of who asked first.
func TestCachedAnswerHasNotTheFactsOfAnother(t *testing.T) {
	p := newPDP(t, toAlice(`{t: , u: {when: {department: finance}}}`))
	q := call(t, "alice", "editor", "s", "t")
	for range 2 {
		for _, department := range []string{"finance", "sales"} {
			q.Claims = jsontext.Value(`{"department":"` + department + `"}`)
			if got, want := string(p.Decide(t.Context(), q).Facts), `{"claims":{"department":"`+department+`"}}`; got != want {
				t.Errorf("facts %s, want %s", got, want)
			}
		}
	}
	if p.Cached() != 2 {
		t.Errorf("%d answers are cached, want 2: this test shows nothing", p.Cached())
	}
}

// A bundle with an access.yaml has facts of all that this names, whatever its Rego reads.
func TestFactsOfABundleAreNotThoseOfAnotherCall(t *testing.T) {
	const module = "package wicketgate.access\n\ndecision := {\"allow\": true, \"reason\": \"allowed\", \"rule\": input.name}"
	p, err := policies.NewWithRego(t.Context(), policies.Config{Access: []byte(toAlice(`{t: {arguments: {a: {max: 5}}, acr: [strong]}}`))}, module)
	if err != nil {
		t.Fatal(err)
	}
	p.AsOurs()
	q := call(t, "alice", "editor", "s", "t")
	for i, want := range []string{`{"acr":"strong","arguments":{"a":0}}`, `{"acr":"weak","arguments":{"a":1}}`} {
		q.Arguments, q.ACR = jsontext.Value(fmt.Sprintf(`{"a":%d}`, i)), []string{"strong", "weak"}[i]
		if got := string(p.Decide(t.Context(), q).Facts); got != want {
			t.Errorf("facts %s, want %s", got, want)
		}
	}
}
