package vaultbridge_test

import (
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

// TestStatusCountsWhatLivesWhatEndsAndWhatFailed, each lease once.
func TestStatusCountsWhatLivesWhatEndsAndWhatFailed(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	want := func(what string, live, ending, failed int) {
		t.Helper()
		w.until(what, func() bool {
			s := b.Status()[0]
			return s.Leases == live && s.Ending == ending && s.Failed == failed
		})
	}
	c := w.obtain(b, w.alice())
	want("one lives", 1, 0, 0)
	asked, let := make(chan struct{}), make(chan struct{})
	w.gate.on("sys/leases/revoke", func() { asked <- struct{}{}; <-let })
	c.End()
	<-asked
	want("it ends", 0, 1, 0)
	w.vault.Seal(t)
	w.gate.on("sys/leases/revoke", nil)
	close(let)
	want("its end failed", 0, 0, 1)
	if s := b.Status()[0]; s.Why == "" || s.Oldest.IsZero() || s.Engine != vaultbridge.Database {
		t.Errorf("status %+v", s)
	}
	w.vault.UnsealAgain(t)
	w.pass(2 * time.Minute)
	w.sweep(b)
	want("nothing is left", 0, 0, 0)
}
