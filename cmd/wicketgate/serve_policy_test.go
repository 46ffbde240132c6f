package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/policies"
)

// billing is an access.yaml by which the agent may call the tools of mail.
func billing(tools string) string {
	return "version: 1\nroles:\n  billing:\n    who: {clients: [" + agentID + "]}\n    servers:\n      mail: {tools: [" + tools + "]}\n"
}

// replace writes a file as one should: another one takes its place.
func (w *world) replace(name, content string) {
	w.t.Helper()
	if err := os.Rename(w.write(name+".new", content), filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// hangup is what an operator sends for a reload at once.
func (w *world) hangup() {
	w.t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
}

// inEffect waits until the log says so of access.yaml, and returns its digest.
func (w *world) inEffect(access string) string {
	w.t.Helper()
	p, err := policies.New(w.t.Context(), policies.Config{Access: []byte(access)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.log.with(`"msg":"another policy is in effect","policy_digest":"` + p.Digest() + `"`)
	return p.Digest()
}

// listening is a session that hears of changed tools.
func (w *world) listening(raw string) (*mcp.ClientSession, chan struct{}) {
	w.t.Helper()
	client, heard := w.client(), make(chan struct{}, 8)
	client.Transport = bearer{client.Transport, raw}
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { heard <- struct{}{} },
	}).Connect(w.t.Context(), &mcp.StreamableClientTransport{Endpoint: w.issuer + "/mcp/mail", HTTPClient: client}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s, heard
}

func toolsOf(t *testing.T, s *mcp.ClientSession) string {
	t.Helper()
	res, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range res.Tools {
		names = append(names, tool.Name)
	}
	return strings.Join(names, " ")
}

// TestPolicyReloads: what is written into access.yaml counts without a restart, and
// clients are told to list anew.
func TestPolicyReloads(t *testing.T) {
	w := newWorld(t, nil)
	w.write("access.yaml", billing("list_messages"))
	w.start(w.config(withTLS + withAgent))
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	s, heard := w.listening(raw)
	if got := toolsOf(t, s); got != "list_messages" {
		t.Fatalf("tools before: %s", got)
	}
	next := billing("list_messages, read_message")
	w.replace("access.yaml", next)
	for toolsOf(t, s) != "list_messages read_message" {
		<-heard // of the definitions that were pinned when first listed, and of the policy
	}
	digest := w.inEffect(next)
	lines := readText(t, filepath.Join(w.dir, "data", "audit.jsonl"))
	for _, action := range []string{"policy/load", "policy/reload"} {
		if !strings.Contains(lines, `"kind":"policy"`) || !strings.Contains(lines, `"action":"`+action+`"`) {
			t.Errorf("the audit log has no %s", action)
		}
	}
	if _, body := w.get(w.admin + "/metrics"); !strings.Contains(body, `wicketgate_policy_info{digest="`+digest+`",valid="true"} 1`) || !strings.Contains(body, `wicketgate_policy_reloads_total{result="ok"} 1`) {
		t.Errorf("metrics:\n%s", body)
	}
}

// TestBadPolicyIsRefusedLoudly: the one before stays, and operators are told until it is
// mended.
func TestBadPolicyIsRefusedLoudly(t *testing.T) {
	w := newWorld(t, nil)
	good := billing("list_messages")
	w.write("access.yaml", good)
	w.start(w.config(withTLS + withAgent))
	raw, _ := w.accessToken(w.client())
	s := w.connect(raw)
	w.replace("access.yaml", "version: 1\nroles:\n  billing: {}\n")
	w.hangup()
	w.log.with(`"msg":"the policy was refused: the one of `)
	w.log.with(`access.yaml:3:3: role \"billing\" has no servers`)
	if res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{}}); err != nil || res.IsError {
		t.Errorf("a call by the policy before: %v %v", res, err)
	}
	status, body := w.get(w.admin + "/readyz")
	if status != http.StatusOK || !strings.Contains(body, `"name":"policy","ok":true,"warning":"not valid since `) || !strings.Contains(body, " stays: ") {
		t.Errorf("readyz: %d %s", status, body)
	}
	if _, body := w.get(w.admin + "/metrics"); !strings.Contains(body, `wicketgate_policy_reloads_total{result="failed"} 1`) || !strings.Contains(body, `valid="false"`) {
		t.Errorf("metrics:\n%s", body)
	}
	w.replace("access.yaml", good+"# mended\n")
	w.hangup()
	w.inEffect(good)
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK || strings.Contains(body, "not valid") {
		t.Errorf("readyz once it is mended: %d %s", status, body)
	}
}

// TestPolicyReloadsUnderLoad: while policies change, no call that both allow is dropped.
func TestPolicyReloadsUnderLoad(t *testing.T) {
	w := newWorld(t, nil)
	w.write("access.yaml", billing("list_messages"))
	w.start(w.config(withTLS + withAgent))
	l := w.startLoad(8)
	const reloads = 10
	for i := range reloads {
		next := billing(fmt.Sprintf("list_messages, other_%d", i))
		w.replace("access.yaml", next)
		w.hangup()
		w.inEffect(next)
		l.more(8)
	}
	if err := l.end(); err != nil {
		t.Errorf("a request failed: %v", err)
	}
	if n := strings.Count(readText(t, filepath.Join(w.dir, "data", "audit.jsonl")), `"action":"policy/reload"`); n != reloads {
		t.Errorf("%d reloads in the audit log, want %d", n, reloads)
	}
}

// TestObserveModeIsSeen: until it ends, /readyz says that what policy denies is allowed, and
// the log did when the policy took effect.
func TestObserveModeIsSeen(t *testing.T) {
	w := newWorld(t, nil)
	until := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	w.write("access.yaml", billing("list_messages")+"servers:\n  mail: {observe_until: "+until+"}\n  old: {observe_until: 2026-01-01T00:00:00Z}\n")
	w.start(w.config(withTLS + withAgent))
	w.log.with(`"level":"WARN","msg":"server mail is in observe mode until ` + until)
	status, body := w.get(w.admin + "/readyz")
	if status != http.StatusOK || !strings.Contains(body, "server mail is in observe mode until "+until) || !strings.Contains(body, "observe_until of server old is over") {
		t.Errorf("readyz: %d %s", status, body)
	}
	later := time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
	w.replace("access.yaml", billing("list_messages")+"servers:\n  mail: {observe_until: "+later+"}\n")
	w.hangup()
	w.log.with(`"level":"WARN","msg":"server mail is in observe mode until ` + later)
}

// TestDenialsOfOnesOwnReload: a person's Rego takes away what access.yaml grants, and is
// followed as that is.
func TestDenialsOfOnesOwnReload(t *testing.T) {
	w := newWorld(t, nil)
	w.write("access.yaml", billing("list_messages"))
	const before, after = "package wicketgate.deny\n\ndeny contains \"x\" if input.tool == \"none\"\n", "package wicketgate.deny\n\ndeny contains \"mail is closed\" if input.server == \"mail\"\n"
	w.write("deny.rego", before)
	w.start(w.config(withTLS + withAgent + "pdp: {rego: [deny.rego]}\n"))
	raw, _ := w.accessToken(w.client())
	s := w.connect(raw)
	if !tries(t, s) {
		t.Error("denied by a rule for another tool")
	}
	w.replace("deny.rego", after)
	w.hangup()
	w.log.times(`"msg":"another policy is in effect"`, 1)
	if tries(t, s) || w.denials("denied_by_rego") != 1 {
		t.Errorf("%d denials by Rego", w.denials("denied_by_rego"))
	}
	w.replace("deny.rego", "package wicketgate.deny\n\nallow := true\n")
	w.hangup()
	w.log.with("the policy was refused: the one of ")
	if tries(t, s) {
		t.Error("a mistake in it opened what it had closed")
	}
}
