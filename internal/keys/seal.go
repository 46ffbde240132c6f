package keys

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"
)

// Sealer is authenticated encryption for one purpose, with the session keys of a
// ring. It is safe for concurrent use.
type Sealer struct {
	ring    *Ring
	purpose []byte
}

// Sealer seals small values with the session key (AES-256-GCM, a random nonce
// each). The purpose is part of what is authenticated: what was sealed for one
// purpose does not open for another.
func (r *Ring) Sealer(purpose string) Sealer { return Sealer{r, []byte(purpose)} }

// Seal encrypts and authenticates, with the current key.
func (s Sealer) Seal(plain []byte) []byte {
	return s.ring.state.Load().session[0].seal(plain, s.purpose)
}

// Open reverses Seal; ok is false for anything that Seal of the same ring and
// purpose did not make, or made with a key that has retired. It tries the current
// key first; a key of another replica's future may have been used already.
func (s Sealer) Open(sealed []byte) (plain []byte, ok bool) {
	for _, k := range s.ring.state.Load().session {
		if !k.until.IsZero() && !live(k.until, s.ring.cfg().Now()) {
			continue
		}
		if plain, ok := k.open(sealed, s.purpose); ok {
			return plain, true
		}
	}
	return nil, false
}

// sessionKey is a box that is good until a time, or for now.
type sessionKey struct {
	box
	until time.Time
}

// box is AES-256-GCM with random nonces.
type box struct{ aead cipher.AEAD }

func newBox(key []byte) box {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("keys: " + err.Error()) // the length is ours
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("keys: " + err.Error())
	}
	return box{aead}
}

func (b box) seal(plain, purpose []byte) []byte { return b.aead.Seal(nil, nil, plain, purpose) }

func (b box) open(sealed, purpose []byte) ([]byte, bool) {
	plain, err := b.aead.Open(nil, nil, sealed, purpose)
	return plain, err == nil
}

// AuditSigner signs with the current audit key of a ring (ECDSA P-256 over
// SHA-256, ASN.1). It is safe for concurrent use.
type AuditSigner struct{ ring *Ring }

// AuditSigner signs audit heads.
func (r *Ring) AuditSigner() AuditSigner { return AuditSigner{r} }

// Sign signs the message and names the key.
func (s AuditSigner) Sign(message []byte) (keyID string, signature []byte, err error) {
	k, sum := s.ring.state.Load().audit, sha256.Sum256(message)
	signature, err = k.Key.Sign(rand.Reader, sum[:], crypto.SHA256)
	return k.KeyID, signature, err
}

// AuditVerifier checks what an AuditSigner signed.
type AuditVerifier struct{ key *ecdsa.PublicKey }

// Verify reports whether the signature is the key's over the message.
func (v AuditVerifier) Verify(message, signature []byte) bool {
	sum := sha256.Sum256(message)
	return v.key != nil && ecdsa.VerifyASN1(v.key, sum[:], signature)
}

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
