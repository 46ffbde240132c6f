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
// The package parses no tokens, and removes no keys from the store: old audit
// heads need theirs for good. Key-encryption keys outside a file (Vault transit)
// are not here yet.
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
	Wrapped   []byte // the private key, sealed by the key-encryption key
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

// ErrWrongKEK is returned when the key-encryption key does not open a stored key.
var ErrWrongKEK = errors.New("the key-encryption key does not open the stored keys: it is not the one they were wrapped with")

// generate makes a key that is next.
func generate(u Use, algorithm string, kek KEK, now time.Time) (Record, error) {
	r := Record{KeyID: string(u) + "-" + rand.Text()[:12], Use: u, Algorithm: algorithm, Created: now}
	var private []byte
	if u == UseSession {
		private = make([]byte, 32)
		rand.Read(private)
	} else {
		k, err := generateSigner(algorithm)
		if err != nil {
			return Record{}, err
		}
		if private, err = x509.MarshalPKCS8PrivateKey(k); err != nil {
			return Record{}, err
		}
		if r.Public, err = x509.MarshalPKIXPublicKey(k.Public()); err != nil {
			return Record{}, err
		}
	}
	r.Wrapped = newBox(kek[:]).seal(private, []byte(wrapping(r)))
	return r, nil
}

func generateSigner(algorithm string) (crypto.Signer, error) {
	if algorithm == AlgEdDSA {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// wrapping is the purpose that a key is sealed for: a stored key cannot be given
// the id, use or algorithm of another.
func wrapping(r Record) string { return "key " + r.KeyID + " " + string(r.Use) + " " + r.Algorithm }

// unwrap reverses generate.
func unwrap(r Record, kek KEK) ([]byte, error) {
	private, ok := newBox(kek[:]).open(r.Wrapped, []byte(wrapping(r)))
	if !ok {
		return nil, fmt.Errorf("key %s: %w", r.KeyID, ErrWrongKEK)
	}
	return private, nil
}
