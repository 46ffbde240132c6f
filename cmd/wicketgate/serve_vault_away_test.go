package main

import (
	"net/http"
	"strings"
	"testing"
)

// TestSealedVaultIsADenialWithAdvice, of the servers that need it: the others go on, and
// nothing has to be started again afterwards.
func TestSealedVaultIsADenialWithAdvice(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(loginByJWT)
	if _, err := w.query("alice", whose); err != nil {
		t.Fatal(err)
	}
	w.until("the user is gone", func() bool { return len(w.users()) == 0 })
	w.vault.Seal(t)
	_, err := w.query("alice", whose)
	if err == nil || !strings.Contains(err.Error(), "vault_sealed: The gateway cannot obtain credentials for this server at the moment. Try again in a minute; if it lasts, tell whoever runs the gateway that Vault is sealed.") {
		t.Errorf("sealed: %v", err)
	}
	if said, err := w.call(w.token("alice", "mail", false), "mail", "whoami", map[string]any{}); err != nil || !strings.HasPrefix(said, `key 0, authorization "Bearer `) {
		t.Errorf("a server that needs no Vault: %q, %v", said, err)
	}
	w.until("the operator is told", func() bool {
		status, body := w.get(w.admin + "/readyz")
		return status == http.StatusOK && strings.Contains(body, `"name":"vault"`) && strings.Contains(body, "sealed")
	})
	w.vault.UnsealAgain(t)
	w.until("it works again", func() bool { _, err := w.query("alice", whose); return err == nil })
	w.until("the users are gone", func() bool { return len(w.users()) == 0 })
	if code := w.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestStopEndsWhatIsInUse: what a call goes on with when the process is told to end is gone
// when it has ended, and so is our own login.
func TestStopEndsWhatIsInUse(t *testing.T) {
	w := newLegacyWorld(t)
	c := loginByJWT
	c.extra = "stop: {drain: 0s, finish: 1s}\n"
	w.begin(c)
	raw, done := w.token("alice", "reports", true), make(chan error, 1)
	go func() {
		_, err := w.call(raw, "reports", "query", map[string]any{"sql": "SELECT pg_sleep(600)::text"})
		done <- err
	}()
	w.until("the call runs in the database", func() bool {
		return w.sql("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'v-%' AND query LIKE '%pg_sleep(600)%'") == "1"
	})
	w.stop()
	if err := <-done; err == nil {
		t.Error("the call went on")
	}
	if users := w.users(); len(users) != 0 {
		t.Errorf("left in the database: %v", users)
	}
	if tokens := w.vault.Do(t, "LIST", "auth/token/accessors", nil)["data"].(map[string]any)["keys"].([]any); len(tokens) != 1 {
		t.Errorf("%d tokens are left in Vault, want its root's alone", len(tokens))
	}
}
