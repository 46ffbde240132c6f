package policies_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

const guarded = `version: 1
servers:
  docs:
    resources:
      "file:///signed/*": {sender_constrained: true}
roles:
  reader:
    who: {users: [alice]}
    servers: {docs: {resources: ["*"], tools: ["*"], prompts: ["*"]}}
deny:
  secret: {servers: {docs: {resources: ["file:///secret/*", "config://app/key"], tools: [drop], prompts: [leak]}}}
`

// "*" grants every spelling of a URI, so that a denial must take every one that a server
// may resolve to what it names.
func TestAnotherSpellingOfAURIIsNotPastTheDenial(t *testing.T) {
	p := newPDP(t, guarded)
	q := call(t, "alice", "editor", "docs", "")
	q.Action = policies.ActionReadResource
	for _, uri := range []string{
		"file:///secret/a", "file:///secret/", "file:///secret", "file:///secret/a/b", "FILE:///secret/a", "file:///SECRET/a", "file:///%73ecret/a", "file:///secret%2fa", "file:////secret/a", "file:///secret//a", "file://localhost/secret/a", "file:/secret/a",
		"file:///x/../secret/a", "file:///./secret/a", "file:///x/%2e%2e/secret/a", `file:///secret\a`, `file:\\\secret\a`, "file:///ſecret/a", "file:///\uff53ecret/a", "file:///secret/a?x", "file:///secret?x/y", "file:///secret;v=1/a", "file:///a%",
		"config://app/key", "config://APP/key", "config://app/key/", "config://app//key", "config://app/key?x", "config://app/key#x", "config://app/%6bey", "config://app/x/../key",
	} {
		q.Resource = uri
		decides(t, p, q, policies.ReasonDenied)
	}
	for _, uri := range []string{"file:///docs/a", "file:///secrets/a", "config://app/keys", "config://app", "mem:secret"} {
		q.Resource = uri
		decides(t, p, q, policies.ReasonAllowed)
	}
	q.Resource, q.Template = "", "file:///secret/{name}"
	decides(t, p, q, policies.ReasonDenied)
}

// The same for what holds of a resource whoever grants it.
func TestAnotherSpellingOfAURIIsNotPastTheFacts(t *testing.T) {
	p := newPDP(t, guarded[:strings.Index(guarded, "deny:")])
	q := call(t, "alice", "editor", "docs", "")
	q.Action = policies.ActionReadResource
	for _, uri := range []string{"file:///signed/a", "file:///Signed/a", "file:///%73igned/a", "file:///x/../signed/a", `file:///signed\a`} {
		q.Resource, q.Bound = uri, false
		decides(t, p, q, policies.ReasonSenderConstraint)
		q.Bound = true
		decides(t, p, q, policies.ReasonAllowed)
	}
	q.Resource, q.Bound = "file:///docs/a", false
	decides(t, p, q, policies.ReasonAllowed)
}

func TestDenialBeatsEveryGrant(t *testing.T) {
	p := newPDP(t, guarded)
	decides(t, p, call(t, "alice", "editor", "docs", "drop"), policies.ReasonDenied)
	decides(t, p, call(t, "alice", "editor", "docs", "leak"), policies.ReasonAllowed) // a tool is no prompt
	q := call(t, "alice", "editor", "docs", "")
	q.Action, q.Prompt = policies.ActionGetPrompt, "leak"
	decides(t, p, q, policies.ReasonDenied)
	if d := p.Decide(t.Context(), q); d.Rule != "access.yaml:11: deny.secret" || d.Detail != "" {
		t.Errorf("rule %q and detail %q, want the place, and nothing for the caller", d.Rule, d.Detail)
	}
}

// A role may not be called as a denial is kept, and a denial's people have no role by it.
func TestPeopleOfADenialHaveNoRoleByIt(t *testing.T) {
	p := newPDP(t, "version: 1\nroles: {r: {who: {users: [bob]}, servers: {s: {tools: [t]}}}}\ndeny: {r: {who: {users: [alice]}, servers: {s: {tools: [t]}}}}\n")
	decides(t, p, call(t, "alice", "editor", "s", "t"), policies.ReasonNoRole)
	decides(t, p, call(t, "bob", "editor", "s", "t"), policies.ReasonAllowed)
}

const approving = `version: 1
hours: {office: {from: "09:00", to: "18:00", zone: UTC}}
servers:
  s: {tools: {drop: {approval: {by: [chief], within: 10m, acr: [mfa]}}}}
roles:
  admin:
    who: {users: [alice, ann]}
    servers: {s: {tools: {drop: {approval: {by: [boss, deputy], within: 15m, max_age: 5m}}, other: , "*": }}}
  boss: {who: {users: [bess, both], clients: [robot]}, when: {staff: true}}
  deputy: {who: {users: [dan, both]}, hours: office}
  chief: {who: {users: [both, dan, bess], clients: [robot]}}
`

func TestWhoMayNotApprove(t *testing.T) {
	p := newPDP(t, approving)
	rule := "roles.admin.servers.s.tools.drop"
	q := call(t, "both", "console", "s", "drop")
	q.Action, q.Rule, q.ACR, q.AuthTime, q.Claims = policies.ActionApprove, rule, "mfa", q.Time.Add(-time.Minute), jsontext.Value(`{"staff":true}`)
	decides(t, p, q, policies.ReasonAllowed)
	for name, tt := range map[string]struct {
		change func(*policies.Request)
		want   policies.Reason
	}{
		"in no role":              {func(q *policies.Request) { q.Subject = subject("eve") }, policies.ReasonNoRole},
		"the caller's role":       {func(q *policies.Request) { q.Subject = subject("ann") }, policies.ReasonNoRole},
		"one role, not its when":  {func(q *policies.Request) { q.Subject, q.Claims = subject("bess"), nil }, policies.ReasonNoRole},
		"one role, not its hours": {func(q *policies.Request) { q.Subject, q.Time = subject("dan"), q.Time.Add(9*time.Hour) }, policies.ReasonNoRole},
		"a workload of the name":  {func(q *policies.Request) { q.Workload = true }, policies.ReasonNoRole},
		"a workload of the role":  {func(q *policies.Request) { q.Subject, q.Workload = subject("robot"), true }, policies.ReasonNoRole},
		"weaker login":            {func(q *policies.Request) { q.ACR = "pwd" }, policies.ReasonStepUp},
		"older login":             {func(q *policies.Request) { q.AuthTime = q.Time.Add(-6 * time.Minute) }, policies.ReasonStepUp},
		"login of tomorrow":       {func(q *policies.Request) { q.AuthTime = q.Time.Add(24 * time.Hour) }, policies.ReasonStepUp},
		"no login":                {func(q *policies.Request) { q.AuthTime = time.Time{} }, policies.ReasonStepUp},
		"no time":                 {func(q *policies.Request) { q.Time = time.Time{} }, policies.ReasonStepUp},
		"another rule":            {func(q *policies.Request) { q.Rule = "roles.admin.servers.s.tools.nothing" }, policies.ReasonNotGranted},
		"another server":          {func(q *policies.Request) { q.Server = "other" }, policies.ReasonNotGranted},
		"no rule":                 {func(q *policies.Request) { q.Rule = "" }, policies.ReasonInvalidRequest},
		"no tool":                 {func(q *policies.Request) { q.Tool = "" }, policies.ReasonInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			bad := q
			tt.change(&bad)
			decides(t, p, bad, tt.want)
			decides(t, p, q, policies.ReasonAllowed)
		})
	}
}

// What was approved is one rule's: another rule that grants the same is not approved by it.
func TestApprovalOfAnotherRuleDoesNotCount(t *testing.T) {
	p := newPDP(t, approving)
	q := call(t, "alice", "editor", "s", "drop")
	q.Arguments = jsontext.Value(`{}`)
	d := p.Decide(t.Context(), q)
	if d.Reason != policies.ReasonApproval || len(d.Needs.By) == 0 || d.Needs.Within != 10*time.Minute {
		t.Fatalf("%+v, want an approval within the shorter time", d)
	}
	for rule, want := range map[string]policies.Reason{
		d.Needs.Rule: policies.ReasonAllowed, "": policies.ReasonApproval, "roles.admin.servers.s.tools.other": policies.ReasonApproval, "access.yaml:8: " + d.Needs.Rule: policies.ReasonApproval,
	} {
		q.Rule = rule
		decides(t, p, q, want)
	}
}

// Observe mode opens what is closed; it does not do what somebody must agree to first.
func TestObserveModeIsNoWayPastAnApproval(t *testing.T) {
	p := newPDP(t, `version: 1
servers:
  s: {observe_until: 2027-01-01T00:00:00Z, tools: {drop: {approval: {by: [boss]}}, send: {sender_constrained: true}}}
roles:
  admin: {who: {users: [alice]}, servers: {s: {tools: {drop: {arguments: {n: {max: 1}}}, pay: {arguments: {n: {max: 1}}, max_age: 5m}}}}}
  boss: {who: {users: [bess]}}
`)
	for _, tt := range []struct {
		subject, tool string
		want          policies.Reason
	}{
		{"alice", "drop", policies.ReasonApproval}, {"eve", "drop", policies.ReasonApproval}, {"eve", "send", policies.ReasonSenderConstraint}, {"alice", "pay", policies.ReasonStepUp}, {"eve", "new", policies.ReasonAllowed},
	} {
		q := call(t, tt.subject, "editor", "s", tt.tool)
		q.Arguments = jsontext.Value(`{"n":2}`)
		decides(t, p, q, tt.want)
		if q.Time = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC); p.Decide(t.Context(), q).Allowed() {
			t.Errorf("%s calls %s once observe mode is over", tt.subject, tt.tool)
		}
	}
	q := call(t, "eve", "editor", "s", "new")
	if d := p.Decide(t.Context(), q); d.Observed != policies.ReasonNoRole {
		t.Errorf("%+v, want observed no_role", d)
	}
	if q.Time = (time.Time{}); p.Decide(t.Context(), q).Allowed() {
		t.Error("observed without a time")
	}
}
