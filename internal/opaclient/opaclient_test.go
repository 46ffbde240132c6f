package opaclient_test

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/opaclient"
	"github.com/wicketgate/wicketgate/policies"
)

func place(t *testing.T, raw string) opaclient.Config {
	t.Helper()
	u, err := opaclient.CheckURL(raw)
	if err != nil {
		t.Fatal(err)
	}
	return opaclient.Config{URL: u}
}

// serve is a server of one answer.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestAsks(t *testing.T) {
	var got *http.Request
	var body []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, `{"result": 1}`)
	})
	cfg := place(t, s.URL+"/opa")
	cfg.TokenFile = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(cfg.TokenFile, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	answer, err := opaclient.New(cfg).Ask(t.Context(), []byte(`{"input": {}}`))
	if err != nil || string(answer) != `{"result": 1}` || string(body) != `{"input": {}}` {
		t.Fatalf("%s, %v; sent %s", answer, err, body)
	}
	if got.Method != "POST" || got.URL.String() != "/opa/v1/data/wicketgate/access/decision?provenance=true" || got.Header.Get("Authorization") != "Bearer secret" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("asked %s %s %v", got.Method, got.URL, got.Header)
	}
	cfg.TokenFile += ".gone"
	if _, err := opaclient.New(cfg).Ask(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "bearer token") {
		t.Errorf("without the token's file: %v", err)
	}
}

// TestOPAThatDoesNotAnswer: each has a reason of its own.
func TestOPAThatDoesNotAnswer(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   policies.Reason
	}{
		"an error":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, policies.ReasonOPAStatus},
		"not allowed": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, policies.ReasonOPAStatus},
		"nothing":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, policies.ReasonOPAStatus},
		"ask somebody": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		}, policies.ReasonOPARedirect},
		"without an end": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, zeros{}) }, policies.ReasonMalformed},
		"half of it": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("{"))
		}, policies.ReasonOPAUnreachable},
		"no more than TCP": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, policies.ReasonOPAUnreachable},
	} {
		_, err := opaclient.New(place(t, serve(t, tt.answer).URL)).Ask(t.Context(), []byte("{}"))
		var why *policies.OPAError
		if !errors.As(err, &why) || why.Reason != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	var why *policies.OPAError
	if _, err := opaclient.New(place(t, gone.URL)).Ask(t.Context(), nil); !errors.As(err, &why) || why.Reason != policies.ReasonOPAUnreachable {
		t.Errorf("nobody there: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestTokenDoesNotFollowARedirect: who is not who was asked gets nothing.
func TestTokenDoesNotFollowARedirect(t *testing.T) {
	var asked atomic.Bool
	other := serve(t, func(http.ResponseWriter, *http.Request) { asked.Store(true) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusPermanentRedirect)
	})
	_, err := opaclient.New(place(t, s.URL)).Ask(t.Context(), []byte("{}"))
	_, err2 := opaclient.NewBundles(place(t, s.URL), time.Minute, time.Now).Get(t.Context())
	if err == nil || err2 == nil || asked.Load() {
		t.Errorf("%v, %v, asked %v", err, err2, asked.Load())
	}
}

func TestURLs(t *testing.T) {
	for _, good := range []string{"https://opa.internal", "https://opa.internal:8181/base", "http://127.0.0.1:8181", "http://localhost:8181", "http://[::1]:8181"} {
		if _, err := opaclient.CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "opa.internal", "http://opa.internal", "http://127.0.0.1.example.com", "https://user:secret@opa.internal", "https://opa.internal?x", "https://opa.internal#x", "ftp://opa.internal", "unix:///opa.sock", "https://"} {
		if _, err := opaclient.CheckURL(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// TestPlainHTTPNeverLeavesTheMachine: localhost may be anything in a hosts file.
func TestPlainHTTPNeverLeavesTheMachine(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1": true, "127.1.2.3": true, "::1": true, "192.0.2.1": false, "::": false, "0.0.0.0": false} {
		if got := opaclient.ThisMachine(&net.TCPAddr{IP: net.ParseIP(address)}); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if opaclient.ThisMachine(&net.UnixAddr{}) {
		t.Error("a Unix socket")
	}
}

// TestUnknownCertificateIsRefused, and one of the configured authority is not.
func TestUnknownCertificateIsRefused(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = nil
	cfg := place(t, s.URL)
	if _, err := opaclient.New(cfg).Ask(t.Context(), nil); err == nil {
		t.Error("an unknown certificate was believed")
	}
	cfg.CAs = x509.NewCertPool()
	cfg.CAs.AddCert(s.Certificate())
	if _, err := opaclient.New(cfg).Ask(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestBundlesAreAskedForOnce(t *testing.T) {
	var full, same int
	tag := `"1"`
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == tag {
			same++
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full++
		w.Header().Set("ETag", tag)
		_, _ = io.WriteString(w, "bundle "+tag)
	})
	now := time.Unix(1000, 0)
	b := opaclient.NewBundles(place(t, s.URL), time.Minute, func() time.Time { return now })
	get := func(want string, wantFull, wantSame int) {
		t.Helper()
		if body, err := b.Get(t.Context()); err != nil || string(body) != want || full != wantFull || same != wantSame {
			t.Errorf("%s, %v, %d whole, %d the same", body, err, full, same)
		}
	}
	get(`bundle "1"`, 1, 0)
	get(`bundle "1"`, 1, 0) // not yet
	now = now.Add(time.Minute)
	get(`bundle "1"`, 1, 1)
	tag = `"2"`
	b.Now()
	get(`bundle "2"`, 2, 1)
	s.Close()
	b.Now()
	if body, err := b.Get(t.Context()); err == nil {
		t.Errorf("%s without a server", body)
	}
}

// TestEndlessBundleIsRefused: the server may be anybody's.
func TestEndlessBundleIsRefused(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, zeros{}) })
	if _, err := opaclient.NewBundles(place(t, s.URL), time.Minute, time.Now).Get(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}
