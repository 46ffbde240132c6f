package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// client is a real MCP client that has logged in and opened a session.
type client interface {
	// list returns the names of the tools.
	list(ctx context.Context) ([]string, error)
	// call calls a tool. A JSON-RPC error is an *rpcError.
	call(ctx context.Context, tool string, arguments map[string]any) (result, error)
}

// result is what a tool answered.
type result struct {
	IsError    bool            `json:"isError"`
	Text       string          `json:"text"`
	Structured json.RawMessage `json:"structured"`
}

// rpcError is a JSON-RPC error.
type rpcError struct {
	Code    int64  `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("JSON-RPC error %d: %s", e.Code, e.Message) }

type object = map[string]any

// invalidParams is the JSON-RPC code with which MCP answers an unknown tool.
const invalidParams = -32602

// The eras of MCP: the first has no sessions, the second has.
const (
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

func inEachEra(t *testing.T, f func(t *testing.T, era string)) {
	for _, era := range []string{modern, legacy} {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			f(t, era)
		})
	}
}

// checkEra checks by the audit log what a person's client has spoken: the era that has
// sessions begins with initialize, and nobody sends that in the other.
func checkEra(t *testing.T, h *house, subject, want string) {
	t.Helper()
	checkEraSince(t, h, 0, subject, want)
}

// checkEraSince leaves out the first lines of the log.
func checkEraSince(t *testing.T, h *house, from int, subject, want string) {
	t.Helper()
	done := map[string]int{}
	for _, l := range h.audit(t)[from:] {
		if l.Subject == subject && l.Kind == "intent" {
			done[l.Action]++
		}
	}
	got := modern
	if done["initialize"] > 0 {
		got = legacy
	}
	if got != want || done["tools/call"] == 0 {
		t.Errorf("the client of %s has done %v, which is %s, want calls in %s", subject, done, got, want)
	}
}

// checkReader checks what alice, a reader, may see and do.
func checkReader(t *testing.T, c client) {
	t.Helper()
	checkTools(t, c, "list_messages", "read_message")
	checkReads(t, c)
	checkRefusals(t, c)
	checkLooksUnknown(t, c, "delete_message")
	checkLooksUnknown(t, c, "send_message")
}

// checkOperator checks what bob, an operator, may see and do: send as well, but
// not delete.
func checkOperator(t *testing.T, c client) {
	t.Helper()
	checkTools(t, c, "list_messages", "read_message", "send_message")
	checkReads(t, c)
	r, err := c.call(deadline(t), "send_message", object{"to": "ines.calder@harbour.example", "subject": "Berth 4", "body": "The crane crew knows."})
	if err != nil || r.IsError {
		t.Errorf("send_message = %+v, %v, want a message sent", r, err)
	}
	if n := len(messages(t, c, nil)); n != 9 {
		t.Errorf("the mailbox has %d messages after send_message, want 9", n)
	}
	checkRefusals(t, c)
	checkLooksUnknown(t, c, "delete_message")
}

func checkTools(t *testing.T, c client, want ...string) {
	t.Helper()
	got, err := c.list(deadline(t))
	if err != nil {
		t.Fatalf("tools/list: %v", err)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
}

func checkReads(t *testing.T, c client) {
	t.Helper()
	if got := messages(t, c, object{"limit": 3}); len(got) != 3 {
		t.Errorf("list_messages(limit 3) has the messages %v, want three", got)
	}
	r, err := c.call(deadline(t), "read_message", object{"id": "m1"})
	if err != nil || r.IsError {
		t.Fatalf("read_message(m1) = %+v, %v", r, err)
	}
	var m struct{ ID, Subject string }
	if err := json.Unmarshal(r.Structured, &m); err != nil || m.ID != "m1" || m.Subject != "Berth plan for this week" {
		t.Errorf("read_message(m1) = %s, %v", r.Structured, err)
	}
}

// messages lists the ids of the mailbox.
func messages(t *testing.T, c client, arguments object) []string {
	t.Helper()
	r, err := c.call(deadline(t), "list_messages", arguments)
	if err != nil || r.IsError {
		t.Fatalf("list_messages(%v) = %+v, %v", arguments, r, err)
	}
	var list struct {
		Messages []struct{ ID string }
	}
	if err := json.Unmarshal(r.Structured, &list); err != nil {
		t.Fatalf("list_messages(%v) = %s: %v", arguments, r.Structured, err)
	}
	var ids []string
	for _, m := range list.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// checkRefusals checks arguments that the approved schema does not allow. The
// mail server's own schema is open, so an unknown parameter would pass there.
func checkRefusals(t *testing.T, c client) {
	t.Helper()
	for name, arguments := range map[string]object{
		"limit of 10000":       {"limit": 10000},
		"limit that is a text": {"limit": "3"},
		"unknown parameter":    {"limit": 3, "folder": "secret"},
	} {
		r, err := c.call(deadline(t), "list_messages", arguments)
		if e := (*rpcError)(nil); err != nil && !errors.As(err, &e) {
			t.Errorf("%s: %v, want a refusal in JSON-RPC", name, err)
		}
		if err == nil && !r.IsError {
			t.Errorf("%s: list_messages(%v) = %+v, want a refusal", name, arguments, r)
		}
	}
}

// checkLooksUnknown checks that a tool that policy hides cannot be told from one
// that does not exist.
func checkLooksUnknown(t *testing.T, c client, hidden string) {
	t.Helper()
	answers := map[string]*rpcError{}
	for _, tool := range []string{hidden, "no_such_tool"} {
		r, err := c.call(deadline(t), tool, object{"id": "m1"})
		e := (*rpcError)(nil)
		if !errors.As(err, &e) {
			t.Fatalf("%s = %+v, %v, want a JSON-RPC error", tool, r, err)
		}
		answers[tool] = e
	}
	if diff := cmp.Diff(answers["no_such_tool"], answers[hidden]); diff != "" {
		t.Errorf("%s answers differently from an unknown tool (-unknown +hidden):\n%s", hidden, diff)
	}
	if got := answers[hidden].Code; got != invalidParams {
		t.Errorf("%s: code %d, want %d", hidden, got, invalidParams)
	}
}

// checkConsent checks that the person could see what they agreed to.
func checkConsent(t *testing.T, h *house, v visit, clientName string) {
	t.Helper()
	if len(v.pages) == 0 {
		t.Fatal("the robot saw no page at all")
	}
	consent := v.pages[len(v.pages)-1]
	for what, part := range map[string]string{
		"client name":   clientName,
		"redirect host": v.redirect.Hostname(),
		"resource":      h.resource(),
		"scope":         "mcp:tools",
	} {
		if !strings.Contains(consent.text, part) {
			t.Errorf("the consent page does not show the %s %q:\n%s", what, part, consent.text)
		}
	}
	for _, p := range v.pages {
		if p.header.Get("Content-Security-Policy") == "" || p.header.Get("Cache-Control") != "no-store" {
			t.Errorf("page %s has the headers %v, want a Content-Security-Policy and Cache-Control: no-store", p.url.Path, p.header)
		}
	}
}
