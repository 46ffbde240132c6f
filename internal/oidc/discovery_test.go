package oidc_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/oidc"
)

const wellKnown = "/.well-known/openid-configuration"

func broken(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

// TestDiscoveryRefuses has a discovery document of each kind that must not be used.
func TestDiscoveryRefuses(t *testing.T) {
	tests := []struct {
		name  string
		doc   func(object)
		cause string
	}{
		{"the document of another issuer", func(d object) { d["issuer"] = "https://other.example" }, "did not match"},
		{"an issuer with a slash more", func(d object) { d["issuer"] = d["issuer"].(string) + "/" }, "did not match"},
		{"an issuer in capitals", func(d object) { d["issuer"] = strings.ToUpper(d["issuer"].(string)) }, "did not match"},
		{"no issuer", func(d object) { delete(d, "issuer") }, "did not match"},
		{"a token endpoint where others listen in", func(d object) { d["token_endpoint"] = "http://other.example/token" }, "token_endpoint"},
		{"an authorization endpoint where others listen in", func(d object) { d["authorization_endpoint"] = "http://other.example/auth" }, "authorization_endpoint"},
		{"an authorization endpoint that is a script", func(d object) { d["authorization_endpoint"] = "javascript:alert(1)" }, "authorization_endpoint"},
		{"keys where others could put theirs", func(d object) { d["jwks_uri"] = "http://other.example/jwks" }, "jwks_uri"},
		{"no token endpoint", func(d object) { delete(d, "token_endpoint") }, "token_endpoint"},
		{"no keys", func(d object) { delete(d, "jwks_uri") }, "jwks_uri"},
		{"only algorithms that need no private key", func(d object) { d["id_token_signing_alg_values_supported"] = []string{"none", "HS256"} }, "signs with none of"},
		{"no way for us to prove who we are", func(d object) { d["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"} }, "client_secret_basic"},
		{"a document of another shape", func(d object) { d["jwks_uri"] = 1 }, "discovery"},
		{"a document without end", func(d object) { d["x"] = strings.Repeat("x", 1<<19) }, "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEvil(t)
			tt.doc(e.doc)
			w := newWorld(t, e.URL, nil)
			u, err := w.Begin(context.Background(), newLogin())
			wantRefusal(t, err, oauth.TemporarilyUnavailable, tt.cause)
			if u != "" || !strings.Contains(w.log.String(), tt.cause) || !strings.Contains(w.log.String(), e.URL) {
				t.Errorf("Begin = %q, log: %s", u, w.log)
			}
		})
	}
}

// TestHTTPSIssuerCannotNameHTTPEndpoints: an https issuer cannot name an http
// endpoint, not even on this machine.
func TestHTTPSIssuerCannotNameHTTPEndpoints(t *testing.T) {
	e := newEvil(t)
	e.doc["issuer"] = "https://idp.example"
	w := newWorld(t, "https://idp.example", func(c *oidc.Config) { c.HTTPClient = &http.Client{Transport: dialTo(e)} })
	_, err := w.Begin(context.Background(), newLogin())
	wantRefusal(t, err, oauth.TemporarilyUnavailable, "must be https")
}

// dialTo takes every request to the evil IdP.
func dialTo(e *evil) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		to, err := url.Parse(e.URL)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
		return http.DefaultTransport.RoundTrip(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestALostIdPIsAskedAgainLessAndLess(t *testing.T) {
	e := newEvil(t)
	e.answers[wellKnown] = broken
	w := newWorld(t, e.URL, nil)
	ctx := context.Background()
	for i, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		for range 3 {
			_, err := w.Begin(ctx, newLogin())
			wantRefusal(t, err, oauth.TemporarilyUnavailable, "503")
		}
		if n := e.count(wellKnown); n != i+1 {
			t.Fatalf("asked %d times after %d rounds", n, i+1)
		}
		w.clock.advance(wait*time.Second - 500*time.Millisecond)
		if _, err := w.Begin(ctx, newLogin()); err == nil || e.count(wellKnown) != i+1 {
			t.Fatalf("asked %d times before %d s were over: %v", e.count(wellKnown), wait, err)
		}
		w.clock.advance(500 * time.Millisecond)
	}
	delete(e.answers, wellKnown)
	w.begin(ctx, t, newLogin())
	if log := w.log.String(); strings.Count(log, "cannot be used") != 7 || strings.Count(log, "was found") != 1 {
		t.Errorf("log: %s", log)
	}
}

func TestTheDiscoveryDocumentIsKept(t *testing.T) {
	e := newEvil(t)
	w := newWorld(t, e.URL, nil)
	var logins sync.WaitGroup
	for range 20 {
		logins.Go(func() {
			if _, err := w.Begin(context.Background(), newLogin()); err != nil {
				t.Error(err)
			}
		})
	}
	logins.Wait()
	w.clock.advance(23 * time.Hour)
	w.begin(context.Background(), t, newLogin())
	if n := e.count(wellKnown); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnOldDiscoveryDocumentServesWhileTheIdPIsLost(t *testing.T) {
	e := newEvil(t)
	w := newWorld(t, e.URL, nil)
	w.begin(context.Background(), t, newLogin())
	e.answers[wellKnown] = broken
	w.clock.advance(25 * time.Hour)
	w.begin(context.Background(), t, newLogin())
	if !strings.Contains(w.log.String(), "cannot be used") {
		t.Errorf("log: %s", w.log)
	}
	delete(e.answers, wellKnown)
	e.doc["authorization_endpoint"] = e.URL + "/moved"
	w.clock.advance(time.Minute)
	if u := w.begin(context.Background(), t, newLogin()); !strings.HasPrefix(u, e.URL+"/moved?") {
		t.Errorf("Begin = %s after the IdP moved its page", u)
	}
}

// TestAPersonWhoGoesAwayDoesNotLockOthersOut: the request's end is no failure of the IdP.
func TestAPersonWhoGoesAwayDoesNotLockOthersOut(t *testing.T) {
	e := newEvil(t)
	w := newWorld(t, e.URL, nil)
	gone, leave := context.WithCancel(context.Background())
	e.answers[wellKnown] = func(rw http.ResponseWriter, r *http.Request) {
		leave()
		delete(e.answers, wellKnown) // the handler runs alone
		e.ServeHTTP(rw, r)
	}
	if _, err := w.Begin(gone, newLogin()); err != nil {
		t.Error(err)
	}
	w.begin(context.Background(), t, newLogin())
}

func TestWhoWaitsForDiscoveryCanGoAway(t *testing.T) {
	e := newEvil(t)
	w := newWorld(t, e.URL, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	e.answers[wellKnown] = func(rw http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		broken(rw, nil)
	}
	var first sync.WaitGroup
	first.Go(func() { _, _ = w.Begin(context.Background(), newLogin()) })
	<-asked
	gone, leave := context.WithCancel(context.Background())
	leave()
	_, err := w.Begin(gone, newLogin())
	wantRefusal(t, err, oauth.TemporarilyUnavailable, "canceled")
	close(answer)
	first.Wait()
}

// TestEveryRequestHasADeadline: an IdP that never answers holds nobody for long.
func TestEveryRequestHasADeadline(t *testing.T) {
	e := newEvil(t)
	paths := map[string]bool{}
	w := newWorld(t, e.URL, func(c *oidc.Config) {
		c.HTTPClient = &http.Client{Timeout: time.Hour, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			end, ok := r.Context().Deadline()
			if !ok || time.Until(end) > 10*time.Second {
				t.Errorf("%s: deadline in %s, %t", r.URL.Path, time.Until(end), ok)
			}
			paths[r.URL.Path] = true
			return http.DefaultTransport.RoundTrip(r)
		})}
	})
	if _, err := e.login(t, w, newLogin(), nil); err != nil || len(paths) != 3 {
		t.Errorf("requests to %v, %v", paths, err)
	}
}

func TestAllowedAlgorithmsAreAllThatCount(t *testing.T) {
	e := newEvil(t)
	w := newWorld(t, e.URL, func(c *oidc.Config) { c.AllowedAlgorithms = []string{"PS512"} })
	_, err := e.login(t, w, newLogin(), nil)
	wantRefusal(t, err, oauth.AccessDenied, "signature algorithm")
	e.idToken = func(c object) string { return signed(jose.PS512, idpKey, "idp", encode(c)) }
	if _, err := e.login(t, w, newLogin(), nil); err != nil {
		t.Error(err)
	}
	e.doc["id_token_signing_alg_values_supported"] = []string{"RS256", "PS512"}
	_, err = e.login(t, newWorld(t, e.URL, nil), newLogin(), nil) // the default takes no more than the usual ones
	wantRefusal(t, err, oauth.AccessDenied, "signature algorithm")
	delete(e.doc, "id_token_signing_alg_values_supported")
	_, err = e.login(t, newWorld(t, e.URL, nil), newLogin(), nil)
	wantRefusal(t, err, oauth.AccessDenied, "signature algorithm")
	e.idToken = nil
	if _, err := e.login(t, newWorld(t, e.URL, nil), newLogin(), nil); err != nil {
		t.Errorf("RS256, the default of OpenID Connect: %v", err)
	}
}
