package policies_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

var update = flag.Bool("update", false, "rewrite the decisions in testdata")

// example is the access.yaml of the documentation.
const example = `version: 1
roles:
  reader:
    who: {users: [alice], clients: [dev-agent]}
    servers:
      mail:
        tools: [list_messages, read_message]
  operator:
    who: {users: [bob]}
    servers:
      mail: {tools: [list_messages, read_message, send_message]}
`

func newPDP(t testing.TB, access string) *policies.PDP {
	t.Helper()
	p, err := policies.New(t.Context(), policies.Config{Access: []byte(access)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// call is the question whether a tool may be called at all.
func call(t testing.TB, subject, client, server, tool string) policies.Request {
	t.Helper()
	s, err := identity.ParseSubject(subject)
	if err != nil {
		t.Fatal(err)
	}
	return policies.Request{
		Subject: s, ClientID: identity.MustClientID(client), Action: policies.ActionCallTool, Server: server, Tool: tool,
		Time: time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC),
	}
}

func TestDecisions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) { runCases(t, f) })
	}
}

// runCases asks every request of a file and compares with the decision after it.
func runCases(t *testing.T, file string) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := newPDP(t, string(a.Files[0].Data))
	for i := 1; i+1 < len(a.Files); i += 2 {
		q, d := a.Files[i], &a.Files[i+1]
		if q.Name != "request" || d.Name != "decision" {
			t.Fatalf("%s then %s, want request then decision", q.Name, d.Name)
		}
		got := shown(t, p.Decide(t.Context(), request(t, q.Data)))
		if *update {
			d.Data = []byte(got)
		}
		if diff := cmp.Diff(string(d.Data), got); diff != "" {
			t.Errorf("%s(-want +got)\n%s", q.Data, diff)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(a), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func request(t *testing.T, b []byte) policies.Request {
	var r struct {
		Subject   identity.Subject  `json:"subject"`
		Workload  bool              `json:"workload"`
		ClientID  identity.ClientID `json:"client_id"`
		Action    policies.Action   `json:"action"`
		Server    string            `json:"server"`
		Tool      string            `json:"tool"`
		Resource  string            `json:"resource"`
		Template  string            `json:"template"`
		Prompt    string            `json:"prompt"`
		Arguments jsontext.Value    `json:"arguments"`
		Groups    []string          `json:"groups"`
		Claims    jsontext.Value    `json:"claims"`
	}
	if err := json.Unmarshal(b, &r, json.RejectUnknownMembers(true)); err != nil {
		t.Fatal(err)
	}
	return policies.Request{
		Subject: r.Subject, Workload: r.Workload, ClientID: r.ClientID, Action: r.Action, Server: r.Server, Tool: r.Tool, Arguments: r.Arguments,
		Resource: r.Resource, Template: r.Template, Prompt: r.Prompt, Groups: r.Groups, Claims: r.Claims,
	}
}

func shown(t *testing.T, d policies.Decision) string {
	b, err := json.Marshal(struct {
		Allow  bool            `json:"allow"`
		Reason policies.Reason `json:"reason"`
		Rule   string          `json:"rule,omitzero"`
	}{d.Allowed(), d.Reason, d.Rule}, jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

func TestDigest(t *testing.T) {
	p := newPDP(t, example)
	if d := p.Decide(t.Context(), call(t, "alice", "claude", "mail", "send_message")); d.PolicyDigest != p.Digest() || len(p.Digest()) != 43 {
		t.Errorf("decision has policy digest %q, want %q of 43 characters", d.PolicyDigest, p.Digest())
	}
	same, err := policies.New(t.Context(), policies.Config{Name: "/etc/other.yaml", Access: []byte(`# reordered
version: 1
roles:
  operator: {who: {users: [bob]}, servers: {mail: {tools: [send_message, read_message, list_messages]}}}

  reader: {who: {clients: [dev-agent], users: [alice]}, servers: {mail: {tools: [read_message, list_messages]}}}
`)})
	if err != nil || same.Digest() != p.Digest() {
		t.Errorf("the same policy in another layout has digest %q (%v), want %q", same.Digest(), err, p.Digest())
	}
	if other := newPDP(t, example+"      files: {tools: [read]}\n"); other.Digest() == p.Digest() {
		t.Error("another policy has the same digest")
	}
	otherRego, err := policies.NewWithRego(t.Context(), policies.Config{Access: []byte(example)}, policies.AccessRego()+"\n")
	if err != nil || otherRego.Digest() == p.Digest() {
		t.Errorf("other Rego has the same digest (%v)", err)
	}
}

func TestPatternsChangeTheDigest(t *testing.T) {
	seen := map[string]string{}
	for _, clients := range []string{
		"", `"spiffe://example.org/agent/*"`, `"spiffe://example.org/agent/x"`, `"spiffe://example.org/*/agent"`, `"spiffe://example.com/agent/*"`,
		`"spiffe://example.org/*/*"`, `"spiffe://example.org/agent/*", "spiffe://example.org/*/*"`,
	} {
		doc := strings.Replace(example, "clients: [dev-agent]", "clients: ["+clients+"]", 1)
		d := newPDP(t, doc).Digest()
		if other, ok := seen[d]; ok {
			t.Errorf("one digest for\n%s\nand\n%s", doc, other)
		}
		seen[d] = doc
	}
	reordered := strings.Replace(example, "dev-agent", `"spiffe://example.org/*/*", "spiffe://example.org/agent/*"`, 1)
	if seen[newPDP(t, reordered).Digest()] == "" {
		t.Errorf("another digest for the same\n%s", reordered)
	}
}

// A policy without patterns pays nothing for them, and its members are as before.
func TestPatternsThatNobodyNamesAreNotLookedFor(t *testing.T) {
	named := strings.Replace(example, "dev-agent", "spiffe://example.org/agent/x", 1)
	for doc, want := range map[string]bool{example: false, named: false, fleet: true} {
		if got := newPDP(t, doc).Reads("patterns"); got != want {
			t.Errorf("reads patterns: %v, want %v, of\n%s", got, want, doc)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "access.yaml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policies.Load(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	d := p.Decide(t.Context(), call(t, "alice", "claude", "mail", "read_message"))
	if want := file + ":7: roles.reader.servers.mail.tools.read_message"; !d.Allowed() || d.Rule != want {
		t.Errorf("Decide = %+v, want allowed by %s", d, want)
	}
	if p, err := policies.Load(t.Context(), filepath.Join(dir, "absent.yaml")); err == nil {
		t.Errorf("Load of an absent file = %v, want an error", p)
	}
	if err := os.Truncate(file, 17<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := policies.Load(t.Context(), file); err == nil || err.Error() != file+": larger than 16 MiB" {
		t.Errorf("Load of a huge file: %v", err)
	}
}

// TestMissingArgumentIsSaid: whoever left it out is told that it has to be there.
func TestMissingArgumentIsSaid(t *testing.T) {
	for conditions, want := range map[string]string{
		"{max: 20}":                 "argument limit must be given and be at most 20",
		"{max: 20, optional: true}": "argument limit must be at most 20",
	} {
		p := newPDP(t, "version: 1\nroles: {r: {who: {users: [alice]}, servers: {mail: {tools: {list: {arguments: {limit: "+conditions+"}}}}}}}\n")
		q := call(t, "alice", "claude", "mail", "list")
		q.Arguments = jsontext.Value(`{"limit":21}`)
		if d := p.Decide(t.Context(), q); d.Allowed() || d.Detail != want {
			t.Errorf("%s: %+v, want %q", conditions, d, want)
		}
	}
}
