package authz_test

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// The resource servers that withResourceServers and putResourceServers configure.
var (
	mailServer     = client{ID: "mail-server", Secret: agentSecret}
	filesServer    = client{ID: "files-server", Secret: agentSecret}
	upstreamServer = client{ID: "upstream-server", Secret: agentSecret}
	publicServer   = client{ID: "public-server"}
)

func withResourceServers(c *authz.Config) {
	c.ResourceServers = map[identity.ClientID][]string{
		identity.MustClientID(mailServer.ID):     {c.Issuer + "/mcp/mail"},
		identity.MustClientID(filesServer.ID):    {"https://other.example", c.Issuer + "/mcp/files"},
		identity.MustClientID(upstreamServer.ID): {upstreamURI},
		identity.MustClientID(publicServer.ID):   {c.Issuer + "/mcp/mail"},
	}
}

func (w *world) putResourceServers() {
	w.t.Helper()
	secret := sha256.Sum256([]byte(agentSecret))
	for _, c := range []client{mailServer, filesServer, upstreamServer} {
		noError(w.t, w.server.PutStatic(w.t.Context(), authz.Client{ID: identity.MustClientID(c.ID), AuthMethod: oauth.AuthPost, SecretHash: secret[:]}))
	}
	noError(w.t, w.server.PutStatic(w.t.Context(), authz.Client{ID: identity.MustClientID(publicServer.ID), AuthMethod: oauth.AuthNone}))
}

// wantClaimsOf checks what the introspection endpoint tells, member by member.
func (w *world) wantClaimsOf(by client, token string, want map[string]any) {
	w.t.Helper()
	a := w.postForm("/oauth2/introspect", &by, url.Values{"token": {token}})
	got := map[string]any{}
	noError(w.t, json.Unmarshal([]byte(a.body), &got))
	if diff := cmp.Diff(want, got); diff != "" || a.status != http.StatusOK {
		w.t.Errorf("%d (-want +got):\n%s", a.status, diff)
	}
	if got := a.header; got.Get("Cache-Control") != "no-store" || got.Get("Content-Type") != "application/json" || got.Get("Access-Control-Allow-Origin") != "" {
		w.t.Errorf("headers %v", got)
	}
}

func TestIntrospectionByTheAudienceAndTheOwner(t *testing.T) {
	p := &idp{url: "https://idp.example"}
	w := newWorld(t, withResourceServers, func(c *authz.Config) { c.Login = p })
	w.putResourceServers()
	p.set(authz.Person{Subject: subject(t, "alice"), AuthTime: began.Add(-time.Hour), ACR: "gold", Groups: []string{"staff"}})
	c := w.confidential()
	b := w.browser()
	q := b.decide(b.visit(w.authorizePath(c, change{"scope": {"mcp:tools"}})), "approve").query(t, c.redirect)
	a := w.token(&c, codeForm(c, q.Get("code")))
	w.wantOK(a)
	want := map[string]any{"active": true, "iss": w.url, "sub": "alice", "aud": w.mail(), "client_id": c.ID, "scope": "mcp:tools", "token_type": "Bearer",
		"jti": payload(t, a.AccessToken)["jti"], "iat": float64(began.Unix()), "exp": float64(began.Unix() + 300),
		"auth_time": float64(began.Unix() - 3600), "acr": "gold"}
	w.wantClaimsOf(mailServer, a.AccessToken, want)
	w.wantClaimsOf(c, a.AccessToken, want)
	w.wantClaimsOf(c, a.RefreshToken, map[string]any{"active": true, "iss": w.url, "sub": "alice", "aud": w.mail(), "client_id": c.ID, "scope": "mcp:tools",
		"iat": float64(began.Unix()), "exp": float64(began.Add(refreshLifetime).Unix()), "auth_time": float64(began.Unix() - 3600), "acr": "gold"})

	token := w.workload() // has no login, and no authorization
	want = map[string]any{"active": true, "iss": w.url, "sub": "agent", "aud": w.files(), "client_id": "agent", "scope": "mcp:tools mcp:resources mcp:prompts",
		"token_type": "Bearer", "jti": payload(t, token)["jti"], "iat": float64(began.Unix()), "exp": float64(began.Unix() + 300)}
	w.wantClaimsOf(filesServer, token, want)
	w.wantClaimsOf(agent, token, want)
}

// TestTokenScanningAndFishing is CVE-2026-37979: a client that authenticates, and is
// neither the audience nor the owner, learns nothing of a token that it came by.
func TestTokenScanningAndFishing(t *testing.T) {
	w, call := newCalls(t)
	c := w.confidential()
	old, a := w.rotated(c)
	inner := call(a.AccessToken, "exchanger", upstreamURI)
	exchanger := client{ID: "exchanger", Secret: agentSecret}
	tokens := map[string]string{"access token": a.AccessToken, "refresh token": a.RefreshToken, "call token": inner, "workload's token": w.workload(), "rotated": old.RefreshToken}
	callers := map[string]client{"the owner": c, "its resource server": mailServer, "another resource server": filesServer, "the upstream": upstreamServer,
		"another client": w.confidential(), "a workload": agent, "the presenter": exchanger}
	may := map[string][]string{"the owner": {"access token", "refresh token"}, "its resource server": {"access token"}, "another resource server": {"workload's token"},
		"the upstream": {"call token"}, "a workload": {"workload's token"}, "the presenter": {"call token"}}
	for caller, by := range callers {
		for what, token := range tokens {
			t.Run(caller+" about the "+what, func(t *testing.T) {
				w.in(t).wantActive(by, token, strings.Contains(strings.Join(may[caller], ","), what))
			})
		}
	}
}

// TestInactiveTokens are answered with nothing but that (CVE-2026-18208), to those
// who could know more if they were active.
func TestInactiveTokens(t *testing.T) {
	w := newWorld(t, withResourceServers)
	w.putResourceServers()
	c := w.confidential()
	for name, token := range w.unknown(c) {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			for _, by := range []client{c, mailServer} {
				w.wantActive(by, token, false)
				w.wantActive(by, token, false) // nor is it remembered as something
			}
		})
	}
	t.Run("rotated, within the grace", func(t *testing.T) {
		w := w.in(t)
		old, next := w.rotated(c)
		w.wantActive(c, old.RefreshToken, false)
		w.wantActive(c, next.RefreshToken, true)
		w.wantActive(c, old.AccessToken, true)
	})
	t.Run("reused", func(t *testing.T) {
		w := w.in(t)
		old, next := w.rotated(c)
		w.clock.advance(grace)
		w.wantDead(c, old.RefreshToken)
		for _, token := range []string{next.AccessToken, next.RefreshToken} {
			w.wantActive(c, token, false)
		}
		w.wantActive(mailServer, next.AccessToken, false)
	})
	t.Run("idle for too long", func(t *testing.T) {
		w := w.in(t)
		a := w.tokens(c)
		w.clock.advance(refreshLifetime - time.Second)
		w.wantActive(c, a.RefreshToken, true)
		w.clock.advance(time.Second)
		w.wantActive(c, a.RefreshToken, false)
	})
}

func TestIntrospectionAfterTheClientWasDeleted(t *testing.T) {
	w, call := newCalls(t)
	m := w.managed(`{"redirect_uris":["https://app.example/callback"],"token_endpoint_auth_method":"client_secret_post"}`)
	c := client{ID: m.ID, Secret: m.Secret, redirect: "https://app.example/callback"}
	a := w.tokens(c)
	inner := call(a.AccessToken, "wicketgate", upstreamURI)
	w.wantActive(mailServer, a.AccessToken, true)
	w.wantActive(upstreamServer, inner, true)
	noError(t, w.store.DeleteClient(t.Context(), identity.MustClientID(c.ID), w.clock.Now()))
	noError(t, w.view.Poll(t.Context()))
	w.wantActive(mailServer, a.AccessToken, false)
	w.wantActive(upstreamServer, inner, false)
	w.wantError(w.postForm("/oauth2/introspect", &c, url.Values{"token": {a.RefreshToken}}), 401, "invalid_client")
}

// TestIntrospectionTellsTheActor: who acts for alice, and for what (RFC 8693 §4.1).
func TestIntrospectionTellsTheActor(t *testing.T) {
	w, call := newCalls(t)
	c := w.confidential()
	a := w.tokens(c)
	inner := call(a.AccessToken, "wicketgate", upstreamURI)
	w.wantClaimsOf(upstreamServer, inner, map[string]any{"active": true, "iss": w.url, "sub": "alice", "aud": upstreamURI, "client_id": "wicketgate", "scope": "tool:send_message",
		"token_type": "Bearer", "jti": payload(t, inner)["jti"], "iat": float64(began.Unix()), "exp": float64(began.Unix() + 60),
		"act":                   map[string]any{"iss": w.url, "sub": c.ID, "client_id": c.ID},
		"authorization_details": []any{map[string]any{"type": "mcp_tool_call", "server": "mail", "tool": "send_message", "arguments_digest": "sha-256:x"}}})
	w.wantActive(mailServer, inner, false)
	w.clock.advance(time.Minute)
	w.wantActive(upstreamServer, inner, false)
}

// TestIntrospectionIsForConfidentialClients: anybody can say that it is a public one,
// and could try tokens here.
func TestIntrospectionIsForConfidentialClients(t *testing.T) {
	w := newWorld(t, withResourceServers)
	w.putResourceServers()
	c := w.public()
	a := w.tokens(c)
	for _, by := range []client{c, publicServer} {
		for _, token := range []string{a.AccessToken, a.RefreshToken, "x", ""} {
			w.wantError(w.postForm("/oauth2/introspect", &by, url.Values{"token": {token}}), 400, "unauthorized_client")
		}
	}
	w.wantActive(mailServer, a.AccessToken, true)
	for _, form := range []url.Values{{}, {"token": {""}}, {"token_type_hint": {"access_token"}}} {
		w.wantError(w.postForm("/oauth2/introspect", &mailServer, form), 400, "invalid_request")
	}
}

func TestIntrospectionFailsClosed(t *testing.T) {
	for _, method := range []string{"Client"} {
		t.Run("access token, "+method, func(t *testing.T) {
			w := newWorld(t)
			c := w.confidential()
			a := w.tokens(c)
			w.store.on(failing(method))
			w.wantServerError(w.postForm("/oauth2/introspect", &c, url.Values{"token": {a.AccessToken}}), errDisk)
		})
	}
	t.Run("refresh token, RefreshToken", func(t *testing.T) {
		w := newWorld(t)
		c := w.confidential()
		a := w.tokens(c)
		w.store.on(failing("RefreshToken"))
		w.wantServerError(w.postForm("/oauth2/introspect", &c, url.Values{"token": {a.RefreshToken}}), errDisk)
	})
}
