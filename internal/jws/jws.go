// Package jws reads what others signed: compact JWS (RFC 7515 §7.1) that hold a JWT,
// as strictly as our own tokens are read, and the public keys of those who signed
// (RFC 7517), inline or fetched.
//
// It knows signatures, and NOT what a token says, whom it is for, when it expires or
// whether its signer is trusted. It takes no encrypted token, no token in another
// serialization, and a key that a token brings only where the caller asks for it.
package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxToken bounds a token, bytes.
const maxToken = 8 << 10

var algs = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// Algs lists the algorithms that others may sign with.
func Algs() []string {
	var names []string
	for _, a := range algs {
		names = append(names, string(a))
	}
	return names
}

// Token is a compact JWS of which nothing is proven yet.
type Token struct {
	Algorithm string // one of Algs
	KeyID     string
	Type      string
	Key       jsontext.Value // the jwk that the header brings; nil unless ParseWithKey

	raw string
}

type header struct {
	Algorithm string         `json:"alg"`
	KeyID     string         `json:"kid"`
	Type      string         `json:"typ"`
	Key       jsontext.Value `json:"jwk"`

	// What names a key to trust, or changes what is signed: a sender who needs these
	// is not understood, one who tries them is up to something (RFC 8725 §3.10, RFC
	// 7515 §4.1.11, RFC 7797 §3). Other members change nothing and are not read.
	KeyURL   jsontext.Value `json:"jku"`
	Chain    jsontext.Value `json:"x5c"`
	ChainURL jsontext.Value `json:"x5u"`
	Critical jsontext.Value `json:"crit"`
	Base64   jsontext.Value `json:"b64"`
	Zip      jsontext.Value `json:"zip"`
}

// Parse reads one compact JWS whose typ is one of types, and its payload into claims.
// It refuses every other form of one, and a header that brings a key. The signature
// is for Verify to check.
func Parse(raw string, claims any, types ...string) (Token, error) {
	t, err := parse(raw, claims, types)
	if err == nil && t.Key != nil {
		return Token{}, errors.New("the header brings a key")
	}
	return t, err
}

// ParseWithKey is Parse for a token that is signed by the key in its header, which
// proves that its sender has the key, and nothing of who that is.
func ParseWithKey(raw string, claims any, types ...string) (Token, error) {
	t, err := parse(raw, claims, types)
	if err == nil && t.Key == nil {
		return Token{}, errors.New("the header brings no key")
	}
	return t, err
}

func parse(raw string, claims any, types []string) (Token, error) {
	parts := strings.Split(raw, ".")
	if len(raw) > maxToken || len(parts) != 3 {
		return Token{}, errors.New("not three parts, or too long")
	}
	var h header
	for i, into := range []any{&h, claims, nil} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil || strings.ContainsAny(parts[i], "\r\n") { // which the decoder skips
			return Token{}, fmt.Errorf("part %d is not base64url", i+1)
		}
		if into == nil {
			break
		}
		if err := json.Unmarshal(b, into); err != nil { // strict: case matters, duplicate names and bad UTF-8 are errors
			return Token{}, fmt.Errorf("part %d: %w", i+1, err)
		}
	}
	return Token{h.Algorithm, h.KeyID, h.Type, h.Key, raw}, h.check(types)
}

func (h header) check(types []string) error {
	for _, v := range []jsontext.Value{h.KeyURL, h.Chain, h.ChainURL, h.Critical, h.Base64, h.Zip} {
		if v != nil {
			return errors.New("the header names a key to trust, or changes what is signed")
		}
	}
	if !slices.Contains(algs, jose.SignatureAlgorithm(h.Algorithm)) {
		return errors.New("alg is none of ours")
	}
	if !slices.Contains(types, h.Type) { // RFC 8725 §3.11
		return errors.New("typ is that of another kind of token")
	}
	return nil
}

// ErrSignature is returned by Verify.
var ErrSignature = errors.New("no key verifies the signature")

// Verify checks the signature. Without a key it does the same work in vain, so that
// an unknown signer is not refused sooner than a known one. It returns ErrSignature.
func (t Token) Verify(keys []PublicKey) error {
	inVain := len(keys) == 0
	if inVain {
		keys = []PublicKey{decoys()[jose.SignatureAlgorithm(t.Algorithm)]}
	}
	signed, err := jose.ParseSignedCompact(t.raw, algs)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	for _, k := range keys {
		if _, err = signed.Verify(k); err == nil && !inVain && t.saltAsHash(k) {
			return nil
		}
	}
	return ErrSignature
}

// saltAsHash holds PS256 to a salt of the hash's size (RFC 7518 §3.5), which go-jose
// leaves open.
func (t Token) saltAsHash(k PublicKey) bool {
	if t.Algorithm != string(jose.PS256) {
		return true
	}
	end := strings.LastIndexByte(t.raw, '.')
	key, ok := k.(*rsa.PublicKey)
	signature, err := base64.RawURLEncoding.DecodeString(t.raw[end+1:])
	sum := sha256.Sum256([]byte(t.raw[:end]))
	return ok && err == nil && rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}

// decoys are keys that nobody has the private half of.
var decoys = sync.OnceValue(func() map[jose.SignatureAlgorithm]PublicKey {
	n := make([]byte, minRSA/8)
	rand.Read(n)
	n[0], n[len(n)-1] = n[0]|0x80, n[len(n)-1]|1
	modulus := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
	point, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // neither fails: rand.Reader does not
	edwards, _, _ := ed25519.GenerateKey(rand.Reader)
	return map[jose.SignatureAlgorithm]PublicKey{jose.RS256: modulus, jose.PS256: modulus, jose.ES256: &point.PublicKey, jose.EdDSA: edwards}
})
