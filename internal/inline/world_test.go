package inline_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wicketgate/wicketgate/internal/inline"
)

// upstream speaks whatever a test wants on each connection, in the order in which they
// are opened; the last one is for all that follow.
type upstream struct {
	url    string
	opened atomic.Int32
	seen   atomic.Int32 // requests
}

// peer is the upstream's end of a connection.
type peer struct {
	net.Conn
	r *bufio.Reader
	u *upstream
}

// next reads a request with its body; false: there is none.
func (p *peer) next() bool {
	req, err := http.ReadRequest(p.r)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	p.u.seen.Add(1)
	return err == nil
}

// gone waits until the other end has closed.
func (p *peer) gone() { _, _ = io.Copy(io.Discard, p.Conn) }

func (p *peer) send(s string) { _, _ = io.WriteString(p.Conn, s) } // the other end may be gone

// answering answers each request with the same bytes.
func answering(s string) func(*peer) {
	return func(p *peer) {
		for p.next() {
			p.send(s)
		}
	}
}

func newUpstream(t *testing.T, connections ...func(*peer)) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	u := &upstream{url: "http://" + l.Addr().String() + "/mcp"}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(u.opened.Add(1))
			go func() {
				defer c.Close()
				connections[min(n, len(connections))-1](&peer{c, bufio.NewReader(c), u})
			}()
		}
	}()
	return u
}

// elsewhere is where requests must not go.
type elsewhere struct{}

var errElsewhere = errors.New("went elsewhere")

// RoundTrip implements http.RoundTripper.
func (elsewhere) RoundTrip(*http.Request) (*http.Response, error) { return nil, errElsewhere }

func newTransport(t *testing.T) *inline.Transport {
	t.Helper()
	tr := inline.New(elsewhere{})
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func post(ctx context.Context, t *testing.T, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// call posts, and returns the body of the response.
func call(t *testing.T, tr http.RoundTripper, url string) (string, error) {
	t.Helper()
	resp, err := tr.RoundTrip(post(t.Context(), t, url, "question"))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// until waits for what the kernel or another goroutine is about to do.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for !f() {
		if t.Context().Err() != nil {
			t.Fatal("never: " + what)
		}
		runtime.Gosched()
	}
}

const good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
