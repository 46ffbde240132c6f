package credential_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/credential"
)

// pair is a certificate for the name, signed by nobody, in PEM.
func pair(t *testing.T, name string) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}
}

// named is a credential with a certificate, and what ends it.
func named(t *testing.T, name string) (c *credential.Credential, end func()) {
	t.Helper()
	r, err := compiled(t, credential.Injection{ClientCertificate: true}).Render(pair(t, name))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	end = sync.OnceFunc(func() { close(done) })
	t.Cleanup(end)
	return r.Live("", done, nil), end
}

// mutual is a server that answers with the name in the caller's certificate; at /wait it
// never ends its answer.
func mutual(t *testing.T) (*httptest.Server, *http.Transport) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
		if r.URL.Path == "/wait" {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	like := s.Client().Transport.(*http.Transport).Clone()
	like.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0) // the worst that there could be
	return s, like
}

func get(t *testing.T, tr http.RoundTripper, c *credential.Credential, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(credential.With(t.Context(), c), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestOneSubjectsCertificateServesNoOther: neither a kept connection nor a resumed session
// of TLS makes one subject's call in the name of another.
func TestOneSubjectsCertificateServesNoOther(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			s, like := mutual(t)
			like.ForceAttemptHTTP2 = http2
			if !http2 {
				like.TLSClientConfig.NextProtos = nil
			}
			tr := credential.NewTransport(like, like)
			var all sync.WaitGroup
			for i := range 8 {
				name := fmt.Sprintf("subject-%d", i)
				c, _ := named(t, name)
				if got, err := get(t, tr, c, s.URL); got != name || err != nil { // so that each could resume the one before
					t.Errorf("%s: got %q, %v", name, got, err)
				}
				all.Go(func() {
					for range 16 {
						if got, err := get(t, tr, c, s.URL); got != name || err != nil {
							t.Errorf("%s: got %q, %v", name, got, err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// TestOneCredentialKeepsItsConnection: a handshake for each message of a session is dear.
func TestOneCredentialKeepsItsConnection(t *testing.T) {
	s, like := mutual(t)
	tr := credential.NewTransport(like, like)
	c, _ := named(t, "ada")
	reused := false
	for range 2 {
		ctx := httptrace.WithClientTrace(credential.With(t.Context(), c), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if !reused {
		t.Error("the second request had another connection")
	}
}

// TestConnectionDoesNotOutliveItsCertificate, not even one that an answer comes over.
func TestConnectionDoesNotOutliveItsCertificate(t *testing.T) {
	s, like := mutual(t)
	tr := credential.NewTransport(like, like)
	c, end := named(t, "ada")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(credential.With(ctx, c), http.MethodGet, s.URL+"/wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	end()
	if b, err := io.ReadAll(resp.Body); err == nil || ctx.Err() != nil { // waits until the connection is closed
		t.Errorf("the answer went on: %q, %v", b, err)
	}
	if got, err := get(t, tr, c, s.URL); err == nil {
		t.Errorf("after the end: %q", got)
	}
}

func TestCertificateIsNotLeftOutInTheClear(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the server was called") }))
	defer s.Close()
	c, _ := named(t, "ada")
	body := &closed{Reader: strings.NewReader("x")}
	req, err := http.NewRequestWithContext(credential.With(t.Context(), c), http.MethodPost, s.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := credential.NewTransport(http.DefaultTransport, &http.Transport{}).RoundTrip(req)
	if err == nil {
		resp.Body.Close()
		t.Error("no error")
	}
	if !body.yes {
		t.Error("the body was not closed")
	}
}

type closed struct {
	io.Reader
	yes bool
}

func (c *closed) Close() error { c.yes = true; return nil }

// echo is a transport that keeps what it was given.
type echo struct{ got *http.Request }

func (e *echo) RoundTrip(r *http.Request) (*http.Response, error) {
	e.got = r
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

// TestOurAuthorizationDoesNotReachALegacyServer, and what the server takes does not stay in
// what the gateway holds.
func TestOurAuthorizationDoesNotReachALegacyServer(t *testing.T) {
	c := rendered(t, credential.Injection{
		Header: []credential.Field{{Name: "X-Key", Value: "{{.password}}"}},
		Query:  []credential.Field{{Name: "k", Value: "{{.password}}"}},
	}, values)
	var e echo
	req := httptest.NewRequest(http.MethodPost, "https://server.example/mcp?a=1&k=theirs", strings.NewReader("body"))
	req.Header.Set("Authorization", "Bearer ours")
	req.Header.Set("X-Key", "theirs")
	before := req.Clone(context.Background())
	resp, err := credential.NewTransport(&e, nil).RoundTrip(req.WithContext(credential.With(t.Context(), c)))
	if err != nil {
		t.Fatal(err)
	}
	if e.got.Header.Get("Authorization") != "" || e.got.Header.Get("X-Key") != values["password"] || e.got.URL.Query().Get("k") != values["password"] || e.got.URL.Query().Get("a") != "1" {
		t.Errorf("the server got %v %v", e.got.URL, e.got.Header)
	}
	if d := cmp.Diff(before.Header, req.Header); d != "" || req.URL.String() != before.URL.String() || resp.Request.URL.String() != before.URL.String() {
		t.Errorf("the gateway's request changed: %v %s", resp.Request.URL, d)
	}
}

func TestRequestWithoutCredentialPassesAsItIs(t *testing.T) {
	var e echo
	req := httptest.NewRequest(http.MethodGet, "https://server.example/mcp", nil)
	req.Header.Set("Authorization", "Bearer ours")
	if _, err := credential.NewTransport(&e, nil).RoundTrip(req); err != nil || e.got != req {
		t.Errorf("got %v, %v", e.got, err)
	}
}
