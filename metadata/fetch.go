package metadata

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// Bounds of fetching.
const (
	fetchDeadline = 5 * time.Second // from the question to the DNS to the last byte
	fetchesAtOnce = 16
)

// ErrFetch is every failure of Fetcher.Get, and all that a client may be told: a
// closed port, a forbidden address and a bad document look alike, so that nobody
// scans a network through us. The text holds the cause, for logs and audit.
var ErrFetch = errors.New("document could not be fetched")

// Resolver finds the addresses of a host, as *net.Resolver does. The host that it
// is asked for ends in a dot (but for localhost): the search list of this machine
// is none of a stranger's business. It must return when ctx ends, and is called by
// many goroutines.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// FetcherConfig is what a Fetcher is made of. The zero value is the safe one.
type FetcherConfig struct {
	Resolver Resolver         // nil: net.DefaultResolver
	Now      func() time.Time // nil: time.Now

	// InsecureLoopback allows loopback addresses, and http to these. It may be set
	// only when the issuer itself is a loopback address: development and tests
	// (draft-ietf-oauth-client-id-metadata-document-02 §8.6).
	InsecureLoopback bool
}

// Fetcher gets what strangers point at (client ID metadata documents, jwks_uri),
// without letting them reach anything inside. It is safe for concurrent use.
//
// It asks for https and JSON, follows no redirect, knows no proxy, cookie or
// compression, and connects to public addresses only: those it has checked, and
// no others. It does NOT look into the document and does NOT keep it: the caller
// stores what it made of it until Fetched.Fresh.
type Fetcher struct {
	cfg   FetcherConfig
	slots chan struct{}  // holds one for each fetch that is on its way
	roots *x509.CertPool // nil: those of the system
	dial  func(ctx context.Context, d *net.Dialer, to netip.AddrPort) (net.Conn, error)

	mu      sync.Mutex // guards flights, and callers of each
	flights map[flightKey]*flight
}

// Fetched is a document.
type Fetched struct {
	Body  []byte
	Fresh time.Time // may be cached until then
}

// NewFetcher makes a Fetcher.
func NewFetcher(cfg FetcherConfig) *Fetcher {
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Fetcher{cfg: cfg, slots: make(chan struct{}, fetchesAtOnce), dial: dial, flights: map[flightKey]*flight{}}
}

// dial is the dial of every Fetcher outside of tests.
func dial(ctx context.Context, d *net.Dialer, to netip.AddrPort) (net.Conn, error) {
	return d.DialContext(ctx, "tcp", to.String())
}

// Get returns the document at url, of at most maxBytes, and until when it may be
// cached. It fails with ErrFetch and nothing else. A failure is never remembered;
// callers that ask for the same at the same time share one fetch. A fetch takes
// five seconds at most; before that it waits for its turn as long as ctx lasts.
func (f *Fetcher) Get(ctx context.Context, url string, maxBytes int64) (Fetched, error) {
	u, err := parseURL(url, f.cfg.InsecureLoopback)
	if err != nil {
		return Fetched{}, refuse(err)
	}
	fl := f.join(flightKey{url, maxBytes}, u)
	defer f.leave(fl)
	select {
	case <-ctx.Done():
		return Fetched{}, refuse(ctx.Err())
	case <-fl.done:
	}
	if fl.err != nil {
		return Fetched{}, refuse(fl.err)
	}
	return Fetched{bytes.Clone(fl.got.Body), fl.got.Fresh}, nil // cloned: others have it too
}

// refuse keeps the words of the cause and drops its type: nobody can act on it.
func refuse(cause error) error { return fmt.Errorf("%w: %v", ErrFetch, cause) }

type flightKey struct {
	url string
	max int64
}

// flight is a fetch on its way and those who wait for it.
type flight struct {
	key     flightKey
	cancel  context.CancelFunc
	callers int
	done    chan struct{} // closed when what follows is set
	got     Fetched
	err     error
}

// join takes part in the flight to key, which begins with its first caller. It
// runs under the context of none of them: who leaves does not end it for others.
func (f *Fetcher) join(key flightKey, u *url.URL) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.flights[key]
	if fl == nil {
		ctx, cancel := context.WithCancel(context.Background())
		fl = &flight{key: key, cancel: cancel, done: make(chan struct{})}
		f.flights[key] = fl
		go func() {
			defer f.land(fl)
			fl.got, fl.err = f.fetch(ctx, u, key.max)
		}()
	}
	fl.callers++
	return fl
}

// leave ends the flight with its last caller, who waits for the end: no flight
// outlives those who asked for it.
func (f *Fetcher) leave(fl *flight) {
	f.mu.Lock()
	fl.callers--
	last := fl.callers == 0
	if last {
		f.forget(fl) // before the lock is given up: nobody joins what is about to be cancelled
	}
	f.mu.Unlock()
	if last {
		fl.cancel()
		<-fl.done
	}
}

// land makes the outcome known to the callers, and to nobody who comes later.
func (f *Fetcher) land(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(fl)
	close(fl.done)
}

// forget lets nobody join fl any more. The caller holds mu.
func (f *Fetcher) forget(fl *flight) {
	if f.flights[fl.key] == fl {
		delete(f.flights, fl.key)
	}
}

// fetch waits for its turn, then has fetchDeadline for everything.
func (f *Fetcher) fetch(ctx context.Context, u *url.URL, maxBytes int64) (Fetched, error) {
	select {
	case <-ctx.Done():
		return Fetched{}, ctx.Err()
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	}
	ctx, cancel := context.WithTimeout(ctx, fetchDeadline)
	defer cancel()
	to, err := f.resolve(ctx, u)
	if err != nil {
		return Fetched{}, err
	}
	conn, err := f.connect(ctx, u.Scheme, to)
	if err != nil {
		return Fetched{}, err
	}
	defer conn.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Fetched{}, err
	}
	req.Header = http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {"Wicketgate"}}
	resp, err := f.over(ctx, conn, u.Hostname()).RoundTrip(req) // no http.Client: it would follow redirects
	if err != nil {
		return Fetched{}, err
	}
	defer resp.Body.Close()
	got, err := f.read(resp, maxBytes)
	if err == nil {
		err = ctx.Err() // a body that ends with the connection may have been cut off by the deadline
	}
	return got, err
}
