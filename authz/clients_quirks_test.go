package authz_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// What real clients do that a strict server would trip over, and that quirks_test.go
// has not. Each test is named after the client.

// basic redeems with an Authorization header and no client_id in the body.
func (w *world) basic(user, password string, form url.Values) answer {
	w.t.Helper()
	r := w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", form.Encode())
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	return w.do(r)
}

// go-sdk first sends Basic with its escaped client_id and an empty secret, and none
// in the body; refused, it tries the same code again with client_id in the body.
func TestGoSDKSendsBasicWithAnEmptySecret(t *testing.T) {
	p := newPublisher(t)
	for name, c := range map[string]client{"a registered client": p.public(), "a document": p.publish("/client.json", nil)} {
		t.Run(name, func(t *testing.T) {
			p.use(t)
			form := codeForm(c, p.approve(c).Get("code"))
			p.wantOK(p.basic(url.QueryEscape(c.ID), "", form))
		})
		t.Run(name+", refused first", func(t *testing.T) {
			p.use(t)
			form := codeForm(c, p.approve(c).Get("code"))
			p.wantError(p.basic(url.QueryEscape(c.ID), "not-empty", form), http.StatusUnauthorized, "invalid_client")
			p.wantError(p.basic("", "", form), http.StatusUnauthorized, "invalid_client")
			a := p.token(&c, form) // the code is not burnt
			p.wantOK(a)
			p.wantOK(p.token(&c, refreshForm(a.RefreshToken)))
		})
	}
}

func TestGoSDKRefreshesWithoutResource(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://localhost:3142/callback", map[string]any{"application_type": "native"})
	a := w.tokens(c, change{"resource": {w.files()}})
	for range 3 {
		a = w.token(&c, refreshForm(a.RefreshToken))
		w.wantOK(a)
		if got := payload(t, a.AccessToken)["aud"]; got != w.files() {
			t.Fatalf("aud %v", got)
		}
	}
}

// go-sdk sends code= with every grant, token exchange among them.
func TestGoSDKSendsAnEmptyCode(t *testing.T) {
	w := newWorld(t)
	w.wantOK(w.token(&agent, url.Values{"grant_type": {grantEcho}, "code": {""}}))
	w.wantOK(w.token(&agent, url.Values{"grant_type": {"client_credentials"}, "resource": {w.mail()}, "code": {""}}))
}

// TypeScript SDK 1 sends no state unless its user thought of one.
func TestTypeScriptSDKSendsNoState(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://localhost:8090/callback", map[string]any{"scope": "mcp:tools"})
	for name, ch := range map[string]change{"none": {"state": nil}, "an empty one": {"state": {""}}} {
		q := w.approve(c, ch)
		if q.Has("state") || q.Get("iss") != w.url {
			t.Errorf("%s: redirect with %v", name, q)
		}
		w.wantOK(w.token(&c, codeForm(c, q.Get("code"))))
	}
}

// VS Code's state is short; fosite wants eight characters of it.
func TestVSCodeSendsAShortState(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://127.0.0.1:33418/", nil)
	for _, state := range []string{"a", "1234567"} {
		q := w.approve(c, change{"state": {state}})
		if q.Get("state") != state {
			t.Errorf("state %q, want %q", q.Get("state"), state)
		}
		w.wantOK(w.token(&c, codeForm(c, q.Get("code"))))
	}
}

// TypeScript SDK 1 puts client_id and secret into Basic without the escaping of RFC
// 6749 §2.3.1, so that ours must read the same either way.
func TestTypeScriptSDKDoesNotEscapeItsSecret(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		c := w.register("https://app.example/cb", map[string]any{"token_endpoint_auth_method": "client_secret_basic"})
		for _, s := range []string{c.ID, c.Secret} {
			if url.QueryEscape(s) != s {
				t.Fatalf("%q has to be escaped", s)
			}
		}
		w.wantOK(w.basic(c.ID, c.Secret, codeForm(c, w.approve(c).Get("code"))))
	}
}

// TypeScript SDK adds prompt=consent where the scope has offline_access; we give a
// refresh token for the grant type, and grant the scopes that there are.
func TestTypeScriptSDKAsksForOfflineAccess(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://localhost:8090/callback", nil)
	a := w.tokens(c, change{"scope": {"mcp:tools offline_access"}, "prompt": {"consent"}})
	if a.Scope != "mcp:tools" || a.RefreshToken == "" {
		t.Errorf("answer %s", a.body)
	}
	if a := w.tokens(c, change{"scope": {"mcp:tools"}}); a.RefreshToken == "" {
		t.Errorf("no refresh token without offline_access: %s", a.body)
	}
}

// TypeScript SDK and claude.ai register again on 401 invalid_client, and on nothing
// else; a person at the page is told what to do.
func TestTypeScriptSDKWhoseClientIsGone(t *testing.T) {
	w := newWorld(t)
	gone := w.managed(confidential)
	gone.redirect = "https://app.example/cb"
	tokens := w.tokens(gone.client)
	if a := w.manage("DELETE", w.path(gone), "Bearer "+gone.Token, ""); a.status != http.StatusNoContent {
		t.Fatalf("delete: %d %s", a.status, a.body)
	}
	for _, form := range []url.Values{codeForm(gone.client, "x"), refreshForm(tokens.RefreshToken), {"grant_type": {"x"}}, {}} {
		a := w.token(&gone.client, form)
		w.wantError(a, http.StatusUnauthorized, "invalid_client")
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
		}
	}
	wantErrorPage(t, w.browser().get(w.authorizePath(gone.client)), "it must register again")
}

// TypeScript SDK keeps its client and logs in again on 400 invalid_grant.
func TestTypeScriptSDKWhoseTokensAreGone(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://localhost:8090/callback", nil)
	a := w.tokens(c)
	w.revoke(c, a.RefreshToken)
	w.wantError(w.token(&c, refreshForm(a.RefreshToken)), http.StatusBadRequest, "invalid_grant")
	w.tokens(c)
}

// mcp-remote asks for openid, email and profile beside what it was told.
func TestMCPRemoteAsksForOpenIDScopes(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://localhost:3335/oauth/callback", nil)
	a := w.tokens(c, change{"scope": {"openid email profile mcp:tools mcp:unheard-of"}})
	if a.Scope != "mcp:tools" || payload(t, a.AccessToken)["scope"] != "mcp:tools" {
		t.Errorf("answer %s", a.body)
	}
	if a = w.token(&c, refreshForm(a.RefreshToken)); a.Scope != "mcp:tools" {
		t.Errorf("after a refresh: %s", a.body)
	}
}

// Inspector registers and asks with scope="".
func TestInspectorSendsAnEmptyScope(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://127.0.0.1:6276/oauth/callback", map[string]any{"scope": ""})
	if a := w.tokens(c, change{"scope": {""}}); a.Scope != "mcp:tools mcp:resources mcp:prompts" {
		t.Errorf("answer %s", a.body)
	}
}

// mcporter registers one port and comes back with another.
func TestMCPorterListensOnAnotherPort(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://127.0.0.1:40001/callback", nil)
	c.redirect = "http://127.0.0.1:40002/callback"
	w.tokens(c)
}

// mcp-remote derives its port; localhost is no IP literal, which fosite would want.
func TestMCPRemoteListensOnAnotherPortOfLocalhost(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://localhost:3335/oauth/callback", nil)
	c.redirect = "http://localhost:49150/oauth/callback"
	w.tokens(c)
}

// Many clients add or drop the trailing slash of a resource; all of them get the one
// aud that the gateway knows.
func TestResourceWithATrailingSlashAtEveryStep(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	slash := change{"resource": {w.mail() + "/"}}
	form := codeForm(c, w.approve(c, slash).Get("code"))
	a := w.token(&c, with(form, slash))
	w.wantOK(a)
	for _, ch := range []change{slash, {"resource": {w.mail()}}, nil} {
		a = w.token(&c, refreshForm(a.RefreshToken, ch))
		w.wantOK(a)
		if got := payload(t, a.AccessToken)["aud"]; got != w.mail() {
			t.Errorf("aud %v, want %s", got, w.mail())
		}
	}
}

// Claude Code has sent the origin with a slash as resource: which of several servers
// it means cannot be told, and the answer says what is wanted.
func TestClaudeCodeSendsTheOriginAsResource(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://localhost/callback", nil)
	q := w.browser().get(w.authorizePath(c, change{"resource": {w.url + "/"}})).query(t, c.redirect)
	if q.Get("error") != "invalid_target" || !strings.Contains(q.Get("error_description"), "URI of a protected resource") {
		t.Errorf("redirect with %v", q)
	}
}

// Clients that were away for long come back: nobody removes a client with grants.
func TestClientWithGrantsOutlivesTheUnused(t *testing.T) {
	w := newWorld(t)
	c := w.register("https://claude.ai/api/mcp/auth_callback", nil)
	a := w.tokens(c)
	w.clock.advance(8 * 24 * time.Hour) // after which an unused one goes
	must(w.store.DeleteUnusedClients(t.Context(), w.clock.Now()))(t)
	w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
}

// Every token answer says scope and expires_in, which TypeScript SDK and the
// conformance suite look for.
func TestEveryTokenAnswerSaysWhatWasGranted(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	a := w.tokens(c)
	for name, a := range map[string]answer{"code": a, "refresh": w.token(&c, refreshForm(a.RefreshToken)),
		"client credentials": w.token(&agent, url.Values{"grant_type": {"client_credentials"}, "resource": {w.mail()}})} {
		if a.Scope == "" || a.ExpiresIn <= 0 || a.TokenType != "Bearer" || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s", name, a.body)
		}
		w.wantWellFormed(a)
	}
}
