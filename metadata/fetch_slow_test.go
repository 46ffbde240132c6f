package metadata_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wicketgate/wicketgate/metadata"
)

// resolver is a function as metadata.Resolver.
type resolver func(ctx context.Context) ([]netip.Addr, error)

func (f resolver) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) { return f(ctx) }

func knows(addrs ...string) resolver {
	return func(context.Context) ([]netip.Addr, error) {
		var ps []netip.Addr
		for _, a := range addrs {
			ps = append(ps, netip.MustParseAddr(a))
		}
		return ps, nil
	}
}

// reach is how a test connects; see Fetcher.Wire.
type reach func(context.Context, netip.AddrPort) (net.Conn, error)

// hangs is a server that accepts nothing.
func hangs(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// pipe is a server that does as serve says, in the time of package synctest.
func pipe(serve func(conn net.Conn)) reach {
	return func(context.Context, netip.AddrPort) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() { defer theirs.Close(); serve(theirs) }()
		return ours, nil
	}
}

// drips is a server that has read the request, answers with begin at once, and then
// with a byte a second for as long as somebody listens.
func drips(cert tls.Certificate, begin string) reach {
	return pipe(func(raw net.Conn) {
		conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}})
		in := bufio.NewReader(conn)
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		gone := make(chan struct{})
		go func() { defer close(gone); _, _ = io.Copy(io.Discard, in) }()
		_, err := io.WriteString(conn, begin)
		for err == nil {
			select {
			case <-gone:
				return
			case <-time.After(time.Second):
				_, err = io.WriteString(conn, "x")
			}
		}
	})
}

// TestSlowlorisHasFiveSeconds for everything together, wherever it dawdles.
func TestSlowlorisHasFiveSeconds(t *testing.T) {
	ca := newCA(t)
	cert := ca.issue(t, "client.example")
	for name, test := range map[string]struct {
		dns   resolver
		reach reach
	}{
		"the DNS does not answer": {func(ctx context.Context) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }, hangs},
		"nothing accepts":         {knows(clientIP), hangs},
		"none of many accepts":    {knows("1.1.1.1", "1.0.0.1", "9.9.9.9", "8.8.8.8", "8.8.4.4"), hangs},
		"no handshake":            {knows(clientIP), pipe(func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })},
		"no answer":               {knows(clientIP), drips(cert, "")},
		"a header in drops":       {knows(clientIP), drips(cert, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX: ")},
		"a body in drops":         {knows(clientIP), drips(cert, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")},
		"time lost at each step": {func(context.Context) ([]netip.Addr, error) {
			time.Sleep(2 * time.Second)
			return knows(clientIP)(nil)
		}, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			time.Sleep(2 * time.Second)
			return drips(cert, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")(ctx, to)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := metadata.NewFetcher(metadata.FetcherConfig{Resolver: test.dns})
				f.Wire(ca.roots, test.reach)
				start := time.Now()
				if _, err := f.Get(t.Context(), clientURL, 5<<10); !errors.Is(err, metadata.ErrFetch) || time.Since(start) != 5*time.Second {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
			})
		})
	}
}

// TestDeadAddressLeavesTimeForTheNext.
func TestDeadAddressLeavesTimeForTheNext(t *testing.T) {
	ca := newCA(t)
	quick := answers(ca.issue(t, "client.example"))
	synctest.Test(t, func(t *testing.T) {
		f := metadata.NewFetcher(metadata.FetcherConfig{Resolver: knows("1.1.1.1", clientIP)})
		f.Wire(ca.roots, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if to.Addr().String() == clientIP {
				return quick(ctx, to)
			}
			return hangs(ctx, to)
		})
		if _, err := f.Get(t.Context(), clientURL, 5<<10); err != nil {
			t.Error(err)
		}
	})
}

// answers is a server that answers at once.
func answers(cert tls.Certificate) reach {
	return pipe(func(raw net.Conn) {
		conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}})
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(document), document)
		}
	})
}

// TestStormOfFetches: sixteen at a time; who waits for a turn waits as long as the
// caller does, and then has the five seconds whole.
func TestStormOfFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialed := make(chan string, 100)
		f := metadata.NewFetcher(metadata.FetcherConfig{Resolver: knows(clientIP)})
		f.Wire(nil, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			dialed <- to.String()
			return hangs(ctx, to)
		})
		start, ends := time.Now(), make(chan time.Duration, 100)
		get := func(ctx context.Context, n int) {
			_, _ = f.Get(ctx, fmt.Sprint(clientURL, "?", n), 1)
			ends <- time.Since(start)
		}
		for n := range 16 {
			go get(t.Context(), n)
		}
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go get(impatient, 16)
		go get(t.Context(), 17)
		synctest.Wait()
		if len(dialed) != 16 {
			t.Errorf("%d fetches at the same time", len(dialed))
		}
		if end := <-ends; end != time.Second {
			t.Errorf("the impatient one left after %v", end)
		}
		for range 16 {
			if end := <-ends; end != 5*time.Second {
				t.Errorf("one of the first ended after %v", end)
			}
		}
		if end := <-ends; end != 10*time.Second || len(dialed) != 17 {
			t.Errorf("the patient one ended after %v, with %d fetches in all", end, len(dialed))
		}
	})
}

// TestCrowdSharesOneFetch, each with a copy of its own; another limit is another
// fetch.
func TestCrowdSharesOneFetch(t *testing.T) {
	ca := newCA(t)
	quick := answers(ca.issue(t, "client.example"))
	synctest.Test(t, func(t *testing.T) {
		dials, release := make(chan struct{}, 100), make(chan struct{})
		f := metadata.NewFetcher(metadata.FetcherConfig{Resolver: knows(clientIP)})
		f.Wire(ca.roots, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			dials <- struct{}{}
			<-release
			return quick(ctx, to)
		})
		bodies := make(chan []byte, 100)
		for n := range 50 {
			go func() {
				got, err := f.Get(t.Context(), clientURL, int64(1<<10+n%2))
				if err != nil {
					t.Error(err)
				}
				bodies <- got.Body
			}()
		}
		synctest.Wait()
		close(release)
		for range 50 {
			if body := <-bodies; string(body) != document {
				t.Errorf("body %q", body)
			} else {
				body[0] = 'x'
			}
		}
		if len(dials) != 2 || f.Flights() != 0 {
			t.Errorf("%d fetches for two different questions, %d still there", len(dials), f.Flights())
		}
	})
}

// TestWhoLeavesSpoilsNothing: a caller who hangs up does not end the fetch of the
// others, and with the last one the connection ends.
func TestWhoLeavesSpoilsNothing(t *testing.T) {
	ca := newCA(t)
	quick := answers(ca.issue(t, "client.example"))
	synctest.Test(t, func(t *testing.T) {
		release, ended := make(chan struct{}), make(chan struct{}, 2)
		f := metadata.NewFetcher(metadata.FetcherConfig{Resolver: knows(clientIP)})
		f.Wire(ca.roots, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			select {
			case <-release:
				return quick(ctx, to)
			case <-ctx.Done():
				ended <- struct{}{}
				return nil, ctx.Err()
			}
		})
		get := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() { _, err := f.Get(ctx, clientURL, 1<<10); done <- err }()
			synctest.Wait()
			return done
		}
		first, leave := context.WithCancel(t.Context())
		second, leaveToo := context.WithCancel(t.Context())
		one, two := get(first), get(second)
		leave()
		if err := <-one; !errors.Is(err, metadata.ErrFetch) || len(ended) != 0 || f.Flights() != 1 {
			t.Errorf("the first one left with %v; %d fetches ended, %d are there", err, len(ended), f.Flights())
		}
		leaveToo()
		if err := <-two; !errors.Is(err, metadata.ErrFetch) || len(ended) != 1 || f.Flights() != 0 {
			t.Errorf("the last one left with %v; %d fetches ended, %d are there", err, len(ended), f.Flights())
		}
		again, other := get(t.Context()), get(t.Context())
		close(release)
		if err := errors.Join(<-again, <-other); err != nil {
			t.Error(err)
		}
	})
}

// TestFailureIsNotSharedWithWhoComesLater, not even while a caller of before is
// still there.
func TestFailureIsNotSharedWithWhoComesLater(t *testing.T) {
	ca := newCA(t)
	next := []reach{pipe(func(net.Conn) {}), answers(ca.issue(t, "client.example"))}
	synctest.Test(t, func(t *testing.T) {
		f := metadata.NewFetcher(metadata.FetcherConfig{Resolver: knows(clientIP)})
		f.Wire(ca.roots, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			now := next[0]
			next = next[1:]
			return now(ctx, to)
		})
		leave, err := f.Linger(clientURL, 5<<10)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := f.Get(t.Context(), clientURL, 5<<10); err != nil || len(next) != 0 {
			t.Errorf("%v, with %d answers left", err, len(next))
		}
		leave()
	})
}
