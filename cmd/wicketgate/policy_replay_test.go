package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replayed runs policy replay --json.
func replayOf(t *testing.T, args ...string) (doc replayDocument, code int) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), append([]string{"policy", "replay", "--json"}, args...), &out, &errs)
	if err := json.Unmarshal([]byte(out.String()), &doc); err != nil {
		t.Fatalf("exit code %d: %v: %s", code, err, errs.String())
	}
	return doc, code
}

const replayThen = `version: 1
roles:
  staff:
    who: {groups: [staff]}
    servers:
      db: {tools: {query: {arguments: {limit: {max: 100}}}, read: {}}}
`

// TestReplayNeverGuesses: what the log does not have is said, not assumed. To take it for
// absent would show a policy as harmless that is not, or as broken that is good.
func TestReplayNeverGuesses(t *testing.T) {
	then := writeFile(t, replayThen)
	pdp, err := policies.New(t.Context(), policies.Config{Access: []byte(replayThen)})
	if err != nil {
		t.Fatal(err)
	}
	call := func(tool, facts, arguments string) audit.Event {
		e := pastUse("alice", "db", tool)
		if e.PolicyDigest = pdp.Digest(); facts != "" {
			e.Facts = []byte(facts)
		}
		var err error
		if e.ArgumentsDigest, err = token.Digest([]byte(arguments)); err != nil {
			t.Fatal(err)
		}
		return e
	}
	unknownThen := func(e audit.Event) audit.Event { e.PolicyDigest = "older"; return e }
	denied := func(e audit.Event) audit.Event {
		e.Kind, e.Decision, e.Reason, e.ArgumentsDigest = audit.Denial, audit.Deny, "no_role", ""
		return e
	}
	const staff = `{"groups":["staff"],"arguments":{"limit":50}}`
	for _, tt := range []struct {
		name, next, want string
		event            audit.Event
	}{
		{"the same policy", replayThen, "", call("query", staff, `{"limit":50}`)},
		{"a stricter limit", strings.ReplaceAll(replayThen, "100", "10"), "deny", call("query", staff, `{"limit":50}`)},
		{"a limit that still holds", strings.ReplaceAll(replayThen, "100", "60"), "", call("query", staff, `{"limit":50}`)},
		{"a group that was recorded", replayThen, "", unknownThen(call("read", `{"groups":["staff"]}`, `{}`))},
		{"a group that the policy of then did not read", strings.ReplaceAll(replayThen, "staff]", "dba]"), "group dba", call("read", `{"groups":["staff"]}`, `{}`)},
		{"a group that it read, and which was not there", strings.ReplaceAll(replayThen, "[staff]", "[staff]}\n    when: {a: b"), "claim a", call("read", `{"groups":["staff"]}`, `{}`)},
		{"that of a policy which is not at hand", replayThen, "group staff", unknownThen(denied(call("read", ``, `{}`)))},
		{"that of one which is", replayThen, "", denied(call("read", ``, `{}`))},
		{"no facts at all", replayThen, "group staff", unknownThen(call("read", ``, `{}`))},
		{"an argument that the policy of then did not read", strings.ReplaceAll(replayThen, "limit:", "table:"), "argument table", call("query", staff, `{"limit":50,"table":"t"}`)},
		{"unless these are all", strings.ReplaceAll(replayThen, "limit:", "table:"), "deny", call("query", staff, `{"limit":50}`)},
		{"one that was redacted", strings.ReplaceAll(replayThen, "max: 100", "pattern: '[a-z]+'"), "argument limit", call("query", `{"groups":["staff"],"arguments":{"limit":"[email]"}}`, `{"limit":"bob@example.com"}`)},
		{"arguments that nobody had looked at", replayThen, "argument limit", denied(call("query", `{"groups":["staff"]}`, `{}`))},
		{"what does not hang on them", strings.ReplaceAll(replayThen, "read: {}", "other: {}"), "deny", call("read", `{"groups":["staff"]}`, `{}`)},
	} {
		doc, code := replayOf(t, "--audit", pastLog(t, tt.event), "--then", then, writeFile(t, tt.next))
		got := ""
		for _, row := range append(doc.Otherwise, doc.Unknown...) {
			got += row.Now + row.Missing + row.Error
		}
		if got != tt.want || (code == 0) != (tt.want == "") || doc.Calls != 1 {
			t.Errorf("%s: got %q, exit code %d, want %q: %+v", tt.name, got, code, tt.want, doc)
		}
	}
}

func TestReplayComparesWhatWasDone(t *testing.T) {
	const grants = "version: 1\nroles:\n  a: {who: {users: [alice]}, servers: {db: {tools: {drop: {}}}}}\n"
	asks := strings.Replace(grants, "drop: {}", "drop: {approval: {by: [a]}}", 1)
	nothing := "version: 1\n"
	observes := "version: 1\nservers: {db: {observe_until: 2099-01-01T00:00:00Z}}\n"
	plain := pastUse("alice", "db", "drop")
	observed, approved, waiting, outage, long := plain, plain, plain, plain, plain
	observed.Observed = "not_granted"
	approved.Approval = "apr-1"
	waiting.Kind, waiting.Decision, waiting.Reason = audit.Denial, audit.Deny, "approval_required"
	outage.Kind, outage.Decision, outage.Reason = audit.Denial, audit.Deny, "timeout"
	long.Action, long.Tool, long.URI = "resources/read", "", "file:///"+strings.Repeat("a", 120)+"…"
	for _, tt := range []struct {
		name, policy, want string
		event              audit.Event
	}{
		{"allowed, and is", grants, "", plain},
		{"allowed, and is not", nothing, "deny (no_role)", plain},
		{"allowed, and would only be observed", observes, "deny (no_role)", plain},
		{"observed, and is allowed", grants, "", observed},
		{"observed, and is not", nothing, "deny (no_role)", observed},
		{"allowed, and needs an approval", asks, "approval (approval_required)", plain},
		{"approved, and needs one again", asks, "", approved},
		{"approved, and needs none", grants, "allow (allowed)", approved},
		{"waited for one, and would", asks, "", waiting},
		{"a name that was cut", grants, "the log has only the beginning of its name", long},
	} {
		doc, _ := replayOf(t, "--audit", pastLog(t, tt.event), writeFile(t, tt.policy))
		got := ""
		for _, row := range doc.Otherwise {
			got += fmt.Sprintf("%s (%s)", row.Now, row.NowReason)
		}
		for _, row := range doc.Unknown {
			got += row.Error + row.Missing
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if doc, code := replayOf(t, "--audit", pastLog(t, outage), writeFile(t, grants)); doc.Calls != 0 || code != 1 {
		t.Errorf("a call that policy did not answer: %+v, exit code %d", doc, code)
	}
}

// TestSuggestionReplaysWithoutADifference: what was suggested from a log decides each of
// its calls as it was.
func TestSuggestionReplaysWithoutADifference(t *testing.T) {
	for range 30 {
		log := pastLog(t, randomCalls()...)
		next := writeFile(t, suggestFrom(t, "--audit", log))
		if doc, code := replayOf(t, "--audit", log, next); code != 0 || doc.Calls == 0 {
			b, _ := os.ReadFile(next)
			t.Fatalf("exit code %d: %+v\n%s", code, doc, b)
		}
	}
}

// randomCalls are of a few callers; each of what there is they may always, or never, or
// with an approval.
func randomCalls() (out []audit.Event) {
	subjects := []string{"alice", "bob", "robot", "spiffe://example.org/a", "yes", "1e3", "a:b#c"}
	names := []string{"query", "list/all", "null", "a.b-c", "0"}
	for range 60 {
		i, j := rand.IntN(len(subjects)), rand.IntN(len(names))
		e := pastUse(subjects[i], []string{"db", "mail"}[j%2], names[j])
		e.Time = time.Now().Add(-time.Duration(rand.IntN(1000)) * time.Second)
		if i == 2 {
			e.Client = e.Subject
		}
		switch j % 3 {
		case 1:
			e.Action, e.Tool, e.URI = "resources/read", "", "file:///"+e.Tool
		case 2:
			e.Action, e.Tool, e.Prompt = "prompts/get", "", e.Tool
		}
		switch id := fmt.Sprint("apr-", i, j); (i + j) % 5 {
		case 0:
			e.Kind, e.Decision, e.Reason = audit.Denial, audit.Deny, "not_granted"
		case 1:
			e.Approval = id
			out = append(out, audit.Event{Kind: "approval", Action: "approvals/approve", Approval: id, Operator: "carol"})
		case 2:
			e.Observed = "no_role"
		}
		out = append(out, e)
	}
	return out
}
