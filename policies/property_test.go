package policies_test

import (
	"slices"
	"testing"

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
	Servers map[string]map[string][]string `yaml:"servers"`
}

// oracle is the meaning of access.yaml in a few lines.
func oracle(doc accessDoc, subject, client, server, tool string) bool {
	kind := "users"
	if subject == client {
		kind = "clients"
	}
	for _, r := range doc.Roles {
		tools := r.Servers[server]["tools"]
		if slices.Contains(r.Who[kind], subject) && (slices.Contains(tools, tool) || slices.Contains(tools, "*")) {
			return true
		}
	}
	return false
}

// Few names, so that people, clients, servers and tools meet.
var (
	someNames   = []string{"alice", "bob", "agent", "roles"}
	someServers = []string{"mail", "files", "roles"}
	someTools   = []string{"read", "send", "tools", "a.b/c-d", "every_tool"}
)

func subset(t *rapid.T, label string, of ...string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, len(of), rapid.ID).Draw(t, label)
}

func drawAccess(t *rapid.T) accessDoc {
	doc := accessDoc{1, map[string]roleDoc{}}
	for _, name := range subset(t, "roles", "a", "b", "users") {
		r := roleDoc{Servers: map[string]map[string][]string{}}
		r.Who = map[string][]string{"users": subset(t, "users", someNames...), "clients": subset(t, "clients", someNames...)}
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
		s, err := identity.ParseSubject(subject)
		if err != nil {
			t.Fatal(err)
		}
		q := policies.Request{Subject: s, ClientID: identity.MustClientID(client), Action: policies.ActionCallTool}
		for _, q.Server = range append(someServers, "other") {
			for _, q.Tool = range append(someTools, "other") {
				d := p.Decide(t.Context(), q)
				if want := oracle(doc, subject, client, q.Server, q.Tool); d.Allowed() != want {
					t.Fatalf("%s by %s, %s/%s: %+v, want %v\n%s", subject, client, q.Server, q.Tool, d, want, b)
				}
				if e, c := again.Evaluate(t.Context(), q), p.Decide(t.Context(), q); e != d || c != d {
					t.Fatalf("%s by %s, %s/%s: %+v, then %+v, then cached %+v", subject, client, q.Server, q.Tool, d, e, c)
				}
			}
		}
	})
}
