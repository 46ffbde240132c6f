package transit_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/transit"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// world is a Vault with our keys, set up as docs/operate.md says.
type world struct {
	*vaulttest.Vault
	client *vault.Client
	own    *vault.Own
	engine *transit.Engine
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{Vault: vaulttest.Start(t)}
	role, secret := w.Keys(t)
	var err error
	if w.client, err = vault.New(vault.Config{Address: w.URL, Timeout: 30 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.own = vault.NewOwn(vault.OwnConfig{Client: w.client, Login: func(ctx context.Context) (vault.Auth, error) {
		return w.client.LoginAppRole(ctx, "approle", role, secret)
	}})
	w.engine = w.key("wicketgate")
	return w
}

// key is an Engine over the key of that name.
func (w *world) key(name string) *transit.Engine {
	return transit.New(transit.Config{Client: w.client, Own: w.own, Mount: "transit", Key: name})
}

// revoke makes Vault forget our token, as an operator may.
func (w *world) revoke(t testing.TB) {
	t.Helper()
	w.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/approle", nil)
}

// memory is a store for one test.
type memory struct{ records []keys.Record }

func (m *memory) Keys(context.Context) ([]keys.Record, error) { return slices.Clone(m.records), nil }

func (m *memory) InsertKey(_ context.Context, r keys.Record) error {
	m.records = append(m.records, r)
	return nil
}

func (m *memory) ActivateKey(_ context.Context, keyID string, now time.Time) error {
	m.find(keyID).Activated = now
	return nil
}

func (m *memory) RewrapKey(_ context.Context, keyID string, before, after []byte) error {
	r := m.find(keyID)
	if !slices.Equal(r.Wrapped, before) {
		return keys.ErrChanged
	}
	r.Wrapped = after
	return nil
}

func (m *memory) find(keyID string) *keys.Record {
	return &m.records[slices.IndexFunc(m.records, func(r keys.Record) bool { return r.KeyID == keyID })]
}

// current is the index of the current key of a use.
func (m *memory) current(u keys.Use) int {
	return slices.IndexFunc(m.records, func(r keys.Record) bool { return r.Use == u && !r.Activated.IsZero() })
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock can be moved.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

const (
	issuer   = "https://as.example"
	audience = "https://mcp.example"
)

func mint(t testing.TB, s token.Signer, now func() time.Time) (string, error) {
	t.Helper()
	alice, err := identity.ParseSubject("alice")
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: s, Now: now}).Access(
		token.AccessSpec{Subject: alice, ClientID: identity.MustClientID("C"), Audience: audience, Lifetime: time.Hour})
	return raw, err
}

// published is the JWKS of a ring as somebody else reads it.
type published struct{ ring *keys.Ring }

// Key implements token.KeySet.
func (p published) Key(_ context.Context, kid string) (token.PublicKey, error) {
	set := p.ring.JWKS()
	found := set.Key(kid)
	if len(found) != 1 {
		return token.PublicKey{}, token.ErrUnknownKey
	}
	return token.PublicKey{Algorithm: found[0].Algorithm, Key: found[0].Key}, nil
}

func verify(t testing.TB, ring *keys.Ring, raw string, now func() time.Time) error {
	t.Helper()
	_, err := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: published{ring}, Now: now}).ParseAccess(t.Context(), raw, audience, token.Confirmation{})
	return err
}

// signed reports whether the key made the signature over the message.
func signed(public any, message, signature []byte) bool {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(k, sum[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, signature)
	}
	return false
}
