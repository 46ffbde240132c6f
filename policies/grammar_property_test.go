package policies_test

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/policies"
)

func (doc modelDoc) load(t *rapid.T) *policies.PDP { return loadText(t, doc.text()) }

func loadText(t *rapid.T, access string) *policies.PDP {
	t.Helper()
	p, err := policies.New(t.Context(), policies.Config{Access: []byte(access)})
	if err != nil {
		t.Fatalf("%v\n%s", err, access)
	}
	return p
}

var place = regexp.MustCompile(`^access\.yaml:\d+: `)

// ruleOf is the rule of a decision without where it is written.
func ruleOf(d policies.Decision) string { return place.ReplaceAllString(d.Rule, "") }

// approve gives the question the approval of the rule that asks for one, now and then.
func approve(t *rapid.T, p *policies.PDP, q *policies.Request) {
	if d := p.Decide(t.Context(), *q); d.Reason == policies.ReasonApproval && maybe(t, "approve", 2) {
		q.Rule = d.Needs.Rule
	}
}

// TestGrammarAgreesWithTheModel draws policies of the whole language, asks everything that
// there is, and compares the answer, its rule, its needs and its terms with the model's.
func TestGrammarAgreesWithTheModel(t *testing.T) {
	count := map[policies.Reason]int{}
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDoc(t)
		p := doc.load(t)
		for _, q := range everything(t, drawAsker(t)) {
			approve(t, p, &q)
			want, got := doc.decide(q), p.Decide(t.Context(), q)
			count[want.reason]++
			if got.Reason != want.reason || got.Allowed() != want.allowed() {
				t.Fatalf("%s\n got %v %s by %s\nwant %s by %s\n%s", inALine(q), got.Allowed(), got.Reason, got.Rule, want.reason, want.rule, doc.text())
			}
			if rule := ruleOf(got); slices.Contains(far, want.reason) && !want.by(rule) {
				t.Fatalf("%s: %s by %s, want by %s\n%s", inALine(q), got.Reason, rule, want.rule, doc.text())
			}
			if diff := want.differs(doc, q, got); diff != "" {
				t.Fatalf("%s: %s: %s\n%s", inALine(q), got.Reason, diff, doc.text())
			}
			if again := p.Evaluate(t.Context(), q); !reflect.DeepEqual(again, got) {
				t.Fatalf("%s: cached %+v, evaluated %+v\n%s", inALine(q), got, again, doc.text())
			}
		}
	})
	t.Logf("%v", count)
	for _, r := range append(slices.Clone(far), policies.ReasonDenied, policies.ReasonNotGranted, policies.ReasonNoRole) {
		if count[r] == 0 {
			t.Errorf("no question is answered by %s: the test shows less than it seems to", r)
		}
	}
}

// onlyLess draws a policy and changes it by change, after which nobody may do more than
// before: what is allowed was, and by no terms that are new if sameTerms.
func onlyLess(t *testing.T, sameTerms bool, change func(t *rapid.T, doc *modelDoc)) {
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDoc(t)
		before := doc.load(t)
		asked := everything(t, drawAsker(t))
		for i := range asked {
			approve(t, before, &asked[i])
		}
		was := doc.text()
		change(t, &doc)
		after := doc.load(t)
		for _, q := range asked {
			a, b := before.Decide(t.Context(), q), after.Decide(t.Context(), q)
			if b.Allowed() && !a.Allowed() {
				t.Fatalf("%s: %s, and after the change %s by %s\n%s\nchanged to\n%s", inALine(q), a.Reason, b.Reason, b.Rule, was, doc.text())
			}
			if more := wider(a.Terms, b.Terms); b.Allowed() && sameTerms && more != "" {
				t.Fatalf("%s: terms %v are wider: %s\n%s\nchanged to\n%s", inALine(q), meaning(b.Terms), more, was, doc.text())
			}
			if a.Allowed() && !b.Allowed() {
				taken++
			}
		}
	})
	if t.Logf("%d taken away", taken); taken == 0 {
		t.Error("nothing was taken away: the test shows nothing")
	}
}

func TestADenialNeverAllowsMore(t *testing.T) {
	onlyLess(t, true, func(t *rapid.T, doc *modelDoc) { doc.Deny["z"] = drawDenial(t) })
}

// TestRemovingARoleNeverAllowsMore takes it out of approvals too, or leaves the call to
// the others that may approve.
func TestRemovingARoleNeverAllowsMore(t *testing.T) {
	onlyLess(t, true, func(t *rapid.T, doc *modelDoc) {
		for _, name := range rapid.Permutation(slices.Sorted(maps.Keys(doc.Roles))).Draw(t, "role") {
			text := doc.without(name).text()
			if p, err := policies.New(t.Context(), policies.Config{Access: []byte(text)}); err == nil && p != nil {
				*doc = doc.without(name)
				return
			}
		}
		t.Skip("each role approves")
	})
}

func (doc modelDoc) without(role string) modelDoc {
	doc.Roles = maps.Clone(doc.Roles)
	delete(doc.Roles, role)
	return doc
}

// TestMoreConditionsOnlyRestrict adds conditions in any place in which they may stand.
func TestMoreConditionsOnlyRestrict(t *testing.T) {
	onlyLess(t, false, func(t *rapid.T, doc *modelDoc) {
		names := slices.Sorted(maps.Keys(doc.Roles))
		more := drawConditions(t, names, 2)
		more.Risk = "" // which replaces another risk
		role, server := pick(t, "role", names...), pick(t, "server", grammarServers...)
		switch r, facts := doc.Roles[role], doc.Servers[server]; pick(t, "place", "role", "template", "all", "facts", "risk", "item") {
		case "role":
			r.modelConditions = both(r.modelConditions, more)
			doc.Roles[role] = r
		case "template":
			one := doc.Templates["one"]
			one.modelConditions = both(one.modelConditions, more)
			doc.Templates["one"] = one
		case "all":
			facts.All = both(facts.All, more)
			doc.Servers[server] = facts
		case "facts":
			facts.Tools = maps.Clone(facts.Tools)
			if facts.Tools == nil {
				facts.Tools = modelNames{}
			}
			tool := pick(t, "tool", grammarTools...)
			facts.Tools[tool] = both(facts.Tools[tool], more)
			doc.Servers[server] = facts
		case "risk":
			more.Arguments, more.Filter = nil, nil
			doc.Risks["high"] = both(doc.Risks["high"], more)
		case "item":
			for tool, c := range r.Servers[server].Tools {
				if !c.omit {
					r.Servers[server].Tools[tool] = both(c, more)
				}
			}
		}
	})
}

// both is a with those conditions of more that it does not have.
func both(a, more modelConditions) modelConditions {
	x, y := reflect.ValueOf(&a).Elem(), reflect.ValueOf(more)
	for i := range x.NumField() {
		if x.Field(i).CanSet() && x.Field(i).IsZero() {
			x.Field(i).Set(y.Field(i))
		}
	}
	return a
}

// TestHoursNeverGrant takes all hours away, but those of denials: everybody may do at least
// what they could, at any time.
func TestHoursNeverGrant(t *testing.T) {
	restricted := 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDoc(t)
		with := doc.load(t)
		asked := everything(t, drawAsker(t))
		without := doc.each(func(c modelConditions) modelConditions { c.Hours = ""; return c }).load(t)
		for _, q := range asked {
			a, b := with.Decide(t.Context(), q), without.Decide(t.Context(), q)
			if a.Allowed() && !b.Allowed() {
				t.Fatalf("%s: allowed, and without any hours %s\n%s", inALine(q), b.Reason, doc.text())
			}
			if !a.Allowed() && b.Allowed() {
				restricted++
			}
		}
	})
	if restricted == 0 {
		t.Error("no hours restricted anything: the test shows nothing")
	}
}

// TestOrderMeansNothing shuffles every mapping and every list of a policy.
func TestOrderMeansNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawDoc(t).text()
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		shuffle(&n, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		b, err := yaml.Marshal(&n)
		if err != nil {
			t.Fatal(err)
		}
		one, other := loadText(t, text), loadText(t, string(b))
		if one.Digest() != other.Digest() {
			t.Fatalf("another digest in another order:\n%s\n%s", text, b)
		}
		for _, q := range everything(t, drawAsker(t)) {
			approve(t, one, &q)
			x, y := one.Decide(t.Context(), q), other.Decide(t.Context(), q)
			if x.Rule, y.Rule = ruleOf(x), ruleOf(y); !reflect.DeepEqual(x, y) {
				t.Fatalf("%s: %+v, in another order %+v\n%s\n%s", inALine(q), x, y, text, b)
			}
		}
	})
}

func shuffle(n *yaml.Node, r *rand.Rand) {
	width := 1
	if n.Kind == yaml.MappingNode {
		width = 2
	}
	r.Shuffle(len(n.Content)/width, func(i, j int) {
		for k := range width {
			n.Content[width*i+k], n.Content[width*j+k] = n.Content[width*j+k], n.Content[width*i+k]
		}
	})
	for _, c := range n.Content {
		shuffle(c, r)
	}
}

// TestANewToolIsDenied: one that no line of the policy names, whatever the caller has. "*"
// is not among the names of tools that are drawn.
func TestANewToolIsDenied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawDoc(t).load(t)
		for _, q := range everything(t, drawAsker(t)) {
			if q.Tool == "new" || q.Server == "other" {
				if d := p.Decide(t.Context(), q); d.Allowed() || d.Reason != policies.ReasonNotGranted && d.Reason != policies.ReasonNoRole {
					t.Fatalf("%s: %+v", inALine(q), d)
				}
			}
		}
	})
}

// TestListAndCallAgree: what can be called is shown; and what is shown can be called by
// who brings the login, key, arguments and approvals that it needs.
func TestListAndCallAgree(t *testing.T) {
	shown, needed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawDoc(t)
		p := doc.load(t)
		for _, q := range everything(t, drawInsider(t)) {
			if q.Tool == "" && q.Prompt == "" {
				continue
			}
			asked := q
			asked.Arguments = nil
			visible, called := p.Decide(t.Context(), asked), p.Decide(t.Context(), q)
			if called.Allowed() && !visible.Allowed() {
				t.Fatalf("%s: can be called and is not shown: %s\n%s", inALine(q), visible.Reason, doc.text())
			}
			if !visible.Allowed() {
				continue
			}
			shown++
			if best := callAtItsBest(t, p, q); !best.Allowed() {
				t.Fatalf("%s: is shown and can never be called: %+v\n%s", inALine(q), best, doc.text())
			} else if !called.Allowed() {
				needed++
			}
		}
	})
	if t.Logf("%d shown, %d of them need something", shown, needed); needed == 0 {
		t.Error("nothing that was shown needs anything: the test shows nothing")
	}
}

// callAtItsBest brings all that a call may need, and gets each approval that is asked for.
func callAtItsBest(t *rapid.T, p *policies.PDP, q policies.Request) policies.Decision {
	q.Bound, q.ACR, q.AuthTime = true, "gold", q.Time.Add(-time.Second)
	q.Arguments = bestArguments
	d := p.Decide(t.Context(), q)
	if d.Reason == policies.ReasonApproval {
		q.Rule = d.Needs.Rule
		d = p.Decide(t.Context(), q)
	}
	return d
}

// bestArguments are taken by each constraint, of alice.
var bestArguments = func() jsontext.Value {
	var members []string
	for _, name := range slices.Sorted(maps.Keys(grammarArguments)) {
		members = append(members, `"`+name+`":`+grammarArguments[name][0])
	}
	return jsontext.Value("{" + strings.Join(members, ",") + "}")
}()

// each is the policy with all its conditions changed.
func (doc modelDoc) each(change func(modelConditions) modelConditions) modelDoc {
	doc.Risks, doc.Servers, doc.Templates, doc.Roles = maps.Clone(doc.Risks), maps.Clone(doc.Servers), maps.Clone(doc.Templates), maps.Clone(doc.Roles)
	for name, c := range doc.Risks {
		doc.Risks[name] = change(c)
	}
	for name, s := range doc.Servers {
		s.All, s.modelItems = change(s.All), s.modelItems.each(change).facts()
		doc.Servers[name] = s
	}
	for _, roles := range []map[string]modelRole{doc.Templates, doc.Roles} {
		for name, r := range roles {
			r.modelConditions, r.Servers = change(r.modelConditions), maps.Clone(r.Servers)
			for server, items := range r.Servers {
				r.Servers[server] = items.each(change)
			}
			roles[name] = r
		}
	}
	return doc
}

func (i modelItems) each(change func(modelConditions) modelConditions) modelItems {
	for _, names := range []*modelNames{&i.Tools, &i.Resources, &i.Prompts} {
		*names = maps.Clone(*names)
		for name, c := range *names {
			(*names)[name] = change(c)
		}
	}
	return i
}
