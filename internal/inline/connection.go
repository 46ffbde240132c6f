package inline

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// connection belongs to one request at a time, or to the pool.
type connection struct {
	host  string
	conn  net.Conn
	in    limited
	r     *bufio.Reader // of in
	used  bool          // has carried a request before
	since time.Time     // in the pool; guarded by it
}

func newConnection(host string, conn net.Conn) *connection {
	c := &connection{host: host, conn: conn, in: limited{r: conn}}
	c.r = bufio.NewReader(&c.in)
	return c
}

// limited fails when more is read than it may; that is how a header is bounded, which
// http.ReadResponse does not do.
type limited struct {
	r    io.Reader
	left int64
}

var errHeaderTooLong = fmt.Errorf("the header is longer than %d bytes", maxHeader)

// Read implements io.Reader.
func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, errHeaderTooLong
	}
	n, err := l.r.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, err
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// obey lets the end of ctx interrupt what the connection does. The connection may be
// kept only if the function that it returns says true: nothing has interrupted it, and
// nothing will.
func (c *connection) obey(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(past) })
}

// receive reads the response. From here on its body owns the connection.
func (c *connection) receive(req *http.Request, idle *pool, stop func() bool) (*http.Response, error) {
	resp, err := c.response(req)
	if err != nil {
		stop()
		_ = c.conn.Close()
		return nil, fmt.Errorf("read response: %w", causeOf(req.Context(), err))
	}
	b := &body{ReadCloser: resp.Body, c: c, ctx: req.Context(), stop: stop, idle: idle, keep: !req.Close && !resp.Close && resp.ProtoAtLeast(1, 1)}
	if resp.Body == http.NoBody {
		b.end(complete)
		return resp, nil
	}
	resp.Body = b
	return resp, nil
}

// response reads the header of the final response.
func (c *connection) response(req *http.Request) (*http.Response, error) {
	c.in.left = maxHeader
	for range maxInformational + 1 {
		resp, err := http.ReadResponse(c.r, req)
		if err != nil {
			return nil, err
		}
		if resp.ProtoMajor != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("%w: %s %d", errUnreadable, resp.Proto, resp.StatusCode)
		}
		if resp.StatusCode >= http.StatusOK {
			c.in.left = 1<<63 - 1
			return resp, nil
		}
	}
	return nil, fmt.Errorf("%w: more than %d informational ones before it", errUnreadable, maxInformational)
}

// How a body ended.
const (
	complete int32 = 1 + iota
	given          // up: closed early, or failed
)

// body is the body of a response, which it reads off the connection.
type body struct {
	io.ReadCloser
	c     *connection
	ctx   context.Context
	stop  func() bool
	idle  *pool
	keep  bool         // the request and the response allow the connection to be used again
	ended atomic.Int32 // zero: not yet
}

// Read implements io.Reader. Once the body has ended it does not touch the connection,
// which may be another request's.
func (b *body) Read(p []byte) (int, error) {
	switch b.ended.Load() {
	case complete:
		return 0, io.EOF
	case given:
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		b.end(complete)
		return n, err
	}
	b.end(given)
	return n, causeOf(b.ctx, err)
}

// Close implements io.Closer. A body that was not read to its end costs the connection:
// the rest would be taken for the next response.
func (b *body) Close() error {
	b.end(given)
	return nil
}

// end gives the connection up, once: to the pool if the response is complete, nothing
// came after it, and its context has not interrupted the connection and will not.
func (b *body) end(how int32) {
	if !b.ended.CompareAndSwap(0, how) {
		return
	}
	if uninterrupted := b.stop(); how != complete || !b.keep || !uninterrupted || b.c.r.Buffered() > 0 {
		_ = b.c.conn.Close()
		return
	}
	b.idle.put(b.c)
}
