package policies_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

const sameNames = `version: 1
roles:
  person:
    who: {users: [dev-agent]}
    servers: {mail: {tools: [read_message]}}
  workload:
    who: {clients: [dev-agent]}
    servers: {mail: {tools: [delete_message]}}
`

func decides(t *testing.T, p *policies.PDP, q policies.Request, want policies.Reason) {
	t.Helper()
	d := p.Decide(t.Context(), q)
	if d.Reason != want || d.Allowed() != (want == policies.ReasonAllowed) {
		t.Errorf("%.200s by %.200s, %s/%s: %+v, want %s", q.Subject, q.ClientID, q.Server, q.Tool, d, want)
	}
}

func TestUserNamedLikeAClientHasNotItsRoles(t *testing.T) {
	p := newPDP(t, sameNames)
	decides(t, p, call(t, "dev-agent", "claude", "mail", "delete_message"), policies.ReasonNotGranted)
	decides(t, p, call(t, "dev-agent", "claude", "mail", "read_message"), policies.ReasonAllowed)
}

func TestClientNamedLikeAUserHasNotTheirRoles(t *testing.T) {
	p := newPDP(t, sameNames)
	decides(t, p, call(t, "dev-agent", "dev-agent", "mail", "read_message"), policies.ReasonNotGranted)
	decides(t, p, call(t, "dev-agent", "dev-agent", "mail", "delete_message"), policies.ReasonAllowed)
}

// The client through which a person works gives them nothing.
func TestUserHasNotTheRolesOfTheirClient(t *testing.T) {
	decides(t, newPDP(t, example), call(t, "carol", "dev-agent", "mail", "read_message"), policies.ReasonNoRole)
}

// Nor do the actors: they may only do what the subject may.
func TestActorsAddNoRoles(t *testing.T) {
	q := call(t, "carol", "claude", "mail", "read_message")
	q.Actors = []identity.ClientID{identity.MustClientID("dev-agent")}
	decides(t, newPDP(t, example), q, policies.ReasonNoRole)
}

func TestGrantsOfTwoRolesAreNotMixed(t *testing.T) {
	p := newPDP(t, `version: 1
roles:
  a:
    who: {users: [alice]}
    servers: {mail: {tools: [read]}, files: {tools: [write]}}
  b:
    who: {users: [bob]}
    servers: {mail: {tools: ["*"]}}
`)
	decides(t, p, call(t, "alice", "claude", "mail", "write"), policies.ReasonNotGranted)
	decides(t, p, call(t, "alice", "claude", "files", "read"), policies.ReasonNotGranted)
	decides(t, p, call(t, "bob", "claude", "files", "read"), policies.ReasonNotGranted)
	decides(t, p, call(t, "bob", "claude", "mail", "write"), policies.ReasonAllowed)
}

// "*" grants tools, not strings: what is no tool name is never asked.
func TestToolNameSmugglesNothingPastEveryTool(t *testing.T) {
	p := newPDP(t, "version: 1\nroles:\n  all:\n    who: {users: [bob]}\n    servers: {mail: {tools: [\"*\"]}}\n")
	for _, tool := range []string{
		"", "*", "every_tool", "x tool:delete_message", "x\ttool:delete_message", "read_message\n", "read_message\x00",
		"rеad_message", `a"b`, `a\b`, "a:b", "a,b", strings.Repeat("a", 129),
	} {
		want := policies.ReasonInvalidRequest
		if tool == "every_tool" {
			want = policies.ReasonAllowed // a tool like any other
		}
		decides(t, p, call(t, "bob", "claude", "mail", tool), want)
	}
	for _, server := range []string{"", "*", "Mail", "-mail", "mail/", "../mail", "mail\n", strings.Repeat("m", 64)} {
		decides(t, p, call(t, "bob", "claude", server, "read_message"), policies.ReasonInvalidRequest)
	}
}

// A name of the data's own structure is a name like any other.
func TestToolNamedLikeTheStructureIsNotGranted(t *testing.T) {
	p := newPDP(t, example)
	for _, tool := range []string{"tools", "every_tool", "rule", "servers", "roles"} {
		decides(t, p, call(t, "alice", "claude", "mail", tool), policies.ReasonNotGranted)
	}
	for _, subject := range []string{"users", "clients", "roles", "reader", "*"} {
		decides(t, p, call(t, subject, "claude", "mail", "read_message"), policies.ReasonNoRole)
	}
}

func TestArgumentsThatAreNotOneStrictObjectAreDenied(t *testing.T) {
	p := newPDP(t, example)
	q := call(t, "alice", "claude", "mail", "read_message")
	for _, args := range []string{"", " ", "null", "[]", `"x"`, "{", "{}{}", `{"id":1,"id":2}`, "{\"id\":\"\xff\"}", `{"id":01}`} {
		q.Arguments = jsontext.Value(args)
		decides(t, p, q, policies.ReasonInvalidRequest)
	}
	q.Arguments = jsontext.Value(`{"id": 1}`)
	decides(t, p, q, policies.ReasonAllowed)
}

func TestCachedAnswerIsNotAnotherQuestions(t *testing.T) {
	p := newPDP(t, example)
	q := call(t, "bob", "claude", "mail", "send_message")
	for range 2 {
		decides(t, p, q, policies.ReasonAllowed)
		decides(t, p, call(t, "alice", "claude", "mail", "send_message"), policies.ReasonNotGranted)
		decides(t, p, call(t, "bob", "bob", "mail", "send_message"), policies.ReasonNoRole)
		decides(t, p, call(t, "bob", "claude", "files", "send_message"), policies.ReasonNotGranted)
		decides(t, p, call(t, "bob", "claude", "mail", "delete_message"), policies.ReasonNotGranted)
		workload := q
		workload.Workload = true // of the name of a person, for which another client acts
		decides(t, p, workload, policies.ReasonNoRole)
		other := q
		other.Action = "tools/delete"
		decides(t, p, other, policies.ReasonUnknownAction)
	}
	if p.Cached() == 0 {
		t.Error("nothing is cached: this test shows nothing")
	}
}

func TestNewPolicyForgetsCachedAnswers(t *testing.T) {
	q := call(t, "alice", "claude", "mail", "read_message")
	old := newPDP(t, example)
	decides(t, old, q, policies.ReasonAllowed)
	decides(t, newPDP(t, strings.Replace(example, "alice", "dana", 1)), q, policies.ReasonNoRole)
}

// What an answer depends on is taken from the policy, so that a condition that is
// added later cannot be answered from the cache.
func TestConditionIsNotAnsweredFromTheCache(t *testing.T) {
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	good := call(t, "alice", "claude", "mail", "read_message")
	good.Time, good.DefinitionDigest, good.Arguments = noon, "approved", jsontext.Value(`{"limit": 10, "deep": [{"a": [true, null, -1.5]}]}`)
	good.Actors = []identity.ClientID{identity.MustClientID("agent")}
	for name, tt := range map[string]struct {
		condition string
		change    func(*policies.Request)
	}{
		"time":             {"time.clock(input.time_ns)[0] < 17", func(q *policies.Request) { q.Time = noon.Add(6 * time.Hour) }},
		"no time":          {"time.clock(input.time_ns)[0] < 17", func(q *policies.Request) { q.Time = time.Time{} }},
		"time in a copy":   {"x := input; time.clock(x.time_ns)[0] < 17", func(q *policies.Request) { q.Time = noon.Add(6 * time.Hour) }},
		"computed name":    {`k := concat("_", ["time", "ns"]); time.clock(input[k])[0] < 17`, func(q *policies.Request) { q.Time = noon.Add(6 * time.Hour) }},
		"time by function": {"f(input)", func(q *policies.Request) { q.Time = noon.Add(6 * time.Hour) }},
		"object.get":       {`time.clock(object.get(input, "time_ns", 0))[0] == 12`, func(q *policies.Request) { q.Time = noon.Add(6 * time.Hour) }},
		"arguments":        {"input.arguments.limit <= 100", func(q *policies.Request) { q.Arguments = jsontext.Value(`{"limit": 101}`) }},
		"deep arguments":   {"input.arguments.deep[0].a == [true, null, -1.5]", func(q *policies.Request) { q.Arguments = jsontext.Value(`{"deep": [{"a": [true]}]}`) }},
		"no arguments":     {"input.arguments.limit <= 100", func(q *policies.Request) { q.Arguments = nil }},
		"definition":       {`input.definition_digest == "approved"`, func(q *policies.Request) { q.DefinitionDigest = "changed" }},
		"actors":           {`input.actors == ["agent"]`, func(q *policies.Request) { q.Actors = append(q.Actors, identity.MustClientID("other")) }},
		"client":           {`input.client_id == "claude"`, func(q *policies.Request) { q.ClientID = identity.MustClientID("other") }},
	} {
		t.Run(name, func(t *testing.T) {
			module := fmt.Sprintf(`package wicketgate.access

default decision := {"allow": false, "reason": "not_granted", "rule": ""}

decision := %s if { %s }

f(x) if time.clock(x.time_ns)[0] < 17`, allowed, tt.condition)
			p, err := policies.NewWithRego(t.Context(), policies.Config{Access: []byte(example)}, module)
			if err != nil {
				t.Fatal(err)
			}
			bad := good
			tt.change(&bad)
			for range 2 {
				decides(t, p, good, policies.ReasonAllowed)
				decides(t, p, bad, policies.ReasonNotGranted)
			}
		})
	}
}

func TestManyNamesDoNotGrowTheCache(t *testing.T) {
	p := newPDP(t, example)
	for i := range 2*policies.MaxCached + 100 {
		decides(t, p, call(t, "alice", "claude", "mail", fmt.Sprint("tool", i)), policies.ReasonNotGranted)
	}
	if n := p.Cached(); n > 2*policies.MaxCached {
		t.Errorf("%d answers cached, want at most %d", n, 2*policies.MaxCached)
	}
	decides(t, p, call(t, "alice", "claude", "mail", "read_message"), policies.ReasonAllowed)
}

// fleet gives workloads one role by pattern and another by name.
const fleet = `version: 1
roles:
  agent:
    who: {clients: ["spiffe://example.org/agent/*", "spiffe://example.org/*/*/admin"]}
    servers: {mail: {tools: [read_message]}}
  sender:
    who: {clients: [spiffe://example.org/agent/mail], groups: [staff], users: [alice]}
    servers: {mail: {tools: [send_message]}}
`

// reads is the question of a workload that acts for itself.
func reads(t testing.TB, id string) policies.Request {
	t.Helper()
	return call(t, id, id, "mail", "read_message")
}

func TestWorkloadThatOnlyLooksLikeThePattern(t *testing.T) {
	p := newPDP(t, fleet)
	decides(t, p, reads(t, "spiffe://example.org/agent/x"), policies.ReasonAllowed)
	for _, id := range []string{
		"spiffe://example.org/agent", "spiffe://example.org/agent/", "spiffe://example.org/agent/x/y", "spiffe://example.org/agents/x", "spiffe://example.org/Agent/x",
		"spiffe://example.org/x/agent/x", "spiffe://example.org//agent/x", "spiffe://example.org/agent//x", "spiffe://example.org/agent/x/",
		"spiffe://example.com/agent/x", "spiffe://example.org.evil.example/agent/x", "spiffe://evil.example/example.org/agent/x", "spiffe://Example.org/agent/x",
		"spiffe://example.org:443/agent/x", "spiffe://x@example.org/agent/x", "spiffe://example.org|/agent/x", "spiffe://example.org/agent|/x",
		"SPIFFE://example.org/agent/x", "https://example.org/agent/x", "https://evil.example|spiffe://example.org/agent/x", "example.org/agent/x", "/agent/x",
		"spiffe://example.org/agent/..", "spiffe://example.org/agent/.", "spiffe://example.org/agent/../x", "spiffe://example.org/x/../agent/x",
		"spiffe://example.org/agent/%2e%2e", "spiffe://example.org/agent/x%2fy", "spiffe://example.org/agent%2fx", "spiffe://example.org/agent/x?y", "spiffe://example.org/agent/x#y",
	} {
		decides(t, p, reads(t, id), policies.ReasonNoRole)
	}
}

// A client may be called what a pattern is, or part of it: that is no workload.
func TestClientCalledAsAPatternHasNotItsRoles(t *testing.T) {
	p := newPDP(t, fleet)
	for _, id := range []string{"spiffe://example.org/agent/*", "spiffe://example.org/*/*", "spiffe://example.org/*/*/admin", "spiffe://*/agent/x", "*"} {
		decides(t, p, reads(t, id), policies.ReasonNoRole)
	}
}

// A person is no workload, whatever they are called and whoever acts for them.
func TestUserNamedLikeAWorkloadMatchesNoPattern(t *testing.T) {
	own, err := policies.NewWithRego(t.Context(), policies.Config{Access: []byte(fleet)},
		"package wicketgate.access\n\ndecision := "+allowed+" if count(input.patterns) > 0 else := {\"allow\": false, \"reason\": \"no_role\", \"rule\": \"\"}")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*policies.PDP{newPDP(t, fleet), own} {
		q := reads(t, "spiffe://example.org/agent/x")
		decides(t, p, q, policies.ReasonAllowed)
		for _, client := range []string{"claude", "spiffe://example.org/agent/y", "spiffe://example.org/agent/*"} {
			q.ClientID = identity.MustClientID(client)
			q.Actors = []identity.ClientID{identity.MustClientID("spiffe://example.org/agent/x")}
			decides(t, p, q, policies.ReasonNoRole)
		}
		q.Workload = true // and then they are one, for which another client acts
		decides(t, p, q, policies.ReasonAllowed)
	}
}

// The patterns of one workload are not those of another, nor of a person of its name,
// whoever asks first, nor of a policy that has changed.
func TestCachedPatternIsNotAnotherWorkloads(t *testing.T) {
	p := newPDP(t, fleet)
	person := reads(t, "spiffe://example.org/agent/x")
	person.ClientID = identity.MustClientID("claude")
	for range 2 {
		decides(t, p, reads(t, "spiffe://example.org/agent/x"), policies.ReasonAllowed)
		decides(t, p, reads(t, "spiffe://example.org/tools/x"), policies.ReasonNoRole)
		decides(t, p, person, policies.ReasonNoRole)
	}
	if p.Cached() != 3 {
		t.Errorf("%d answers cached, want 3: this test shows nothing", p.Cached())
	}
	changed := newPDP(t, strings.Replace(fleet, "agent/*", "tools/*", 1))
	decides(t, changed, reads(t, "spiffe://example.org/agent/x"), policies.ReasonNoRole)
	decides(t, changed, reads(t, "spiffe://example.org/tools/x"), policies.ReasonAllowed)
}

// A name may have 2048 bytes: no bound here is lower, and what is as long is not equal.
func TestLongestSPIFFEID(t *testing.T) {
	fill := func(start string) string { return start + strings.Repeat("a", 2048-len(start)) }
	name, pattern := fill("spiffe://example.org/name/x/"), fill("spiffe://example.org/*/y/")
	p := newPDP(t, fleet+"  longest:\n    who: {clients: ["+name+", \""+pattern+"\"]}\n    servers: {mail: {tools: [read_message]}}\n")
	matching := strings.Replace(pattern, "*", "z", 1)
	for id, want := range map[string]policies.Reason{
		name: policies.ReasonAllowed, name[:2047]: policies.ReasonNoRole, name[:2047] + "b": policies.ReasonNoRole,
		matching: policies.ReasonAllowed, matching[:2047]: policies.ReasonNoRole, matching[:2047] + "b": policies.ReasonNoRole,
		fill("spiffe://example.org/agent/"):                 policies.ReasonAllowed,
		"spiffe://example.org" + strings.Repeat("/a", 1014): policies.ReasonNoRole,
	} {
		for range 2 { // the second is from the cache
			decides(t, p, reads(t, id), want)
		}
		onBehalf := reads(t, id)
		onBehalf.Workload, onBehalf.ClientID = true, identity.MustClientID("spiffe://example.org/agent/mail")
		decides(t, p, onBehalf, want)
	}
}

func TestConcurrentDecisions(t *testing.T) {
	p := newPDP(t, example)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				q := call(t, "bob", "claude", "mail", "send_message")
				q.Arguments = jsontext.Value(`{"to": "x"}`)
				decides(t, p, q, policies.ReasonAllowed)
				decides(t, p, call(t, "alice", fmt.Sprintf("c%d-%d", g, i), "mail", "send_message"), policies.ReasonNotGranted)
			}
		})
	}
	wg.Wait()
}
