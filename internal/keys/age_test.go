package keys_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/keys"
)

// TestOldKeysAreCalledOldAndThenReplaced, by exactly one replica.
func TestOldKeysAreCalledOldAndThenReplaced(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name      string
		cfg       keys.Config
		warn, max time.Duration
	}{
		{"by default", keys.Config{}, 60 * day, 90 * day},
		{"as configured", keys.Config{WarnAge: day, MaxAge: 3 * day}, day, 3 * day},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.store(t)
			a, b := w.with(t, keys.Config{Store: s, WarnAge: tt.cfg.WarnAge, MaxAge: tt.cfg.MaxAge}), w.with(t, keys.Config{Store: w.store(t), WarnAge: tt.cfg.WarnAge, MaxAge: tt.cfg.MaxAge})
			steps := []struct {
				pass      time.Duration
				old       bool
				rotations int
			}{
				{tt.warn - time.Second, false, 0},
				{time.Second, true, 0},
				{tt.max - tt.warn - time.Second, true, 0},
				{time.Second, false, 1},
				{tt.max - time.Second, true, 1},
				{time.Second, false, 2},
			}
			for i, step := range steps {
				w.pass(step.pass)
				reload(t, a, b, a)
				for _, age := range append(a.Ages(), b.Ages()...) {
					if age.Old != step.old {
						t.Errorf("step %d: %s key in use for %v is old: %v, want %v", i, age.Use, age.Age, age.Old, step.old)
					}
				}
				for _, u := range keys.Uses() {
					if n := len(w.kids(t, s, u, keys.Previous)) + len(w.kids(t, s, u, keys.Retired)); n != step.rotations {
						t.Errorf("step %d: %d rotations of the %s key, want %d", i, n, u, step.rotations)
					}
				}
			}
		})
	}
}

// TestOldKeyIsReplacedOnceByManyReplicas that find it at the same time.
func TestOldKeyIsReplacedOnceByManyReplicas(t *testing.T) {
	w := newWorld(t)
	s := w.store(t)
	var rings []*keys.Ring
	for range 6 {
		rings = append(rings, w.ring(t))
	}
	for i := range 5 {
		w.pass(keys.DefaultMaxAge)
		together(t, rings, func(r *keys.Ring) error { return r.Reload(t.Context()) })
		reload(t, rings...)
		for _, u := range keys.Uses() {
			if n := len(w.kids(t, s, u, keys.Previous)) + len(w.kids(t, s, u, keys.Retired)); n != i+1 {
				t.Errorf("%d times old: %d rotations of the %s key", i+1, n, u)
			}
			agree(t, rings, u)
		}
	}
}

// TestOldKeyWaitsForASuccessorThatIsKnown: what was just made does not sign yet.
func TestOldKeyWaitsForASuccessorThatIsKnown(t *testing.T) {
	w := newWorld(t)
	r := w.with(t, keys.Config{Store: w.store(t), MaxAge: keys.Settle})
	before := current(t, r, keys.UseToken)
	w.pass(keys.Settle)
	changed := w.with(t, keys.Config{Store: w.store(t), MaxAge: keys.Settle, Algorithm: keys.AlgEdDSA})
	reload(t, changed)
	if got := current(t, changed, keys.UseToken); got != before {
		t.Errorf("%s signs, which was just made", got)
	}
	w.pass(keys.Settle)
	reload(t, changed)
	if got := changed.SigningKey(); got.KeyID == before || got.Algorithm != keys.AlgEdDSA {
		t.Errorf("%s signs with %s, want a new key", got.KeyID, got.Algorithm)
	}
}

// TestAlgorithmChangesAtTheNextRotation, there and back; both kinds verify meanwhile.
func TestAlgorithmChangesAtTheNextRotation(t *testing.T) {
	w := newWorld(t)
	plain := w.ring(t)
	tokens := []string{w.mustMint(t, plain, 2*time.Hour)}
	for _, algorithm := range []string{keys.AlgEdDSA, keys.AlgES256} {
		r := w.with(t, keys.Config{Store: w.store(t), Algorithm: algorithm})
		if r.SigningKey().Algorithm == algorithm {
			t.Errorf("%s signs before the rotation", algorithm)
		}
		w.pass(keys.Settle)
		reload(t, r)
		rotate(t, r, keys.UseToken)
		reload(t, plain)
		tokens = append(tokens, w.mustMint(t, plain, 2*time.Hour))
		for i, k := range []*keys.Ring{r, plain, w.ring(t)} {
			if got := k.SigningKey().Algorithm; got != algorithm {
				t.Errorf("ring %d signs with %s, want %s", i, got, algorithm)
			}
			for j, raw := range tokens {
				if err := w.verify(t, k, raw); err != nil {
					t.Errorf("ring %d, token %d: %v", i, j, err)
				}
			}
		}
	}
	rotated := w.with(t, keys.Config{Store: w.store(t), Algorithm: keys.AlgEdDSA})
	w.pass(keys.Settle)
	for _, u := range keys.Uses() {
		rotate(t, rotated, u)
	}
	set := rotated.JWKS()
	jwk := set.Key(rotated.SigningKey().KeyID)[0]
	if k, ok := jwk.Key.(ed25519.PublicKey); !ok || len(k) != ed25519.PublicKeySize || jwk.Algorithm != keys.AlgEdDSA || !jwk.Valid() {
		t.Errorf("JWK %v", jwk)
	}
	if _, _, err := rotated.AuditSigner().Sign([]byte("head")); err != nil {
		t.Errorf("audit: %v, want ES256 whatever tokens are signed with", err)
	}
}

func TestBadConfigsAreRefused(t *testing.T) {
	for name, cfg := range map[string]keys.Config{
		"unknown algorithm": {Algorithm: "RS256"}, "no algorithm": {Algorithm: "none"}, "algorithm in lower case": {Algorithm: "es256"},
		"overlap below zero": {Overlap: -1}, "warn age below zero": {WarnAge: -1}, "keys that never settle": {MaxAge: keys.Settle - 1},
	} {
		cfg.Store, cfg.Wrapper, cfg.Now = &memory{}, kek, clock
		if r, err := keys.New(t.Context(), cfg); err == nil || r != nil {
			t.Errorf("%s: New = %v, %v, want an error", name, r, err)
		}
	}
}
