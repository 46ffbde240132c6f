package vaultbridge_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

// stuck gives the process n leases of the subject that cannot be ended.
func (w *world) stuck(n int, subject func(int) string) {
	w.t.Helper()
	for i := range n {
		r := vaultbridge.Record{ID: fmt.Sprintf("%s-%d", subject(i), i), Holder: "gateway-1", Boot: "before", Server: "reports", Subject: subject(i), Accessor: "none",
			Lease: "database/creds/none/none", Created: w.now(), Expires: w.now().Add(time.Minute), Held: w.now()}
		if err := w.records.InsertLease(w.t.Context(), r); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestCallerWhoseUsersCannotBeDropped closes the server to nobody else: who has a user of a
// database can give it something by which it stays.
func TestCallerWhoseUsersCannotBeDropped(t *testing.T) {
	w := newWorld(t)
	b := w.twoServers(time.Hour)
	w.gate.on("sys/leases/revoke", func() { panic(http.ErrAbortHandler) })
	fail := func(n int, subject func(int) string) {
		w.stuck(n, subject)
		w.pass(5 * time.Second)
		w.sweep(b)
		w.until("they have failed", func() bool { return b.Status()[0].Ending == 0 })
	}
	fail(100, func(int) string { return "mallory" })
	w.refused(b, w.call("mallory", "editor", "reports"), vaultbridge.Backlog)
	w.obtain(b, w.alice())
	fail(900, func(i int) string { return fmt.Sprint("user-", i) })
	w.refused(b, w.alice(), vaultbridge.Backlog)
	if _, err := b.Source("mail").Obtain(t.Context(), w.call("alice", "editor", "mail")); err != nil {
		t.Errorf("another server: %v", err)
	}
}

// TestCallersWhoComeAndGo do not gather at Vault, where they would take the connections of
// all servers: who has gone before their turn is not logged in for.
func TestCallersWhoComeAndGo(t *testing.T) {
	w := newWorld(t)
	b := w.twoServers(time.Hour)
	hold, held := make(chan struct{}), make(chan struct{}, 1000)
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	w.gate.on("auth/jwt/login", func() { held <- struct{}{}; <-hold })
	request := w.alice()
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		var call sync.WaitGroup
		call.Go(func() { _, _ = b.Source("reports").Obtain(ctx, request) })
		cancel()
		call.Wait()
	}
	w.gate.on("auth/jwt/login", nil)
	c, err := b.Source("mail").Obtain(t.Context(), w.call("bob", "editor", "mail"))
	if err != nil {
		t.Fatalf("another server: %v", err)
	}
	c.End()
	release()
	w.obtain(b, w.alice()).End()
	w.nothingLeft()
	if n := len(held); n > 16 {
		t.Errorf("Vault was asked to log in %d times at once", n)
	}
}

// TestSubjectForWhomAnEngineFails closes the circuit of a server to nobody else.
func TestSubjectForWhomAnEngineFails(t *testing.T) {
	w := newWorld(t)
	w.do("database/roles/"+w.dbRole()+"-mallory", map[string]any{"db_name": "pg", "creation_statements": []string{`CREATE ROLE "{{name}}" IN ROLE "nobody has made it"`}})
	w.do("database/roles/"+w.dbRole()+"-alice", map[string]any{"db_name": "pg", "creation_statements": []string{`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'`}})
	b := w.bridge(func(c *vaultbridge.Config) { c.Pause = time.Hour }, w.server(func(s *vaultbridge.Server) { s.Path += "-{{.subject}}" }))
	for range 20 {
		w.refused(b, w.call("mallory", "editor", "reports"), "vault_failed")
	}
	w.obtain(b, w.alice()).End()
	w.nothingLeft()
}

// TestStoreThatWasAway: after it no replica takes the leases of others for orphans, who could
// say as little as itself that they live.
func TestStoreThatWasAway(t *testing.T) {
	w := newWorld(t)
	lives := w.bridge(nil)
	other := w.bridge(func(c *vaultbridge.Config) { c.Holder = "gateway-2" })
	w.sweep(other)
	c := w.obtain(lives, w.alice())
	w.pass(vaultbridge.HeldFor + time.Second)
	w.sweep(other) // is the first
	w.sweep(w.bridge(func(c *vaultbridge.Config) { c.Holder = "gateway-3" }))
	w.sweep(lives)
	for range 2 {
		w.pass(5 * time.Second)
		w.sweep(other)
		w.sweep(lives)
	}
	if left := w.left(); len(left) != 1 || left[0].Holder != "gateway-1" || closed(c.Done()) || len(w.users()) != 1 {
		t.Errorf("a replica ended what another one holds: %v, %+v", w.users(), left)
	}
}

// TestSweepWhileLeasesAreMinted looks at none that is half made (with -race).
func TestSweepWhileLeasesAreMinted(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	calls, done := sync.WaitGroup{}, make(chan struct{})
	for range 8 {
		calls.Go(func() {
			if c, err := b.Source("reports").Obtain(t.Context(), w.alice()); err == nil {
				c.End()
			}
		})
	}
	go func() { calls.Wait(); close(done) }()
	for !closed(done) {
		w.sweep(b)
	}
	w.nothingLeft()
}
