package spiffe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Show has a server show our X.509-SVID of the moment. Once that has expired, no
// handshake succeeds, not of a session that is resumed either, for which no certificate
// is shown (RFC 8446 §2.2).
func (s *Source) Show(c *tls.Config) {
	c.GetCertificate = s.Certificate
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		_, err := s.Own()
		return nil, err // nil: c itself
	}
}

// Certificate is a tls.Config.GetCertificate: our X.509-SVID of the moment. One that
// has expired is not shown: the handshake fails.
func (s *Source) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	own, err := s.Own()
	if err != nil {
		return nil, err
	}
	return certificate(own), nil
}

// ClientCertificate is a tls.Config.GetClientCertificate: our X.509-SVID of the moment,
// for a server that proves itself otherwise than by an SVID.
func (s *Source) ClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return s.Certificate(nil)
}

func certificate(own *x509svid.SVID) *tls.Certificate {
	c := &tls.Certificate{PrivateKey: own.PrivateKey, Leaf: own.Certificates[0]}
	for _, cert := range own.Certificates {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// Transport speaks mutual TLS with our X.509-SVID to servers that prove to be the one
// workload, and to no others. Connections go on when an SVID is renewed, and new requests
// take new ones: none begins on a connection of which either SVID has expired.
func (s *Source) Transport(base *http.Transport, server identity.SPIFFEID) http.RoundTripper {
	return &transport{source: s, base: base, server: server}
}

type transport struct {
	source *Source
	base   *http.Transport
	server identity.SPIFFEID

	mu      sync.Mutex // guards current
	current *generation
}

// generation is the connections that were made with one X.509-SVID of ours.
type generation struct {
	*http.Transport
	own *x509svid.SVID

	mu    sync.Mutex // guards until
	until time.Time  // the first expiry of an SVID, ours or a server's
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	g, err := t.generation()
	if err != nil {
		return nil, err
	}
	return g.RoundTrip(r)
}

// generation is the one of the moment. What is under way on an old one ends there.
func (t *transport) generation() (*generation, error) {
	own, err := t.source.Own()
	if err != nil {
		return nil, fmt.Errorf("mutual TLS to %s: %w", t.server, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil && t.current.own == own && t.current.fresh(t.source.cfg.Now()) {
		return t.current, nil
	}
	if t.current != nil {
		t.current.CloseIdleConnections() // over HTTP/1 those that become idle later, too; HTTP/2 keeps one for IdleConnTimeout
	}
	t.current = t.next(own)
	return t.current, nil
}

func (t *transport) next(own *x509svid.SVID) *generation {
	g := &generation{Transport: t.base.Clone(), own: own, until: own.Certificates[0].NotAfter}
	g.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // of names and system roots only: VerifyConnection does it, by the trust bundle
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate(own), nil
		},
		VerifyConnection: func(c tls.ConnectionState) error { return t.verify(g, c) },
	}
	return g
}

// verify refuses every server but the one.
func (t *transport) verify(g *generation, c tls.ConnectionState) error {
	if err := t.source.VerifyServer(c.PeerCertificates, t.server); err != nil {
		return untrusted{err}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if expires := c.PeerCertificates[0].NotAfter; expires.Before(g.until) {
		g.until = expires
	}
	return nil
}

// untrusted is an error of a server that did not prove to be the one. Its method tells it
// apart for who does not know this package.
type untrusted struct{ error }

func (u untrusted) Unwrap() error { return u.error }

// Untrusted reports true.
func (untrusted) Untrusted() bool { return true }

// ErrNoSVID is returned by VerifyServer for a certificate that does not even claim to be
// an X.509-SVID.
var ErrNoSVID = errors.New("its certificate is no X.509-SVID")

// VerifyServer verifies the chain of a server that has proved to have the key of its
// first certificate, and wants it to be that workload (X509-SVID §5).
func (s *Source) VerifyServer(chain []*x509.Certificate, server identity.SPIFFEID) error {
	id, err := s.verify(chain, x509.ExtKeyUsageServerAuth)
	says := claimed(chain)
	switch {
	case err != nil && len(chain) > 0 && says == "":
		return fmt.Errorf("the server did not prove to be %s: %w", server, ErrNoSVID)
	case err != nil && says != "" && says != server.String():
		return fmt.Errorf("the server did not prove to be %s, and says that it is %.*s: %w", server, maxSaid, says, err)
	case err != nil:
		return fmt.Errorf("the server did not prove to be %s: %w", server, err)
	case id != server:
		return fmt.Errorf("the server is %s, not %s", id, server)
	}
	return nil
}

// maxSaid bounds what a server that nobody knows writes into an error, bytes.
const maxSaid = 256

// claimed is the SPIFFE ID that a certificate claims, of which nothing is proven; "" if it
// claims none.
func claimed(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	for _, u := range chain[0].URIs {
		if u.Scheme == "spiffe" {
			return u.String()
		}
	}
	return ""
}

func (g *generation) fresh(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Before(g.until)
}
