package keys_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/token"
)

// memory is a keys.Store for one test; the real ones are in internal/sqlite and
// internal/postgres, which import this package.
type memory struct {
	records []keys.Record
	err     error // of Keys
	full    error // of InsertKey
}

func (m *memory) Keys(context.Context) ([]keys.Record, error) { return slices.Clone(m.records), m.err }

func (m *memory) InsertKey(_ context.Context, r keys.Record) error {
	if m.full == nil {
		m.records = append(m.records, r)
	}
	return m.full
}

func (m *memory) ActivateKey(_ context.Context, keyID string, now time.Time) error {
	for i, r := range m.records {
		if r.KeyID == keyID && r.Activated.IsZero() {
			m.records[i].Activated = now
			return nil
		}
	}
	return keys.ErrActive
}

var now = time.Unix(1000, 0)

func clock() time.Time { return now }

func open(t *testing.T, s keys.Store) *keys.Ring {
	t.Helper()
	r, err := keys.New(t.Context(), wrapped(keys.Config{Store: s, Now: clock}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// accessToken mints with one ring, for another to verify.
func accessToken(t *testing.T, r *keys.Ring) string {
	t.Helper()
	alice, err := identity.ParseSubject("alice")
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := token.NewMinter(token.MinterConfig{Issuer: "https://as.example", Signer: r, Now: clock}).Access(
		token.AccessSpec{Subject: alice, ClientID: identity.MustClientID("C"), Audience: "https://mcp.example", Lifetime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestRingSurvivesARestart: tokens, sealed values and audit heads of before are good after.
func TestRingSurvivesARestart(t *testing.T) {
	var store memory
	before := open(t, &store)
	if len(store.records) != 6 {
		t.Fatalf("%d keys were made, want a current and a next one of each use", len(store.records))
	}
	raw, sealed := accessToken(t, before), before.Sealer("session").Seal([]byte("x"))
	kid, signature, err := before.AuditSigner().Sign([]byte("head"))
	if err != nil {
		t.Fatal(err)
	}
	after := open(t, &store)
	if len(store.records) != 6 {
		t.Errorf("%d keys after a restart, want the same 6", len(store.records))
	}
	v := token.NewVerifier(token.VerifierConfig{Issuer: "https://as.example", Keys: after, Now: clock})
	if _, err := v.ParseAccess(t.Context(), raw, "https://mcp.example", token.Confirmation{}); err != nil {
		t.Errorf("token of before: %v", err)
	}
	if plain, ok := after.Sealer("session").Open(sealed); !ok || string(plain) != "x" {
		t.Errorf("sealed before: %q, %v", plain, ok)
	}
	k, err := keys.ParseAuditKey(find(t, &store, keys.UseAudit))
	if err != nil || !k.Verify([]byte("head"), signature) || kid != find(t, &store, keys.UseAudit).KeyID {
		t.Errorf("head of before by %s: %v", kid, err)
	}
}

// find is the current key of a store that has seen no rotation.
func find(t *testing.T, s *memory, u keys.Use) keys.Record {
	t.Helper()
	i := slices.IndexFunc(s.records, func(r keys.Record) bool { return r.Use == u && !r.Activated.IsZero() })
	if i < 0 {
		t.Fatalf("no %s key", u)
	}
	return s.records[i]
}

func TestWrongKEKOpensNothing(t *testing.T) {
	var store memory
	open(t, &store)
	if r, err := keys.Open(t.Context(), &store, keys.KEK{9}, clock); !errors.Is(err, keys.ErrWrongKEK) || r != nil {
		t.Errorf("Open = %v, %v, want %v", r, err, keys.ErrWrongKEK)
	}
	if len(store.records) != 6 {
		t.Errorf("%d keys, want the 6 of before", len(store.records))
	}
}

func TestStoreThatFailsGivesNoRing(t *testing.T) {
	broken := errors.New("broken")
	for name, s := range map[string]*memory{"reading": {err: broken}, "writing": {full: broken}} {
		if r, err := keys.New(t.Context(), wrapped(keys.Config{Store: s, Now: clock})); r != nil || !errors.Is(err, broken) {
			t.Errorf("%s: Open = %v, %v, want %v", name, r, err, broken)
		}
	}
}

// TestStoredKeyServesNoOtherPurpose: who can write the store, but has no KEK,
// cannot turn one key into another.
func TestStoredKeyServesNoOtherPurpose(t *testing.T) {
	var good memory
	open(t, &good)
	tests := []struct {
		name   string
		change func(tok, audit, session *keys.Record)
	}{
		{"audit key relabelled to sign tokens", func(_, audit, _ *keys.Record) { audit.Use = keys.UseToken }},
		{"token key relabelled to sign the audit log", func(tok, _, _ *keys.Record) { tok.Use = keys.UseAudit }},
		{"another algorithm", func(tok, _, _ *keys.Record) { tok.Algorithm = "EdDSA" }},
		{"another id", func(tok, _, _ *keys.Record) { tok.KeyID += "x" }},
		{"two swapped", func(tok, audit, _ *keys.Record) { tok.Wrapped, audit.Wrapped = audit.Wrapped, tok.Wrapped }},
		{"a bit flipped", func(_, _, session *keys.Record) {
			session.Wrapped = slices.Clone(session.Wrapped)
			session.Wrapped[20] ^= 1
		}},
		{"cut off", func(tok, _, _ *keys.Record) { tok.Wrapped = tok.Wrapped[:10] }},
		{"empty", func(tok, _, _ *keys.Record) { tok.Wrapped = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &memory{records: []keys.Record{find(t, &good, keys.UseToken), find(t, &good, keys.UseAudit), find(t, &good, keys.UseSession)}}
			tt.change(&s.records[0], &s.records[1], &s.records[2])
			if _, err := keys.New(t.Context(), wrapped(keys.Config{Store: s, Now: clock})); !errors.Is(err, keys.ErrWrongKEK) {
				t.Errorf("Open = %v, want %v", err, keys.ErrWrongKEK)
			}
		})
	}
}

// TestJWKSHasPublicTokenKeysOnly: no member of a private key, no other key.
func TestJWKSHasPublicTokenKeysOnly(t *testing.T) {
	var store memory
	r := open(t, &store)
	b, err := json.Marshal(r.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(b, &got); err != nil || len(got.Keys) != 2 {
		t.Fatalf("%s: %v, want the current and the next key", b, err)
	}
	var kids []string
	for _, k := range got.Keys {
		if len(k["x"]) != 43 || len(k["y"]) != 43 {
			t.Errorf("coordinates %q and %q", k["x"], k["y"])
		}
		kids = append(kids, k["kid"])
		delete(k, "x")
		delete(k, "y")
		delete(k, "kid")
		if diff := cmp.Diff(map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig"}, k); diff != "" {
			t.Errorf("JWK (-want +got)\n%s", diff)
		}
	}
	if !slices.IsSorted(kids) || !slices.Contains(kids, find(t, &store, keys.UseToken).KeyID) {
		t.Errorf("kids %q", kids)
	}
}

// TestAuditKeyVerifiesNoToken: it is not in the key set either.
func TestAuditKeyVerifiesNoToken(t *testing.T) {
	var store memory
	r := open(t, &store)
	for _, kid := range []string{find(t, &store, keys.UseAudit).KeyID, find(t, &store, keys.UseSession).KeyID, "", "token"} {
		if k, err := r.Key(t.Context(), kid); !errors.Is(err, token.ErrUnknownKey) || k.Key != nil {
			t.Errorf("Key(%q) = %v, %v, want %v", kid, k, err, token.ErrUnknownKey)
		}
	}
	if r.SigningKey().KeyID != find(t, &store, keys.UseToken).KeyID {
		t.Errorf("tokens are signed with %s", r.SigningKey().KeyID)
	}
}

func TestAuditSignatures(t *testing.T) {
	var store, other memory
	signer := open(t, &store).AuditSigner()
	open(t, &other)
	_, sig, err := signer.Sign([]byte("head 7"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := keys.ParseAuditKey(find(t, &store, keys.UseAudit))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := keys.ParseAuditKey(find(t, &other, keys.UseAudit))
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(sig)
	flipped[len(flipped)-1] ^= 1
	tests := []struct {
		name      string
		key       keys.AuditVerifier
		message   string
		signature []byte
		want      bool
	}{
		{"as signed", k, "head 7", sig, true},
		{"another message", k, "head 8", sig, false},
		{"another key", foreign, "head 7", sig, false},
		{"no key", keys.AuditVerifier{}, "head 7", sig, false},
		{"a bit flipped", k, "head 7", flipped, false},
		{"cut off", k, "head 7", sig[:len(sig)-1], false},
		{"with a byte more", k, "head 7", append(slices.Clone(sig), 0), false},
		{"no signature", k, "head 7", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.key.Verify([]byte(tt.message), tt.signature); got != tt.want {
				t.Errorf("Verify = %v, want %v", got, tt.want)
			}
		})
	}
	for _, u := range []keys.Use{keys.UseToken, keys.UseSession} {
		if _, err := keys.ParseAuditKey(find(t, &store, u)); err == nil {
			t.Errorf("a %s key was taken for an audit key", u)
		}
	}
}

func TestSealerOpensOnlyItsOwn(t *testing.T) {
	r, other := open(t, &memory{}), open(t, &memory{})
	s := r.Sealer("mcp session")
	sealed := s.Seal([]byte("alice's session"))
	if plain, ok := s.Open(sealed); !ok || string(plain) != "alice's session" {
		t.Fatalf("Open = %q, %v", plain, ok)
	}
	if bytes.Contains(sealed, []byte("alice")) || bytes.Equal(sealed, s.Seal([]byte("alice's session"))) {
		t.Error("sealing hides nothing")
	}
	for name, o := range map[string]keys.Sealer{"another purpose": r.Sealer("login"), "no purpose": r.Sealer(""), "another key": other.Sealer("mcp session")} {
		if plain, ok := o.Open(sealed); ok || plain != nil {
			t.Errorf("%s: opened %q", name, plain)
		}
	}
	for i := range sealed {
		b := slices.Clone(sealed)
		b[i] ^= 1
		if _, ok := s.Open(b); ok {
			t.Errorf("opened with byte %d changed", i)
		}
		if _, ok := s.Open(sealed[:i]); ok {
			t.Errorf("opened the first %d bytes", i)
		}
	}
	if _, ok := s.Open(append(sealed, 0)); ok {
		t.Error("opened with a byte more")
	}
}

// TestKeysAreNotPrinted: neither the KEK nor a private key, by any verb or handler.
func TestKeysAreNotPrinted(t *testing.T) {
	k := keys.KEK(bytes.Repeat([]byte{0xab}, 32))
	r, err := keys.Open(t.Context(), &memory{}, k, clock)
	if err != nil {
		t.Fatal(err)
	}
	private := r.SigningKey().Key.(*ecdsa.PrivateKey)
	d, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{"171 171", "171,171", "abababab", "ABABABAB", "0xab, 0xab", "q6urq6ur", new(big.Int).SetBytes(d).String(), fmt.Sprintf("%x", d)}
	for _, v := range []any{k, &k, []keys.KEK{k}, map[string]keys.KEK{"k": k}, keys.Config{Wrapper: k}, r, []*keys.Ring{r}, r.SigningKey(), r.AuditSigner(), r.Sealer("x")} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		for _, s := range secrets {
			if strings.Contains(out.String(), s) {
				t.Errorf("%T prints %q: %s", v, s, &out)
			}
		}
	}
}
