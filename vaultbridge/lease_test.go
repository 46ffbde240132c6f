package vaultbridge_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// TestCallLeavesNothingBehind: a user of its own for the time of the call, and no longer.
func TestCallLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	r := w.alice()
	c := w.obtain(b, r)
	if got := w.users(); !slices.Equal(got, []string{user(c)}) {
		t.Fatalf("users during the call: %v, want %q alone", got, user(c))
	}
	c.End()
	w.nothingLeft()
	w.until("the end is in the audit log", func() bool { return slices.Equal(w.audit.of(r.ID), []string{"minted", "revoked call_ended"}) })
	if !closed(c.Done()) {
		t.Error("Done is open after the end")
	}
	c.End() // once more does nothing
}

// TestCallerWhoGoesAwayWhileMinting: whatever stage it was in, what was minted is ended,
// and who asked is not kept.
func TestCallerWhoGoesAwayWhileMinting(t *testing.T) {
	w := newWorld(t)
	for _, stage := range []string{"auth/jwt/login", "database/creds/"} {
		for _, b := range []*vaultbridge.Bridge{w.keeps(vaultbridge.PerSession), w.keeps(vaultbridge.PerSubject)} {
			arrived, release := make(chan struct{}), make(chan struct{})
			w.gate.on(stage, func() { close(arrived); <-release })
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-arrived; cancel() }()
			_, err := b.Source("reports").Obtain(ctx, w.alice())
			var f *vaultbridge.Failure
			if !errors.As(err, &f) || f.Why != vaultbridge.CallerGone {
				t.Fatalf("Obtain() = %v, want %s", err, vaultbridge.CallerGone)
			}
			w.gate.on(stage, nil)
			close(release)
			w.until("it was minted for nobody", func() bool { return strings.Contains(w.minted(), "nobody_waits") })
			w.nothingLeft()
			w.audit.forget()
		}
	}
}

// TestNothingIsMintedThatIsNotRecorded: what nobody knows of, nobody could end.
func TestNothingIsMintedThatIsNotRecorded(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	w.records.failing("InsertLease", errors.New("the store is away"))
	w.refused(b, w.alice(), vaultbridge.Unrecorded)
	if n := w.gate.asked("database/creds/" + w.dbRole()); n != 0 {
		t.Errorf("Vault was asked %d times for a user that was not recorded", n)
	}
	w.nothingLeft()
}

// TestRecordComesBeforeTheMint: it has the accessor by which a crash would be cleaned up.
func TestRecordComesBeforeTheMint(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	var before []vaultbridge.Record
	w.gate.on("database/creds/", func() { before = w.left() })
	r := w.alice()
	c := w.obtain(b, r)
	if len(before) != 1 || before[0].Accessor == "" || before[0].Lease != "" || before[0].Call != r.ID || before[0].Subject != "alice" || before[0].Client != "editor" {
		t.Fatalf("records when Vault was asked for the user: %+v", before)
	}
	w.vault.Do(t, http.MethodPost, "auth/token/revoke-accessor", map[string]any{"accessor": before[0].Accessor})
	w.until("its token ends the user", func() bool { return len(w.users()) == 0 })
	if got := w.left(); len(got) != 1 || got[0].Lease != c.Lease {
		t.Errorf("records of the minted lease %s: %+v", c.Lease, got)
	}
	c.End()
	w.nothingLeft()
}

// TestCredentialThatIsNotInTheAuditLog is handed out to nobody, and ended.
func TestCredentialThatIsNotInTheAuditLog(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	w.audit.failing("minted")
	w.refused(b, w.alice(), vaultbridge.Unaudited)
	if n := w.gate.asked("database/creds/" + w.dbRole()); n != 1 {
		t.Fatalf("Vault was asked %d times", n)
	}
	w.nothingLeft()
}

// TestLeaseWhoseNameIsNotRecorded is as one that was not recorded.
func TestLeaseWhoseNameIsNotRecorded(t *testing.T) {
	w := newWorld(t)
	w.records.failing("NameLease", errors.New("the store is away"))
	w.refused(w.bridge(nil), w.alice(), vaultbridge.Unrecorded)
	w.nothingLeft()
}

// TestLoginThatNobodyCouldEnd: a role that is set up so that its tokens outlive the call,
// or cannot be revoked, is refused before anything is minted, and the token ended.
func TestLoginThatNobodyCouldEnd(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	for want, role := range map[vault.Reason]map[string]any{
		vaultbridge.TokenTTL:   {"token_ttl": "600s", "token_explicit_max_ttl": "600s"},
		vaultbridge.TokenBatch: {"token_type": "batch", "token_explicit_max_ttl": "0s"},
	} {
		w.role(role)
		f := w.refused(b, w.alice(), want)
		if !strings.Contains(f.Error(), "role \"calls\"") {
			t.Errorf("the error does not name the role: %v", f)
		}
	}
	if n := w.gate.asked("database/creds/" + w.dbRole()); n != 0 {
		t.Errorf("Vault was asked %d times for a user", n)
	}
	w.nothingLeft()
}

// TestAnswerWithoutLease: what has no lease cannot be ended.
func TestAnswerWithoutLease(t *testing.T) {
	w := newWorld(t)
	w.do("sys/mounts/kv1", map[string]any{"type": "kv"})
	w.do("kv1/x", map[string]any{"username": "admin", "password": "correct horse"})
	w.do("sys/policies/acl/calls", map[string]any{"policy": `path "kv1/x" { capabilities = ["read"] }`})
	b := w.bridge(nil, w.server(func(s *vaultbridge.Server) { s.Engine, s.Path = vaultbridge.Generic, "kv1/x" }))
	w.refused(b, w.alice(), vaultbridge.NoLease)
	w.nothingLeft()
}

// TestCallTokenOfAnotherServer opens nothing here.
func TestCallTokenOfAnotherServer(t *testing.T) {
	w := newWorld(t)
	w.refused(w.bridge(nil), w.call("alice", "editor", "mail"), vaultbridge.NotForServer)
	if n := w.gate.asked("auth/jwt/login"); n != 0 {
		t.Errorf("Vault saw %d logins", n)
	}
}

// TestRevokedWhileMinting: between the decision and the credential a freeze may come.
func TestRevokedWhileMinting(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	frozen := func(token.Call, string) error { return errors.New("frozen") }
	w.gate.on("database/creds/", func() { w.freeze(frozen) })
	w.refused(b, w.alice(), vaultbridge.Ended)
	w.nothingLeft()
	logins := w.gate.asked("auth/jwt/login")
	w.refused(b, w.alice(), vaultbridge.Ended)
	if n := w.gate.asked("auth/jwt/login") - logins; n != 0 {
		t.Errorf("Vault saw %d logins for a server that is frozen", n)
	}
}

// TestFreezeEndsWhatIsInUse within a sweep.
func TestFreezeEndsWhatIsInUse(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	alice, bob := w.alice(), w.call("bob", "editor", "reports")
	ca, cb := w.obtain(b, alice), w.obtain(b, bob)
	w.freeze(func(c token.Call, server string) error {
		if c.Subject().String() == "alice" && server == "reports" {
			return errors.New("frozen")
		}
		return nil
	})
	w.sweep(b)
	if !closed(ca.Done()) || closed(cb.Done()) {
		t.Fatalf("Done: alice's %v, bob's %v", closed(ca.Done()), closed(cb.Done()))
	}
	w.until("alice's user is gone", func() bool { return slices.Equal(w.users(), []string{user(cb)}) })
	w.until("and why is told", func() bool { return slices.Contains(w.audit.of(alice.ID), "revoked no_longer_allowed") })
	ca.End()
	cb.End()
	w.nothingLeft()
}

// TestLongCallIsRenewedUntilItsLimit: token and lease live on while the call does, and
// nothing does afterwards, whether the call was ended or forgotten.
func TestLongCallIsRenewedUntilItsLimit(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	c := w.obtain(b, w.alice())
	w.pass(19 * time.Second)
	w.sweep(b)
	w.pass(2 * time.Second) // two thirds of 30 s
	w.sweep(b)
	w.until("Vault renewed", func() bool {
		l := w.vault.Do(t, http.MethodPost, "sys/leases/lookup", map[string]any{"lease_id": c.Lease})
		return l["data"].(map[string]any)["last_renewal"] != nil
	})
	if n := w.gate.asked("auth/token/renew-self"); n != 1 {
		t.Errorf("the token was renewed %d times, want 1", n)
	}
	if closed(c.Done()) {
		t.Fatal("the call lost its credential")
	}
	w.pass(limit - 21*time.Second)
	w.sweep(b)
	if !closed(c.Done()) {
		t.Error("the credential outlives the call's limit")
	}
	w.nothingLeft()
}

// TestCallThatIsForgotten: whoever does not end it, its credential ends when it must have
// ended, although Vault would let it live on.
func TestCallThatIsForgotten(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	r := w.alice()
	r.Until = w.now().Add(10 * time.Second)
	c := w.obtain(b, r)
	w.pass(9 * time.Second)
	w.sweep(b)
	if closed(c.Done()) {
		t.Fatal("the call lost its credential early")
	}
	w.pass(time.Second)
	w.sweep(b)
	if !closed(c.Done()) {
		t.Fatal("the credential outlives the call")
	}
	w.nothingLeft()
	w.until("why is told", func() bool { return slices.Contains(w.audit.of(r.ID), "revoked limit") })
}

// TestTokenThatIsNotRenewed: who goes on with the credential is told when Vault ends it.
func TestTokenThatIsNotRenewed(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	c := w.obtain(b, w.alice())
	w.vault.Do(t, http.MethodPost, "auth/token/revoke-accessor", map[string]any{"accessor": w.left()[0].Accessor})
	w.pass(21 * time.Second)
	w.sweep(b)
	w.until("the call is told", func() bool { return closed(c.Done()) })
	w.nothingLeft()
}

// TestCloseEndsEverything, what is in use too, and nothing begins afterwards.
func TestCloseEndsEverything(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	used, kept := w.obtain(b, w.alice()), w.obtain(b, w.call("bob", "editor", "reports"))
	kept.End()
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, left := len(w.users()), w.left(); n != 0 || len(left) != 0 || !closed(used.Done()) {
		t.Errorf("after Close: %d users, records %+v", n, left)
	}
	w.refused(b, w.alice(), vaultbridge.Stopping)
	used.End()
	w.sweep(b)
}

// TestCloseWaitsForWhatIsBeingMinted: it would be left behind otherwise.
func TestCloseWaitsForWhatIsBeingMinted(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	w.gate.on("database/creds/", sync.OnceFunc(func() { close(arrived); <-release }))
	obtained := make(chan error, 1)
	go func() {
		_, err := b.Source("reports").Obtain(t.Context(), w.alice())
		obtained <- err
	}()
	<-arrived
	done := make(chan error, 1)
	go func() { done <- b.Close(t.Context()) }()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w.until("Close has begun", func() bool {
		_, err := b.Source("reports").Obtain(gone, w.alice())
		var f *vaultbridge.Failure
		return errors.As(err, &f) && f.Why == vaultbridge.Stopping
	})
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := <-obtained; err == nil {
		t.Error("a credential was handed out after Close")
	}
	if n, left := len(w.users()), w.left(); n != 0 || len(left) != 0 {
		t.Errorf("after Close: %d users, records %+v", n, left)
	}
}
