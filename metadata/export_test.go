package metadata

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Wire puts f on a network of the test: roots instead of the system's, and reach
// instead of the kernel's connect (unless nil). The checks stay: the control of the
// dialer is asked first, as the kernel asks it.
func (f *Fetcher) Wire(roots *x509.CertPool, reach func(context.Context, netip.AddrPort) (net.Conn, error)) {
	f.roots, f.dial = roots, dial
	if reach == nil {
		return
	}
	f.dial = func(ctx context.Context, d *net.Dialer, to netip.AddrPort) (net.Conn, error) {
		if err := d.Control("tcp", to.String(), nil); err != nil {
			return nil, err
		}
		return reach(ctx, to)
	}
}

// Connect is that step alone, as if the checks before it had let to pass.
func (f *Fetcher) Connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return f.connect(ctx, "https", []netip.AddrPort{to})
}

// Control asks the control of a dialer for pinned about an address.
func (f *Fetcher) Control(pinned netip.AddrPort, address string) error {
	return f.control("https", []netip.AddrPort{pinned})("tcp", address, nil)
}

// Linger joins the fetch of url, like a caller who is slow to leave, which it does
// when the returned function is called.
func (f *Fetcher) Linger(url string, maxBytes int64) (leave func(), err error) {
	u, err := parseURL(url, false)
	if err != nil {
		return nil, err
	}
	fl := f.join(flightKey{url, maxBytes}, u)
	return func() { f.leave(fl) }, nil
}

// Flights is how many fetches can be joined.
func (f *Fetcher) Flights() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flights)
}

// What the fuzzers look at.
var (
	Public   = public
	ParseURL = parseURL
)

// Lifetime is how long headers say that a document is fresh.
func Lifetime(h http.Header, now time.Time) time.Duration { return lifetime(h, now) }
