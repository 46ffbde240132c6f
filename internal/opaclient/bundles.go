package opaclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// bundleTimeout bounds one download.
const bundleTimeout = 30 * time.Second

// Bundles downloads one bundle, again when it has changed. It does NOT verify it.
type Bundles struct {
	client
	url      string
	interval time.Duration
	now      func() time.Time

	mu   sync.Mutex // guards what follows
	next time.Time  // when to ask again
	etag string
	last []byte
	err  error
}

// NewBundles asks at most once in each interval.
func NewBundles(cfg Config, interval time.Duration, now func() time.Time) *Bundles {
	return &Bundles{client: newClient(cfg), url: cfg.URL.String(), interval: interval, now: now}
}

// Now makes the next Get ask the server.
func (b *Bundles) Now() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = time.Time{}
}

// Get returns the bundle as it was when it was last asked for, or why that was in vain.
func (b *Bundles) Get(ctx context.Context) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.now(); !now.Before(b.next) {
		err := b.ask(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		b.next, b.err = now.Add(b.interval), err
	}
	return b.last, b.err
}

// ask keeps the bundle if it is still that of the ETag (RFC 9110 §13.1.2).
func (b *Bundles) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url, nil)
	if err != nil {
		return err
	}
	if b.etag != "" {
		req.Header.Set("If-None-Match", b.etag)
	}
	resp, err := b.send(req)
	if err != nil {
		return fmt.Errorf("download bundle: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && b.last != nil:
		return nil
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("download bundle: %s answered %s", b.url, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, policies.MaxBundle+1))
	switch {
	case err != nil:
		return fmt.Errorf("download bundle: %w", err)
	case len(body) > policies.MaxBundle:
		return errors.New("download bundle: it is larger than 64 MiB")
	}
	b.last, b.etag = body, resp.Header.Get("ETag")
	return nil
}
