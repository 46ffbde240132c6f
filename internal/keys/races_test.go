package keys_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/keys"
)

// together has all rings do the same at once.
func together(t *testing.T, rings []*keys.Ring, f func(*keys.Ring) error) []error {
	t.Helper()
	var wg sync.WaitGroup
	start, errs := make(chan struct{}), make([]error, len(rings))
	for i, r := range rings {
		wg.Go(func() {
			<-start
			errs[i] = f(r)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		if err != nil && !errors.Is(err, keys.ErrTooSoon) {
			t.Errorf("ring %d: %v", i, err)
		}
	}
	return errs
}

func agree(t *testing.T, rings []*keys.Ring, u keys.Use) {
	t.Helper()
	for i, r := range rings {
		if got, want := current(t, r, u), current(t, rings[0], u); got != want {
			t.Errorf("ring %d uses %s key %s, ring 0 %s", i, u, got, want)
		}
	}
}

// TestRotationsAtOnceBreakNothing: of several, one rotates; what each signs with
// at once, the others know.
func TestRotationsAtOnceBreakNothing(t *testing.T) {
	for _, force := range []bool{false, true} {
		w := newWorld(t)
		s := w.store(t)
		rings := []*keys.Ring{w.ring(t), w.ring(t), w.ring(t)}
		for round := range 20 {
			w.pass(keys.Settle)
			reload(t, rings...)
			before := current(t, rings[0], keys.UseToken)
			together(t, rings, func(r *keys.Ring) error { return r.Rotate(t.Context(), keys.UseToken, force) })
			if !force { // a forced second one may sign with what others do not know
				for i, r := range rings {
					raw := w.mustMint(t, r, time.Hour)
					for j, other := range rings {
						if err := w.verify(t, other, raw); err != nil {
							t.Errorf("round %d: token of ring %d at ring %d: %v", round, i, j, err)
						}
					}
				}
			}
			reload(t, rings...)
			agree(t, rings, keys.UseToken)
			if current(t, rings[0], keys.UseToken) == before {
				t.Errorf("round %d: nobody rotated", round)
			}
			if len(w.kids(t, s, keys.UseToken, keys.Next)) == 0 {
				t.Errorf("round %d: there is no next key", round)
			}
		}
		if n := len(w.kids(t, s, keys.UseToken, keys.Next)); n > len(rings) {
			t.Errorf("%d next keys: they pile up", n)
		}
	}
}

// TestManyFirstStartsAtOnceUnderstandEachOther: whatever one signs right after its
// start is good at all others, without a reload.
func TestManyFirstStartsAtOnceUnderstandEachOther(t *testing.T) {
	for range 5 {
		w := newWorld(t)
		rings := make([]*keys.Ring, 6)
		stores := make([]keys.Store, len(rings))
		for i := range stores {
			stores[i] = w.store(t)
		}
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range rings {
			wg.Go(func() {
				<-start
				r, err := keys.New(t.Context(), wrapped(keys.Config{Store: stores[i], Now: w.now}))
				if err != nil {
					t.Errorf("start %d: %v", i, err)
				}
				rings[i] = r
			})
		}
		close(start)
		wg.Wait()
		if slices.Contains(rings, nil) {
			t.FailNow()
		}
		for i, r := range rings {
			raw, sealed := w.mustMint(t, r, time.Hour), r.Sealer("s").Seal(nil)
			for j, other := range rings {
				if err := w.verify(t, other, raw); err != nil {
					t.Errorf("token of ring %d at ring %d: %v", i, j, err)
				}
				if _, ok := other.Sealer("s").Open(sealed); !ok {
					t.Errorf("ring %d does not open what ring %d sealed", j, i)
				}
			}
		}
		reload(t, rings...)
		for _, u := range keys.Uses() {
			agree(t, rings, u)
		}
	}
}

// TestCrashAtAnyStepOfTheFirstStartIsHealed by the next start.
func TestCrashAtAnyStepOfTheFirstStartIsHealed(t *testing.T) {
	const steps = 9 // three a use
	for writes := range steps + 1 {
		w := newWorld(t)
		s := w.store(t)
		_, err := keys.New(t.Context(), wrapped(keys.Config{Store: &frail{Store: s, writes: writes}, Now: w.now}))
		if want := writes < steps; errors.Is(err, errCrash) != want {
			t.Fatalf("crash before write %d: %v", writes, err)
		}
		w.with(t, keys.Config{Store: s})
		for _, u := range keys.Uses() {
			if c, n := w.kids(t, s, u, keys.Current), w.kids(t, s, u, keys.Next); len(c) != 1 || len(n) != 1 {
				t.Errorf("crash before write %d: %d current and %d next %s keys", writes, len(c), len(n), u)
			}
		}
	}
}

// TestCrashBetweenTheStepsOfARotationIsHealed by whoever reads the store next: the
// key is in use, and there is no next one.
func TestCrashBetweenTheStepsOfARotationIsHealed(t *testing.T) {
	for _, u := range keys.Uses() {
		for _, how := range []string{"reload", "open"} {
			w := newWorld(t)
			s := w.store(t)
			other := w.ring(t)
			dying := &frail{Store: w.store(t), writes: -1}
			r := w.with(t, keys.Config{Store: dying})
			w.pass(keys.Settle)
			next := w.kids(t, s, u, keys.Next)[0]
			dying.writes = 1
			if err := r.Rotate(t.Context(), u, false); !errors.Is(err, errCrash) {
				t.Fatalf("Rotate = %v, want %v", err, errCrash)
			}
			if got := w.kids(t, s, u, keys.Next); len(got) != 0 {
				t.Fatalf("%q are next: the crash came too late", got)
			}
			if got := current(t, r, u); got != next {
				t.Errorf("%s, %s: the one that failed uses %s, but the store says %s", u, how, got, next)
			}
			if how == "open" {
				other = w.ring(t)
			}
			reload(t, other)
			if got := w.kids(t, s, u, keys.Next); len(got) != 1 || current(t, other, u) != next {
				t.Errorf("%s, %s: %q are next, and %s is in use, want one and %s", u, how, got, current(t, other, u), next)
			}
		}
	}
}

// TestReloadThatFailsKeepsTheRing: whatever is wrong with the store, what was
// loaded goes on, and nothing is written.
func TestReloadThatFailsKeepsTheRing(t *testing.T) {
	w := newWorld(t)
	s := &frail{Store: w.store(t), writes: -1}
	r := w.with(t, keys.Config{Store: s})
	good, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, sealed, kid := w.mustMint(t, r, time.Hour), r.Sealer("s").Seal(nil), r.SigningKey().KeyID
	changed := func(f func(*keys.Record)) []keys.Record {
		records := slices.Clone(good)
		for i := range records {
			f(&records[i])
		}
		return records
	}
	broken := errors.New("broken")
	tests := []struct {
		name string
		read []keys.Record
		err  error
		want error
	}{
		{"a store that does not answer", nil, broken, broken},
		{"a store that lost everything", []keys.Record{}, nil, keys.ErrLost},
		{"a store that lost the current keys", slices.DeleteFunc(slices.Clone(good), func(k keys.Record) bool { return !k.Activated.IsZero() }), nil, keys.ErrLost},
		{"a store that lost the current session key", slices.DeleteFunc(slices.Clone(good), func(k keys.Record) bool { return !k.Activated.IsZero() && k.Use == keys.UseSession }), nil, keys.ErrLost},
		{"keys under another key-encryption key", changed(func(k *keys.Record) { k.Wrapped = make([]byte, 60) }), nil, keys.ErrWrongKEK},
		{"a next key under another one", changed(func(k *keys.Record) {
			if k.Activated.IsZero() && k.Use == keys.UseAudit {
				k.Wrapped = nil
			}
		}), nil, keys.ErrWrongKEK},
		{"keys of another use", changed(func(k *keys.Record) { k.Use = keys.UseAudit }), nil, keys.ErrWrongKEK},
	}
	s.writes = 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.read, s.reads = tt.read, tt.err
			for _, f := range []func() error{func() error { return r.Reload(t.Context()) }, func() error { return r.Rotate(t.Context(), keys.UseToken, true) }} {
				if err := f(); !errors.Is(err, tt.want) {
					t.Errorf("= %v, want %v", err, tt.want)
				}
			}
			if err := w.verify(t, r, raw); err != nil || r.SigningKey().KeyID != kid || len(r.JWKS().Keys) != 2 {
				t.Errorf("tokens: %v; signs with %s, want %s; %d published", err, r.SigningKey().KeyID, kid, len(r.JWKS().Keys))
			}
			if _, ok := r.Sealer("s").Open(sealed); !ok {
				t.Error("what was sealed does not open")
			}
			if _, _, err := r.AuditSigner().Sign(nil); err != nil {
				t.Errorf("audit: %v", err)
			}
		})
	}
	s.read, s.reads, s.writes = nil, nil, -1
	reload(t, r)
}

// TestWrongKEKWritesNothing: not even where a key is missing, for then the right
// one would open the store no more.
func TestWrongKEKWritesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.store(t)
	if _, err := keys.New(t.Context(), wrapped(keys.Config{Store: &frail{Store: s, writes: 2}, Now: w.now})); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	if _, err := keys.New(t.Context(), keys.Config{Store: s, Wrapper: keys.KEK{9}, Now: w.now}); !errors.Is(err, keys.ErrWrongKEK) {
		t.Errorf("New = %v, want %v", err, keys.ErrWrongKEK)
	}
	if records, err := s.Keys(t.Context()); err != nil || len(records) != 1 {
		t.Errorf("%d keys, %v, want the one of before", len(records), err)
	}
	w.with(t, keys.Config{Store: s})
}
