package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// roles counts those of PostgreSQL whose names have a text in them.
func roles(t *testing.T, database, like string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_roles WHERE rolname LIKE '%' || $1 || '%'", like).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLeases are renewed while a call lasts, and what was minted is gone with them.
func TestLeases(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	database := pgtest.Empty(t)
	v.Database(t, database)
	v.DatabaseRole(t, "leases", time.Minute)
	v.Policy(t, "leases", `path "database/creds/leases" { capabilities = ["read"] }
		path "sys/leases/*" { capabilities = ["update"] }`)
	child, err := c.Child(t.Context(), root, vault.ChildSpec{Policies: []string{"leases"}, TTL: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	mint := func(t *testing.T) vault.Secret {
		t.Helper()
		s, err := c.Read(t.Context(), child.Token, "database/creds/leases", nil)
		if err != nil || s.LeaseID == "" || s.TTL != time.Minute || !s.Renewable || s.Data["username"] == "" || s.Data["password"] == "" {
			t.Fatalf("lease %q, %v, renewable %v: %v", s.LeaseID, s.TTL, s.Renewable, err)
		}
		return s
	}
	s := mint(t)
	if n := roles(t, database, "-leases-"); n != 1 {
		t.Fatalf("%d roles", n)
	}
	// 2 minutes are the most that the role has for a lease.
	if ttl, err := c.RenewLease(t.Context(), child.Token, s.LeaseID, time.Hour); err != nil || ttl <= time.Minute || ttl > 2*time.Minute {
		t.Errorf("RenewLease = %v, %v", ttl, err)
	}
	if ttl, err := c.RenewLease(t.Context(), child.Token, s.LeaseID, 30500*time.Millisecond); err != nil || ttl != 31*time.Second {
		t.Errorf("RenewLease for half a second more than 30 = %v, %v", ttl, err)
	}
	for range 2 {
		if err := c.RevokeLease(t.Context(), child.Token, s.LeaseID); err != nil {
			t.Error(err)
		}
		if n := roles(t, database, "-leases-"); n != 0 {
			t.Errorf("%d roles after the lease was revoked", n)
		}
	}
	_, err = c.RenewLease(t.Context(), child.Token, s.LeaseID, time.Minute)
	reason(t, "renew a lease that is gone", err, vault.Refused)
	for what, revoke := range map[string]func() error{
		"its token":    func() error { return c.RevokeToken(t.Context(), child.Token) },
		"its accessor": func() error { return c.RevokeAccessor(t.Context(), root, child.Accessor) },
	} {
		child, err = c.Child(t.Context(), root, vault.ChildSpec{Policies: []string{"leases"}, TTL: 5 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		mint(t)
		if err := revoke(); err != nil {
			t.Error(what, err)
		}
		for roles(t, database, "-leases-") != 0 { // Vault does it beside
			<-time.After(10 * time.Millisecond)
		}
	}
}

// TestRevokingWhatVaultDoesNotKnowIsDone: the next start revokes what the last one may
// have revoked, and what Vault has forgotten.
func TestRevokingWhatVaultDoesNotKnowIsDone(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	for what, err := range map[string]error{
		"accessor": c.RevokeAccessor(t.Context(), root, "nobody-has-this-accessor"),
		"lease":    c.RevokeLease(t.Context(), root, "database/creds/x/nobody-has-this-lease"),
		"token":    c.RevokeToken(t.Context(), vault.NewToken("hvs.nobody-has-this-token")),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	reason(t, "an accessor, by a token that is not valid", c.RevokeAccessor(t.Context(), vault.NewToken("hvs.nobody"), "a"), vault.Denied)
	weak, err := c.Child(t.Context(), root, vault.ChildSpec{Policies: []string{"nothing"}, NoDefaultPolicy: true, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	reason(t, "a token that may not revoke itself", c.RevokeToken(t.Context(), weak.Token), vault.Denied)
	v.Seal(t)
	reason(t, "sealed", c.RevokeAccessor(t.Context(), root, "a"), vault.Sealed)
	reason(t, "sealed", c.RevokeToken(t.Context(), weak.Token), vault.Sealed)
}

// TestVaultsAuditNamesWhoCalls, by what a child token says of them, and its life ends at
// the most that it was made with, whoever renews it.
func TestVaultsAuditNamesWhoCalls(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	file := v.Audit(t)
	v.Do(t, http.MethodPost, "auth/token/roles/calls", map[string]any{"allowed_policies": "default", "orphan": true})
	for _, role := range []string{"", "calls"} {
		who := map[string]string{"subject": "alice", "actor": "agent", "client": "agent", "server": "reports", "txn": "t1"}
		child, err := c.Child(t.Context(), root, vault.ChildSpec{Role: role, Policies: []string{"default"}, TTL: 30 * time.Second, DisplayName: "alice", Meta: who})
		if err != nil || child.TTL != 30*time.Second {
			t.Fatal(child, err)
		}
		if again, err := c.RenewToken(t.Context(), child.Token); err != nil || again.TTL > 30*time.Second || again.Token != child.Token {
			t.Errorf("RenewToken = %+v, %v", again, err)
		}
		if self, err := c.Read(t.Context(), child.Token, "auth/token/lookup-self", nil); err != nil || fmt.Sprint(self.Data["explicit_max_ttl"]) != "30" {
			t.Errorf("explicit_max_ttl = %v, %v", self.Data["explicit_max_ttl"], err)
		}
		if _, err := c.RenewToken(t.Context(), child.Token); err != nil {
			t.Error(err)
		}
		lines := vaulttest.ReadAudit(t, file)
		last := lines[len(lines)-1]
		if last.Request.Path != "auth/token/renew-self" || last.Auth.DisplayName != "token-alice" || last.Auth.Metadata["subject"] != "alice" || last.Auth.Metadata["actor"] != "agent" {
			t.Errorf("role %q: the audit line is %+v", role, last)
		}
	}
}
