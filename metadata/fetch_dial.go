package metadata

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	maxFetchHeader = 16 << 10
	maxDials       = 4 // addresses of one host that are tried
)

// resolve asks the DNS once. One address that may not be reached refuses the whole
// answer: its author meant no good, and which address is tried is no lottery.
func (f *Fetcher) resolve(ctx context.Context, u *url.URL) ([]netip.AddrPort, error) {
	port, err := portOf(u)
	if err != nil {
		return nil, err
	}
	addrs, err := f.lookup(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	var to []netip.AddrPort
	for _, a := range addrs {
		a = a.Unmap() // the standard library hands IPv4 over in either form
		if !f.allowed(u.Scheme, a) {
			return nil, fmt.Errorf("%s is at %s, which is no public address", u.Hostname(), a)
		}
		to = append(to, netip.AddrPortFrom(a, port))
	}
	if len(to) == 0 {
		return nil, errors.New("host has no address")
	}
	slices.SortStableFunc(to, func(a, b netip.AddrPort) int { return a.Addr().BitLen() - b.Addr().BitLen() }) // IPv4 first: it works in more places
	return to[:min(len(to), maxDials)], nil
}

// lookup resolves names. An IP address and localhost, which is in the file of hosts
// without a final dot, get here only with InsecureLoopback.
func (f *Fetcher) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if host != "localhost" {
		host += "."
	}
	return f.cfg.Resolver.LookupNetIP(ctx, "ip", host)
}

// portOf is the port of u. Any port will do: clients of development and of small
// installations are not on 443, and behind a public address there is nothing to
// protect that the uniform answer, TLS and the demand for JSON do not.
func portOf(u *url.URL) (uint16, error) {
	switch s := u.Port(); {
	case s != "":
		n, err := strconv.ParseUint(s, 10, 16)
		return uint16(n), err
	case u.Scheme == "http":
		return 80, nil
	default:
		return 443, nil
	}
}

// allowed is where a fetch may go: to public addresses with https, and to this
// machine by either scheme where InsecureLoopback says so.
func (f *Fetcher) allowed(scheme string, a netip.Addr) bool {
	if f.cfg.InsecureLoopback && a.IsLoopback() && a.Zone() == "" {
		return true
	}
	return scheme == "https" && public(a)
}

// connect reaches the first of the addresses that answers; each has its share of
// the time that is left. The name is not resolved again: an answer that has changed
// since (DNS rebinding) is never seen.
func (f *Fetcher) connect(ctx context.Context, scheme string, to []netip.AddrPort) (net.Conn, error) {
	d := &net.Dialer{Control: f.control(scheme, to)}
	var failed error
	for i, addr := range to {
		conn, err := f.connectOne(ctx, d, addr, len(to)-i)
		if err == nil {
			return conn, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

func (f *Fetcher) connectOne(ctx context.Context, d *net.Dialer, to netip.AddrPort, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	return f.dial(ctx, d, to)
}

// over speaks HTTP over conn, to host, and over nothing else. It serves one
// request: no connection is kept for another, and no TLS session either. It
// connects nowhere by itself, for net/http would go on with that, and with a
// handshake that never ends, when ctx has ended.
func (f *Fetcher) over(ctx context.Context, conn net.Conn, host string) *http.Transport {
	return &http.Transport{
		Proxy:       nil, // of the environment: it would resolve the name a second time, on the inside
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			secured := tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: f.roots})
			return secured, secured.HandshakeContext(ctx)
		},
		DisableKeepAlives:      true,
		DisableCompression:     true, // what arrives is what counts against the limit
		MaxResponseHeaderBytes: maxFetchHeader,
	}
}

// control looks at the address that the kernel is about to connect to, whatever
// happened on the way there.
func (f *Fetcher) control(scheme string, pinned []netip.AddrPort) func(string, string, syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !slices.Contains(pinned, to) || !f.allowed(scheme, to.Addr()) {
			return fmt.Errorf("%s is not an address that was checked", to)
		}
		return nil
	}
}
