package policies_test

import (
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/policies"
)

// TestExplanationTellsNoOtherStory: what an engineer reads is what was decided on.
func TestExplanationTellsNoOtherStory(t *testing.T) {
	count := map[policies.Reason]int{}
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDoc(t)
		p := doc.load(t)
		for _, q := range everything(t, drawCaller(t)) {
			approve(t, p, &q)
			e, err := p.Explain(t.Context(), q)
			if err != nil {
				t.Fatalf("%s: %v\n%s", inALine(q), err, doc.text())
			}
			_, got := e.Decision.Answer()
			count[got]++
			if want := told(e); want != got {
				t.Fatalf("%s: decided %s by %s, explained as %s: %+v\n%s", inALine(q), got, e.Decision.Rule, want, e, doc.text())
			}
		}
	})
	for _, r := range []policies.Reason{policies.ReasonAllowed, policies.ReasonNoRole, policies.ReasonNotGranted, policies.ReasonDenied, policies.ReasonCondition,
		policies.ReasonHours, policies.ReasonArgument, policies.ReasonSenderConstraint, policies.ReasonStepUp, policies.ReasonApproval} {
		if count[r] == 0 {
			t.Errorf("nothing is answered by %s: the test shows less than it seems to", r)
		}
	}
}

// distance is how far away from an allow a reason is.
var distance = []policies.Reason{policies.ReasonApproval, policies.ReasonStepUp, policies.ReasonSenderConstraint, policies.ReasonArgument, policies.ReasonHours, policies.ReasonCondition}

// told is the reason that an explanation gives, read as a person reads it.
func told(e policies.Explanation) policies.Reason {
	mine := slices.DeleteFunc(slices.Clone(e.Grants), func(g policies.GrantCheck) bool { return !g.Has })
	switch {
	case len(mine) == 0 && !slices.ContainsFunc(e.Roles, func(r policies.RoleCheck) bool { return r.Has }):
		return policies.ReasonNoRole
	case len(mine) == 0:
		return policies.ReasonNotGranted
	case slices.ContainsFunc(e.Denials, func(d policies.DenialCheck) bool { return d.Applies }):
		return policies.ReasonDenied
	}
	closest := len(distance)
	for _, g := range mine {
		worst := -1
		for _, c := range g.Checks {
			if !c.Holds {
				worst = max(worst, slices.Index(distance, c.Reason))
			}
		}
		if worst < 0 {
			return policies.ReasonAllowed
		}
		closest = min(closest, worst)
	}
	return distance[closest]
}

// TestWhatIsNotMissingIsCertain: a replay decides with what a log has of a call. Where it
// says that this is enough, it decides as the policy would with all of it.
func TestWhatIsNotMissingIsCertain(t *testing.T) {
	certain, open := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDoc(t)
		p := doc.load(t)
		caller := drawCaller(t)
		hidden := drawHidden(t)
		for _, q := range everything(t, caller) {
			if q.Arguments == nil && q.Action != policies.ActionReadResource {
				q.Arguments = jsontext.Value("{}")
			}
			e, err := p.Explain(t.Context(), hidden.from(t, q))
			if err != nil {
				t.Fatal(err)
			}
			if missing := e.Missing(func(f policies.Fact) bool { return !hidden[f] }); len(missing) > 0 {
				open++
				continue
			}
			certain++
			got, _ := e.Decision.Answer()
			if want, reason := p.Decide(t.Context(), q).Answer(); got != want {
				t.Fatalf("%s without %v: certainly %s (%s), and with all %s (%s)\n%s", inALine(q), hidden, got, e.Decision.Reason, want, reason, doc.text())
			}
		}
	})
	if t.Logf("%d certain, %d open", certain, open); certain == 0 || open == 0 {
		t.Error("the test shows nothing")
	}
}

// facts that are hidden.
type facts map[policies.Fact]bool

func drawHidden(t *rapid.T) facts {
	out := facts{}
	for _, g := range subset(t, "hidden groups", "staff", "admin") {
		out[policies.Fact{Of: policies.FactGroup, Name: g}] = true
	}
	for _, c := range subset(t, "hidden claims", "department", "level", "email") {
		out[policies.Fact{Of: policies.FactClaim, Name: c}] = true
	}
	for _, k := range []policies.FactKind{policies.FactACR, policies.FactAuthTime, policies.FactBound} {
		out[policies.Fact{Of: k}] = maybe(t, string(k), 3)
	}
	if maybe(t, "hidden arguments", 3) {
		for name := range grammarArguments {
			out[policies.Fact{Of: policies.FactArgument, Name: name}] = true
		}
	}
	return out
}

// from is q without them.
func (h facts) from(t *rapid.T, q policies.Request) policies.Request {
	q.Groups = slices.DeleteFunc(slices.Clone(q.Groups), func(g string) bool { return h[policies.Fact{Of: policies.FactGroup, Name: g}] })
	q.Claims = h.without(t, policies.FactClaim, q.Claims)
	q.Arguments = h.without(t, policies.FactArgument, q.Arguments)
	if h[policies.Fact{Of: policies.FactACR}] {
		q.ACR = ""
	}
	if h[policies.Fact{Of: policies.FactAuthTime}] {
		q.AuthTime = time.Time{}
	}
	if h[policies.Fact{Of: policies.FactBound}] {
		q.Bound = false
	}
	return q
}

func (h facts) without(t *rapid.T, of policies.FactKind, object jsontext.Value) jsontext.Value {
	if object == nil {
		return nil
	}
	var all map[string]jsontext.Value
	if err := json.Unmarshal(object, &all); err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if h[policies.Fact{Of: of, Name: name}] {
			delete(all, name)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
