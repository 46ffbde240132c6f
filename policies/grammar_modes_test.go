package policies_test

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/policies"
)

// mayApprove is why the caller may not approve what the grant waits for, or allowed.
func (c modelCaller) mayApprove(g modelGrant) policies.Reason {
	if !c.person() {
		return policies.ReasonNoRole
	}
	reason := policies.ReasonAllowed
	for _, m := range g.conditions {
		switch {
		case m.Approval == nil:
		case !slices.ContainsFunc(m.Approval.By, c.hasRole):
			return policies.ReasonNoRole
		case !c.fresh(m.Approval.ACR, m.Approval.MaxAge):
			reason = policies.ReasonStepUp
		}
	}
	return reason
}

// hasRole reports whether the caller is one of the role, and now.
func (c modelCaller) hasRole(name string) bool {
	r := c.doc.Roles[name]
	for _, template := range r.Template {
		if t := c.doc.Templates[template]; !c.when(t.When) || t.Hours != "" && !c.open(t.Hours) {
			return false
		}
	}
	return c.named(r.Who) && c.when(r.When) && (r.Hours == "" || c.open(r.Hours))
}

// TestWhoMayApprove draws calls that wait for an approval, and people who would give it.
func TestWhoMayApprove(t *testing.T) {
	count := map[policies.Reason]int{}
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDoc(t)
		facts := doc.Servers["s"]
		facts.All.Approval = drawApproval(t, slices.Sorted(maps.Keys(doc.Roles)))
		doc.Servers["s"] = facts
		p := doc.load(t)
		approver := drawAsker(t)
		approver.Action = policies.ActionApprove
		for _, q := range everything(t, drawInsider(t)) {
			waits := doc.decide(q)
			if waits.reason != policies.ReasonApproval {
				continue
			}
			approver.Server, approver.Tool, approver.Resource, approver.Prompt, approver.Rule = q.Server, q.Tool, q.Resource, q.Prompt, waits.rule
			want, got := modelCaller{doc, approver}.mayApprove(waits.closest), p.Decide(t.Context(), approver)
			count[want]++
			if got.Allowed() != (want == policies.ReasonAllowed) || (got.Reason == policies.ReasonStepUp) != (want == policies.ReasonStepUp) {
				t.Fatalf("%s of %s: %v %s, want %s\n%s", inALine(approver), waits.rule, got.Allowed(), got.Reason, want, doc.text())
			}
			if want == policies.ReasonStepUp && shownNeeds(policies.Needs{ACR: got.Needs.ACR, MaxAge: got.Needs.MaxAge}) != approverNeeds(waits) {
				t.Fatalf("%s: needs %+v, want %s\n%s", inALine(approver), got.Needs, approverNeeds(waits), doc.text())
			}
		}
	})
	if t.Logf("%v", count); len(count) < 3 {
		t.Error("nobody may approve, may not, or must log in again: the test shows nothing")
	}
}

func approverNeeds(a modelAnswer) string {
	var n policies.Needs
	for _, c := range a.closest.conditions {
		if c.Approval != nil {
			n.ACR, n.MaxAge = intersection(n.ACR, c.Approval.ACR), least(n.MaxAge, c.Approval.MaxAge)
		}
	}
	return shownNeeds(n)
}

// definite are the denials that observe mode lets through. Who may not, may look.
var definite = []policies.Reason{
	policies.ReasonNoRole, policies.ReasonNotGranted, policies.ReasonDenied, policies.ReasonDeniedByRego,
	policies.ReasonCondition, policies.ReasonHours, policies.ReasonArgument,
}

// TestObserveLetsOnlyDefiniteDenialsThrough compares each answer with that of the same
// policy without observe mode. What a call needs (key, login, approval) it needs in both.
func TestObserveLetsOnlyDefiniteDenialsThrough(t *testing.T) {
	observed := 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDoc(t)
		enforced := doc.load(t)
		q := drawAsker(t)
		until := q.Time.Add(pick(t, "until", -time.Second, 0, time.Second))
		doc.Servers = maps.Clone(doc.Servers)
		facts := doc.Servers["s"]
		facts.ObserveUntil = until.UTC().Format(time.RFC3339)
		doc.Servers["s"] = facts
		observing := doc.load(t)
		for _, q := range everything(t, q) {
			approve(t, enforced, &q)
			a, b := enforced.Decide(t.Context(), q), observing.Decide(t.Context(), q)
			if q.Server == "s" && q.Time.Before(until) && slices.Contains(definite, a.Reason) {
				want := doc.observe(q)
				switch {
				case b.Reason != want.reason || b.Allowed() != want.allowed():
					t.Fatalf("%s: %s, in observe mode %v %s by %s, want %s by %s\n%s", inALine(q), a.Reason, b.Allowed(), b.Reason, b.Rule, want.reason, want.rule, doc.text())
				case b.Allowed() && (b.Observed != a.Reason || ruleOf(b) != ruleOf(a)):
					t.Fatalf("%s: %+v, in observe mode %+v\n%s", inALine(q), a, b, doc.text())
				case b.Allowed():
					observed++
				}
				continue
			}
			if a.Rule, b.Rule, a.PolicyDigest, b.PolicyDigest = ruleOf(a), ruleOf(b), "", ""; !reflect.DeepEqual(a, b) {
				t.Fatalf("%s: %+v, in observe mode %+v\n%s", inALine(q), a, b, doc.text())
			}
		}
	})
	if t.Logf("%d observed", observed); observed == 0 {
		t.Error("nothing was observed: the test shows nothing")
	}
}

// TestADenialHoldsWhereTheTimeIsUnknown: no time must not open the hours in which it rests.
func TestADenialHoldsWhereTheTimeIsUnknown(t *testing.T) {
	p := newPDP(t, `version: 1
hours: {night: {from: "22:00", to: "24:00", zone: UTC}}
roles: {r: {who: {users: [alice]}, servers: {s: {tools: [t]}}}}
deny: {d: {hours: night, servers: {s: {tools: [t]}}}}
`)
	q := call(t, "alice", "editor", "s", "t")
	if d := p.Decide(t.Context(), q); !d.Allowed() {
		t.Fatalf("at day: %+v", d)
	}
	q.Time = time.Time{}
	if d := p.Decide(t.Context(), q); d.Allowed() {
		t.Errorf("without a time: %+v", d)
	}
}

// TestAReadIsNotOnlyALook: of a resource whether it is shown and whether it may be read is
// one question, so that what a read needs is asked for.
func TestAReadIsNotOnlyALook(t *testing.T) {
	for condition, want := range map[string]policies.Reason{
		`sender_constrained: true`:                   policies.ReasonSenderConstraint,
		`max_age: 15m`:                               policies.ReasonStepUp,
		`acr: [gold]`:                                policies.ReasonStepUp,
		`approval: {by: [r], within: 15m}`:           policies.ReasonApproval,
		`approval: {by: [r], within: 15m, acr: [x]}`: policies.ReasonApproval,
	} {
		p := newPDP(t, `version: 1
roles: {r: {who: {users: [alice]}, servers: {s: {resources: {"file:///a": {`+condition+`}}}}}}
`)
		q := call(t, "alice", "editor", "s", "")
		q.Action, q.Resource = policies.ActionReadResource, "file:///a"
		if d := p.Decide(t.Context(), q); d.Allowed() || d.Reason != want {
			t.Errorf("%s: %v %s, want %s", condition, d.Allowed(), d.Reason, want)
		}
	}
}
