package spiffe

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/wicketgate/wicketgate/authz"
)

// Bounds of bundles from elsewhere than the Workload API.
const (
	maxBundle    = 1 << 20 // bytes
	fetchTimeout = 10 * time.Second
	fileRefresh  = 10 * time.Second
	minRefresh   = 10 * time.Second
	maxRefresh   = time.Hour
	refresh      = 5 * time.Minute // where the bundle has no hint (SPIFFE Federation §5.1)
	maxStale     = 24 * time.Hour  // for which a bundle that cannot be renewed counts
)

// domain is a Domain with its bundle. What follows id is guarded by Source.mu, and empty
// where the bundle is streamed.
type domain struct {
	Domain
	id spiffeid.TrustDomain

	bundle  *spiffebundle.Bundle
	renewed time.Time
	err     *outage // nil: the last renewal went well
}

// streamed reports whether the bundle is from the Workload API.
func (d *domain) streamed() bool { return d.Endpoint == "" && d.File == "" }

// current is the bundle. The caller holds Source.mu.
func (d *domain) current(now time.Time) (*spiffebundle.Bundle, error) {
	var why error
	if d.err != nil {
		why = d.err.err
	}
	switch {
	case d.bundle == nil:
		return nil, fmt.Errorf("%w: the bundle of trust domain %s has not been read yet: %w", authz.ErrUnavailable, d.Name, orNothing(why))
	case now.Sub(d.renewed) > maxStale:
		return nil, fmt.Errorf("%w: the bundle of trust domain %s is from %s: %w", authz.ErrUnavailable, d.Name, d.renewed.UTC().Format(time.RFC3339), orNothing(why))
	}
	return d.bundle, nil
}

func orNothing(err error) error {
	if err == nil {
		return errors.New("it is being read")
	}
	return err
}

// follow keeps the bundle of a domain fresh.
func (s *Source) follow(ctx context.Context, d *domain) {
	for ctx.Err() == nil {
		b, err := d.read(ctx)
		now := s.cfg.Now()
		if err != nil && ctx.Err() == nil && d.err == nil { // d.err is written here only
			s.cfg.Log.Warn("trust bundle not read", "trust_domain", d.Name, "error", err)
		}
		s.update(func() {
			switch {
			case err == nil:
				d.bundle, d.renewed, d.err = b, now, nil
			case d.err == nil:
				d.err = &outage{since: now, err: err}
			default:
				d.err = &outage{since: d.err.since, err: err}
			}
		})
		s.pause(ctx, d.next(err))
	}
}

// next is how long to wait before the next read.
func (d *domain) next(err error) time.Duration {
	switch {
	case d.File != "":
		return fileRefresh
	case err != nil || d.bundle == nil:
		return minRefresh
	}
	if hint, ok := d.bundle.RefreshHint(); ok {
		return min(max(hint, minRefresh), maxRefresh)
	}
	return refresh
}

func (d *domain) read(ctx context.Context) (*spiffebundle.Bundle, error) {
	if d.Endpoint != "" {
		return d.fetch(ctx)
	}
	f, err := os.Open(d.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseBundle(d.id, f)
}

// ReadBundle reads a file with a trust bundle (SPIFFE Trust Domain and Bundle §4).
func ReadBundle(trustDomain, path string) error {
	td, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		return err
	}
	_, err = (&domain{Domain: Domain{Name: trustDomain, File: path}, id: td}).read(context.Background())
	return err
}

func parseBundle(td spiffeid.TrustDomain, r io.Reader) (*spiffebundle.Bundle, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxBundle+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxBundle {
		return nil, fmt.Errorf("the bundle has more than %d bytes", maxBundle)
	}
	b, err := spiffebundle.Parse(td, raw)
	if err == nil && len(b.X509Authorities()) == 0 && len(b.JWTAuthorities()) == 0 {
		err = errors.New("the bundle has no key of use x509-svid or jwt-svid")
	}
	return b, err
}

// endpoints follow no redirect: the URL is the one that was configured.
var endpoints = &http.Client{Timeout: fetchTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (d *domain) fetch(ctx context.Context) (*spiffebundle.Bundle, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.Endpoint, nil)
	if err != nil {
		return nil, err
	}
	resp, err := endpoints.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers with HTTP %d", d.Endpoint, resp.StatusCode)
	}
	return parseBundle(d.id, resp.Body)
}

// GetX509BundleForTrustDomain implements x509bundle.Source for the configured domains.
func (s *Source) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, err := s.domain(td)
	if err != nil {
		return nil, err
	}
	if !d.streamed() {
		b, err := d.current(s.cfg.Now())
		if err != nil {
			return nil, err
		}
		return b.X509Bundle(), nil
	}
	if _, err := s.ownLocked(); err != nil {
		return nil, err
	}
	b, ok := s.x509.Get(td)
	if !ok {
		return nil, errNotFederated(td)
	}
	return b, nil
}

// jwtKey finds the key of a domain that has the kid.
func (s *Source) jwtKey(td spiffeid.TrustDomain, kid string) (crypto.PublicKey, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	find, err := s.jwtKeys(td)
	if err != nil {
		return nil, err
	}
	key, ok := find(kid)
	if !ok {
		return nil, fmt.Errorf("the bundle of trust domain %s has no key for JWT-SVIDs with that kid", td)
	}
	return key, nil
}

func (s *Source) jwtKeys(td spiffeid.TrustDomain) (func(kid string) (crypto.PublicKey, bool), error) {
	d, err := s.domain(td)
	if err != nil {
		return nil, err
	}
	if !d.streamed() {
		b, err := d.current(s.cfg.Now())
		if err != nil {
			return nil, err
		}
		return b.FindJWTAuthority, nil
	}
	set, err := s.jwtBundles()
	if err != nil {
		return nil, err
	}
	b, ok := set.Get(td)
	if !ok {
		return nil, errNotFederated(td)
	}
	return b.FindJWTAuthority, nil
}

// jwtBundles are those of the Workload API. Their stream is another than that of our
// SVID, which may go on alone. The caller holds mu.
func (s *Source) jwtBundles() (*jwtbundle.Set, error) {
	if _, err := s.ownLocked(); err != nil {
		return nil, err
	}
	o, broken := s.down[streamJWT]
	switch {
	case s.jwt == nil:
		return nil, s.unavailable("the Workload API has sent no bundles of JWT-SVIDs yet")
	case broken && !s.cfg.Now().Before(o.until):
		return nil, s.unavailable("the bundles of JWT-SVIDs are too old")
	}
	return s.jwt, nil
}

// domain finds a configured domain.
func (s *Source) domain(td spiffeid.TrustDomain) (*domain, error) {
	d, ok := s.domains[td.Name()]
	if !ok {
		return nil, fmt.Errorf("trust domain %s is not among the configured ones", td)
	}
	return d, nil
}

func errNotFederated(td spiffeid.TrustDomain) error {
	return fmt.Errorf("the Workload API has no bundle of trust domain %s: our registration entry does not federate with it", td)
}
