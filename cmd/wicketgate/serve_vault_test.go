package main

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
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

// TestCommandHasAProcessAndACredentialForEachCall: nothing of it stays in a log, or comes
// back in an answer.
func TestCommandHasAProcessAndACredentialForEachCall(t *testing.T) {
	w := newLegacyWorld(t)
	u, err := url.Parse(w.db)
	if err != nil {
		t.Fatal(err)
	}
	c := loginByJWT
	c.also = `
  - name: local
    command: [legacy-stdio]
    credential: vault
    sandbox: {mode: "off"}
    vault:
      engine: database
      path: "database/creds/reports-{{.subject}}"
      role: local
      inject:
        env: [{name: DSN, value: "postgres://{{.username}}:{{.password | urlquery}}@` + u.Path + "?" + u.RawQuery + `"}]`
	w.write("access.yaml", readText(t, filepath.Join(w.dir, "access.yaml"))+"      local: {tools: [query]}\n")
	w.begin(c)
	w.likeReports("local")
	masked := regexp.MustCompile(`postgres://v-[^:@]+:\[credential\]@`)
	users, processes := map[string]bool{}, map[string]bool{}
	for range 2 {
		said, err := w.call(w.token("alice", "local", false), "local", "query", map[string]any{"sql": "SELECT amount::text FROM salaries"})
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(said)
		if users[f[0]], processes[f[3]] = true, true; f[1] != "7" || strings.Count(said, "postgres://") != 1 || !masked.MatchString(said) {
			t.Errorf("said %q", said)
		}
	}
	if len(users) != 2 || len(processes) != 2 {
		t.Errorf("users %v, processes %v, want two of each", users, processes)
	}
	w.until("the users are gone", func() bool { return len(w.users()) == 0 })
	if log := w.log.with("connecting with"); len(masked.FindAllString(log, -1)) != strings.Count(log, "postgres://v-") {
		t.Errorf("the log has %s", log)
	}
}

// likeReports sets up another server with the policy of reports.
func (w *legacyWorld) likeReports(server string) {
	w.t.Helper()
	role := w.vault.Do(w.t, http.MethodGet, "auth/jwt/role/reports", nil)["data"].(map[string]any)
	role["bound_claims"] = map[string]any{"client_id": gatewayID.String(), "/authorization_details/0/server": server}
	w.vault.Do(w.t, http.MethodPost, "auth/jwt/role/"+server, role)
}

// TestVaultItselfKeepsServersAndPeopleApart: whatever our configuration says, a token of one
// server is no login of another, and nobody reads what is another person's.
func TestVaultItselfKeepsServersAndPeopleApart(t *testing.T) {
	w := newLegacyWorld(t)
	c := loginByJWT
	for name, vault := range map[string]string{
		"crossed": `engine: kv, path: "secret/data/notes/{{.subject}}", role: notes`,
		"own":     `engine: kv, path: secret/data/own, role: wicketgate`,
	} {
		c.also += `
  - {name: ` + name + `, url: "` + w.reports.URL + `/notes", credential: vault, vault: {` + vault + `, inject: {header: [{name: X-Key, value: "{{.key}}"}]}}}`
		w.write("access.yaml", readText(t, filepath.Join(w.dir, "access.yaml"))+"      "+name+": {tools: [whoami]}\n")
	}
	w.yaml(c)
	w.stop = w.start(w.write("wicketgate.yaml", strings.Replace(readText(t, filepath.Join(w.dir, "wicketgate.yaml")), "reports-{{.subject}}", "reports-bob", 1)))
	w.setUp("jwt", w.issuer, vaultAudience)
	w.both(c.method)
	if said, err := w.query("alice", whose); err == nil || !strings.Contains(err.Error(), "vault_permission_denied") {
		t.Errorf("what is bob's: %q, %v", said, err)
	}
	for server, want := range map[string]string{"crossed": "vault_login_failed", "own": "vault_login_failed"} {
		if said, err := w.call(w.token("alice", server, false), server, "whoami", map[string]any{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %s", server, said, err, want)
		}
	}
}
