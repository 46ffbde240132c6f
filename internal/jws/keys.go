package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of a key set.
const (
	maxSet         = 64 << 10 // bytes
	maxKeys        = 20
	maxKeyID       = 256 // bytes
	minRSA, maxRSA = 2048, 8192
	maxKeysTried   = 4 // for a token without kid: each costs a signature check
)

// Set is somebody's public keys.
type Set []setKey

type setKey struct {
	kid  string
	algs []string // that it may verify
	key  PublicKey
	cert *[sha256.Size]byte // of the certificate that x5c begins with
}

// PublicKey is what every public key of the standard library can do.
type PublicKey interface{ Equal(crypto.PublicKey) bool }

// jwk is the members of a JSON Web Key that we read (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
type jwk struct {
	Type      string   `json:"kty"`
	Use       string   `json:"use"`
	Ops       []string `json:"key_ops"`
	Algorithm string   `json:"alg"`
	ID        string   `json:"kid"`
	Curve     string   `json:"crv"`
	N         string   `json:"n"`
	E         string   `json:"e"`
	X         string   `json:"x"`
	Y         string   `json:"y"`
	Chain     []string `json:"x5c"`

	// What no public key has. A client that publishes its private key has lost it.
	K    jsontext.Value `json:"k"`
	D    jsontext.Value `json:"d"`
	P    jsontext.Value `json:"p"`
	Q    jsontext.Value `json:"q"`
	DP   jsontext.Value `json:"dp"`
	DQ   jsontext.Value `json:"dq"`
	QI   jsontext.Value `json:"qi"`
	Oth  jsontext.Value `json:"oth"`
	Priv jsontext.Value `json:"priv"`
}

// ParseSet reads a JWK Set (RFC 7517 §5). Keys of a kind or for a use that we
// have nothing to do with are left out, as §5 asks; one that is weak, malformed or
// private spoils the set, and so does a kid that comes twice. At least one is left.
func ParseSet(b []byte) (Set, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if len(b) > maxSet {
		return nil, errors.New("parse key set: too long")
	}
	if err := json.Unmarshal(b, &set); err != nil { // strict: duplicate names and bad UTF-8 are errors
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("parse key set: too many keys")
	}
	var keys Set
	for i, j := range set.Keys {
		k, err := j.parse()
		if errors.Is(err, errOtherKey) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("parse key %d: %w", i+1, err)
		}
		if k.kid != "" && keys.Has(k.kid) {
			return nil, fmt.Errorf("parse key %d: its kid is that of another", i+1)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("parse key set: no key that we can use")
	}
	return keys, nil
}

// errOtherKey is for a key that is none of our business.
var errOtherKey = errors.New("a key of another kind or for another use")

func (j jwk) parse() (setKey, error) {
	for _, secret := range []jsontext.Value{j.K, j.D, j.P, j.Q, j.DP, j.DQ, j.QI, j.Oth, j.Priv} {
		if secret != nil {
			return setKey{}, errors.New("it is private")
		}
	}
	if j.Type == "oct" {
		return setKey{}, errors.New("it is symmetric")
	}
	if len(j.ID) > maxKeyID {
		return setKey{}, errors.New("its kid is too long")
	}
	if j.Use != "" && j.Use != "sig" || j.Ops != nil && !slices.Contains(j.Ops, "verify") {
		return setKey{}, errOtherKey
	}
	key, algs, err := j.public()
	if err != nil {
		return setKey{}, err
	}
	if j.Algorithm != "" { // one key, one algorithm (RFC 8725 §3.1)
		algs = slices.DeleteFunc(algs, func(a string) bool { return a != j.Algorithm })
	}
	if len(algs) == 0 {
		return setKey{}, errOtherKey
	}
	cert, err := j.certificate(key)
	return setKey{kid: j.ID, algs: algs, key: key, cert: cert}, err
}

// public reads the key and says what it can verify.
func (j jwk) public() (PublicKey, []string, error) {
	switch {
	case j.Type == "RSA":
		key, err := j.rsa()
		return key, []string{string(jose.RS256), string(jose.PS256)}, err
	case j.Type == "EC" && j.Curve == "P-256":
		x, y := decode(j.X), decode(j.Y)
		if len(x) != 32 || len(y) != 32 { // RFC 7518 §6.2.1.2
			return nil, nil, errors.New("its coordinates are malformed")
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		return key, []string{string(jose.ES256)}, err
	case j.Type == "OKP" && j.Curve == "Ed25519":
		x := decode(j.X)
		if len(x) != ed25519.PublicKeySize {
			return nil, nil, errors.New("its x is malformed")
		}
		return ed25519.PublicKey(x), []string{string(jose.EdDSA)}, nil
	}
	return nil, nil, errOtherKey
}

func (j jwk) rsa() (*rsa.PublicKey, error) {
	n, e := new(big.Int).SetBytes(decode(j.N)), new(big.Int).SetBytes(decode(j.E))
	switch {
	case n.BitLen() < minRSA, n.BitLen() > maxRSA, n.Bit(0) == 0: // the length also bounds what a check costs
		return nil, errors.New("its n is malformed, weak or too long")
	case e.BitLen() < 2, e.BitLen() > 31, e.Bit(0) == 0:
		return nil, errors.New("its e is malformed or weak")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

// certificate reads x5c (RFC 7517 §4.7), whose first must be of the key.
func (j jwk) certificate(key PublicKey) (*[sha256.Size]byte, error) {
	if len(j.Chain) == 0 {
		return nil, nil
	}
	der, err := base64.StdEncoding.Strict().DecodeString(j.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("parse x5c: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse x5c: %w", err)
	}
	if !key.Equal(cert.PublicKey) {
		return nil, errors.New("its x5c is of another key")
	}
	sum := sha256.Sum256(der)
	return &sum, nil
}

// decode returns nil for what is no base64url.
func decode(s string) []byte {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

// Has reports whether there is a key of that kid.
func (ks Set) Has(kid string) bool {
	return slices.ContainsFunc(ks, func(k setKey) bool { return k.kid == kid })
}

// Verifying returns the keys for a token: the one of its kid, or where it has none, the
// first few of its algorithm.
func (ks Set) Verifying(alg, kid string) []PublicKey {
	var keys []PublicKey
	for _, k := range ks {
		if len(keys) < maxKeysTried && (kid == "" || k.kid == kid) && slices.Contains(k.algs, alg) {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// Holds reports whether the certificate is among the keys (RFC 8705 §2.2): the very
// certificate where x5c has one, else any of the key.
func (ks Set) Holds(cert *x509.Certificate) bool {
	sum := sha256.Sum256(cert.Raw)
	return slices.ContainsFunc(ks, func(k setKey) bool {
		return k.key.Equal(cert.PublicKey) && (k.cert == nil || *k.cert == sum)
	})
}
