package credential

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
)

// NewTransport makes a transport that gives each request the credential of its context
// (With), on a copy, and base the rest. A credential replaces an Authorization that the
// request has; a request without one passes as it is.
//
// A credential with a client certificate has connections of its own, made as mutual makes
// them, which nobody else's request ever uses: they are closed when it ends (Done).
func NewTransport(base http.RoundTripper, mutual *http.Transport) http.RoundTripper {
	return &transport{base: base, mutual: mutual, own: map[*Credential]*connections{}}
}

type transport struct {
	base   http.RoundTripper
	mutual *http.Transport

	mu  sync.Mutex // guards own
	own map[*Credential]*connections
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c := From(req.Context())
	if c == nil {
		return t.base.RoundTrip(req)
	}
	way, err := t.way(req, c)
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	resp, err := way.RoundTrip(c.dress(req))
	if resp != nil {
		resp.Request = req // whoever prints it prints no secret
	}
	return resp, err
}

// dress is a copy of the request, with the credential.
func (c *Credential) dress(req *http.Request) *http.Request {
	r := req.Clone(req.Context())
	r.Header.Del("Authorization")
	for name, values := range c.header {
		r.Header[name] = values
	}
	if len(c.query) > 0 {
		q := r.URL.Query()
		for name, values := range c.query {
			q[name] = values
		}
		r.URL.RawQuery = q.Encode()
	}
	return r
}

var (
	errEnded     = errors.New("credential: it has ended")
	errPlain     = errors.New("credential: a client certificate needs an https URL")
	errUnlimited = errors.New("credential: a client certificate without an end")
)

// way is what carries the request.
func (t *transport) way(req *http.Request, c *Credential) (http.RoundTripper, error) {
	if c.certificate == nil {
		return t.base, nil
	}
	switch {
	case req.URL.Scheme != "https":
		return nil, errPlain
	case c.done == nil:
		return nil, errUnlimited
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-c.done:
		return nil, errEnded
	default:
	}
	own := t.own[c]
	if own == nil {
		own = newConnections(t.mutual, c.certificate)
		t.own[c] = own
		go t.endWith(c, own)
	}
	return own.transport, nil
}

// endWith closes the connections at the end of the credential.
func (t *transport) endWith(c *Credential, own *connections) {
	<-c.done
	t.mu.Lock()
	delete(t.own, c)
	t.mu.Unlock()
	own.close()
}

// connections are those of one credential.
type connections struct {
	transport *http.Transport

	mu     sync.Mutex // guards what follows
	open   map[*connection]struct{}
	closed bool
}

// newConnections makes them like those of mutual. TLS sessions are not shared: a resumed
// one would be that of the certificate it began with (RFC 8446 §2.2).
func newConnections(mutual *http.Transport, certificate *tls.Certificate) *connections {
	c := &connections{transport: mutual.Clone(), open: map[*connection]struct{}{}}
	cfg := c.transport.TLSClientConfig
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	cfg.ClientSessionCache, cfg.Certificates = nil, nil
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	c.transport.TLSClientConfig = cfg
	c.transport.DialTLSContext, c.transport.TLSNextProto = nil, nil // HTTP/2 has connections of its own, which a copied map would share
	dial := c.transport.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	c.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c.add(conn)
	}
	return c
}

// connection tells when it is closed.
type connection struct {
	net.Conn
	of *connections
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func (c *connections) add(conn net.Conn) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return nil, errEnded
	}
	own := &connection{conn, c}
	c.open[own] = struct{}{}
	return own, nil
}

// close ends all, in the middle of what they carry too.
func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close()
	}
	c.transport.CloseIdleConnections()
}
