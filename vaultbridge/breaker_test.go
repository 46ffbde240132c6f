package vaultbridge_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

func (w *world) twoServers(pause time.Duration) *vaultbridge.Bridge {
	mail := w.server(func(s *vaultbridge.Server) { s.Name = "mail" })
	return w.bridge(func(c *vaultbridge.Config) { c.Pause = pause }, w.server(nil), mail)
}

// TestVaultThatFailsIsLeftAlone: after five failures calls are refused at once, for the
// server that saw them and no other.
func TestVaultThatFailsIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	b := w.twoServers(time.Hour)
	w.vault.Seal(t)
	for range 5 {
		w.refused(b, w.alice(), "vault_sealed")
	}
	asked := w.gate.asked("auth/jwt/login")
	f := w.refused(b, w.alice(), vaultbridge.CircuitOpen)
	if n := w.gate.asked("auth/jwt/login") - asked; n != 0 || !b.Status()[0].Open || b.Status()[0].Why != f.Reason() || b.Status()[1].Open {
		t.Errorf("%d more requests; %+v", n, b.Status())
	}
	w.vault.UnsealAgain(t)
	c, err := b.Source("mail").Obtain(t.Context(), w.call("alice", "editor", "mail"))
	if err != nil {
		t.Fatalf("the other server: %v", err)
	}
	c.End()
	w.nothingLeft()
}

// TestVaultIsWellAgain: no restart is needed.
func TestVaultIsWellAgain(t *testing.T) {
	w := newWorld(t)
	b := w.twoServers(time.Nanosecond)
	w.vault.Seal(t)
	for range 7 { // the last two are probes
		w.refused(b, w.alice(), "vault_sealed")
	}
	w.vault.UnsealAgain(t)
	w.obtain(b, w.alice()).End()
	w.nothingLeft()
	if log := w.log.String(); !strings.Contains(log, "Vault is well again") || b.Status()[0].Open || b.Status()[0].Why != "" {
		t.Errorf("%+v\n%s", b.Status(), log)
	}
}

// TestRefusalsAreNoFailures: what Vault thinks of a subject is nobody else's trouble.
func TestRefusalsAreNoFailures(t *testing.T) {
	w := newWorld(t)
	b := w.twoServers(time.Hour)
	w.do("sys/policies/acl/calls", map[string]any{"policy": `path "sys/leases/revoke" { capabilities = ["update"] }`})
	for range 8 {
		w.refused(b, w.alice(), "vault_permission_denied")
	}
	w.role(map[string]any{"bound_audiences": []string{"https://elsewhere.test"}})
	for range 8 {
		w.refused(b, w.alice(), "vault_login_failed")
	}
	w.nothingLeft()
}

// TestVaultThatCannotBeReached is told apart from one that is sealed.
func TestVaultThatCannotBeReached(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	w.vault.Kill()
	w.refused(b, w.alice(), "vault_unreachable")
	w.vault.Run(t)
	w.vault.UnsealAgain(t)
	w.obtain(b, w.alice()).End()
	w.nothingLeft()
}

// TestVaultThatAnswersTooLate: nobody waits any more when it makes the user, whose Vault
// token was revoked meanwhile.
func TestVaultThatAnswersTooLate(t *testing.T) {
	w := newWorld(t)
	w.do("database/roles/"+w.dbRole(), map[string]any{"db_name": "pg", "default_ttl": "30s", "creation_statements": []string{
		`SELECT pg_sleep(1)`, `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`}})
	w.obtain(w.bridge(nil), w.alice()).End()
	w.nothingLeft()
	w.client = must(vault.New(vault.Config{Address: w.gate.url, Timeout: 300 * time.Millisecond}))
	w.refused(w.bridge(nil), w.alice(), vault.Timeout)
	w.until("the call's token is gone", func() bool { return w.tokens() == 0 })
	w.until("Vault has finished", func() bool { return w.gate.done("database/creds/"+w.dbRole()) == 2 })
	w.nothingLeft()
}
