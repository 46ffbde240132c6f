package vaultbridge_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// order is what an operator does to a record.
func (w *world) order(id string) {
	w.t.Helper()
	if err := w.records.change("", id, func(r *vaultbridge.Record) { r.EndedBy = "root" }); err != nil {
		w.t.Fatal(err)
	}
}

// orders are the lines about what operators did.
func (l *lines) orders() (all []audit.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Kind == audit.Revocation {
			all = append(all, e)
		}
	}
	return all
}

// TestOperatorEndsALeaseThatIsInUse, and the next call has another one.
func TestOperatorEndsALeaseThatIsInUse(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	r := w.alice()
	c := w.obtain(b, r)
	record := w.left()[0]
	w.order(record.ID)
	w.sweep(b)
	if !closed(c.Done()) {
		t.Error("Done is open although an operator ended it")
	}
	w.nothingLeft()
	w.until("the end is in the audit log", func() bool { return slices.Contains(w.audit.of(r.ID), "revoked operator") })
	got := w.audit.orders()
	if len(got) != 1 || got[0].Operator != "root" || got[0].Lease != record.Lease || got[0].Subject != "alice" || got[0].Server != "reports" {
		t.Errorf("lines about operators: %+v", got)
	}
	w.sweep(b)
	if again := w.obtain(b, w.alice()); user(again) == user(c) {
		t.Error("the next call got what was ended")
	}
}

// TestOperatorHasAFailedEndTriedAtOnce, once for each order, whatever its time is.
func TestOperatorHasAFailedEndTriedAtOnce(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	c := w.obtain(b, w.alice())
	id := w.left()[0].ID
	w.vault.Seal(t)
	c.End()
	w.until("its end failed", func() bool { return w.left()[0].Attempts == 1 })
	w.order(id)
	w.sweep(b)
	w.until("it failed again", func() bool { return w.left()[0].Attempts == 2 })
	w.sweep(b)
	if n := len(w.audit.orders()); n != 1 {
		t.Errorf("%d lines about operators, want 1", n)
	}
	w.vault.UnsealAgain(t)
	w.pass(2 * time.Minute)
	w.sweep(b)
	w.nothingLeft()
}

// TestOrderIsObeyedThoughTheAuditLogFails: to end something is the safe side.
func TestOrderIsObeyedThoughTheAuditLogFails(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	c := w.obtain(b, w.alice())
	w.order(w.left()[0].ID)
	w.audit.failing(string(audit.Revocation))
	if err := b.Sweep(t.Context()); err == nil {
		t.Error("Sweep = nil, want that it could not be recorded")
	}
	w.audit.failing("none")
	if !closed(c.Done()) {
		t.Error("Done is open although an operator ended it")
	}
	w.nothingLeft()
}

// TestSweepSaysThatOrdersCannotBeRead, and goes on with all else.
func TestSweepSaysThatOrdersCannotBeRead(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	away := errors.New("the store is away")
	w.records.failing("EndedLeases", away)
	if err := b.Sweep(t.Context()); !errors.Is(err, away) {
		t.Errorf("Sweep = %v, want %v", err, away)
	}
}
