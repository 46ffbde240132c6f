package vaultbridge_test

import (
	"slices"
	"testing"
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
}
