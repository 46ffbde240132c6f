// Package keys owns the private keys: it generates them, keeps them wrapped by a
// key-encryption key, rotates them, and shows the public halves as a JWKS.
//
// Every replica holds the ring in memory and signs locally. What a key is good for
// follows from the records in the store alone: one that was never activated is
// next, published but not used yet; the one that was activated last is current;
// the ones before are previous, good for what they made while that can live. So
// replicas agree without talking to each other, and whoever dies between two steps
// leaves a state that the next one completes.
//
// A Remote may keep the private halves of token keys, and sign with them. What the
// store has of such a key is where it is, wrapped like a private key.
//
// The package parses no tokens, and removes no keys from the store: old audit
// heads need theirs for good. It speaks with no Vault (package transit does).
package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"
)

// Use says what a key is for; a key of one use never serves another.
type Use string

// Uses.
const (
	UseToken   Use = "token"   // signs access and call tokens, in the JWKS
	UseAudit   Use = "audit"   // signs heads of the audit log, never in the JWKS
	UseSession Use = "session" // seals MCP session handles and login sessions (AES-256-GCM)
)

// Uses are all of them.
func Uses() []Use { return []Use{UseToken, UseAudit, UseSession} }

// Algorithms of the keys that we generate.
const (
	AlgES256   = "ES256"
	AlgEdDSA   = "EdDSA" // for tokens, where it is configured
	AlgA256GCM = "A256GCM"
)

// Record is a key at rest.
type Record struct {
	KeyID     string
	Use       Use
	Algorithm string
	Wrapped   []byte // the private key, or where it is, sealed by the key-encryption key
	Public    []byte // PKIX, empty for a symmetric key
	Created   time.Time
	Activated time.Time // when it began to be used; zero: it is next
}

// Store keeps Records. Implementations must be durable when InsertKey returns.
type Store interface {
	// Keys lists all records, oldest first.
	Keys(ctx context.Context) ([]Record, error)
	// InsertKey adds a record; the KeyID is unique.
	InsertKey(ctx context.Context, r Record) error
	// ActivateKey notes, exactly once, that the key is used from now on. Everybody but
	// the first gets ErrActive.
	ActivateKey(ctx context.Context, keyID string, now time.Time) error
}

// ErrActive is returned for a key that is in use already.
var ErrActive = errors.New("the key is in use already")

// KEK is a key-encryption key: 32 bytes.
type KEK [32]byte

// String redacts.
func (KEK) String() string { return "key-encryption key" }

// GoString redacts.
func (k KEK) GoString() string { return k.String() }

// Format redacts for the verbs that do not ask String.
func (k KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText redacts in JSON and in slog.
func (k KEK) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// material is what is secret of a key, and what is public.
type material struct{ private, public []byte }

// generate makes a key that is next.
func generate(ctx context.Context, u Use, algorithm string, cfg Config) (Record, error) {
	r := Record{KeyID: string(u) + "-" + rand.Text()[:12], Use: u, Algorithm: algorithm, Created: cfg.Now()}
	m, err := generateMaterial(ctx, r, cfg)
	if err != nil {
		return Record{}, err
	}
	r.Public = m.public
	r.Wrapped, err = wrap(ctx, cfg.Wrapper, r, m.private, "")
	return r, err
}

func generateMaterial(ctx context.Context, r Record, cfg Config) (material, error) {
	switch {
	case r.Use == UseSession:
		private := make([]byte, 32)
		rand.Read(private)
		return material{private: private}, nil
	case cfg.remotely(r.Use):
		return generateRemote(ctx, r, cfg.Remote)
	}
	k, err := generateSigner(r.Algorithm)
	if err != nil {
		return material{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return material{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(k.Public())
	return material{private, public}, err
}

func generateSigner(algorithm string) (crypto.Signer, error) {
	if algorithm == AlgEdDSA {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}
