package revocation_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

// TestStoreThatWasRestored has lower numbers than were seen: the view begins anew.
func TestStoreThatWasRestored(t *testing.T) {
	w := newWorld(t)
	a, b := w.access("alice", "editor"), w.access("bob", "editor")
	w.put(frozen(revocation.Subject, "bob"))
	w.put(frozen(revocation.Client, "another"))
	w.store.entries = nil
	_ = w.store.Revoke(t.Context(), revocation.New(revocation.Grant, a.Txn(), began))
	w.now = began.Add(revocation.MaxAge + 1)
	w.poll()
	w.want("revoked in the restored one", a.Verified, token.ErrRevoked)
	w.want("no longer frozen there", b.Verified, nil)
}

// TestStoreThatWasRestoredQuickly: whoever is frozen there gets a number that was seen
// before, of somebody else, and no poll failed meanwhile.
func TestStoreThatWasRestoredQuickly(t *testing.T) {
	for name, after := range map[string][]revocation.Entry{
		"with lower numbers":      {frozen(revocation.Subject, "alice")},
		"with the number of then": {frozen(revocation.Subject, "alice"), frozen(revocation.Client, "a third")},
		"with higher ones":        {frozen(revocation.Subject, "alice"), frozen(revocation.Client, "a third"), frozen(revocation.Client, "a fourth")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.access("alice", "editor"), w.access("bob", "editor")
			w.put(frozen(revocation.Subject, "bob"))
			w.put(frozen(revocation.Client, "another"))
			w.store.entries = nil
			for _, e := range after {
				_ = w.store.Revoke(t.Context(), e)
			}
			w.poll()
			w.want("frozen in the restored one", a.Verified, revocation.ErrFrozen)
			w.want("no longer frozen there", b.Verified, nil)
			w.store.entries = nil
			w.poll()
			w.put(frozen(revocation.Subject, "bob"))
			w.want("frozen in an empty one", b.Verified, revocation.ErrFrozen)
		})
	}
}

// TestSoManyRevocationsThatTheyTakeLongerThanAViewMayBeOld: whoever brings that about
// delays the first view of a process, and does not keep it from ever having one.
func TestSoManyRevocationsThatTheyTakeLongerThanAViewMayBeOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &tenPages{}
		for range 20 {
			_ = store.Revoke(t.Context(), frozen(revocation.Subject, rand.Text()))
		}
		v := revocation.NewView(revocation.Config{Store: store, Now: time.Now})
		if err := v.Poll(t.Context()); err != nil || !errors.Is(v.Fresh(), token.ErrStale) {
			t.Errorf("the first time: %v, %v", err, v.Fresh())
		}
		if err := v.Poll(t.Context()); err != nil || v.Fresh() != nil {
			t.Errorf("then: %v, %v", err, v.Fresh())
		}
		store.hangs = true
		began := time.Now()
		if err := v.Poll(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > revocation.MaxAge {
			t.Errorf("while the store hangs: %v after %v", err, time.Since(began))
		}
	})
}

// tenPages takes a second for each, of the test's own clock.
type tenPages struct {
	memory
	hangs bool
}

func (s *tenPages) Revocations(ctx context.Context, after int64) ([]revocation.Entry, error) {
	if s.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(time.Second):
		return s.memory.Revocations(ctx, after)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestNewestEntryMayGo, when it has expired or was made anew: the others stay.
func TestNewestEntryMayGo(t *testing.T) {
	w := newWorld(t)
	b := w.access("bob", "editor")
	w.put(frozen(revocation.Subject, "bob"))
	w.put(revocation.New(revocation.Grant, "g", began))
	w.store.entries = w.store.entries[:1]
	w.poll()
	w.want("while it is gone", b.Verified, revocation.ErrFrozen)
	asked := w.store.asked
	w.poll()
	if w.store.asked != asked+1 {
		t.Errorf("asked %d times where nothing is new", w.store.asked-asked)
	}
	if len(w.recorded) != 1 {
		t.Errorf("recorded %q", w.recorded)
	}
}
