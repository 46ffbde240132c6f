package keys_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/token"
)

// TestRotationMovesEveryKeyOn: next becomes current, current previous, and a new
// next one is there.
func TestRotationMovesEveryKeyOn(t *testing.T) {
	for _, u := range keys.Uses() {
		t.Run(string(u), func(t *testing.T) {
			w := newWorld(t)
			s, r := w.store(t), w.ring(t)
			first, second := w.kids(t, s, u, keys.Current), w.kids(t, s, u, keys.Next)
			if len(first) != 1 || len(second) != 1 {
				t.Fatalf("at the start %q are current and %q next, want one each", first, second)
			}
			w.pass(keys.Settle)
			rotate(t, r, u)
			third := w.kids(t, s, u, keys.Next)
			if diff := cmp.Diff([][]string{first, second}, [][]string{w.kids(t, s, u, keys.Previous), w.kids(t, s, u, keys.Current)}); diff != "" {
				t.Errorf("previous and current (-want +got)\n%s", diff)
			}
			if len(third) != 1 || third[0] == first[0] || third[0] == second[0] {
				t.Errorf("next is %q, want a new key", third)
			}
			if got := current(t, r, u); got != second[0] {
				t.Errorf("the ring uses %s, want %s", got, second[0])
			}
			for _, other := range keys.Uses() {
				if other != u && len(w.kids(t, s, other, keys.Previous)) != 0 {
					t.Errorf("the %s key was rotated too", other)
				}
			}
			if err := r.Rotate(t.Context(), "nonsense", true); err == nil {
				t.Error("a use that there is not was rotated")
			}
		})
	}
}

// TestRotationReachesOtherReplicasBeforeTheirReload: each knows what the other signs with.
func TestRotationReachesOtherReplicasBeforeTheirReload(t *testing.T) {
	w := newWorld(t)
	a, b := w.ring(t), w.ring(t)
	old := w.mustMint(t, a, time.Hour)
	next := w.kids(t, w.store(t), keys.UseToken, keys.Next)[0]
	if !published(a, next) || !published(b, next) {
		t.Fatal("the next key is not published")
	}
	w.pass(keys.Settle)
	rotate(t, a, keys.UseToken)
	if a.SigningKey().KeyID != next || b.SigningKey().KeyID == next {
		t.Fatalf("a signs with %s and b with %s, want only a with the next", a.SigningKey().KeyID, b.SigningKey().KeyID)
	}
	tokens := map[string]string{"of before": old, "of a": w.mustMint(t, a, time.Hour), "of b, which is behind": w.mustMint(t, b, time.Hour)}
	for round := range 2 {
		for name, raw := range tokens {
			for i, r := range []*keys.Ring{a, b} {
				if err := w.verify(t, r, raw); err != nil {
					t.Errorf("round %d: token %s at ring %d: %v", round, name, i, err)
				}
			}
		}
		reload(t, a, b)
	}
	if b.SigningKey().KeyID != next {
		t.Errorf("b signs with %s after its reload, want %s", b.SigningKey().KeyID, next)
	}
}

// TestRetiredTokenKeyIsAcceptedNowhere, and it goes by the time alone: not even a
// ring that cannot reload keeps it.
func TestRetiredTokenKeyIsAcceptedNowhere(t *testing.T) {
	for _, overlap := range []time.Duration{0, 30 * time.Minute} {
		w := newWorld(t)
		r := w.with(t, keys.Config{Store: w.store(t), Overlap: overlap})
		if overlap == 0 {
			overlap = keys.DefaultOverlap
		}
		old := behind(r.SigningKey())
		kid := old.KeyID
		w.pass(keys.Settle)
		rotate(t, r, keys.UseToken)
		raw := w.mustMint(t, old, 24*time.Hour)
		w.pass(overlap - time.Second)
		if err := w.verify(t, r, raw); err != nil || !published(r, kid) {
			t.Errorf("overlap %v: before its end: published %v, %v", overlap, published(r, kid), err)
		}
		w.pass(time.Second)
		for name, ring := range map[string]*keys.Ring{"the same": r, "a new one": w.with(t, keys.Config{Store: w.store(t), Overlap: overlap})} {
			if err := w.verify(t, ring, raw); !errors.Is(err, token.ErrUnknownKey) || published(ring, kid) {
				t.Errorf("overlap %v: at its end, %s: published %v, %v, want %v", overlap, name, published(ring, kid), err, token.ErrUnknownKey)
			}
		}
		if got := w.kids(t, w.store(t), keys.UseToken, keys.Retired); overlap == keys.DefaultOverlap && !slices.Equal(got, []string{kid}) {
			t.Errorf("retired are %q, want %s", got, kid)
		}
	}
}

// behind is a replica that has not noticed the rotation.
type behind token.SigningKey

func (k behind) SigningKey() token.SigningKey { return token.SigningKey(k) }

// TestSealedBeforeARotationOpensAfter, for as long as a login session may live.
func TestSealedBeforeARotationOpensAfter(t *testing.T) {
	w := newWorld(t)
	a, b := w.ring(t), w.ring(t)
	sealer := a.Sealer("browser") // taken once, as the callers do
	old := sealer.Seal([]byte("x"))
	w.pass(keys.Settle)
	rotate(t, a, keys.UseSession)
	fresh := sealer.Seal([]byte("x"))
	if _, ok := sealer.Open(old); !ok {
		t.Error("what was sealed before the rotation does not open")
	}
	if _, ok := b.Sealer("browser").Open(fresh); !ok {
		t.Error("a replica that has not reloaded does not open what another seals")
	}
	w.pass(7 * 24 * time.Hour)
	if _, ok := sealer.Open(old); !ok {
		t.Error("what was sealed seven days ago does not open")
	}
	w.pass(24 * time.Hour)
	again := w.ring(t).Sealer("browser")
	for name, s := range map[string]keys.Sealer{"the same ring": sealer, "a new ring": again} {
		if _, ok := s.Open(old); ok {
			t.Errorf("%s opens what a retired key sealed", name)
		}
		if _, ok := s.Open(fresh); !ok {
			t.Errorf("%s does not open what the current key sealed", name)
		}
	}
}

// TestAuditHeadsAreVerifiableForGood: by the keys at rest, however old.
func TestAuditHeadsAreVerifiableForGood(t *testing.T) {
	w := newWorld(t)
	r, s := w.ring(t), w.store(t)
	signer := r.AuditSigner() // taken once, as the log does
	kid, signature, err := signer.Sign([]byte("head"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.pass(365 * 24 * time.Hour)
		rotate(t, r, keys.UseAudit)
	}
	if now, _, err := signer.Sign([]byte("head")); err != nil || now != current(t, r, keys.UseAudit) || now == kid {
		t.Errorf("signs with %s (%v), want the current key %s", now, err, current(t, r, keys.UseAudit))
	}
	if got := w.kids(t, s, keys.UseAudit, keys.Previous); len(got) != 3 || got[0] != kid {
		t.Errorf("previous keys are %q, want three, %s first", got, kid)
	}
	records, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(records, func(r keys.Record) bool { return r.KeyID == kid })
	if k, err := keys.ParseAuditKey(records[i]); err != nil || !k.Verify([]byte("head"), signature) {
		t.Errorf("the first head does not verify: %v", err)
	}
}

// TestRotateRefusesAKeyThatVerifiersMayNotHaveSeen, unless it is forced.
func TestRotateRefusesAKeyThatVerifiersMayNotHaveSeen(t *testing.T) {
	for _, u := range keys.Uses() {
		w := newWorld(t)
		r := w.ring(t)
		before := current(t, r, u)
		w.pass(keys.Settle - time.Second)
		if err := r.Rotate(t.Context(), u, false); !errors.Is(err, keys.ErrTooSoon) || current(t, r, u) != before {
			t.Errorf("%s: a second too soon: %v, want %v", u, err, keys.ErrTooSoon)
		}
		w.pass(time.Second)
		rotate(t, r, u)
		before = current(t, r, u)
		if err := r.Rotate(t.Context(), u, false); !errors.Is(err, keys.ErrTooSoon) || current(t, r, u) != before {
			t.Errorf("%s: a second rotation at once: %v, want %v", u, err, keys.ErrTooSoon)
		}
		if err := r.Rotate(t.Context(), u, true); err != nil || current(t, r, u) == before {
			t.Errorf("%s: forced: %v", u, err)
		}
	}
}

// TestClockThatIsBehindRotatesToo: the key that was activated last is the current
// one, whatever the clock of the replica that did it says.
func TestClockThatIsBehindRotatesToo(t *testing.T) {
	w := newWorld(t)
	a := w.ring(t)
	late := w.with(t, keys.Config{Store: w.store(t), Now: func() time.Time { return w.now().Add(-time.Minute) }})
	w.pass(time.Hour)
	rotate(t, a, keys.UseToken)
	for range 3 {
		before := current(t, late, keys.UseToken)
		if err := late.Rotate(t.Context(), keys.UseToken, true); err != nil {
			t.Fatal(err)
		}
		reload(t, a)
		if got := current(t, late, keys.UseToken); got == before || got != a.SigningKey().KeyID {
			t.Errorf("uses %s after the rotation, before it %s, the other replica %s", got, before, a.SigningKey().KeyID)
		}
	}
}
