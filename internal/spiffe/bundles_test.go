package spiffe_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/spiffe"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

// renewals is a pause that lasts until the test wants the next read.
type renewals struct {
	next   chan struct{}
	waited atomic.Int64 // how long it was to be
}

func (r *renewals) pause(ctx context.Context, d time.Duration) {
	r.waited.Store(int64(d))
	select {
	case <-r.next:
	case <-ctx.Done():
	}
}

func openPausing(t *testing.T, c *clock, d spiffe.Domain) (*world, *renewals) {
	t.Helper()
	r := &renewals{next: make(chan struct{})}
	s, err := spiffe.NewPausing(spiffe.Config{Domains: []spiffe.Domain{d}, Now: c.now, Log: slog.New(slog.DiscardHandler)}, r.pause)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &world{t: t, source: s, clock: c}, r
}

// both is whether both SVIDs of the domain are taken.
func (w *world) both(d *spiffetest.Domain) error {
	return errors.Join(w.x509(d.X509(w.t, "spiffe://"+d.Name+"/agent")), w.jwt(d))
}

func TestBundleOfAFileIsReadAgain(t *testing.T) {
	old, renewed := spiffetest.NewDomain(t, "example.org"), spiffetest.NewDomain(t, "example.org")
	path := filepath.Join(t.TempDir(), "bundle.json")
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(old.Bundle(t))
	w, r := openPausing(t, &clock{}, spiffe.Domain{Name: "example.org", File: path})
	w.wait()
	if err := w.both(old); err != nil {
		t.Fatal(err)
	}
	write([]byte("half of it"))
	r.next <- struct{}{}
	until(t, w.source, "the warning", func() bool { warning, _ := w.source.State(); return warning != nil })
	if err := w.both(old); err != nil {
		t.Errorf("while the file is broken: %v", err)
	}
	write(renewed.Bundle(t))
	r.next <- struct{}{}
	until(t, w.source, "the new keys", func() bool { return w.both(renewed) == nil })
	if err := w.x509(old.X509(t, agent)); err == nil || errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("by keys that were dropped: %v", err)
	}
	if warning, err := w.source.State(); warning != nil || err != nil {
		t.Errorf("state: %v, %v", warning, err)
	}
}

// TestBundleEndpointIsAskedAgain, as often as the bundle says, at the URL that was
// configured and nowhere else.
func TestBundleEndpointIsAskedAgain(t *testing.T) {
	old, renewed := spiffetest.NewDomain(t, "example.org"), spiffetest.NewDomain(t, "example.org")
	var answer atomic.Pointer[http.HandlerFunc]
	say := func(b []byte) {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) })
		answer.Store(&h)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bundle" {
			(*answer.Load())(w, r)
			return
		}
		_, _ = w.Write(renewed.Bundle(t))
	}))
	defer s.Close()
	say([]byte(strings.Replace(string(old.Bundle(t)), "{", `{"spiffe_refresh_hint":60,`, 1)))
	c := &clock{}
	w, r := openPausing(t, c, spiffe.Domain{Name: "example.org", Endpoint: s.URL + "/bundle"})
	w.wait()
	if err := w.both(old); err != nil {
		t.Fatal(err)
	}
	away := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	for name, h := range map[string]http.HandlerFunc{"a redirect": away, "an error": broken} {
		answer.Store(&h)
		r.next <- struct{}{}
		until(t, w.source, name, func() bool { warning, _ := w.source.State(); return warning != nil })
		if err := w.both(old); err != nil || w.both(renewed) == nil {
			t.Errorf("after %s: %v, and of elsewhere: %v", name, err, w.both(renewed))
		}
	}
	c.set(25 * time.Hour)
	if _, err := w.source.X509(nil); err == nil {
		t.Error("no certificate is taken")
	}
	if err := w.jwt(old); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("by a bundle of yesterday: %v, want ErrUnavailable", err)
	}
	if _, err := w.source.State(); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("state: %v, want ErrUnavailable", err)
	}
	c.set(0)
	say(renewed.Bundle(t))
	r.next <- struct{}{}
	until(t, w.source, "the new keys", func() bool { return w.both(renewed) == nil })
}

// TestPartnerThatIsAwayStopsNobodyElse: whoever runs a bundle endpoint could else keep
// every replica from becoming ready.
func TestPartnerThatIsAwayStopsNobodyElse(t *testing.T) {
	d := spiffetest.NewDomain(t, "example.org")
	w := &world{t: t, domain: d}
	api := spiffetest.Serve(t, w.state(d))
	partner := spiffe.Domain{Name: "partner.example", File: filepath.Join(t.TempDir(), "none")}
	w.source = open(t, spiffe.Config{WorkloadAPI: api.Address(), Domains: []spiffe.Domain{{Name: "example.org"}, partner}})
	until(t, w.source, "our own domain", func() bool { return w.both(d) == nil })
	until(t, w.source, "the warning", func() bool {
		warning, failure := w.source.State()
		return failure == nil && warning != nil && strings.Contains(warning.Error(), "partner.example")
	})
	if _, err := w.source.JWT(spiffetest.NewDomain(t, "partner.example").JWT(t, map[string]any{"sub": "spiffe://partner.example/agent", "aud": issuer}), issuer); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("a workload of the partner: %v, want ErrUnavailable", err)
	}
}

// TestBundleEndpointThatIsNotOfWebPKI: who is on the way could be any workload.
func TestBundleEndpointThatIsNotOfWebPKI(t *testing.T) {
	d := spiffetest.NewDomain(t, "example.org")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(d.Bundle(t)) }))
	s.TLS = serverTLS(d.X509(t, "spiffe://example.org/endpoint"))
	s.StartTLS()
	defer s.Close()
	w, _ := openPausing(t, &clock{}, spiffe.Domain{Name: "example.org", Endpoint: s.URL})
	until(t, w.source, "the failure", func() bool {
		_, err := w.source.State()
		return err != nil && strings.Contains(err.Error(), "certificate")
	})
	if err := w.both(d); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

func TestSystemAuthoritiesCountForNothing(t *testing.T) {
	d, empty := spiffetest.NewDomain(t, "example.org"), filepath.Join(t.TempDir(), "jwt.json")
	b := strings.ReplaceAll(string(d.Bundle(t)), "x509-svid", "something-else")
	if err := os.WriteFile(empty, []byte(b), 0o600); err != nil {
		t.Fatal(err)
	}
	w, _ := openPausing(t, &clock{}, spiffe.Domain{Name: "example.org", File: empty})
	w.wait()
	s := httptest.NewTLSServer(http.NotFoundHandler()) // whose certificate is one of the system's here
	defer s.Close()
	for name, err := range map[string]error{"of the domain": w.x509(d.X509(t, agent)), "of the system": w.x509(s.TLS.Certificates[0])} {
		if err == nil {
			t.Errorf("a certificate %s is taken where the bundle has no authority", name)
		}
	}
	if err := w.jwt(d); err != nil {
		t.Errorf("JWT-SVID: %v", err)
	}
}

// TestDomainsAreMadeBeforeOneIsRead: else the start dies of a map that is read while it
// is written.
func TestDomainsAreMadeBeforeOneIsRead(t *testing.T) {
	var domains []spiffe.Domain
	for i := range 100 {
		domains = append(domains, spiffe.Domain{Name: fmt.Sprintf("%d.example", i), File: filepath.Join(t.TempDir(), "none")})
	}
	for range 10 {
		if err := open(t, spiffe.Config{Domains: domains}).Close(); err != nil {
			t.Error(err)
		}
	}
}
