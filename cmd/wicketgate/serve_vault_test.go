package main

import (
	"fmt"
	"strings"
	"testing"
)

const whose = "SELECT 'x'"

// TestLegacyCallRunsAsAUserMadeForIt: who is gone when it is over, and of whom Vault's own
// audit log says for whom and by whom.
func TestLegacyCallRunsAsAUserMadeForIt(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(loginByJWT)
	first, err := w.query("alice", "SELECT amount::text FROM salaries")
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.query("alice", "SELECT amount::text FROM salaries")
	if err != nil {
		t.Fatal(err)
	}
	user, rest, _ := strings.Cut(first, " ")
	if !strings.HasPrefix(user, "v-") || rest != "7 " || strings.HasPrefix(second, user) {
		t.Errorf("the calls ran as %q and %q", first, second)
	}
	w.until("the users are gone", func() bool { return len(w.users()) == 0 })
	lines := w.vaultLines("database/creds/reports-alice")
	if len(lines) != 2 || lines[0].Auth.DisplayName != "jwt-alice" || lines[0].Auth.Metadata["actor"] != agentID || lines[0].Auth.Metadata["tool"] != "query" || lines[0].Auth.Metadata["txn"] == "" {
		t.Errorf("Vault's audit has %v", lines)
	}
	w.until("both are in our audit log, from the beginning to the end", func() bool { return len(w.leaseLines(w.world)) == 4 })
	for _, l := range w.leaseLines(w.world) {
		if l["subject"] != "alice" || l["server"] != "reports" || !strings.HasPrefix(fmt.Sprint(l["lease"]), "database/creds/reports-alice/") {
			t.Errorf("a line of ours: %v", l)
		}
	}
}

// TestAnotherSubjectHasOtherRights: by users of another role, which Vault itself gives to
// nobody else.
func TestAnotherSubjectHasOtherRights(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(loginByJWT)
	if _, err := w.query("bob", "SELECT amount::text FROM salaries"); err == nil || !strings.Contains(err.Error(), "permission denied for table salaries") {
		t.Errorf("bob read the salaries: %v", err)
	}
	if said, err := w.query("bob", whose); err != nil || !strings.HasPrefix(said, "v-jwt-bob-") {
		t.Errorf("bob's call: %q, %v", said, err)
	}
	said, err := w.call(w.token("alice", "notes", false), "notes", "whoami", map[string]any{})
	if err != nil || !strings.HasPrefix(said, "key 26, authorization \"\"") {
		t.Errorf("alice's note: %q, %v", said, err)
	}
	if _, err := w.call(w.token("bob", "notes", false), "notes", "whoami", map[string]any{}); err == nil {
		t.Error("bob has a note that nobody wrote for him")
	}
}
