package transit_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/vault"
)

func TestWrapping(t *testing.T) {
	w := newWorld(t)
	if err := w.engine.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	wrapped, err := w.engine.Wrap(t.Context(), []byte("secret"), []byte("key a"))
	if err != nil || bytes.Contains(wrapped, []byte("secret")) {
		t.Fatalf("Wrap = %q, %v", wrapped, err)
	}
	if plain, err := w.engine.Unwrap(t.Context(), wrapped, []byte("key a")); err != nil || string(plain) != "secret" {
		t.Errorf("Unwrap = %q, %v", plain, err)
	}
	flipped := bytes.Clone(wrapped)
	flipped[len(flipped)-5] ^= 1
	for name, tt := range map[string]struct{ wrapped, purpose []byte }{
		"for another purpose": {wrapped, []byte("key b")},
		"for no purpose":      {wrapped, nil},
		"changed":             {flipped, []byte("key a")},
		"cut off":             {wrapped[:len(wrapped)-8], []byte("key a")},
		"of a later version":  {bytes.Replace(wrapped, []byte("v1"), []byte("v7"), 1), []byte("key a")},
		"nothing of Vault's":  {[]byte("x"), []byte("key a")},
	} {
		if plain, err := w.engine.Unwrap(t.Context(), tt.wrapped, tt.purpose); !errors.Is(err, keys.ErrWrongKEK) || plain != nil {
			t.Errorf("%s: Unwrap = %q, %v, want %v", name, plain, err, keys.ErrWrongKEK)
		}
	}
}

// TestKeyThatCannotWrapIsRefused: one that is not there, or would not authenticate what a
// key is for. None is made in passing.
func TestKeyThatCannotWrapIsRefused(t *testing.T) {
	w := newWorld(t)
	w.Do(t, http.MethodPut, "sys/policies/acl/wicketgate-keys", map[string]any{"policy": `path "transit/*" { capabilities = ["read", "update"] }`})
	w.Do(t, http.MethodPost, "transit/keys/rsa", map[string]any{"type": "rsa-2048"})
	w.Do(t, http.MethodPost, "transit/keys/derived", map[string]any{"type": "aes256-gcm96", "derived": true})
	for _, name := range []string{"rsa", "derived", "missing"} {
		if err := w.key(name).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "aes256-gcm96") {
			t.Errorf("Check(%s) = %v, want an error that says what to make", name, err)
		}
	}
	if _, err := w.key("missing").Wrap(t.Context(), []byte("x"), nil); err == nil {
		t.Error("a key was made by wrapping")
	}
	if _, err := w.Ask(t.Context(), http.MethodGet, "transit/keys/missing", nil); err == nil {
		t.Error("the key missing is there now")
	}
}

// TestPolicyAllowsNoMore: what the policy of deploy/vault gives makes, changes, exports and
// deletes no key that wraps, and touches no key of others.
func TestPolicyAllowsNoMore(t *testing.T) {
	w := newWorld(t)
	w.Do(t, http.MethodPost, "transit/keys/other", map[string]any{"type": "aes256-gcm96", "exportable": true})
	at, _, err := w.engine.Generate(t.Context(), "token-A", keys.AlgES256)
	if err != nil {
		t.Fatal(err)
	}
	own, err := w.own.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]map[string]any{
		"transit/keys/wicketgate":                {"type": "aes256-gcm96"},
		"transit/keys/wicketgate/config":         {"exportable": true},
		"transit/keys/wicketgate/rotate":         {},
		"transit/keys/wicketgate-token-A/config": {"exportable": true},
		"transit/keys/wicketgate-token-A/trim":   {"min_available_version": 1},
		"transit/keys/wicketgate-token-B":        {"type": "ecdsa-p256", "exportable": true},
		"transit/keys/wicketgate-token-C":        {"type": "rsa-2048"},
		"transit/keys/wicketgate-token-D":        {"type": "ecdsa-p256", "allow_plaintext_backup": true},
		"transit/encrypt/other":                  {"plaintext": "eA=="},
		"transit/encrypt/new":                    {"plaintext": "eA=="},
		"transit/sign/wicketgate":                {"input": "eA=="},
		"transit/keys/wicketgate-x":              {"type": "ecdsa-p256"},
		"sys/policies/acl/wicketgate-keys":       {"policy": ""},
	} {
		_, err := w.client.Write(t.Context(), own, path, body)
		if e := (*vault.Error)(nil); !errors.As(err, &e) || e.Why != vault.Denied {
			t.Errorf("write %s: %v, want %s", path, err, vault.Denied)
		}
	}
	for _, path := range []string{"transit/export/encryption-key/wicketgate", "transit/backup/wicketgate", "transit/export/signing-key/" + strings.TrimPrefix(at, "transit/"), "transit/keys/other"} {
		_, err := w.client.Read(t.Context(), own, path, nil)
		if e := (*vault.Error)(nil); !errors.As(err, &e) || e.Why != vault.Denied {
			t.Errorf("read %s: %v, want %s", path, err, vault.Denied)
		}
	}
}

// TestRevokedLoginIsMadeAnew: nobody notices that an operator revoked our token.
func TestRevokedLoginIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	wrapped, err := w.engine.Wrap(t.Context(), []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.revoke(t)
	if plain, err := w.engine.Unwrap(t.Context(), wrapped, nil); err != nil || string(plain) != "x" {
		t.Errorf("Unwrap = %q, %v", plain, err)
	}
}

// TestEngineSaysWhatIsWrong, and nothing of what it was given.
func TestEngineSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	wrapped, err := w.engine.Wrap(t.Context(), []byte("private half"), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	fails := func(name string, why vault.Reason) {
		t.Helper()
		_, wrapErr := w.engine.Wrap(t.Context(), []byte("private half"), []byte("x"))
		_, unwrapErr := w.engine.Unwrap(t.Context(), wrapped, []byte("x"))
		for _, err := range []error{wrapErr, unwrapErr} {
			if e := (*vault.Error)(nil); !errors.As(err, &e) || e.Why != why || errors.Is(err, keys.ErrWrongKEK) {
				t.Errorf("%s: %v, want %s", name, err, why)
			} else if strings.Contains(err.Error(), "private half") || strings.Contains(err.Error(), "cHJpdmF0ZSBoYWxm") {
				t.Errorf("%s: the error has the key: %v", name, err)
			}
		}
	}
	w.Do(t, http.MethodPut, "sys/policies/acl/wicketgate-keys", map[string]any{"policy": `path "secret/*" { capabilities = ["read"] }`})
	fails("permission denied", vault.Denied)
	w.KeysPolicy(t)
	w.Seal(t)
	fails("sealed", vault.Sealed)
	w.UnsealAgain(t)
	w.Kill()
	fails("gone", vault.Unreachable)
	w.Run(t)
	if plain, err := w.engine.Unwrap(t.Context(), wrapped, []byte("x")); err != nil || string(plain) != "private half" {
		t.Errorf("after a restart of Vault: %q, %v", plain, err)
	}
	w.Do(t, http.MethodPost, "transit/keys/wicketgate/config", map[string]any{"deletion_allowed": true})
	w.Do(t, http.MethodDelete, "transit/keys/wicketgate", nil)
	if _, err := w.engine.Unwrap(t.Context(), wrapped, []byte("x")); err == nil || errors.Is(err, keys.ErrWrongKEK) {
		t.Errorf("deleted: %v", err)
	}
}

// TestEngineIsNotPrinted: it leads to our login.
func TestEngineIsNotPrinted(t *testing.T) {
	w := newWorld(t)
	if _, err := w.own.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	ring, err := keys.New(t.Context(), keys.Config{Store: &memory{}, Wrapper: w.engine, Remote: w.engine, Sign: true, Now: (&clock{start}).now})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, v := range []any{w.engine, keys.Config{Wrapper: w.engine, Remote: w.engine}, []keys.Wrapper{w.engine}, ring, ring.SigningKey(), ring.SigningKey().Key} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
	}
	if strings.Contains(out.String(), "hvs.") {
		t.Errorf("it prints %s", &out)
	}
}
