package policies_test

import (
	"slices"
	"testing"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// The form of access.yaml, as the oracle reads it.
type accessDoc struct {
	Version int                `yaml:"version"`
	Roles   map[string]roleDoc `yaml:"roles"`
}

type roleDoc struct {
	Who     map[string][]string            `yaml:"who"`
	When    map[string]any                 `yaml:"when,omitempty"`
	Servers map[string]map[string][]string `yaml:"servers"`
}

// login is what the token says of the subject.
type login struct {
	groups []string
	claims map[string]any
}

// oracle is the meaning of access.yaml in a few lines.
func oracle(doc accessDoc, subject, client string, l login, server, tool string) bool {
	for _, r := range doc.Roles {
		tools := r.Servers[server]["tools"]
		if r.names(subject, client, l.groups) && r.holds(l.claims) && (slices.Contains(tools, tool) || slices.Contains(tools, "*")) {
			return true
		}
	}
	return false
}

func (r roleDoc) names(subject, client string, groups []string) bool {
	if subject == client {
		return slices.Contains(r.Who["clients"], subject)
	}
	inGroup := func(g string) bool { return slices.Contains(groups, g) }
	return slices.Contains(r.Who["users"], subject) || slices.ContainsFunc(r.Who["groups"], inGroup)
}

func (r roleDoc) holds(claims map[string]any) bool {
	for name, want := range r.When {
		has, ok := claims[name]
		oneOf := func(v any) bool { return slices.Contains(list(want), v) }
		if !ok || !slices.ContainsFunc(list(has), oneOf) {
			return false
		}
	}
	return true
}

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

// Few names, so that people, clients, servers and tools meet.
var (
	someNames   = []string{"alice", "bob", "agent", "roles"}
	someServers = []string{"mail", "files", "roles"}
	someTools   = []string{"read", "send", "tools", "a.b/c-d", "every_tool"}
	someGroups  = []string{"alice", "staff", "roles"}
	someClaims  = []string{"department", "groups", "__proto__"}
	someValues  = []any{"finance", "1", 1.0, true, "true"}
)

func subset(t *rapid.T, label string, of ...string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, len(of), rapid.ID).Draw(t, label)
}

func drawWhen(t *rapid.T) map[string]any {
	when := map[string]any{}
	for _, name := range subset(t, "conditions", someClaims...) {
		values := rapid.SliceOfNDistinct(rapid.SampledFrom(someValues), 1, 3, rapid.ID).Draw(t, "values")
		when[name] = any(values)
		if rapid.Bool().Draw(t, "one value") {
			when[name] = values[0]
		}
	}
	return when
}

func drawLogin(t *rapid.T) login {
	l := login{subset(t, "groups", append([]string{"other"}, someGroups...)...), map[string]any{}}
	for _, name := range subset(t, "claims", append([]string{"other"}, someClaims...)...) {
		l.claims[name] = rapid.SampledFrom([]any{"finance", "1", 1.0, true, "true", false, "", []any{}, []any{"finance", "x"}, []any{"1", "true"}}).Draw(t, "claim")
	}
	return l
}

// ask fills in what the token says.
func (l login) ask(t *rapid.T, subject, client string) policies.Request {
	s, err := identity.ParseSubject(subject)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := json.Marshal(l.claims)
	if err != nil {
		t.Fatal(err)
	}
	return policies.Request{Subject: s, ClientID: identity.MustClientID(client), Action: policies.ActionCallTool, Groups: l.groups, Claims: claims}
}

func drawAccess(t *rapid.T) accessDoc {
	doc := accessDoc{1, map[string]roleDoc{}}
	for _, name := range subset(t, "roles", "a", "b", "users") {
		r := roleDoc{Servers: map[string]map[string][]string{}}
		r.Who = map[string][]string{"users": subset(t, "users", someNames...), "clients": subset(t, "clients", someNames...), "groups": subset(t, "groups", someGroups...)}
		if rapid.Bool().Draw(t, "when") {
			r.When = drawWhen(t)
		}
		for _, s := range subset(t, "servers", someServers...) {
			r.Servers[s] = map[string][]string{"tools": subset(t, "tools", append([]string{"*"}, someTools...)...)}
		}
		doc.Roles[name] = r
	}
	return doc
}

// TestAllowedOnlyByARoleThatNamesIt asks every question of random policies and
// compares with the oracle, with and without the cache.
func TestAllowedOnlyByARoleThatNamesIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := drawAccess(t)
		b, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		p, err := policies.New(t.Context(), policies.Config{Access: b})
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		again, err := policies.New(t.Context(), policies.Config{Access: b})
		if err != nil || again.Digest() != p.Digest() {
			t.Fatalf("digest %s, then %s (%v)", p.Digest(), again.Digest(), err)
		}
		subject := rapid.SampledFrom(append(someNames, "carol")).Draw(t, "subject")
		client := rapid.SampledFrom(append(someNames, "carol")).Draw(t, "client")
		l := drawLogin(t)
		q := l.ask(t, subject, client)
		for _, q.Server = range append(someServers, "other") {
			for _, q.Tool = range append(someTools, "other") {
				d := p.Decide(t.Context(), q)
				if want := oracle(doc, subject, client, l, q.Server, q.Tool); d.Allowed() != want {
					t.Fatalf("%s by %s, %+v, %s/%s: %+v, want %v\n%s", subject, client, l, q.Server, q.Tool, d, want, b)
				}
				if e, c := again.Evaluate(t.Context(), q), p.Decide(t.Context(), q); e != d || c != d {
					t.Fatalf("%s by %s, %s/%s: %+v, then %+v, then cached %+v", subject, client, q.Server, q.Tool, d, e, c)
				}
			}
		}
	})
}

// TestConditionsOnlyRestrict adds conditions to a random policy: nobody may do more
// with them, and without them everybody may do what the policy with them allows.
func TestConditionsOnlyRestrict(t *testing.T) {
	load := func(t *rapid.T, doc accessDoc) *policies.PDP {
		b, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		p, err := policies.New(t.Context(), policies.Config{Access: b})
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		return p
	}
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawAccess(t)
		before := load(t, doc)
		for name, r := range doc.Roles {
			more := drawWhen(t)
			for claim, want := range r.When { // a claim that had conditions keeps them
				more[claim] = want
			}
			r.When = more
			doc.Roles[name] = r
		}
		after := load(t, doc)
		q := drawLogin(t).ask(t, rapid.SampledFrom(someNames).Draw(t, "subject"), rapid.SampledFrom(someNames).Draw(t, "client"))
		for _, q.Server = range someServers {
			for _, q.Tool = range someTools {
				a, b := before.Decide(t.Context(), q), after.Decide(t.Context(), q)
				if b.Allowed() && !a.Allowed() {
					t.Fatalf("allowed only with more conditions: %+v, then %+v", a, b)
				}
				if a.Allowed() && !b.Allowed() {
					taken++
				}
			}
		}
	})
	if t.Logf("%d grants taken away", taken); taken == 0 {
		t.Error("no condition took anything away: the test shows nothing")
	}
}
