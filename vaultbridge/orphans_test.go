package vaultbridge_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

// TestCrash: the next start of the process ends what it had minted, and what it was about
// to, at once and with its own login.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	crashed := w.bridge(nil)
	r := w.alice()
	c := w.obtain(crashed, r)
	w.obtain(crashed, w.call("bob", "editor", "reports"))
	w.records.failing("NameLease", errors.New("killed")) // between the mint and its record
	w.records.failing("DeleteLease", errors.New("killed"))
	w.gate.on("sys/leases/revoke", func() { panic("killed") })
	w.gate.on("auth/token/revoke-self", func() { panic("killed") })
	w.refused(crashed, w.call("carol", "editor", "reports"), vaultbridge.Unrecorded)
	for _, m := range []string{"NameLease", "DeleteLease"} {
		w.records.failing(m, nil)
	}
	w.gate.on("sys/leases/revoke", nil)
	w.gate.on("auth/token/revoke-self", nil)
	if len(w.users()) != 3 || len(w.left()) != 3 {
		t.Fatalf("before the start: %v, %+v", w.users(), w.left())
	}
	w.sweep(w.bridge(nil))
	w.nothingLeft()
	if got := w.audit.of(r.ID); !slices.Equal(got, []string{"minted", "revoked orphan"}) {
		t.Errorf("audit log of lease %s: %v", c.Lease, got)
	}
}

// TestLeasesOfALiveReplica are not touched by another one, until it says nothing more.
func TestLeasesOfALiveReplica(t *testing.T) {
	w := newWorld(t)
	lives := w.bridge(nil)
	other := w.bridge(func(c *vaultbridge.Config) { c.Holder = "gateway-2" })
	c := w.obtain(lives, w.alice())
	for range 5 {
		w.sweep(lives)
		w.sweep(other)
		w.pass(vaultbridge.HeldFor / 3)
	}
	if len(w.users()) != 1 || len(w.left()) != 1 || closed(c.Done()) {
		t.Fatalf("a replica ended what another one holds: %v, %+v", w.users(), w.left())
	}
	w.pass(vaultbridge.HeldFor)
	w.sweep(other)
	w.pass(vaultbridge.HeldFor / 3)
	w.sweep(other)
	w.nothingLeft()
}

// TestProcessThatWasStopped for a while does not take its own leases for orphans.
func TestProcessThatWasStopped(t *testing.T) {
	w := newWorld(t)
	w.role(map[string]any{"token_ttl": "60s"})
	w.database(map[string]any{"default_ttl": "60s"})
	b := w.bridge(nil)
	w.sweep(b)
	c := w.obtain(b, w.alice())
	w.pass(vaultbridge.HeldFor + time.Second)
	w.sweep(b)
	w.records.failing("HoldLeases", errors.New("the store is away"))
	w.pass(vaultbridge.HeldFor + time.Second)
	if err := b.Sweep(t.Context()); err == nil {
		t.Error("Sweep() = nil, and the leases were not held")
	}
	if len(w.users()) != 1 || closed(c.Done()) {
		t.Error("its own lease was ended")
	}
	w.records.failing("HoldLeases", nil)
	c.End()
	w.nothingLeft()
}

// TestManyOrphans are all ended, however few are claimed at once.
func TestManyOrphans(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	for i := range 250 {
		r := vaultbridge.Record{ID: string(rune('a'+i%26)) + time.Duration(i).String(), Holder: "gateway-9", Boot: "b", Server: "gone", Accessor: "none", Lease: "database/creds/x/y", Created: now, Expires: now, Held: now}
		if err := w.records.InsertLease(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	b := w.bridge(nil)
	w.sweep(b)
	w.pass(vaultbridge.HeldFor / 3)
	w.sweep(b)
	w.until("all are gone", func() bool { return len(w.left()) == 0 })
}
