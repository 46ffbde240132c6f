// Package keys owns the private keys: it generates them, keeps them wrapped by a
// key-encryption key, and shows the public halves as a JWKS.
//
// Every replica holds the ring in memory and signs locally. The package parses
// no tokens. Rotation and key-encryption keys outside a file (Vault transit)
// are not here yet.
package keys

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/token"
)

// Use says what a key is for; a key of one use never serves another.
type Use string

// Uses.
const (
	UseToken   Use = "token"   // signs access and call tokens, in the JWKS
	UseAudit   Use = "audit"   // signs heads of the audit log, never in the JWKS
	UseSession Use = "session" // seals MCP session handles and login sessions (AES-256-GCM)
)

// AlgES256 and AlgA256GCM are the algorithms of the keys that we generate.
const (
	AlgES256   = "ES256"
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
}

// Store keeps Records. Implementations must be durable when InsertKey returns.
type Store interface {
	// Keys lists all records, oldest first.
	Keys(ctx context.Context) ([]Record, error)
	// InsertKey adds a record; the KeyID is unique.
	InsertKey(ctx context.Context, r Record) error
}

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

// Ring holds all keys in memory. It is safe for concurrent use.
type Ring struct {
	state atomic.Pointer[ringState]
}

type ringState struct {
	signers map[Use]token.SigningKey // the newest of each signing use
	public  map[string]publicKey     // by kid
	secret  []byte                   // newest session key
}

type publicKey struct {
	use Use
	key token.PublicKey
}

// Open loads the ring from the store and generates what is missing.
func Open(ctx context.Context, store Store, kek KEK, now func() time.Time) (*Ring, error) {
	have, err := store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	for _, u := range []Use{UseToken, UseAudit, UseSession} {
		if hasUse(have, u) {
			continue
		}
		r, err := generate(u, kek, now())
		if err != nil {
			return nil, fmt.Errorf("generate %s key: %w", u, err)
		}
		if err := store.InsertKey(ctx, r); err != nil {
			return nil, fmt.Errorf("store %s key: %w", u, err)
		}
		have = append(have, r)
	}
	s := &ringState{signers: map[Use]token.SigningKey{}, public: map[string]publicKey{}}
	for _, r := range have {
		if err := s.add(r, kek); err != nil {
			return nil, fmt.Errorf("key %s: %w", r.KeyID, err)
		}
	}
	ring := &Ring{}
	ring.state.Store(s)
	return ring, nil
}

func hasUse(records []Record, u Use) bool {
	for _, r := range records {
		if r.Use == u {
			return true
		}
	}
	return false
}

func generate(u Use, kek KEK, now time.Time) (Record, error) {
	r := Record{KeyID: string(u) + "-" + rand.Text()[:12], Use: u, Algorithm: AlgES256, Created: now}
	var private []byte
	if u == UseSession {
		r.Algorithm, private = AlgA256GCM, make([]byte, 32)
		rand.Read(private)
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
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
	r.Wrapped = newSealer(kek[:], wrapping(r)).Seal(private)
	return r, nil
}

// wrapping is the purpose that a key is sealed for: a stored key cannot be given
// the id, use or algorithm of another.
func wrapping(r Record) string { return "key " + r.KeyID + " " + string(r.Use) + " " + r.Algorithm }

func (s *ringState) add(r Record, kek KEK) error {
	private, ok := newSealer(kek[:], wrapping(r)).Open(r.Wrapped)
	if !ok {
		return ErrWrongKEK
	}
	if r.Use == UseSession {
		s.secret = private
		return nil
	}
	k, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return fmt.Errorf("a %T cannot sign", k)
	}
	s.signers[r.Use] = token.SigningKey{KeyID: r.KeyID, Algorithm: r.Algorithm, Key: signer}
	s.public[r.KeyID] = publicKey{r.Use, token.PublicKey{Algorithm: r.Algorithm, Key: signer.Public()}}
	return nil
}

// SigningKey implements token.Signer with the newest token key.
func (r *Ring) SigningKey() token.SigningKey { return r.state.Load().signers[UseToken] }

// Key implements token.KeySet over the token keys. It returns token.ErrUnknownKey.
func (r *Ring) Key(_ context.Context, kid string) (token.PublicKey, error) {
	k, ok := r.state.Load().public[kid]
	if !ok || k.use != UseToken {
		return token.PublicKey{}, token.ErrUnknownKey
	}
	return k.key, nil
}

// JWKS is the public half of the token keys (RFC 7517 §5), in the order of kid.
func (r *Ring) JWKS() jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for kid, k := range r.state.Load().public {
		if k.use == UseToken {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.key.Key, KeyID: kid, Algorithm: k.key.Algorithm, Use: "sig"})
		}
	}
	slices.SortFunc(set.Keys, func(a, b jose.JSONWebKey) int { return strings.Compare(a.KeyID, b.KeyID) })
	return set
}

// Sealer seals small values with the session key (AES-256-GCM, a random nonce
// each). The purpose is part of what is authenticated: what was sealed for one
// purpose does not open for another.
func (r *Ring) Sealer(purpose string) Sealer { return newSealer(r.state.Load().secret, purpose) }

// AuditSigner signs audit heads.
func (r *Ring) AuditSigner() AuditSigner { return AuditSigner{r.state.Load().signers[UseAudit]} }

// ParseAuditKey reads the public half of an audit key at rest, for verification
// without the key-encryption key.
func ParseAuditKey(r Record) (AuditVerifier, error) {
	k, err := x509.ParsePKIXPublicKey(r.Public)
	if err != nil {
		return AuditVerifier{}, fmt.Errorf("audit key %s: %w", r.KeyID, err)
	}
	pub, ok := k.(*ecdsa.PublicKey)
	if !ok || r.Use != UseAudit {
		return AuditVerifier{}, fmt.Errorf("key %s is no audit key", r.KeyID)
	}
	return AuditVerifier{pub}, nil
}

// AuditSigner signs with the audit key (ECDSA P-256 over SHA-256, ASN.1).
type AuditSigner struct{ key token.SigningKey }

// Sign signs the message and names the key.
func (s AuditSigner) Sign(message []byte) (keyID string, signature []byte, err error) {
	sum := sha256.Sum256(message)
	signature, err = s.key.Key.Sign(rand.Reader, sum[:], crypto.SHA256)
	return s.key.KeyID, signature, err
}

// AuditVerifier checks what an AuditSigner signed.
type AuditVerifier struct{ key *ecdsa.PublicKey }

// Verify reports whether the signature is the key's over the message.
func (v AuditVerifier) Verify(message, signature []byte) bool {
	sum := sha256.Sum256(message)
	return v.key != nil && ecdsa.VerifyASN1(v.key, sum[:], signature)
}

// Sealer is authenticated encryption for one purpose. It is safe for concurrent use.
type Sealer struct {
	aead    cipher.AEAD
	purpose []byte
}

func newSealer(key []byte, purpose string) Sealer {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("keys: " + err.Error()) // the length is ours
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("keys: " + err.Error())
	}
	return Sealer{aead, []byte(purpose)}
}

// Seal encrypts and authenticates.
func (s Sealer) Seal(plain []byte) []byte { return s.aead.Seal(nil, nil, plain, s.purpose) }

// Open reverses Seal; ok is false for anything that Seal of the same key and purpose did not make.
func (s Sealer) Open(sealed []byte) (plain []byte, ok bool) {
	plain, err := s.aead.Open(nil, nil, sealed, s.purpose)
	return plain, err == nil
}
