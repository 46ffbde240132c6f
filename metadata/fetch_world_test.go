package metadata_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/metadata"
)

const (
	clientURL = "https://client.example/id.json"
	clientIP  = "93.184.215.14" // stands for any public address; nothing is sent there
	document  = `{"client_id":"https://client.example/id.json"}`
)

// world is a network with a web server on it, which the test wrote, and a DNS.
type world struct {
	fetcher *metadata.Fetcher
	server  *httptest.Server

	mu     sync.Mutex // guards what follows
	dns    map[string][][]string
	asked  []string
	dialed []string
	conns  int // that the server accepted
	open   int // that the fetcher has not closed
	seen   []*http.Request
}

// newWorld has client.example at clientIP, and h behind every public address.
func newWorld(t *testing.T, cfg metadata.FetcherConfig, h http.HandlerFunc) *world {
	t.Helper()
	w := &world{dns: map[string][][]string{"client.example.": {{clientIP}}}}
	ca := newCA(t)
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r)
		w.mu.Unlock()
		h(rw, r)
	}))
	w.server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "client.example", "localhost", "127.0.0.1")}, MaxVersion: tls.VersionTLS13, MinVersion: tls.VersionTLS10}
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			w.mu.Lock()
			w.conns++
			w.mu.Unlock()
		}
	}
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	cfg.Resolver = w
	w.fetcher = metadata.NewFetcher(cfg)
	w.fetcher.Wire(ca.roots, w.reach)
	return w
}

// LookupNetIP answers the next of the answers, and the last one from then on.
func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, host)
	answers := w.dns[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		w.dns[host] = answers[1:]
	}
	var addrs []netip.Addr
	for _, a := range answers[0] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

// reach is the server, whatever public address it is asked for.
func (w *world) reach(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, to.String())
	w.mu.Unlock()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", w.server.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.open++
	w.mu.Unlock()
	return &counted{Conn: conn, w: w}, nil
}

// counted is a connection that counts as open until it is closed.
type counted struct {
	net.Conn
	w    *world
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.w.mu.Lock()
		c.w.open--
		c.w.mu.Unlock()
	})
	return c.Conn.Close()
}

// get fetches url. It fails the test if a connection is left open.
func (w *world) get(t *testing.T, url string) (metadata.Fetched, error) {
	t.Helper()
	got, err := w.fetcher.Get(t.Context(), url, 5<<10)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open != 0 {
		t.Errorf("%d connections are still open", w.open)
	}
	return got, err
}

// refuses fetches url in vain and returns the error.
func (w *world) refuses(t *testing.T, url string) error {
	t.Helper()
	got, err := w.get(t, url)
	if !errors.Is(err, metadata.ErrFetch) || got.Body != nil || !got.Fresh.IsZero() {
		t.Errorf("Get(%q) = %q until %v, %v; want ErrFetch alone", url, got.Body, got.Fresh, err)
	}
	return err
}

// untouched fails the test if anything was asked of the DNS or connected to.
func (w *world) untouched(t *testing.T) {
	t.Helper()
	if w.silent(t); len(w.asked) != 0 {
		t.Errorf("the DNS was asked for %v", w.asked)
	}
}

// silent fails the test if anything was connected to.
func (w *world) silent(t *testing.T) {
	t.Helper()
	if len(w.dialed) != 0 || len(w.seen) != 0 {
		t.Errorf("%v was connected to, %d requests arrived", w.dialed, len(w.seen))
	}
}

// says is a server that answers with a document under these headers.
func says(headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for pair := range slices.Chunk(headers, 2) {
			w.Header().Set(pair[0], pair[1])
		}
		_, _ = io.WriteString(w, document)
	}
}

// ca is a certificate authority of one test. It is valid at any time, also at that
// of package synctest.
type ca struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
}

func newCA(t *testing.T) ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	c := ca{certify(t, template, template, key, key), key, x509.NewCertPool()}
	c.roots.AddCert(c.cert)
	return c
}

// issue makes a certificate for names and IP addresses.
func (c ca) issue(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: c.cert.NotBefore, NotAfter: c.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return tls.Certificate{Certificate: [][]byte{certify(t, template, c.cert, key, c.key).Raw}, PrivateKey: key}
}

func certify(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
