package authz

import (
	"container/list"
	"context"
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
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of a client's key set.
const (
	maxKeySet      = 64 << 10 // bytes
	maxKeys        = 20
	maxKeyID       = 256 // bytes
	minRSA, maxRSA = 2048, 8192
	maxKeysTried   = 4 // for an assertion without kid: each costs a signature check

	keysThrottle = 30 * time.Second // between two fetches of one jwks_uri
	keysMaxAge   = 24 * time.Hour   // of keys that could not be fetched again, or said to be good for longer
	maxKeySets   = 1024             // in memory
)

// keySet is the public keys of a client.
type keySet []clientKey

type clientKey struct {
	kid  string
	algs []string // of assertions that it may verify
	key  publicKey
	cert *[sha256.Size]byte // of the certificate that x5c begins with
}

// publicKey is what every public key of the standard library can do.
type publicKey interface{ Equal(crypto.PublicKey) bool }

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

// parseKeySet reads a JWK Set (RFC 7517 §5). Keys of a kind or for a use that we
// have nothing to do with are left out, as §5 asks; one that is weak, malformed or
// private spoils the set, and so does a kid that comes twice. At least one is left.
func parseKeySet(b []byte) (keySet, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if len(b) > maxKeySet {
		return nil, errors.New("parse key set: too long")
	}
	if err := json.Unmarshal(b, &set); err != nil { // strict: duplicate names and bad UTF-8 are errors
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("parse key set: too many keys")
	}
	var keys keySet
	for i, j := range set.Keys {
		k, err := j.parse()
		if errors.Is(err, errOtherKey) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("parse key %d: %w", i+1, err)
		}
		if k.kid != "" && keys.has(k.kid) {
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

func (j jwk) parse() (clientKey, error) {
	for _, secret := range []jsontext.Value{j.K, j.D, j.P, j.Q, j.DP, j.DQ, j.QI, j.Oth, j.Priv} {
		if secret != nil {
			return clientKey{}, errors.New("it is private")
		}
	}
	if j.Type == "oct" {
		return clientKey{}, errors.New("it is symmetric")
	}
	if len(j.ID) > maxKeyID {
		return clientKey{}, errors.New("its kid is too long")
	}
	if j.Use != "" && j.Use != "sig" || j.Ops != nil && !slices.Contains(j.Ops, "verify") {
		return clientKey{}, errOtherKey
	}
	key, algs, err := j.public()
	if err != nil {
		return clientKey{}, err
	}
	if j.Algorithm != "" { // one key, one algorithm (RFC 8725 §3.1)
		algs = slices.DeleteFunc(algs, func(a string) bool { return a != j.Algorithm })
	}
	if len(algs) == 0 {
		return clientKey{}, errOtherKey
	}
	cert, err := j.certificate(key)
	return clientKey{kid: j.ID, algs: algs, key: key, cert: cert}, err
}

// public reads the key and says what it can verify.
func (j jwk) public() (publicKey, []string, error) {
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
func (j jwk) certificate(key publicKey) (*[sha256.Size]byte, error) {
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

func (ks keySet) has(kid string) bool {
	return slices.ContainsFunc(ks, func(k clientKey) bool { return k.kid == kid })
}

// verifying returns the keys for an assertion: the one of its kid, or where it has
// none, the first few of its algorithm.
func (ks keySet) verifying(alg, kid string) []publicKey {
	var keys []publicKey
	for _, k := range ks {
		if len(keys) < maxKeysTried && (kid == "" || k.kid == kid) && slices.Contains(k.algs, alg) {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// holds reports whether the certificate is one of the client's (RFC 8705 §2.2): the
// very certificate where x5c has one, else any of the key.
func (ks keySet) holds(cert *x509.Certificate) bool {
	sum := sha256.Sum256(cert.Raw)
	return slices.ContainsFunc(ks, func(k clientKey) bool {
		return k.key.Equal(cert.PublicKey) && (k.cert == nil || *k.cert == sum)
	})
}

// keysOf is the keys of a client, inline or fetched. Where enough says no of keys
// that were fetched before, they are fetched again: the client has rotated them.
func (s *Server) keysOf(ctx context.Context, c Client, enough func(keySet) bool) (keySet, error) {
	switch {
	case len(c.JWKS) > 0:
		return parseKeySet(c.JWKS)
	case c.JWKSURI != "" && s.cfg.Fetcher != nil:
		return s.keys.keys(ctx, s.cfg.Fetcher, s.cfg.Now, c.JWKSURI, enough)
	}
	return nil, errors.New("the client has no keys")
}

// keyCache keeps what was fetched from jwks_uris, the most recently used ones. The
// zero value is empty.
type keyCache struct {
	mu      sync.Mutex               // guards both
	entries map[string]*list.Element // by jwks_uri
	order   list.List                // of *fetchedKeys, the most recently used first
}

// fetchedKeys is the keys of one jwks_uri. Its last keys stay when it fails, so
// that a client whose server is down for an hour stays known.
type fetchedKeys struct {
	uri      string
	fetching sync.Mutex // held by whom fetches, so that others wait for its keys; taken before mu

	mu      sync.Mutex // guards the rest
	set     keySet     // nil: never fetched
	fetched time.Time
	fresh   time.Time // when to fetch again
	tried   time.Time // the last fetch, whatever came of it
}

func (kc *keyCache) keys(ctx context.Context, f Fetcher, now func() time.Time, uri string, enough func(keySet) bool) (keySet, error) {
	k := kc.entry(uri)
	if set, ok := k.good(now(), enough); ok {
		return set, nil
	}
	k.fetching.Lock()
	defer k.fetching.Unlock()
	if set, ok := k.good(now(), enough); ok { // somebody else fetched them meanwhile
		return set, nil
	}
	return k.refresh(ctx, f, now())
}

// entry finds or makes the entry. One that is forgotten while it is in use serves
// those who have it, and no more.
func (kc *keyCache) entry(uri string) *fetchedKeys {
	kc.mu.Lock()
	defer kc.mu.Unlock()
	if e, ok := kc.entries[uri]; ok {
		kc.order.MoveToFront(e)
		return e.Value.(*fetchedKeys)
	}
	if kc.entries == nil {
		kc.entries = map[string]*list.Element{}
	}
	for kc.order.Len() >= maxKeySets {
		delete(kc.entries, kc.order.Remove(kc.order.Back()).(*fetchedKeys).uri)
	}
	k := &fetchedKeys{uri: uri}
	kc.entries[uri] = kc.order.PushFront(k)
	return k
}

// good returns keys that need not be fetched.
func (k *fetchedKeys) good(now time.Time, enough func(keySet) bool) (keySet, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set, k.set != nil && now.Before(k.fresh) && enough(k.set)
}

// refresh fetches, unless it was tried just now: anybody can send an unknown kid,
// and must not make us knock at somebody's door at will. Nor does the fetch end
// when whoever caused it hangs up, or that would keep others out until the next.
func (k *fetchedKeys) refresh(ctx context.Context, f Fetcher, now time.Time) (keySet, error) {
	k.mu.Lock()
	throttled := now.Before(k.tried.Add(keysThrottle))
	if !throttled {
		k.tried = now
	}
	k.mu.Unlock()
	var set keySet
	var fresh time.Time
	err := errors.New("tried a moment ago")
	if !throttled {
		set, fresh, err = fetchKeys(context.WithoutCancel(ctx), f, k.uri)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.set, k.fetched, k.fresh = set, now, fresh
		if latest := now.Add(keysMaxAge); fresh.After(latest) {
			k.fresh = latest
		}
	case k.set == nil, now.After(k.fetched.Add(keysMaxAge)):
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	return k.set, nil
}

func fetchKeys(ctx context.Context, f Fetcher, uri string) (keySet, time.Time, error) {
	body, fresh, err := f.Get(ctx, uri, maxKeySet)
	if err != nil {
		return nil, time.Time{}, err
	}
	set, err := parseKeySet(body)
	return set, fresh, err
}
