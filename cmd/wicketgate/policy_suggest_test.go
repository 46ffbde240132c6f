package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/policies"
)

// pastLog is an audit log of these events, as Record would write them.
func pastLog(t *testing.T, events ...audit.Event) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var b strings.Builder
	for _, e := range events {
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pastUse is the line of a call of a tool by a person.
func pastUse(subject, server, tool string) audit.Event {
	return audit.Event{Kind: audit.Intent, Subject: subject, Client: "editor", Server: server, Action: "tools/call", Tool: tool,
		PolicyDigest: "then", Decision: audit.Allow, Reason: "allowed"}
}

func suggestFrom(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs strings.Builder
	if code := run(t.Context(), append([]string{"policy", "suggest"}, args...), &out, &errs); code != 0 {
		t.Fatalf("policy suggest: exit code %d: %s", code, errs.String())
	}
	return out.String()
}

// A resource that was read under the name of a pattern, and a caller who is called like
// one, must not become the pattern: that would grant more than was used.
func TestSuggestionGrantsNoPatternThatWasUsedAsAName(t *testing.T) {
	read := func(uri string) audit.Event {
		e := pastUse("alice", "docs", "")
		e.Action, e.URI = "resources/read", uri
		return e
	}
	robot := pastUse("agent*", "docs", "search")
	robot.Client = "agent*"
	got := suggestFrom(t, "--audit", pastLog(t, read("file:///docs/*"), read("file:///docs/a"), read("*"), pastUse("*", "docs", "search"), robot))
	pdp, err := policies.New(t.Context(), policies.Config{Access: []byte(got)})
	if err != nil {
		t.Fatal(err)
	}
	_, kept, _ := strings.Cut(got, "version: 1")
	kept, left, _ := strings.Cut(kept, "# Not granted:")
	if strings.Contains(kept, "*") || strings.Count(left, "\n#   ") != 4 || !pdp.Names("docs") {
		t.Errorf("suggestion:\n%s", got)
	}
}

// What a caller chose, a name or a URI, is data in the suggestion: it cannot end its
// comment or its quotes and grant something.
func TestSuggestionCannotBeWrittenByACaller(t *testing.T) {
	evil := "x\"\n  evil:\n    who: {users: [mallory]}\n    servers: {mail: {tools: [\"*\"]}}\n#"
	denied := pastUse("mallory", "mail", evil)
	denied.Kind, denied.Decision, denied.Reason = audit.Denial, audit.Deny, "not_granted"
	reads := pastUse("eve", "docs", "")
	reads.Action, reads.URI = "resources/read", `file:///a"b\c: d # e`
	got := suggestFrom(t, "--audit", pastLog(t, denied, pastUse(evil, "mail", "read_message"), pastUse("null", "mail", "read_message"), pastUse("007", "mail", "read_message"),
		pastUse("\u200b\U0001F600", "mail", "read_message"), reads))
	pdp, err := policies.New(t.Context(), policies.Config{Access: []byte(got)})
	if err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	cases, err := policies.ParseCases("c", []byte(`cases:
  - {name: a, subject: mallory, server: mail, tool: read_message, want: deny}
  - {name: b, subject: "null", server: mail, tool: read_message, want: allow}
  - {name: c, subject: "007", server: mail, tool: read_message, want: allow}
  - {name: d, subject: eve, server: docs, resource: 'file:///a"b\c: d # e', want: allow}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases.Cases {
		if _, wrong := c.Run(t.Context(), pdp); wrong != "" {
			t.Errorf("%s: %s\n%s", c.Name, wrong, got)
		}
	}
	if strings.ContainsFunc(got, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }) {
		t.Errorf("the suggestion is not safe for a terminal: %q", got)
	}
}

func TestSuggestionIsTheSameForTheSameCalls(t *testing.T) {
	at := time.Now().Add(-time.Hour)
	var events []audit.Event
	for i := range 60 {
		e := pastUse(fmt.Sprintf("user-%d", i%7), fmt.Sprintf("server-%d", i%3), fmt.Sprintf("tool-%d", i%5))
		e.Time = at.Add(time.Duration(i) * time.Second)
		events = append(events, e)
	}
	want := suggestFrom(t, "--audit", pastLog(t, events...))
	for range 5 {
		rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		half := len(events) / 2
		if got := suggestFrom(t, "--audit", pastLog(t, events[:half]...), "--audit", pastLog(t, events[half:]...)); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// TestSuggestionSaysWhatADenialWasAbout: what a denial would have stopped is what somebody
// had decided, and the suggestion has no denials.
func TestSuggestionSaysWhatADenialWasAbout(t *testing.T) {
	named, own, notGranted := pastUse("carol", "db", "query"), pastUse("carol", "db", "query"), pastUse("carol", "db", "insert")
	named.Observed, own.Observed, notGranted.Observed = "denied", "denied_by_rego", "not_granted"
	got := suggestFrom(t, "--audit", pastLog(t, named, own, notGranted))
	if !strings.Contains(got, "; 2 only in observe mode; 2 AGAINST A DENIAL of the policy of then\n") || strings.Count(got, "AGAINST") != 2 { // of carol, and of query
		t.Errorf("got\n%s", got)
	}
}

func TestSuggestionLeavesOutWhatWasNotSimplyAllowed(t *testing.T) {
	approved := pastUse("alice", "db", "drop")
	approved.Approval = "apr-1"
	denied := pastUse("alice", "db", "delete")
	denied.Kind, denied.Decision, denied.Reason = audit.Denial, audit.Deny, "not_granted"
	otherwise := pastUse("alice", "db", "rename")
	otherwise.Kind, otherwise.Decision, otherwise.Reason = audit.Denial, audit.Deny, "not_listed_or_not_approved"
	observed := pastUse("alice", "db", "query")
	observed.Observed, observed.Facts = "not_granted", []byte(`{"arguments":{"limit":5,"name":"secret"}}`)
	again := observed
	again.Facts = []byte(`{"arguments":{"limit":100}}`)
	old := pastUse("alice", "db", "old")
	old.Time = time.Now().Add(-8 * 24 * time.Hour)
	enforcer := pastUse("alice", "db", "passed")
	enforcer.PolicyDigest = ""
	delegated := pastUse("robot", "db", "query")
	delegated.Workload, delegated.Actors = true, []string{"editor"}
	got := suggestFrom(t, "--audit", pastLog(t, approved, denied, denied, otherwise, observed, again, old, enforcer, delegated))
	for _, want := range []string{"          - query # 2 times, last ", "; 2 only in observe mode; limit 5 to 100\n", "  people-1:\n    who:\n      users:\n        - alice #",
		"  workloads-1:\n    who:\n      clients:\n        - robot #", "#   user alice: tool drop of db: allowed once approved, and the log does not say by whom (once,",
		"#   user alice: tool delete of db: denied, not_granted (2 times,"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	for _, not := range []string{"- drop", "rename", "- old", "passed", "secret", "- delete"} {
		if strings.Contains(got, not) {
			t.Errorf("%q is in\n%s", not, got)
		}
	}
}

func TestPastCallsSkipWhatIsNoLine(t *testing.T) {
	path := pastLog(t, pastUse("alice", "mail", "read_message"), pastUse("bob", "mail", "read_message"))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	torn := lines[0][:40] + "\n" + lines[0] + strings.Repeat("x", 1<<19) + "\n" + lines[1] + lines[0][:20]
	p := &past{approvers: map[string]string{}}
	var subjects []string
	if err := p.read(strings.NewReader(torn), func(c pastCall) { subjects = append(subjects, c.Subject) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(subjects, []string{"alice", "bob"}) || p.unread != 3 {
		t.Errorf("read %v, %d lines unread", subjects, p.unread)
	}
}

func TestPastFlagsSayWhatIsWrong(t *testing.T) {
	for _, since := range []string{"", "7", "-1d", "0d", "7days", "\x1b"} {
		var errs strings.Builder
		if code := run(t.Context(), []string{"policy", "suggest", "--since", since, "--audit", "x"}, io.Discard, &errs); code == 0 || !strings.Contains(errs.String(), "for example 7d") || strings.Contains(errs.String(), "\x1b") {
			t.Errorf("--since %q: exit code %d: %q", since, code, errs.String())
		}
	}
}

// TestSuggestionKeepsApprovals: what was done only because somebody approved it must not
// be what anybody does alone.
func TestSuggestionKeepsApprovals(t *testing.T) {
	asked := pastUse("alice", "db", "drop")
	asked.Kind, asked.Decision, asked.Reason = audit.Denial, audit.Deny, "approval_required"
	gave := pastUse("alice", "db", "drop")
	gave.Kind, gave.Action, gave.Approval, gave.Operator = "approval", "approvals/approve", "apr-1", "bob"
	done := pastUse("alice", "db", "drop")
	done.Approval = "apr-1"
	log := pastLog(t, asked, gave, done, pastUse("alice", "db", "query"))
	got := suggestFrom(t, "--audit", log)
	pdp, err := policies.New(t.Context(), policies.Config{Access: []byte(got)})
	if err != nil {
		t.Fatal(err)
	}
	cases, err := policies.ParseCases("c", []byte(`cases:
  - {name: a, subject: alice, server: db, tool: drop, arguments: {}, want: approval}
  - {name: b, subject: alice, server: db, tool: drop, arguments: {}, approved: true, want: allow}
  - {name: c, subject: alice, server: db, tool: query, arguments: {}, want: allow}
  - {name: d, subject: bob, server: db, tool: drop, arguments: {}, approved: true, want: deny}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases.Cases {
		if _, wrong := c.Run(t.Context(), pdp); wrong != "" {
			t.Errorf("%s: %s\n%s", c.Name, wrong, got)
		}
	}
	if strings.Contains(got, "denied, approval_required") || !strings.Contains(got, "  approvers-1:\n    who:\n      users:\n        - bob\n") {
		t.Errorf("suggestion:\n%s", got)
	}
}
