package spiffe_test

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/spiffe"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

// TestRotationCountsWithoutARestart: our SVID, and the keys of the trust domain. What
// the old keys have signed is refused once the domain has dropped them.
func TestRotationCountsWithoutARestart(t *testing.T) {
	w := newWorld(t)
	old, before := w.domain, w.domain.X509(t, agent)
	if err := errors.Join(w.x509(before), w.jwt(old)); err != nil {
		t.Fatal(err)
	}
	own, err := w.source.Own()
	if err != nil || own.ID.String() != us {
		t.Fatalf("our SVID: %v, %v", own, err)
	}
	w.domain = spiffetest.NewDomain(t, "example.org")
	w.api.Set(w.state(w.domain))
	until(t, w.source, "the new keys", func() bool { return w.x509(w.domain.X509(t, agent)) == nil && w.jwt(w.domain) == nil })
	if now, err := w.source.Own(); err != nil || now == own {
		t.Errorf("our SVID is the old one, %v", err)
	}
	for what, err := range map[string]error{"an X.509-SVID": w.x509(before), "a JWT-SVID": w.jwt(old)} {
		if err == nil || errors.Is(err, authz.ErrUnavailable) {
			t.Errorf("%s by keys that the domain has dropped: %v, want a refusal", what, err)
		}
	}
}

// TestWithoutTheAgentWhatWasSaidCountsUntilItExpires, and then fails closed, with a
// clear error.
func TestWithoutTheAgentWhatWasSaidCountsUntilItExpires(t *testing.T) {
	w := newWorld(t)
	long := w.domain.X509(t, agent, lasting(48*time.Hour))
	w.api.Stop()
	until(t, w.source, "the outage", func() bool { warning, _ := w.source.State(); return warning != nil })
	warning, err := w.source.State()
	if err != nil || !strings.Contains(warning.Error(), w.api.Address()) || !strings.Contains(warning.Error(), "our X.509-SVID is good until") {
		t.Errorf("while our SVID is good: warning %q, error %v", warning, err)
	}
	if _, err := w.source.Own(); errors.Join(err, w.x509(long), w.jwt(w.domain)) != nil {
		t.Errorf("while our SVID is good: %v, %v, %v", err, w.x509(long), w.jwt(w.domain))
	}
	w.clock.set(2 * time.Hour)
	_, ownErr := w.source.Own()
	_, tlsErr := w.source.Certificate(nil)
	_, state := w.source.State()
	for what, err := range map[string]error{"our SVID": ownErr, "our certificate": tlsErr, "an X.509-SVID that has not expired": w.x509(long), "the state": state} {
		if !errors.Is(err, authz.ErrUnavailable) || !strings.Contains(err.Error(), "our X.509-SVID "+us+" expired at") || !strings.Contains(err.Error(), w.api.Address()) {
			t.Errorf("%s, when ours has expired: %v", what, err)
		}
	}
	w.clock.set(0)
	w.api.Start(t)
	until(t, w.source, "the agent again", func() bool { warning, err := w.source.State(); return warning == nil && err == nil })
}

// TestJWTKeysThatAreNoLongerStreamedExpire: our X.509-SVID is renewed, and by another
// stream, so that it does not make good what this one said long ago.
func TestJWTKeysThatAreNoLongerStreamedExpire(t *testing.T) {
	w := newWorld(t)
	says := func(lasts time.Duration) {
		t.Helper()
		s := w.state(w.domain)
		s.SVIDs, s.RefuseJWTBundles = []tls.Certificate{w.domain.X509(t, us, lasting(lasts))}, codes.Unavailable
		w.api.Set(s)
	}
	jwt := w.domain.JWT(t, map[string]any{"sub": agent, "aud": issuer, "exp": time.Now().Add(4 * time.Hour).Unix()})
	says(time.Hour)
	until(t, w.source, "the outage", func() bool { warning, _ := w.source.State(); return warning != nil })
	says(4 * time.Hour)
	until(t, w.source, "our new SVID", func() bool {
		own, err := w.source.Own()
		return err == nil && own.Certificates[0].NotAfter.After(time.Now().Add(3*time.Hour))
	})
	if _, err := w.source.JWT(jwt, issuer); err != nil {
		t.Errorf("while the SVID of then would be good: %v", err)
	}
	w.clock.set(2 * time.Hour)
	if err := w.x509(w.domain.X509(t, agent, lasting(4*time.Hour))); err != nil {
		t.Errorf("an X.509-SVID: %v", err)
	}
	_, jwtErr := w.source.JWT(jwt, issuer)
	_, state := w.source.State()
	for what, err := range map[string]error{"a JWT-SVID": jwtErr, "the state": state} {
		if !errors.Is(err, authz.ErrUnavailable) || !strings.Contains(err.Error(), "bundles of JWT-SVIDs") {
			t.Errorf("%s, later: %v, want ErrUnavailable", what, err)
		}
	}
	w.api.Set(spiffetest.State{SVIDs: []tls.Certificate{w.domain.X509(t, us, lasting(4*time.Hour))}, Domains: []*spiffetest.Domain{w.domain}})
	until(t, w.source, "the bundles again", func() bool { _, err := w.source.JWT(jwt, issuer); return err == nil })
}

func TestWithoutARegistrationEntryNobodyIsBelieved(t *testing.T) {
	d := spiffetest.NewDomain(t, "example.org")
	api := spiffetest.Serve(t, spiffetest.State{Refuse: codes.PermissionDenied})
	w := &world{t: t, domain: d, source: open(t, spiffe.Config{WorkloadAPI: api.Address(), Domains: []spiffe.Domain{{Name: "example.org"}}})}
	hasReason := func(err error) bool {
		return errors.Is(err, authz.ErrUnavailable) && errors.Is(err, spiffe.ErrNoIdentity)
	}
	until(t, w.source, "the refusal", func() bool { _, err := w.source.State(); return hasReason(err) })
	for what, err := range map[string]error{"X.509-SVID": w.x509(d.X509(t, agent)), "JWT-SVID": w.jwt(d)} {
		if !hasReason(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.source.Wait(ctx); !hasReason(err) {
		t.Errorf("Wait: %v", err)
	}
	api.Set(w.state(d))
	w.wait()
	if err := errors.Join(w.x509(d.X509(t, agent)), w.jwt(d)); err != nil {
		t.Errorf("with an entry: %v", err)
	}
}

// TestAgentThatCancelsIsAway: the agent ends the streams with the very code of which we
// do. It is no less away, and the operator is told.
func TestAgentThatCancelsIsAway(t *testing.T) {
	w := newWorld(t)
	w.api.Set(spiffetest.State{Refuse: codes.Canceled})
	until(t, w.source, "the outage", func() bool { warning, _ := w.source.State(); return warning != nil })
	w.api.Set(w.state(w.domain))
	until(t, w.source, "the agent again", func() bool { warning, err := w.source.State(); return warning == nil && err == nil })
}

// TestDomainIsRefusedUntilItFederates: configured is not enough, and neither is that the
// agent passes its bundle on. Operators are warned of the first.
func TestDomainIsRefusedUntilItFederates(t *testing.T) {
	w := newWorld(t, spiffe.Domain{Name: "partner.example"})
	partner, stranger := spiffetest.NewDomain(t, "partner.example"), spiffetest.NewDomain(t, "stranger.example")
	refused := func(d *spiffetest.Domain) {
		t.Helper()
		for what, err := range map[string]error{"X.509-SVID": w.x509(d.X509(t, "spiffe://"+d.Name+"/agent")), "JWT-SVID": w.jwt(d)} {
			if err == nil || errors.Is(err, authz.ErrUnavailable) {
				t.Errorf("%s of %s: %v, want a refusal", what, d.Name, err)
			}
		}
	}
	warned := func(want bool) {
		t.Helper()
		if warning, err := w.source.State(); err != nil || (warning != nil && strings.Contains(warning.Error(), "no bundle of trust domain partner.example")) != want {
			t.Errorf("State = %v, %v, want a warning: %t", warning, err, want)
		}
	}
	refused(partner)
	warned(true)
	w.api.Set(w.state(w.domain, partner, stranger))
	until(t, w.source, "the bundle of the partner", func() bool {
		return w.x509(partner.X509(t, "spiffe://partner.example/agent")) == nil && w.jwt(partner) == nil
	})
	refused(stranger)
	warned(false)
	if err := w.x509(partner.X509(t, agent)); err == nil {
		t.Error("the partner names our workloads")
	}
	w.api.Set(w.state(w.domain))
	until(t, w.source, "the end of the federation", func() bool {
		return w.x509(partner.X509(t, "spiffe://partner.example/agent")) != nil && w.jwt(partner) != nil
	})
	refused(partner)
	warned(true)
}

func TestHangingAgentIsNoAgent(t *testing.T) {
	api := spiffetest.Serve(t, spiffetest.State{Hang: true})
	s := open(t, spiffe.Config{WorkloadAPI: api.Address(), Domains: []spiffe.Domain{{Name: "example.org"}}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("Wait: %v, want ErrUnavailable", err)
	}
	if _, err := s.Own(); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("Own: %v, want ErrUnavailable", err)
	}
}

func TestConfigRefuses(t *testing.T) {
	good := []spiffe.Domain{{Name: "example.org"}}
	for name, tt := range map[string]struct {
		config spiffe.Config
		want   string
	}{
		"an address that is none":          {spiffe.Config{WorkloadAPI: "/run/agent.sock", Domains: good}, "unix:///run/spire/agent/api.sock"},
		"an address of another machine":    {spiffe.Config{WorkloadAPI: "tcp://192.0.2.1:8081", Domains: good}, "could be any workload"},
		"a port of this machine":           {spiffe.Config{WorkloadAPI: "tcp://127.0.0.1:8081", Domains: good}, "could be any workload"},
		"a domain in capitals":             {spiffe.Config{WorkloadAPI: "unix:///a", Domains: []spiffe.Domain{{Name: "Example.org"}}}, "a trust domain is"},
		"a domain twice":                   {spiffe.Config{WorkloadAPI: "unix:///a", Domains: append(good, good...)}, "twice"},
		"two places":                       {spiffe.Config{Domains: []spiffe.Domain{{Name: "example.org", Endpoint: "https://a", File: "b"}}}, "one of the two"},
		"no place":                         {spiffe.Config{Domains: good}, "needs an endpoint or a file"},
		"an endpoint in the clear":         {spiffe.Config{Domains: []spiffe.Domain{{Name: "example.org", Endpoint: "http://127.0.0.1/"}}}, "https URL"},
		"an endpoint with a person's name": {spiffe.Config{Domains: []spiffe.Domain{{Name: "example.org", Endpoint: "https://a:b@c/"}}}, "https URL"},
	} {
		if s, err := spiffe.New(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want an error with %q", name, s, err, tt.want)
		}
	}
}

// TestJWTSVIDOfAnotherTimeIsRefused by the clock of the Source.
func TestJWTSVIDOfAnotherTimeIsRefused(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	for name, claims := range map[string]map[string]any{
		"expired":          {"exp": now.Unix()},
		"without exp":      {"exp": nil},
		"of the future":    {"iat": now.Add(2 * time.Minute).Unix()},
		"not good yet":     {"nbf": now.Add(2 * time.Minute).Unix()},
		"exp that is text": {"exp": "4102444800"},
	} {
		all := map[string]any{"sub": agent, "aud": issuer}
		maps.Copy(all, claims)
		if _, err := w.source.JWT(w.domain.JWT(t, all), issuer); err == nil || errors.Is(err, authz.ErrUnavailable) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	good := w.domain.JWT(t, map[string]any{"sub": agent, "aud": issuer, "exp": now.Add(10 * time.Minute).Unix()})
	if svid, err := w.source.JWT(good, issuer); err != nil || svid.ID.String() != agent || svid.Expires.Unix() != now.Add(10*time.Minute).Unix() {
		t.Errorf("a good one: %+v, %v", svid, err)
	}
	w.clock.set(11 * time.Minute)
	if _, err := w.source.JWT(good, issuer); err == nil {
		t.Error("the same one, later, is taken")
	}
}
