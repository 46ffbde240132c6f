package vaultbridge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// failed waits until the first attempt to end the lease has failed.
func (w *world) failed(b *vaultbridge.Bridge) {
	w.t.Helper()
	w.until("a lease could not be ended", func() bool { return b.Status()[0].Failed == 1 && w.left()[0].Failure != "" })
}

// TestVaultSealedBetweenMintAndRevoke: it is tried again until it works, and told once.
func TestVaultSealedBetweenMintAndRevoke(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	r := w.alice()
	c := w.obtain(b, r)
	w.vault.Seal(t)
	c.End()
	w.failed(b)
	for i := range 3 {
		w.pass(time.Minute)
		w.sweep(b)
		w.until("it was tried again", func() bool { return w.left()[0].Attempts == i+2 })
	}
	if got := b.Status()[0]; got.Failed != 1 || got.Why != "vault_sealed" || got.Oldest.IsZero() {
		t.Errorf("Status() = %+v", got)
	}
	if n := strings.Count(w.log.String(), "could not be revoked"); n != 1 {
		t.Errorf("%d alarms, want 1:\n%s", n, w.log)
	}
	w.vault.UnsealAgain(t)
	w.pass(time.Minute)
	w.sweep(b)
	w.nothingLeft()
	w.until("the whole of it is in the audit log", func() bool {
		return slices.Equal(w.audit.of(r.ID), []string{"minted", "revoke_failed vault_sealed", "revoked call_ended"})
	})
	if got := b.Status()[0]; got.Failed != 0 || got.Why != "" {
		t.Errorf("Status() = %+v", got)
	}
}

// TestUserThatCannotBeDropped: the Vault token has gone and the user has not, which is no
// end of a lease.
func TestUserThatCannotBeDropped(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	c := w.obtain(b, w.alice())
	pgtest.Query(t, w.db, `CREATE TABLE kept (); ALTER TABLE kept OWNER TO "`+user(c)+`"`)
	c.End()
	w.failed(b)
	w.until("its token is gone", func() bool { return w.tokens() == 0 })
	if got := w.left(); len(got) != 1 || got[0].Failure != string(vault.Refused) || len(w.users()) != 1 {
		t.Errorf("records %+v, users %v", got, w.users())
	}
	w.pass(time.Minute)
	w.sweep(b)
	w.until("it was tried again", func() bool { return w.left()[0].Attempts == 2 })
	pgtest.Query(t, w.db, `DROP TABLE kept`)
	w.pass(time.Minute)
	w.sweep(b)
	w.nothingLeft()
}

// TestEndThatIsNotInTheAuditLog is told later.
func TestEndThatIsNotInTheAuditLog(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	r := w.alice()
	c := w.obtain(b, r)
	w.audit.failing("revoked")
	c.End()
	w.failed(b)
	if n := len(w.users()); n != 0 {
		t.Errorf("%d users", n)
	}
	w.audit.failing("")
	w.pass(time.Minute)
	w.sweep(b)
	w.nothingLeft()
	if got := w.audit.of(r.ID); !slices.Contains(got, "revoked call_ended") {
		t.Errorf("audit log: %v", got)
	}
}

// TestPolicyThatLetsNoLeaseBeRevoked: the end of the token is the lease's, a little later.
func TestPolicyThatLetsNoLeaseBeRevoked(t *testing.T) {
	w := newWorld(t)
	w.do("sys/policies/acl/calls", map[string]any{"policy": `path "database/creds/*" { capabilities = ["read"] }`})
	b := w.bridge(nil)
	for range 2 {
		w.obtain(b, w.alice()).End()
		w.nothingLeft()
	}
	if n := strings.Count(w.log.String(), "sys/leases/revoke"); n != 1 {
		t.Errorf("operators are told %d times, want 1:\n%s", n, w.log)
	}
}

// TestTokenThatMayNotEndItself: a policy without Vault's default one does not keep a
// token alive.
func TestTokenThatMayNotEndItself(t *testing.T) {
	w := newWorld(t)
	w.role(map[string]any{"token_no_default_policy": true})
	b := w.bridge(nil)
	w.obtain(b, w.alice()).End()
	w.nothingLeft()
}

// TestChildTokens: with a login of our own, each call has a Vault token of its own too,
// which names who calls; a login that an operator revoked is replaced at the next call.
func TestChildTokens(t *testing.T) {
	w := newWorld(t)
	logins := 0
	var mine vault.Auth
	w.own = vault.NewOwn(vault.OwnConfig{Client: w.client, Login: func(ctx context.Context) (vault.Auth, error) {
		logins++
		a, err := w.client.Child(ctx, vault.NewToken(vaulttest.RootToken), vault.ChildSpec{Policies: []string{"own", "calls"}, TTL: time.Hour})
		mine = a
		return a, err
	}})
	b := w.bridge(func(c *vaultbridge.Config) { c.JWTMount = "" })
	c := w.obtain(b, w.alice())
	data := w.vault.Do(t, http.MethodPost, "auth/token/lookup-accessor", map[string]any{"accessor": w.left()[0].Accessor})["data"].(map[string]any)
	want := map[string]any{"subject": "alice", "client": "editor", "actor": "editor", "server": "reports", "txn": "grant-alice"}
	if fmt.Sprint(data["meta"]) != fmt.Sprint(want) || data["explicit_max_ttl"].(float64) > limit.Seconds() {
		t.Errorf("the token of the call: %v", data)
	}
	c.End()
	w.nothingLeft()
	w.vault.Do(t, http.MethodPost, "auth/token/revoke-accessor", map[string]any{"accessor": mine.Accessor})
	w.obtain(b, w.alice()).End()
	w.nothingLeft()
	if logins != 2 {
		t.Errorf("%d logins, want 2", logins)
	}
}

// TestCloseWithASealedVault: what is left is said, and the next start ends it.
func TestCloseWithASealedVault(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	w.obtain(b, w.alice())
	w.vault.Seal(t)
	if err := b.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "1 leases") {
		t.Errorf("Close() = %v", err)
	}
	w.vault.UnsealAgain(t)
	w.sweep(w.bridge(nil))
	w.nothingLeft()
}

// TestCloseThatMayNotWait is cut short.
func TestCloseThatMayNotWait(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	c := w.obtain(b, w.alice())
	release := make(chan struct{})
	w.gate.on("sys/leases/revoke", func() { <-release })
	c.End()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Close(ctx); err == nil {
		t.Error("Close() = nil, with a lease that has not ended")
	}
	close(release)
	w.gate.on("sys/leases/revoke", nil)
	w.sweep(w.bridge(nil))
	w.nothingLeft()
}

// TestTooManyLeasesThatDoNotEnd: no more are minted for the server, rather than more that
// nobody can end; for another server they are.
func TestTooManyLeasesThatDoNotEnd(t *testing.T) {
	w := newWorld(t)
	b := w.twoServers(time.Nanosecond)
	for i := range 1000 {
		r := vaultbridge.Record{ID: fmt.Sprint(i), Holder: "gateway-1", Boot: "b", Server: "reports", Accessor: "none", Lease: "database/creds/x/y", Created: w.now(), Held: w.now()}
		if err := w.records.InsertLease(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	w.vault.Seal(t)
	w.pass(time.Second)
	w.sweep(b)
	w.until("none could be ended", func() bool { return b.Status()[0].Failed == 1000 })
	w.vault.UnsealAgain(t)
	w.refused(b, w.alice(), vaultbridge.Backlog)
	c, err := b.Source("mail").Obtain(t.Context(), w.call("alice", "editor", "mail"))
	if err != nil {
		t.Fatalf("the other server: %v", err)
	}
	c.End()
	w.until("all have ended", func() bool { w.pass(time.Minute); w.sweep(b); return len(w.left()) == 0 })
	w.obtain(b, w.alice()).End()
	w.nothingLeft()
}

// heldEnds is an audit log in which no lease ends until release is closed.
type heldEnds struct {
	audit.Recorder
	release chan struct{}
}

func (h heldEnds) Record(ctx context.Context, e audit.Event) error {
	if e.Status == "revoked" {
		<-h.release
	}
	return h.Recorder.Record(ctx, e)
}

// TestCallersWhoComeFasterThanLeasesEnd wait: what nobody uses any more does not pile up. Who
// has gone meanwhile gets nothing.
func TestCallersWhoComeFasterThanLeasesEnd(t *testing.T) {
	w := newWorld(t)
	held := heldEnds{w.audit, make(chan struct{})}
	release := sync.OnceFunc(func() { close(held.release) })
	t.Cleanup(release)
	b := w.bridge(func(c *vaultbridge.Config) { c.Audit = held })
	for range 16 { // eight that are being ended, and eight that wait for that
		w.obtain(b, w.alice()).End()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if c, err := b.Source("reports").Obtain(ctx, w.alice()); err == nil {
		c.End()
		t.Error("a credential was minted while sixteen had not ended")
	}
	waiting := make(chan error, 1)
	go func() {
		c, err := b.Source("reports").Obtain(t.Context(), w.alice())
		if err == nil {
			c.End()
		}
		waiting <- err
	}()
	release()
	if err := <-waiting; err != nil {
		t.Error("after some have ended: ", err)
	}
	w.nothingLeft()
	if n := w.gate.asked("auth/jwt/login"); n != 17 {
		t.Errorf("%d logins, want 17: who went away needs none", n)
	}
}

// TestManyCallsLeaveNothingBehind: sixteen at a time, of which some go away early.
func TestManyCallsLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	work := make(chan int)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range work {
				w.one(b, i)
			}
		})
	}
	for i := range 200 {
		work <- i
	}
	close(work)
	all.Wait()
	w.nothingLeft()
	for _, s := range b.Status() {
		if s.Leases != 0 || s.InUse != 0 || s.Failed != 0 {
			t.Errorf("Status() = %+v", s)
		}
	}
	keys, err := w.vault.Ask(t.Context(), "LIST", "sys/leases/lookup/database/creds/"+w.dbRole(), nil)
	if err == nil { // HTTP 404: there are none
		t.Errorf("leases in Vault: %v", keys)
	}
}

// one is a call; every fifth goes away while it waits.
func (w *world) one(b *vaultbridge.Bridge, i int) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	if i%5 == 0 {
		go cancel()
	}
	c, err := b.Source("reports").Obtain(ctx, w.call(fmt.Sprint("subject-", i%7), "editor", "reports"))
	var f *vaultbridge.Failure
	switch {
	case err == nil:
		c.End()
	case i%5 != 0, !errors.As(err, &f), f.Why != vaultbridge.CallerGone:
		w.t.Errorf("call %d: %v", i, err)
	}
}
