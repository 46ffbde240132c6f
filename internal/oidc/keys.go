package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
)

// keysInterval is how often the IdP is asked for its signing keys at most. A key
// is published long before it signs, so nobody waits for this.
const keysInterval = 10 * time.Second

// errNoKeys says that the IdP's keys could not be had, so that nothing is known
// about a signature.
var errNoKeys = errors.New("signing keys of the identity provider are not to be had")

// newKeySet returns the IdP's keys. They are fetched when the first signature
// comes and again for a signature that none of them made.
func (p *Provider) newKeySet(ctx context.Context, url string) gooidc.KeySet {
	c := *p.client
	c.Transport = &throttle{next: p.client.Transport, now: p.cfg.Now}
	return gooidc.NewRemoteKeySet(gooidc.ClientContext(ctx, &c), url)
}

// throttle answers the key set's requests, and asks the IdP for it no more than
// once in keysInterval: each signature with an unknown key ID makes the key set
// ask again. In between the last answer is given again.
type throttle struct {
	next http.RoundTripper
	now  func() time.Time

	mu    sync.Mutex // guards what is below, and is held while the IdP is asked
	asked time.Time
	body  []byte
	err   error
}

func (t *throttle) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now(); now.Sub(t.asked).Abs() >= keysInterval { // Abs: a clock that was put back must not keep old keys
		t.asked = now
		t.body, t.err = t.fetch(r)
	}
	if t.err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKeys, t.err)
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(t.body)), Request: r,
	}, nil
}

func (t *throttle) fetch(r *http.Request) ([]byte, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil && !json.Valid(body) {
		err = errors.New("the answer is not JSON")
	}
	return body, err
}

// witness remembers why a signature was not verified: the verifier around the key
// set keeps only the text of it.
type witness struct {
	gooidc.KeySet
	err error
}

func (w *witness) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := w.KeySet.VerifySignature(ctx, jwt)
	w.err = err
	return payload, err
}
