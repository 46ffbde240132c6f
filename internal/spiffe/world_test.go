package spiffe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/spiffe"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

const (
	within = 20 * time.Second
	us     = "spiffe://example.org/wicketgate"
	agent  = "spiffe://example.org/agent"
	issuer = "https://mcp.example.com"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run makes the certificate of httptest one of Web PKI: before anything has read the
// authorities of the system, which is done once.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "spiffe")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	s := httptest.NewTLSServer(http.NotFoundHandler())
	s.Close()
	roots := filepath.Join(dir, "roots.pem")
	err = errors.Join(os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600), os.Setenv("SSL_CERT_FILE", roots))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// clock is a time that a test sets ahead.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) set(by time.Duration) { c.ahead.Store(int64(by)) }

// world is a trust domain with its agent, and what we have of it.
type world struct {
	t      *testing.T
	domain *spiffetest.Domain
	api    *spiffetest.WorkloadAPI
	source *spiffe.Source
	clock  *clock
}

// newWorld is one in which all is well. Further domains are configured.
func newWorld(t *testing.T, further ...spiffe.Domain) *world {
	t.Helper()
	w := &world{t: t, domain: spiffetest.NewDomain(t, "example.org"), clock: &clock{}}
	w.api = spiffetest.Serve(t, w.state(w.domain))
	w.source = open(t, spiffe.Config{WorkloadAPI: w.api.Address(), Domains: append(further, spiffe.Domain{Name: "example.org"}), Now: w.clock.now})
	w.wait()
	return w
}

// state is what the agent says of us, and of those domains.
func (w *world) state(domains ...*spiffetest.Domain) spiffetest.State {
	return spiffetest.State{SVIDs: []tls.Certificate{w.domain.X509(w.t, us)}, Domains: domains}
}

func (w *world) wait() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	if err := w.source.Wait(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func open(t *testing.T, cfg spiffe.Config) *spiffe.Source {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s, err := spiffe.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// until waits for the changes that make a condition hold.
func until(t *testing.T, s *spiffe.Source, what string, holds func() bool) {
	t.Helper()
	late := time.After(within)
	for {
		changed := s.Changed()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// x509 is whether an X.509-SVID is taken.
func (w *world) x509(c tls.Certificate) error {
	_, err := w.source.X509([]*x509.Certificate{c.Leaf})
	return err
}

// jwt is whether a JWT-SVID of the domain is taken.
func (w *world) jwt(d *spiffetest.Domain) error {
	_, err := w.source.JWT(d.JWT(w.t, map[string]any{"sub": "spiffe://" + d.Name + "/agent", "aud": issuer}), issuer)
	return err
}
