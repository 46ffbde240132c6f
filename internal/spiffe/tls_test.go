package spiffe_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/spiffe"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

const mail = "spiffe://example.org/mcp/mail"

func lasting(d time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(d) }
}

func serverTLS(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }

// peer is a server that says with which certificates it was spoken to, and by which
// connection. /wait answers once it may.
type peer struct {
	*httptest.Server
	shown   atomic.Pointer[tls.Certificate]
	entered chan struct{}
	leave   chan struct{}
}

func newPeer(t *testing.T, shows tls.Certificate) *peer {
	t.Helper()
	p := &peer{entered: make(chan struct{}), leave: make(chan struct{})}
	p.shown.Store(&shows)
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			p.entered <- struct{}{}
			<-p.leave
		}
		_, _ = io.WriteString(w, r.RemoteAddr+" "+r.TLS.PeerCertificates[0].SerialNumber.String())
	}))
	p.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{ClientAuth: tls.RequireAnyClientCert, Certificates: []tls.Certificate{*p.shown.Load()}}, nil
	}}
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

// ask returns the connection and our certificate's number.
func (p *peer) ask(t *testing.T, by http.RoundTripper, path string) (connection, serial string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := by.RoundTrip(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	connection, serial, _ = strings.Cut(string(b), " ")
	return connection, serial, err
}

func (w *world) transport(t *testing.T) http.RoundTripper {
	t.Helper()
	id, err := identity.ParseSPIFFEID(mail)
	if err != nil {
		t.Fatal(err)
	}
	return w.source.Transport(http.DefaultTransport.(*http.Transport).Clone(), id)
}

func TestServerThatIsAnotherWorkloadGetsNothing(t *testing.T) {
	w := newWorld(t, spiffe.Domain{Name: "partner.example"})
	partner, rogue := spiffetest.NewDomain(t, "partner.example"), spiffetest.NewDomain(t, "example.org")
	w.api.Set(w.state(w.domain, partner))
	until(t, w.source, "the partner", func() bool { return w.jwt(partner) == nil })
	for name, c := range map[string]tls.Certificate{
		"another workload":                       w.domain.X509(t, "spiffe://example.org/mcp/files"),
		"one below it":                           w.domain.X509(t, mail+"/x"),
		"of another domain":                      partner.X509(t, "spiffe://partner.example/mcp/mail"),
		"named by another domain":                partner.X509(t, mail),
		"named by an authority that is not ours": rogue.X509(t, mail),
		"expired":                                w.domain.X509(t, mail, lasting(-time.Minute)),
		"for clients alone":                      w.domain.X509(t, mail, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
		"an authority":                           w.domain.X509(t, mail, func(c *x509.Certificate) { c.IsCA = true }),
		"of Web PKI":                             httptest.NewTLSServer(http.NotFoundHandler()).TLS.Certificates[0],
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, c)
			if _, _, err := p.ask(t, w.transport(t), "/"); err == nil || !strings.Contains(err.Error(), "the server") {
				t.Errorf("%v, want that it is refused for what the server is", err)
			}
		})
	}
	p := newPeer(t, w.domain.X509(t, mail))
	own, err := w.source.Own()
	if err != nil {
		t.Fatal(err)
	}
	if _, serial, err := p.ask(t, w.transport(t), "/"); err != nil || serial != own.Certificates[0].SerialNumber.String() {
		t.Errorf("the right one: our certificate %s, %v", serial, err)
	}
}

// TestRotationDropsNoConnection: what is under way ends where it began, and what begins
// has the new SVID.
func TestRotationDropsNoConnection(t *testing.T) {
	w := newWorld(t)
	p, by := newPeer(t, w.domain.X509(t, mail)), w.transport(t)
	first, oldSerial, err := p.ask(t, by, "/")
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := p.ask(t, by, "/"); err != nil || again != first {
		t.Errorf("the connection is not kept: %s, then %s, %v", first, again, err)
	}
	type result struct {
		connection, serial string
		err                error
	}
	slow := make(chan result)
	go func() {
		var r result
		r.connection, r.serial, r.err = p.ask(t, by, "/wait")
		slow <- r
	}()
	<-p.entered
	before, err := w.source.Own()
	if err != nil {
		t.Fatal(err)
	}
	w.api.Set(w.state(w.domain))
	until(t, w.source, "our new SVID", func() bool { now, err := w.source.Own(); return err == nil && now != before })
	next, newSerial, err := p.ask(t, by, "/")
	if err != nil || next == first || newSerial == oldSerial {
		t.Errorf("after the rotation: connection %s with %s, before %s with %s, %v", next, newSerial, first, oldSerial, err)
	}
	p.leave <- struct{}{}
	if r := <-slow; r.err != nil || r.connection != first || r.serial != oldSerial {
		t.Errorf("what was under way: %+v, want connection %s with %s", r, first, oldSerial)
	}
}

// TestNothingBeginsOnAConnectionOfAnExpiredSVID, though the connection is open.
func TestNothingBeginsOnAConnectionOfAnExpiredSVID(t *testing.T) {
	w := newWorld(t)
	p, by := newPeer(t, w.domain.X509(t, mail, lasting(10*time.Minute))), w.transport(t)
	first, _, err := p.ask(t, by, "/")
	if err != nil {
		t.Fatal(err)
	}
	w.clock.set(11 * time.Minute)
	if _, _, err := p.ask(t, by, "/"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("the server's SVID has expired: %v", err)
	}
	renewed := w.domain.X509(t, mail)
	p.shown.Store(&renewed)
	if next, _, err := p.ask(t, by, "/"); err != nil || next == first {
		t.Errorf("the server has a new SVID: connection %s, before %s, %v", next, first, err)
	}
	w.clock.set(2 * time.Hour)
	if _, _, err := p.ask(t, by, "/"); !errors.Is(err, authz.ErrUnavailable) || !strings.Contains(err.Error(), "our X.509-SVID") {
		t.Errorf("ours has expired: %v", err)
	}
}

// listener shows our X.509-SVID, and nothing that httptest has of its own.
func (w *world) listener() *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = &tls.Config{}
	w.source.Show(s.TLS)
	s.StartTLS()
	s.TLS.Certificates = nil
	w.t.Cleanup(s.Close)
	return s
}

func TestListenerShowsTheSVIDOfTheMoment(t *testing.T) {
	w := newWorld(t)
	s := w.listener()
	shown := func() (*x509.Certificate, error) {
		c, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "mcp.example.com"}) // what it shows is looked at here
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0], nil
	}
	before, err := shown()
	if err != nil || before.URIs[0].String() != us {
		t.Fatalf("%v, %v", before, err)
	}
	w.api.Set(w.state(w.domain))
	until(t, w.source, "the new SVID", func() bool { now, err := w.source.Own(); return err == nil && !now.Certificates[0].Equal(before) })
	if now, err := shown(); err != nil || now.Equal(before) {
		t.Errorf("after the rotation: the same one, %v", err)
	}
	w.clock.set(2 * time.Hour)
	if now, err := shown(); err == nil {
		t.Errorf("one that has expired is shown: %s", now.NotAfter)
	}
}

// TestNoSessionIsResumedOnceOurSVIDHasExpired: such a handshake asks for no certificate.
func TestNoSessionIsResumedOnceOurSVIDHasExpired(t *testing.T) {
	w := newWorld(t)
	s := w.listener()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w.clock.set(0)
		client := &tls.Config{InsecureSkipVerify: true, ServerName: "mcp.example.com", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)} // what it shows is of no matter
		resumed := func() (bool, error) {
			c, err := tls.Dial("tcp", s.Listener.Addr().String(), client)
			if err != nil {
				return false, err
			}
			defer c.Close()
			_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: mcp.example.com\r\nConnection: close\r\n\r\n")
			_, readErr := io.ReadAll(c) // the ticket comes with the answer
			return c.ConnectionState().DidResume, errors.Join(err, readErr)
		}
		for i := range 2 {
			if again, err := resumed(); err != nil || again != (i == 1) {
				t.Errorf("%s, connection %d: resumed %v, %v", tls.VersionName(version), i, again, err)
			}
		}
		w.clock.set(2 * time.Hour)
		if _, err := resumed(); err == nil {
			t.Errorf("%s: a session goes on after our SVID has expired", tls.VersionName(version))
		}
	}
}
