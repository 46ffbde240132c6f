// Package inline owns HTTP/1.1 to upstreams over kept connections, all of it on the
// goroutine of the caller.
//
// net/http.Transport keeps two goroutines for each connection and hands every request
// and response over between them: three wake-ups a call, which for a small message on
// a near network cost more than the message does. Here the caller writes the request in
// one piece, waits, and reads the response off the socket.
//
// One goroutine cannot read while it writes. So only requests small enough for the
// buffers of a socket are sent here: an upstream that answers, or waits, before it has
// read them blocks nobody. Everything else (larger or endless bodies, https, HTTP/2,
// upgrades, Expect, trailers) is passed to an http.Transport.
//
// It does NOT follow redirects, keep cookies, ask a proxy, decompress, or decide where
// one may connect to.
package inline

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxBody is the largest request body that is sent here: with its header it fits
	// into what kernels buffer of a connection whose other end does not read.
	maxBody = 32 << 10
	// maxHeader bounds the header of a response, with the 1xx responses before it.
	maxHeader = 64 << 10
	// maxInformational is how many 1xx responses may come before the final one.
	maxInformational = 5
	// maxIdle is how many connections are kept for each host.
	maxIdle = 256
	// idleTimeout is how long they are kept.
	idleTimeout = 90 * time.Second
)

// Transport is an http.RoundTripper. It is safe for concurrent use.
type Transport struct {
	rest    http.RoundTripper
	dialer  net.Dialer
	buffers sync.Pool // of *bytes.Buffer
	idle    pool
}

var _ http.RoundTripper = (*Transport)(nil)

// New makes a Transport; rest has the requests that are not for this package.
func New(rest http.RoundTripper) *Transport {
	t := &Transport{rest: rest, dialer: net.Dialer{Timeout: 30 * time.Second}}
	t.buffers.New = func() any { return new(bytes.Buffer) }
	return t
}

// CloseIdleConnections closes what no request is using.
func (t *Transport) CloseIdleConnections() {
	t.idle.closeAll()
	if c, ok := t.rest.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !ours(req) {
		return t.rest.RoundTrip(req)
	}
	buf := t.buffers.Get().(*bytes.Buffer)
	defer t.buffers.Put(buf)
	buf.Reset()
	if err := req.Write(buf); err != nil { // closes the body
		return nil, fmt.Errorf("write request: %w", err)
	}
	return t.send(req, buf.Bytes())
}

// ours reports whether the request is one for this package.
func ours(req *http.Request) bool {
	if !canPeek || req.URL == nil || req.URL.Scheme != "http" || req.URL.Host == "" {
		return false
	}
	switch req.Method {
	case http.MethodPost, http.MethodGet, http.MethodPut, http.MethodDelete:
	default:
		return false
	}
	known := req.ContentLength > 0 || req.ContentLength == 0 && (req.Body == nil || req.Body == http.NoBody)
	return known && req.ContentLength <= maxBody && len(req.TransferEncoding) == 0 && req.Trailer == nil &&
		req.Header["Expect"] == nil && req.Header["Upgrade"] == nil
}

// send sends the request over a kept connection, or a new one. It tries another one
// only where no byte of it went out: whatever was sent, the upstream may have done, and
// a call must not happen twice.
func (t *Transport) send(req *http.Request, raw []byte) (*http.Response, error) {
	for {
		c, err := t.connection(req)
		if err != nil {
			return nil, err
		}
		stop := c.obey(req.Context())
		n, err := c.conn.Write(raw)
		if err == nil {
			return c.receive(req, &t.idle, stop)
		}
		stop()
		_ = c.conn.Close()
		if n > 0 || !c.used || req.Context().Err() != nil {
			return nil, fmt.Errorf("write request: %w", causeOf(req.Context(), err))
		}
	}
}

// connection takes a kept connection, or opens one.
func (t *Transport) connection(req *http.Request) (*connection, error) {
	if err := context.Cause(req.Context()); err != nil {
		return nil, err
	}
	if c := t.idle.take(req.URL.Host); c != nil {
		return c, nil
	}
	addr := net.JoinHostPort(req.URL.Hostname(), cmp.Or(req.URL.Port(), "80"))
	conn, err := t.dialer.DialContext(req.Context(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", causeOf(req.Context(), err))
	}
	return newConnection(req.URL.Host, conn), nil
}

// causeOf is why ctx ended, where it did; that is then why err happened.
func causeOf(ctx context.Context, err error) error {
	return cmp.Or(context.Cause(ctx), err)
}

// errUnreadable wraps what is no response to be trusted.
var errUnreadable = errors.New("malformed HTTP response")
