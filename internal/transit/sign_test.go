package transit_test

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/vault"
)

var algorithms = []string{keys.AlgES256, keys.AlgEdDSA}

// TestTokensSignedInVault verify against the JWKS, after a restart too; the private half is
// not in the store, and cannot be had from Vault.
func TestTokensSignedInVault(t *testing.T) {
	w := newWorld(t)
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			var store memory
			now := &clock{start}
			cfg := keys.Config{Store: &store, Wrapper: w.engine, Remote: w.engine, Sign: true, Algorithm: algorithm, Now: now.now}
			ring, err := keys.New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := mint(t, ring, now.now)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(t, ring, raw, now.now); err != nil {
				t.Errorf("the token does not verify: %v", err)
			}
			again, err := keys.New(t.Context(), cfg)
			if err != nil || again.SigningKey().KeyID != ring.SigningKey().KeyID || verify(t, again, raw, now.now) != nil {
				t.Errorf("after a restart: %v, %v", err, again)
			}
			kid := store.records[store.current(keys.UseToken)].KeyID
			if _, err := w.Ask(t.Context(), http.MethodGet, "transit/export/signing-key/wicketgate-"+kid, nil); err == nil {
				t.Error("the root of Vault exports the key")
			}
			now.Time = now.Add(keys.Settle)
			if err := ring.Rotate(t.Context(), keys.UseToken, false); err != nil {
				t.Fatal(err)
			}
			if raw, err = mint(t, ring, now.now); err != nil || verify(t, ring, raw, now.now) != nil || ring.SigningKey().KeyID == kid {
				t.Errorf("after a rotation: %v", err)
			}
		})
	}
}

// TestOptionCountsFromTheNextRotation, both ways: the next key is of the other kind, and
// what the one before signed stays good.
func TestOptionCountsFromTheNextRotation(t *testing.T) {
	w := newWorld(t)
	var store memory
	now := &clock{start}
	var tokens []string
	for i, sign := range []bool{false, true, false} {
		ring, err := keys.New(t.Context(), keys.Config{Store: &store, Wrapper: w.engine, Remote: w.engine, Sign: sign, Now: now.now})
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			before := ring.SigningKey().KeyID
			now.Time = now.Add(keys.Settle)
			if err := ring.Rotate(t.Context(), keys.UseToken, false); err != nil || ring.SigningKey().KeyID == before {
				t.Fatalf("Rotate = %v", err)
			}
		}
		_, err = w.Ask(t.Context(), http.MethodGet, "transit/keys/wicketgate-"+ring.SigningKey().KeyID, nil)
		if (err == nil) != sign {
			t.Errorf("sign %v: the key in Vault: %v", sign, err)
		}
		raw, err := mint(t, ring, now.now)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range append(tokens, raw) {
			if err := verify(t, ring, raw, now.now); err != nil {
				t.Errorf("sign %v: %v", sign, err)
			}
		}
		tokens = append(tokens, raw)
	}
}

// TestVaultAwaySignsNothing: no token, and the reason in the error; nothing else is touched.
// When it is back, so are tokens.
func TestVaultAwaySignsNothing(t *testing.T) {
	w := newWorld(t)
	now := &clock{start}
	ring, err := keys.New(t.Context(), keys.Config{Store: &memory{}, Wrapper: w.engine, Remote: w.engine, Sign: true, Now: now.now})
	if err != nil {
		t.Fatal(err)
	}
	good, err := mint(t, ring, now.now)
	if err != nil {
		t.Fatal(err)
	}
	fails := func(why vault.Reason) {
		t.Helper()
		raw, err := mint(t, ring, now.now)
		var reason interface{ Reason() string }
		if raw != "" || !errors.As(err, &reason) || reason.Reason() != string(why) {
			t.Errorf("mint = %q, %v, want %s", raw, err, why)
		}
		if err := ring.State(); err == nil || !strings.Contains(err.Error(), string(why)) {
			t.Errorf("State = %v, want %s", err, why)
		}
		if err := verify(t, ring, good, now.now); err != nil {
			t.Errorf("the token of before: %v", err)
		}
		if sealed := ring.Sealer("x").Seal([]byte("y")); len(sealed) == 0 {
			t.Error("nothing is sealed")
		}
		if _, _, err := ring.AuditSigner().Sign([]byte("head")); err != nil {
			t.Errorf("audit head: %v", err)
		}
	}
	w.Seal(t)
	fails(vault.Sealed)
	w.UnsealAgain(t)
	w.Kill()
	fails(vault.Unreachable)
	if err := ring.Reload(t.Context()); err != nil {
		t.Errorf("Reload without Vault, and nothing to do: %v", err)
	}
	w.Run(t)
	if raw, err := mint(t, ring, now.now); err != nil || verify(t, ring, raw, now.now) != nil || ring.State() != nil {
		t.Errorf("Vault is back: %v, %v", err, ring.State())
	}
}

// TestKeyMadeAnewInVaultSignsNothing: whoever may delete and make keys in Vault has made
// one of the same name. What it signs is not handed out.
func TestKeyMadeAnewInVaultSignsNothing(t *testing.T) {
	w := newWorld(t)
	for _, algorithm := range algorithms {
		now := &clock{start}
		ring, err := keys.New(t.Context(), keys.Config{Store: &memory{}, Wrapper: w.engine, Remote: w.engine, Sign: true, Algorithm: algorithm, Now: now.now})
		if err != nil {
			t.Fatal(err)
		}
		path := "transit/keys/wicketgate-" + ring.SigningKey().KeyID
		kind := map[string]string{keys.AlgES256: "ecdsa-p256", keys.AlgEdDSA: "ed25519"}[algorithm]
		w.Do(t, http.MethodPost, path+"/config", map[string]any{"deletion_allowed": true})
		w.Do(t, http.MethodDelete, path, nil)
		if raw, err := mint(t, ring, now.now); raw != "" || err == nil {
			t.Errorf("%s: deleted: %q, %v", algorithm, raw, err)
		}
		w.Do(t, http.MethodPost, path, map[string]any{"type": kind})
		if raw, err := mint(t, ring, now.now); raw != "" || err == nil || !strings.Contains(err.Error(), "not the key that was made there") {
			t.Errorf("%s: made anew: %q, %v", algorithm, raw, err)
		}
		now.Time = now.Add(keys.Settle)
		if err := ring.Rotate(t.Context(), keys.UseToken, false); err != nil {
			t.Fatal(err)
		}
		if raw, err := mint(t, ring, now.now); err != nil || verify(t, ring, raw, now.now) != nil {
			t.Errorf("%s: after a rotation: %v", algorithm, err)
		}
	}
}

// TestRotationInVaultChangesNoSignature: the first version signs, whose public half is known.
func TestRotationInVaultChangesNoSignature(t *testing.T) {
	w := newWorld(t)
	at, public, err := w.engine.Generate(t.Context(), "token-A", keys.AlgEdDSA)
	if err != nil {
		t.Fatal(err)
	}
	w.Do(t, http.MethodPost, "transit/keys/wicketgate-token-A/rotate", nil)
	signature, err := w.engine.Sign(t.Context(), at, keys.AlgEdDSA, []byte("m"))
	if err != nil || !signed(public, []byte("m"), signature) {
		t.Errorf("Sign = %x, %v", signature, err)
	}
}

// TestKeyMadeBeforeIsNotTaken: whoever may make keys in Vault guesses a name, and keeps the
// private half.
func TestKeyMadeBeforeIsNotTaken(t *testing.T) {
	w := newWorld(t)
	for name, body := range map[string]map[string]any{
		"token-EXPORTABLE": {"type": "ecdsa-p256", "exportable": true},
		"token-BACKUP":     {"type": "ecdsa-p256", "allow_plaintext_backup": true},
		"token-OTHER":      {"type": "ed25519"},
	} {
		w.Do(t, http.MethodPost, "transit/keys/wicketgate-"+name, body)
		if at, public, err := w.engine.Generate(t.Context(), name, keys.AlgES256); err == nil || at != "" || public != nil {
			t.Errorf("%s: Generate = %q, %v, %v", name, at, public, err)
		}
	}
	w.Do(t, http.MethodPost, "transit/keys/wicketgate-token-ROTATED", map[string]any{"type": "ecdsa-p256"})
	w.Do(t, http.MethodPost, "transit/keys/wicketgate-token-ROTATED/rotate", nil)
	if _, _, err := w.engine.Generate(t.Context(), "token-ROTATED", keys.AlgES256); err == nil {
		t.Error("a key that was rotated was taken")
	}
}

// TestStoredReferenceServesNoOtherPurpose: who can write the store alone cannot have
// another public half published, or another key sign.
func TestStoredReferenceServesNoOtherPurpose(t *testing.T) {
	w := newWorld(t)
	var good, other memory
	now := &clock{start}
	for _, s := range []*memory{&good, &other} {
		if _, err := keys.New(t.Context(), keys.Config{Store: s, Wrapper: w.engine, Remote: w.engine, Sign: true, Now: now.now}); err != nil {
			t.Fatal(err)
		}
	}
	foreign := other.records[other.current(keys.UseToken)]
	var plain bytes.Buffer
	plain.WriteString(`{"remote":"transit/wicketgate-token-X","public":""}`)
	tests := map[string]func(tok, next, audit *keys.Record){
		"another public half": func(tok, _, _ *keys.Record) { tok.Public = foreign.Public },
		"another record's":    func(tok, _, _ *keys.Record) { tok.Wrapped, tok.Public = foreign.Wrapped, foreign.Public },
		"two swapped":         func(tok, next, _ *keys.Record) { tok.Wrapped, next.Wrapped = next.Wrapped, tok.Wrapped },
		"two swapped with publics": func(tok, next, _ *keys.Record) {
			tok.Wrapped, next.Wrapped, tok.Public, next.Public = next.Wrapped, tok.Wrapped, next.Public, tok.Public
		},
		"another id":        func(tok, _, _ *keys.Record) { tok.KeyID += "X" },
		"another algorithm": func(tok, _, _ *keys.Record) { tok.Algorithm = keys.AlgEdDSA },
		"not wrapped":       func(tok, _, _ *keys.Record) { tok.Wrapped = plain.Bytes() },
		"as an audit key":   func(_, _, audit *keys.Record) { audit.Wrapped = foreign.Wrapped },
		"in another mark": func(tok, _, _ *keys.Record) {
			tok.Wrapped = bytes.Replace(tok.Wrapped, []byte(`"}`), []byte(`","operator":"mallory"}`), 1)
		},
	}
	for name, change := range tests {
		s := &memory{records: slices.Clone(good.records)}
		next := slices.IndexFunc(s.records, func(r keys.Record) bool { return r.Use == keys.UseToken && r.Activated.IsZero() })
		change(&s.records[s.current(keys.UseToken)], &s.records[next], &s.records[s.current(keys.UseAudit)])
		if ring, err := keys.New(t.Context(), keys.Config{Store: s, Wrapper: w.engine, Remote: w.engine, Sign: true, Now: now.now}); err == nil {
			t.Errorf("%s: New = %v", name, ring)
		}
	}
}

// BenchmarkSignature is a signature of a token beside one of the other kind, on the same
// machine, with Vault on it too: its network is none.
func BenchmarkSignature(b *testing.B) {
	w := newWorld(b)
	for _, algorithm := range algorithms {
		for name, sign := range map[string]bool{"local": false, "transit": true} {
			ring, err := keys.New(b.Context(), keys.Config{Store: &memory{}, Wrapper: w.engine, Remote: w.engine, Sign: sign, Algorithm: algorithm, Now: (&clock{start}).now})
			if err != nil {
				b.Fatal(err)
			}
			b.Run(algorithm+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if _, err := mint(b, ring, (&clock{start}).now); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
