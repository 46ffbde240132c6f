package remote

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	refetchAfter = 3 * time.Second // the least time between two fetches: anybody can make up a kid
	keysLive     = 5 * time.Minute // then a key that the issuer withdrew is gone here too
	maxKeySet    = 64 << 10        // bytes
)

// Keys are an issuer's keys, fetched from its jwks_uri (RFC 8414 §2) when
// first needed, again for a kid that they do not have, and at the latest after
// five minutes. It implements token.KeySet.
type Keys struct {
	url  string
	now  func() time.Time
	http *http.Client

	mu      sync.Mutex // guards what follows, and lets one fetch at a time
	keys    map[string]token.PublicKey
	fetched time.Time // when keys were fetched
	tried   time.Time // when a fetch was last begun
	failed  error     // why it failed; nil: it did not
}

var _ token.KeySet = (*Keys)(nil)

// NewKeys makes Keys that are at the URL. Nothing is fetched yet. A nil transport is
// that of package http.
func NewKeys(url string, t http.RoundTripper, now func() time.Time) *Keys {
	return &Keys{url: url, now: now, http: client(t)}
}

// Key implements token.KeySet. It returns token.ErrUnknownKey when the issuer has no
// such key, or was asked so recently that it is not asked again; another error, which is
// a *Failure, where it did not answer.
func (r *Keys) Key(ctx context.Context, kid string) (token.PublicKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	fresh := now.Sub(r.fetched) < keysLive
	if k, ok := r.keys[kid]; ok && fresh {
		return k, nil
	}
	if now.Sub(r.tried) >= refetchAfter {
		r.tried = now
		keys, err := r.fetch(context.WithoutCancel(ctx)) // for everybody who waits, not only for this caller
		if r.failed = err; err == nil {
			r.keys, r.fetched = keys, now
		}
	}
	if r.failed != nil {
		return token.PublicKey{}, fmt.Errorf("fetch keys: %w", r.failed)
	}
	k, ok := r.keys[kid]
	if !ok {
		return token.PublicKey{}, token.ErrUnknownKey
	}
	return k, nil
}

func (r *Keys) fetch(ctx context.Context) (map[string]token.PublicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, unanswered(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, malformed("%s answered %d", r.url, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, unanswered(err)
	}
	var set jose.JSONWebKeySet
	if len(body) > maxKeySet || json.Unmarshal(body, &set) != nil {
		return nil, malformed("%s is no key set, or longer than %d bytes", r.url, maxKeySet)
	}
	return signatureKeys(set), nil
}

// signatureKeys keeps the keys that may sign tokens: public, named, and of an
// algorithm that is allowed and fits the key.
func signatureKeys(set jose.JSONWebKeySet) map[string]token.PublicKey {
	keys := make(map[string]token.PublicKey, len(set.Keys))
	for _, k := range set.Keys {
		if k.KeyID != "" && (k.Use == "" || k.Use == "sig") && fits(k.Algorithm, k.Key) {
			keys[k.KeyID] = token.PublicKey{Algorithm: k.Algorithm, Key: k.Key}
		}
	}
	return keys
}

func fits(algorithm string, key crypto.PublicKey) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return algorithm == string(jose.ES256) && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return algorithm == string(jose.EdDSA)
	default:
		return false
	}
}
