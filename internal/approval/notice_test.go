package approval_test

import (
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/approval"
)

// TestNoticesSayWhatWasAsked and decided, and hold the arguments as they are kept.
func TestNoticesSayWhatWasAsked(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	w.open(w.call("database_drop"))
	w.decide(by("bob", r.ID, true))
	other := w.open(w.call("user_delete"))
	w.decide(by("bob", other.ID, false))
	var kinds []string
	for _, n := range w.told {
		kinds = append(kinds, n.kind)
	}
	if diff := cmp.Diff([]string{approval.Requested, approval.Given, approval.Requested, approval.Refused}, kinds); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(w.told[1].body), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"type": "approval.approved", "timestamp": "2026-10-07T09:30:00.123456Z", "data": map[string]any{
		"id": r.ID, "url": w.URL(r.ID), "state": "approved", "subject": "alice@example.com", "client": "dev-agent", "actors": []any{"helper@example.com", "dev-agent"},
		"server": "db", "tool": "database_drop", "arguments": map[string]any{"table": "orders"}, "arguments_digest": "args", "definition_digest": "def",
		"policy_digest": "pol", "rule": "access.yaml:7: roles.admin", "risk": "high", "approvers": []any{[]any{"approver"}},
		"created_at": "2026-10-07T09:30:00.123456Z", "expires_at": "2026-10-07T09:45:00.123456Z",
		"decided_by": "bob", "decided_at": "2026-10-07T09:30:00.123456Z", "comment": "checked"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notice (-want +got):\n%s", diff)
	}
}

func TestNobodyIsToldWithoutNotices(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Notices = nil
	if _, err := approval.New(cfg).Open(t.Context(), w.call("a")); err != nil || len(w.told) != 0 {
		t.Errorf("%v, %v", err, w.told)
	}
}
