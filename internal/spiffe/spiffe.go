// Package spiffe owns what a process has of SPIFFE: its own X.509-SVID, and the trust
// bundles by which it verifies the SVIDs of others, from the Workload API, bundle
// endpoints and files, all of them renewed while it runs.
//
// A trust domain is believed when it is configured, by its own bundle and by no other:
// never by the authorities of the operating system, and never by what an SVID itself
// says of where its keys are. What has expired counts for nothing: without the Workload
// API, what it said last is good for as long as our own SVID of that time.
//
// It does NOT know clients or what they may do, does NOT speak SPIFFE Federation's
// https_spiffe profile (a SPIRE server does, and its agent passes the bundles on), and
// does NOT verify WIT-SVIDs.
package spiffe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Config is what a Source is made of.
type Config struct {
	// WorkloadAPI is where the agent listens: unix:///run/spire/agent/api.sock. No other kind of
	// socket is taken: nothing on it is encrypted, and it brings private keys and the keys to
	// believe. Empty: there is none, and each trust domain has a bundle from elsewhere.
	WorkloadAPI string
	Domains     []Domain
	Log         *slog.Logger
	Now         func() time.Time
}

// Domain is a trust domain whose workloads are believed.
type Domain struct {
	Name string // example.org

	// Where its bundle is from: an https URL, which proves itself by Web PKI (SPIFFE
	// Federation §5.2.1), or a file; neither: the Workload API.
	Endpoint, File string
}

// Source is what we have of SPIFFE. It is safe for concurrent use.
type Source struct {
	cfg     Config
	domains map[string]*domain
	client  *workloadapi.Client // nil: there is no Workload API
	cancel  context.CancelFunc
	running sync.WaitGroup
	pause   func(ctx context.Context, d time.Duration) // between two reads of a bundle

	mu      sync.RWMutex // guards what follows
	own     *x509svid.SVID
	x509    *x509bundle.Set
	jwt     *jwtbundle.Set
	down    map[string]outage // streams of the Workload API that are broken
	changed chan struct{}     // closed at the next change
}

// outage is since when something fails, and why.
type outage struct {
	since time.Time
	err   error
	until time.Time // of a stream: how long our SVID of then makes good what it said before
}

// Check refuses a Config that could not work. It reads no file and asks nobody.
func (c Config) Check() error {
	if c.WorkloadAPI != "" {
		err := workloadapi.ValidateAddress(c.WorkloadAPI)
		if err == nil && !strings.HasPrefix(c.WorkloadAPI, "unix:") {
			err = errors.New("whoever is on the way, or takes its port, could be any workload")
		}
		if err != nil {
			return fmt.Errorf("the Workload API %q: %w: write for example unix:///run/spire/agent/api.sock", c.WorkloadAPI, err)
		}
	}
	seen := map[string]bool{}
	for _, d := range c.Domains {
		u, err := url.Parse(d.Endpoint)
		switch {
		case identity.CheckTrustDomain(d.Name) != nil:
			return fmt.Errorf("trust domain %q: %w", d.Name, identity.ErrBadTrustDomain)
		case seen[d.Name]:
			return fmt.Errorf("trust domain %s is there twice", d.Name)
		case d.Endpoint != "" && d.File != "":
			return fmt.Errorf("trust domain %s: its bundle is from an endpoint or from a file, one of the two", d.Name)
		case d.Endpoint == "" && d.File == "" && c.WorkloadAPI == "":
			return fmt.Errorf("trust domain %s: without a Workload API its bundle needs an endpoint or a file", d.Name)
		case d.Endpoint != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != ""):
			return fmt.Errorf("trust domain %s: its bundle endpoint must be an https URL: whoever is on the way could be any of its workloads", d.Name)
		}
		seen[d.Name] = true
	}
	return nil
}

// New makes a Source and begins to fill it. Close ends it.
func New(cfg Config) (*Source, error) { return newSource(cfg, pause) }

func newSource(cfg Config, pause func(context.Context, time.Duration)) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Source{cfg: cfg, domains: map[string]*domain{}, cancel: cancel, pause: pause, down: map[string]outage{}, changed: make(chan struct{})}
	for _, d := range cfg.Domains {
		s.domains[d.Name] = &domain{Domain: d, id: spiffeid.RequireTrustDomainFromString(d.Name)}
	}
	for _, d := range s.domains {
		if !d.streamed() {
			s.running.Go(func() { s.follow(ctx, d) })
		}
	}
	if err := s.watch(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends what New began, and waits for it.
func (s *Source) Close() error {
	s.cancel()
	s.running.Wait()
	return nil
}

// Wait returns once everything that is configured is here, or when ctx is done: then it
// says what is missing.
func (s *Source) Wait(ctx context.Context) error {
	for {
		s.mu.RLock()
		changed, missing := s.changed, s.missing()
		s.mu.RUnlock()
		if missing == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return missing
		}
	}
}

// Changed is closed at the next change of an SVID or a bundle.
func (s *Source) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// update changes what is guarded, and tells who waits.
func (s *Source) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// missing is what is not here, nil if everything is. The caller holds mu.
func (s *Source) missing() error {
	if s.cfg.WorkloadAPI != "" {
		if _, err := s.jwtBundles(); err != nil {
			return err
		}
	}
	for _, d := range s.domains {
		if !d.streamed() {
			if _, err := d.current(s.cfg.Now()); err != nil {
				return err
			}
		}
	}
	return nil
}
