package spiffetest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

const agent = "spiffe://example.org/agent/mail"

// api is a Workload API with a client of the library, for which it is made.
func api(t *testing.T, s spiffetest.State) (*spiffetest.WorkloadAPI, *workloadapi.Client) {
	t.Helper()
	w := spiffetest.Serve(t, s)
	c, err := workloadapi.New(t.Context(), workloadapi.WithAddr(w.Address()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return w, c
}

func state(t *testing.T, d *spiffetest.Domain, ids ...string) spiffetest.State {
	t.Helper()
	s := spiffetest.State{Domains: []*spiffetest.Domain{d}}
	for _, id := range ids {
		s.SVIDs = append(s.SVIDs, d.X509(t, id))
	}
	return s
}

// TestSVIDsAreGood: the library verifies them by the bundle that a file would have.
func TestSVIDsAreGood(t *testing.T) {
	d := spiffetest.NewDomain(t, "example.org")
	bundle, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString("example.org"), d.Bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	_, client := api(t, state(t, d, agent, agent+"/2"))
	got, err := client.FetchX509Context(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := x509svid.Verify(got.DefaultSVID().Certificates, bundle)
	if err != nil || id.String() != agent || len(got.SVIDs) != 2 {
		t.Errorf("X.509-SVID: %s of %d, %v", id, len(got.SVIDs), err)
	}
	raw, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "https://as.example", Subject: spiffeid.RequireFromString(agent + "/2")})
	if err != nil {
		t.Fatal(err)
	}
	svid, err := jwtsvid.ParseAndValidate(raw.Marshal(), bundle, []string{"https://as.example"})
	if err != nil || svid.ID.String() != agent+"/2" {
		t.Errorf("JWT-SVID: %v, %v", svid, err)
	}
	if _, err := jwtsvid.ParseAndValidate(d.JWT(t, map[string]any{"sub": agent, "aud": "a", "exp": time.Now().Add(-time.Hour).Unix()}), bundle, []string{"a"}); err == nil {
		t.Error("an expired JWT-SVID is good")
	}
}

// watcher passes on what a stream brings.
type watcher struct {
	got  chan *workloadapi.X509Context
	fail chan error
}

func (w watcher) OnX509ContextUpdate(c *workloadapi.X509Context) { w.got <- c }
func (w watcher) OnX509ContextWatchError(err error) {
	select {
	case w.fail <- err:
	default:
	}
}

func TestStreamsFollowWhatIsSet(t *testing.T) {
	d, other := spiffetest.NewDomain(t, "example.org"), spiffetest.NewDomain(t, "other.example")
	w, client := api(t, spiffetest.State{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	watch, ended := watcher{make(chan *workloadapi.X509Context), make(chan error, 1)}, make(chan struct{})
	go func() {
		defer close(ended)
		_ = client.WatchX509Context(ctx, watch)
	}()
	defer func() { cancel(); <-ended }()
	first := state(t, d, agent)
	w.Set(first)
	if c := <-watch.got; c.DefaultSVID().ID.String() != agent || c.Bundles.Len() != 1 {
		t.Errorf("first: %v", c)
	}
	second := state(t, d, agent+"/2")
	second.Domains = append(second.Domains, other)
	w.Set(second)
	if c := <-watch.got; c.DefaultSVID().ID.String() != agent+"/2" || c.Bundles.Len() != 2 {
		t.Errorf("second: %v", c)
	}
	w.Set(spiffetest.State{Refuse: codes.PermissionDenied})
	if err := <-watch.fail; status.Code(err) != codes.PermissionDenied {
		t.Errorf("refused: %v", err)
	}
	w.Stop()
	w.Set(first)
	w.Start(t)
	if c := <-watch.got; c.DefaultSVID().ID.String() != agent {
		t.Errorf("after a restart: %v", c)
	}
}

func TestChangedCertificateIsAsTheTestSays(t *testing.T) {
	d := spiffetest.NewDomain(t, "example.org")
	old := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }
	for i, c := range []tls.Certificate{d.X509(t, agent), d.X509(t, agent, old)} {
		_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: pool(d), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if (err != nil) != (i == 1) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func pool(d *spiffetest.Domain) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(d.CA)
	return p
}
