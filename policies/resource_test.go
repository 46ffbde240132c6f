package policies_test

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wicketgate/wicketgate/policies"
)

// library is the policy of testdata/resources.txtar: alice has file:///docs/*,
// config://app and the prompt summarize on the server docs, bob everything but tools.
func library(t testing.TB) *policies.PDP {
	t.Helper()
	a, err := txtar.ParseFile("testdata/resources.txtar")
	if err != nil {
		t.Fatal(err)
	}
	return newPDP(t, string(a.Files[0].Data))
}

// read is the question whether a resource may be read, and seen.
func read(t testing.TB, subject, uri string) policies.Request {
	t.Helper()
	q := call(t, subject, "claude", "docs", "")
	q.Action, q.Resource = policies.ActionReadResource, uri
	return q
}

// see is the question whether a template may be seen.
func see(t testing.TB, subject, template string) policies.Request {
	t.Helper()
	q := read(t, subject, "")
	q.Template = template
	return q
}

func get(t testing.TB, subject, prompt string) policies.Request {
	t.Helper()
	q := call(t, subject, "claude", "docs", "")
	q.Action, q.Prompt = policies.ActionGetPrompt, prompt
	return q
}

// However a server resolves the URI, it stays below the prefix.
func TestURIThatClimbsOutOfAPrefix(t *testing.T) {
	p := library(t)
	for _, uri := range []string{
		"file:///docs/", "file:///docs/a", "file:///docs/a.md", "file:///docs/.hidden", "file:///docs//a", "file:///docs/%20%C3%BC", "file:///docs/ü", "file:///docs/a?b=c#d", "file:///docs/*",
	} {
		decides(t, p, read(t, "alice", uri), policies.ReasonAllowed)
	}
	for _, uri := range []string{
		"file:///docs", "file:///docs-private/a", "file:///Docs/a", "FILE:///docs/a", "file://host/docs/a", "file:////docs/a", "file:/docs/a", "file:///%64ocs/a", "file:///docs%2fa",
		" file:///docs/a", "x file:///docs/a", "https://evil.example/file:///docs/a",
		"file:///docs/..", "file:///docs/../a", "file:///docs/./a", "file:///docs/.", "file:///docs/a/../../b", "file:///docs/..;/a", "file:///docs/..;x=1/a", "file:///docs/.;/a",
		"file:///docs/?/../../a", "file:///docs/#/../../a", "file:///docs/a?b=../../c", "file:///docs/a/..?", "file:///docs/..#",
		"file:///docs/%2e%2e/a", "file:///docs/%2E./a", "file:///docs/.%2e/a", "file:///docs/%2e/a", "file:///docs/..%2fa", "file:///docs/a%2F..%2Fb",
		"file:///docs/%252e%252e/a", "file:///docs/%25252e/a", "file:///docs/%c0%ae%c0%ae/a", "file:///docs/%e0%80%ae/a", "file:///docs/%u002e/a", "file:///docs/%2", "file:///docs/%",
		`file:///docs/..\a`, `file:///docs/\a`, "file:///docs/%5c..%5Ca", "file:///docs/%00", "file:///docs/a%0ab", "file:///docs/a%7f",
		"file:///docs/\uff0e\uff0e/a", "file:///docs/\u2025/a", "file:///docs/%EF%BC%8E%ef%bc%8e/a", "file:///docs/a\uff0f\uff0e",
	} {
		decides(t, p, read(t, "alice", uri), policies.ReasonNotGranted)
		decides(t, p, read(t, "bob", uri), policies.ReasonAllowed) // who may read everything may read that too
	}
}

// A host may be written so that it is another's: a prefix ends after it.
func TestPrefixIsNotOfAnotherHost(t *testing.T) {
	p := newPDP(t, "version: 1\nroles:\n  r:\n    who: {users: [alice]}\n    servers: {docs: {resources: [\"https://example.com/*\"]}}\n")
	decides(t, p, read(t, "alice", "https://example.com/a"), policies.ReasonAllowed)
	for _, uri := range []string{
		"https://example.com.evil.example/a", "https://example.com@evil.example/a", "https://example.com:x@evil.example/a", "https://evil.example/https://example.com/a",
		"https://example.com:8443/a", "http://example.com/a", "https://example.com", "https://EXAMPLE.com/a", `https://example.com\@evil.example/a`, "https:///example.com/a",
	} {
		decides(t, p, read(t, "alice", uri), policies.ReasonNotGranted)
	}
}

func TestResourceThatIsNoURI(t *testing.T) {
	p := library(t)
	for _, s := range []string{"", "file:///docs/a\nb", "file:///docs/\x00", "file:///docs/\x7f", "file:///docs/\u0085", "file:///docs/\xff", "file:///docs/" + strings.Repeat("a", 4<<10)} {
		decides(t, p, read(t, "bob", s), policies.ReasonInvalidRequest)
		decides(t, p, see(t, "bob", s), policies.ReasonInvalidRequest)
	}
	decides(t, p, read(t, "alice", "file:///docs/"+strings.Repeat("a", 4<<10-13)), policies.ReasonAllowed)
	for _, name := range []string{"", "*", "a b", "a:b", "summarize\n", strings.Repeat("a", 129)} {
		decides(t, p, get(t, "bob", name), policies.ReasonInvalidRequest)
	}
}

// A template is seen only where everything that it can name is granted by one prefix,
// or is refused when it is read: its completions tell of nothing else.
func TestTemplateBeyondThePrefixIsHidden(t *testing.T) {
	p := library(t)
	for _, template := range []string{"file:///docs/{name}", "file:///docs/a/{+path}{?q}", "file:///docs/a"} {
		decides(t, p, see(t, "alice", template), policies.ReasonAllowed)
		literal, _, _ := strings.Cut(template, "{")
		decides(t, p, read(t, "alice", literal+"x"), policies.ReasonAllowed)
	}
	for _, template := range []string{
		"file:///{+path}", "file:///docs{/name}", "file:///docs-{name}", "{+uri}", "{scheme}:///docs/{name}", "file:///docs/../{name}", "file:///docs/%2e%2e/{name}", "file:///docs/.{name}",
		"config://app", "config://{name}", "file:///{a}/docs/", "file:///do{x}cs/",
	} {
		decides(t, p, see(t, "alice", template), policies.ReasonNotGranted)
		decides(t, p, see(t, "bob", template), policies.ReasonAllowed)
	}
}

// A grant of one kind is none of another, whatever the names are.
func TestGrantOfOneKindIsNoneOfAnother(t *testing.T) {
	p := newPDP(t, `version: 1
roles:
  tools: {who: {users: [alice]}, servers: {docs: {tools: ["*", name]}}}
  prompts: {who: {users: [bob]}, servers: {docs: {prompts: ["*", name]}}}
  resources: {who: {users: [carol]}, servers: {docs: {resources: ["*", "name:x"]}}}
`)
	for _, subject := range []string{"alice", "bob", "carol"} {
		want := map[bool]policies.Reason{true: policies.ReasonAllowed, false: policies.ReasonNotGranted}
		decides(t, p, call(t, subject, "claude", "docs", "name"), want[subject == "alice"])
		decides(t, p, get(t, subject, "name"), want[subject == "bob"])
		decides(t, p, read(t, subject, "name:x"), want[subject == "carol"])
		decides(t, p, see(t, subject, "name:{x}"), want[subject == "carol"])
	}
	if !p.Names("docs") || p.Names("mail") {
		t.Error("Names does not tell which servers a role grants something on")
	}
}

// No two of these share an answer: each is asked twice, after all others.
func TestCachedAnswerIsNotAnotherResources(t *testing.T) {
	p := library(t)
	config, other := read(t, "alice", "config://app"), read(t, "alice", "config://other")
	asked := see(t, "alice", "config://app") // a template of the same letters
	for range 2 {
		decides(t, p, config, policies.ReasonAllowed)
		decides(t, p, other, policies.ReasonNotGranted)
		decides(t, p, asked, policies.ReasonNotGranted)
		decides(t, p, read(t, "alice", "file:///docs/a"), policies.ReasonAllowed)
		decides(t, p, read(t, "alice", "file:///docs/../a"), policies.ReasonNotGranted)
		decides(t, p, see(t, "alice", "file:///docs/{a}"), policies.ReasonAllowed)
		decides(t, p, see(t, "alice", "file:///{a}"), policies.ReasonNotGranted)
		decides(t, p, get(t, "alice", "summarize"), policies.ReasonAllowed)
		decides(t, p, get(t, "alice", "search"), policies.ReasonNotGranted)
		decides(t, p, call(t, "alice", "claude", "docs", "search"), policies.ReasonAllowed)
		decides(t, p, call(t, "alice", "claude", "docs", "summarize"), policies.ReasonNotGranted)
	}
	if p.Cached() != 11 {
		t.Errorf("%d answers cached, want 11: this test shows nothing", p.Cached())
	}
}

// A policy that grants no resource and no prompt pays nothing for them.
func TestKindsThatNobodyIsGrantedAreNotRead(t *testing.T) {
	for doc, want := range map[string]string{
		"tools: [a]":                   "",
		"resources: [\"*\"]":           "resource",
		"resources: [\"file:///a/*\"]": "resource resource_prefixes",
		"prompts: [a]":                 "prompt",
	} {
		p := newPDP(t, "version: 1\nroles:\n  r:\n    who: {users: [alice]}\n    servers: {docs: {"+doc+"}}\n")
		var got []string
		for _, member := range []string{"resource", "resource_prefixes", "prompt"} {
			if p.Reads(member) {
				got = append(got, member)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: reads %q, want %q", doc, got, want)
		}
	}
}
