package policies_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
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
				if e, c := again.Evaluate(t.Context(), q), p.Decide(t.Context(), q); !reflect.DeepEqual(e, d) || !reflect.DeepEqual(c, d) {
					t.Fatalf("%s by %s, %s/%s: %+v, then %+v, then cached %+v", subject, client, q.Server, q.Tool, d, e, c)
				}
			}
		}
	})
}

// TestConditionsOnlyRestrict adds conditions to a random policy: nobody may do more
// with them, and without them everybody may do what the policy with them allows.
func TestConditionsOnlyRestrict(t *testing.T) {
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

// named is the meaning of the list of clients for a workload, by its letters and
// without what package identity knows.
func named(clients []string, id string) bool {
	return slices.ContainsFunc(clients, func(written string) bool {
		if !strings.Contains(written, "*") {
			return written == id
		}
		want, have := strings.Split(written, "/"), strings.Split(id, "/")
		if !workloadName.MatchString(id) || len(want) != len(have) {
			return false
		}
		for i := range want {
			if want[i] != "*" && want[i] != have[i] || have[i] == "." || have[i] == ".." {
				return false
			}
		}
		return true
	})
}

var workloadName = regexp.MustCompile(`^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$`)

// drawPath draws a SPIFFE ID of few names, so that it meets others, some of whose
// segments may be what more holds.
func drawPath(t *rapid.T, label string, more ...string) string {
	segment := rapid.SampledFrom(append([]string{"a", "b"}, more...))
	domain := rapid.SampledFrom([]string{"example.org", "example.org", "a"}).Draw(t, "trust domain")
	return "spiffe://" + domain + "/" + strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, label), "/")
}

func drawPattern(t *rapid.T) string { return drawPath(t, "pattern", "c", "*", "*", "*") }

// drawClient draws a SPIFFE ID, or what is nearly one or none.
func drawClient(t *rapid.T) string {
	id := drawPath(t, "workload")
	switch rapid.SampledFrom([]string{"none", "none", "none", "segment", "letter", "other"}).Draw(t, "change") {
	case "segment":
		return drawPath(t, "odd", "*", "..", ".", "", "A", "%2e", "a|", "**", "a*")
	case "letter":
		i := rapid.IntRange(0, len(id)).Draw(t, "at")
		return id[:i] + rapid.SampledFrom([]string{"/", "*", "|", "%2f", "A", ":", "@", "?", "#", ".", "a"}).Draw(t, "letter") + id[i:]
	case "other":
		return rapid.SampledFrom([]string{"alice", "*", "spiffe://example.org", "https://example.org/a"}).Draw(t, "client")
	}
	return id
}

func drawClients(t *rapid.T) []string {
	return rapid.SliceOfN(rapid.Custom(drawClient), 1, 12).Draw(t, "workloads")
}

var fleetRoles = []string{"a", "b", "c"}

// drawFleet gives each of three roles a tool of its name, to some workloads.
func drawFleet(t *rapid.T) accessDoc {
	doc := accessDoc{1, map[string]roleDoc{}}
	for _, name := range fleetRoles {
		clients := rapid.SliceOfNDistinct(rapid.Custom(drawPattern), 0, 4, rapid.ID).Draw(t, "clients")
		doc.Roles[name] = roleDoc{Who: map[string][]string{"clients": clients}, Servers: map[string]map[string][]string{"mail": {"tools": {name}}}}
	}
	return doc
}

func load(t *rapid.T, doc accessDoc) *policies.PDP {
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

// mayDo is which tools a workload may call that acts for itself.
func mayDo(t *rapid.T, p *policies.PDP, id string) (may []string) {
	q := login{}.ask(t, id, id)
	q.Server = "mail"
	for _, q.Tool = range fleetRoles {
		if p.Decide(t.Context(), q).Allowed() {
			may = append(may, q.Tool)
		}
	}
	return may
}

// TestPatternNamesWhatItSays compares random policies with the naive meaning, for
// workloads that act for themselves or through another client, and for people.
func TestPatternNamesWhatItSays(t *testing.T) {
	by := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		doc := drawFleet(t)
		p := load(t, doc)
		for _, id := range drawClients(t) {
			q := login{}.ask(t, id, rapid.SampledFrom([]string{id, id, "spiffe://example.org/a"}).Draw(t, "client"))
			q.Workload, q.Server = rapid.Bool().Draw(t, "workload"), "mail"
			workload := q.Workload || q.ClientID.String() == id
			for _, q.Tool = range fleetRoles {
				clients := doc.Roles[q.Tool].Who["clients"]
				d := p.Decide(t.Context(), q)
				if want := workload && named(clients, id); d.Allowed() != want {
					t.Fatalf("%s by %s, workload %v, of %q: %+v, want %v", id, q.ClientID, q.Workload, clients, d, want)
				}
				if e, c := p.Evaluate(t.Context(), q), p.Decide(t.Context(), q); !reflect.DeepEqual(e, d) || !reflect.DeepEqual(c, d) {
					t.Fatalf("%s: %+v, then %+v, then cached %+v", id, d, e, c)
				}
				switch {
				case d.Allowed() && slices.Contains(clients, id):
					by["name"]++
				case d.Allowed():
					by["pattern"]++
				case named(clients, id):
					by["pattern, but a person"]++
				}
			}
		}
	})
	if t.Logf("by: %v", by); len(by) != 3 {
		t.Error("nobody was named by name, by pattern, or was a person: the test shows nothing")
	}
}

// TestPatternOnlyAdds adds a pattern to a role in any place: nobody may do less, and
// only those whom it names, and only what the role grants, may do more.
func TestPatternOnlyAdds(t *testing.T) {
	added := 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawFleet(t)
		before := load(t, doc)
		pattern, clients := drawPattern(t), doc.Roles["b"].Who["clients"]
		if slices.Contains(clients, pattern) {
			t.Skip("it is there")
		}
		doc.Roles["b"].Who["clients"] = slices.Insert(clients, rapid.IntRange(0, len(clients)).Draw(t, "at"), pattern)
		after := load(t, doc)
		if before.Digest() == after.Digest() {
			t.Fatalf("one digest with and without %s", pattern)
		}
		for _, id := range drawClients(t) {
			had, has := mayDo(t, before, id), mayDo(t, after, id)
			want := slices.Clone(had)
			if named([]string{pattern}, id) && !slices.Contains(had, "b") {
				want = slices.Sorted(slices.Values(append(want, "b")))
				added++
			}
			if !slices.Equal(has, want) {
				t.Fatalf("%s may %q, and with %s %q, want %q", id, had, pattern, has, want)
			}
		}
	})
	if t.Logf("%d grants added", added); added == 0 {
		t.Error("no pattern added anything: the test shows nothing")
	}
}

// TestOrderOfNamesMeansNothing shuffles the clients of random policies.
func TestOrderOfNamesMeansNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := drawFleet(t)
		before := load(t, doc)
		for _, name := range fleetRoles {
			who := doc.Roles[name].Who
			who["clients"] = rapid.Permutation(who["clients"]).Draw(t, "order")
		}
		after := load(t, doc)
		if before.Digest() != after.Digest() {
			t.Fatal("another order has another digest")
		}
		for _, id := range drawClients(t) {
			if a, b := mayDo(t, before, id), mayDo(t, after, id); !slices.Equal(a, b) {
				t.Fatalf("%s may %q, in another order %q", id, a, b)
			}
		}
	})
}
