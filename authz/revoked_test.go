package authz_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

func (s *hookedStore) Revoke(ctx context.Context, e revocation.Entry) error {
	if err := s.before(ctx, "Revoke"); err != nil {
		return err
	}
	return s.Store.Revoke(ctx, e)
}

// freeze stops somebody, and the view knows.
func (w *world) freeze(kind revocation.Kind, name string) {
	w.t.Helper()
	e := revocation.New(kind, name, w.clock.Now())
	e.Frozen, e.By = true, "root"
	noError(w.t, w.store.Revoke(w.t.Context(), e))
	noError(w.t, w.view.Poll(w.t.Context()))
}

func (w *world) unfreeze(kind revocation.Kind, name string) {
	w.t.Helper()
	noError(w.t, w.store.Store.(revocation.Store).Unfreeze(w.t.Context(), revocation.Lifted(kind, name, w.clock.Now())))
	noError(w.t, w.view.Poll(w.t.Context()))
}

// TestFrozenIsIssuedNothing by any grant, spends nothing meanwhile, and goes on with the
// same secrets afterwards; what was issued before stays dead.
func TestFrozenIsIssuedNothing(t *testing.T) {
	for name, kind := range map[string]revocation.Kind{"the client": revocation.Client, "the person": revocation.Subject} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.confidential()
			who := map[revocation.Kind]string{revocation.Client: c.ID, revocation.Subject: "alice"}[kind]
			a := w.tokens(c)
			old, next := w.rotated(c)
			w.freeze(kind, who)
			w.audit.take()
			for range 2 {
				w.wantError(w.token(&c, refreshForm(a.RefreshToken)), 400, "access_denied")
				w.wantError(w.token(&c, refreshForm(old.RefreshToken)), 400, "access_denied") // within the grace
			}
			for _, e := range w.audit.take() { // never one that says a token was issued
				if e.Decision != audit.Deny || e.Client != c.ID || e.Subject != "alice" && kind == revocation.Subject {
					t.Errorf("audit line %+v", e)
				}
			}
			for _, raw := range []string{a.AccessToken, a.RefreshToken, next.AccessToken, next.RefreshToken} {
				w.wantActive(c, raw, false)
			}
			w.clock.advance(time.Minute)
			w.unfreeze(kind, who)
			w.wantActive(c, a.AccessToken, false)
			w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
			w.wantActive(c, next.RefreshToken, true)
		})
	}
}

// TestFrozenWorkloadIsIssuedNothing, by whichever word, nor by a grant that is handed in.
func TestFrozenWorkloadIsIssuedNothing(t *testing.T) {
	for _, kind := range []revocation.Kind{revocation.Client, revocation.Subject} {
		w := newWorld(t)
		raw := w.workload()
		w.freeze(kind, "agent")
		w.wantError(w.postForm("/oauth2/token", &agent, url.Values{"grant_type": {"client_credentials"}, "resource": {w.mail()}}), 400, "access_denied")
		w.wantError(w.postForm("/oauth2/token", &agent, url.Values{"grant_type": {grantEcho}}), 400, "access_denied")
		w.unfreeze(kind, "agent")
		w.wantActive(agent, raw, false)
	}
}

// TestFrozenPersonSpendsNothing: neither an assertion nor a device code, and the log does
// not say that a token was issued; both are good afterwards.
func TestFrozenPersonSpendsNothing(t *testing.T) {
	w := newFederated(t)
	c := w.deviceClient()
	d := w.begin(c)
	w.allowDevice(d)
	raw := w.idJAG("host")
	alice := map[string]string{"the device": "alice", "the assertion": idpIssuer + "|alice"}
	for name, ask := range map[string]func() answer{"the device": func() answer { return w.poll(c, d) }, "the assertion": func() answer { return w.bear(&host, raw) }} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.freeze(revocation.Subject, alice[name])
			w.audit.take()
			w.wantError(ask(), 400, "access_denied")
			for _, e := range w.audit.take() {
				if e.Decision != "deny" {
					t.Errorf("audit line %+v", e)
				}
			}
			w.clock.advance(time.Minute)
			w.unfreeze(revocation.Subject, alice[name])
			w.wantOK(ask())
		})
	}
}

// mints is a grant that is handed in and asks nobody.
type mints struct{ *token.Minter }

func (m mints) Issue(_ context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	alice, err := identity.ParseSubject("alice")
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	scope, err := token.ParseScope("mcp:tools")
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	raw, _, err := m.Access(token.AccessSpec{Subject: alice, ClientID: identity.MustClientID(r.Client.ID), Audience: upstreamURI, Scope: scope, Lifetime: time.Minute})
	return oauth.TokenResponse{AccessToken: raw, TokenType: "Bearer"}, err
}

// TestGrantThatForgetsToAskIssuesNothing: the Minter asks too.
func TestGrantThatForgetsToAskIssuesNothing(t *testing.T) {
	w := newWorld(t, func(c *authz.Config) { c.Grants[grantEcho] = mints{c.Minter} })
	form := url.Values{"grant_type": {grantEcho}}
	w.wantOK(w.postForm("/oauth2/token", &agent, form))
	w.freeze(revocation.Subject, "alice")
	w.wantError(w.postForm("/oauth2/token", &agent, form), 400, "access_denied")
}

// TestNothingIsIssuedJustAfterARevocation that would be taken for what was revoked: the
// client is told to come again, and does not lose its refresh token by it.
func TestNothingIsIssuedJustAfterARevocation(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	a := w.tokens(c)
	noError(t, w.store.Revoke(t.Context(), revocation.New(revocation.Subject, "alice", w.clock.Now())))
	noError(t, w.view.Poll(t.Context()))
	w.wantError(w.token(&c, refreshForm(a.RefreshToken)), 503, "temporarily_unavailable")
	w.clock.advance(revocation.Margin + time.Second)
	w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
}

// TestStaleViewIsNoVerdict: nothing is issued, and introspection says neither yes nor no.
func TestStaleViewIsNoVerdict(t *testing.T) {
	w := newWorld(t, func(c *authz.Config) {
		stale := revocation.NewView(revocation.Config{Now: c.Now})
		c.Revocations = stale
	})
	w.wantError(w.postForm("/oauth2/token", &agent, url.Values{"grant_type": {"client_credentials"}, "resource": {w.mail()}}), 503, "temporarily_unavailable")
	key := newTestKey(t, "shared")
	v := newWorld(t, func(c *authz.Config) {
		c.Verifier = token.NewVerifier(token.VerifierConfig{Issuer: c.Issuer, Keys: key, Now: c.Now, Revocations: revocation.NewView(revocation.Config{Now: c.Now})})
	})
	raw := v.signed(v.url, key)
	x := newWorld(t, func(c *authz.Config) {
		aging := revocation.NewView(revocation.Config{Store: c.Store.(*hookedStore).Store.(revocation.Store), Issuer: c.Issuer, Now: c.Now})
		noError(t, aging.Poll(t.Context()))
		c.Revocations = aging
	})
	c := x.confidential()
	refresh := x.tokens(c).RefreshToken
	x.wantActive(c, refresh, true)
	x.clock.advance(revocation.Margin)
	x.wantError(x.postForm("/oauth2/introspect", &c, url.Values{"token": {refresh}}), 503, "temporarily_unavailable")
	v.wantError(v.postForm("/oauth2/introspect", &agent, url.Values{"token": {raw}}), 503, "temporarily_unavailable")
	v.wantError(v.postForm("/oauth2/revoke", &agent, url.Values{"token": {raw}}), 503, "temporarily_unavailable")
}

// TestRevocationWhileFrozenEndsTheFamily: a dead token still says what is to end.
func TestRevocationWhileFrozenEndsTheFamily(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	a := w.tokens(c)
	w.freeze(revocation.Subject, "alice")
	w.revoke(c, a.AccessToken)
	w.clock.advance(time.Minute)
	w.unfreeze(revocation.Subject, "alice")
	w.wantDead(c, a.RefreshToken)
}

// TestRefreshTokenThatIsReusedKillsAccessTokensAtOnce, and so does removing the client.
func TestRefreshTokenThatIsReusedKillsAccessTokensAtOnce(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	old, next := w.rotated(c)
	w.clock.advance(grace)
	w.wantDead(c, old.RefreshToken)
	if _, err := w.verifier.ParseAccess(t.Context(), next.AccessToken, w.mail(), token.Confirmation{}); err == nil {
		t.Error("the verifier, as the gateway has it, takes an access token of a family that was ended")
	}
	m := w.managed(`{"redirect_uris":["http://127.0.0.1:7777/callback"],"token_endpoint_auth_method":"none"}`)
	m.redirect = "http://127.0.0.1:7777/callback"
	a := w.tokens(m.client)
	w.manage("DELETE", w.path(m), "Bearer "+m.Token, "")
	if _, err := w.verifier.ParseAccess(t.Context(), a.AccessToken, w.mail(), token.Confirmation{}); err == nil {
		t.Error("the verifier takes an access token of a client that was removed")
	}
}
