package authz_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/token"
)

// payload reads the claims of a token without verifying it.
func payload(t testing.TB, raw string) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", raw)
	}
	claims := map[string]any{}
	noError(t, json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[1]))(t), &claims))
	return claims
}

func TestRegisterAuthorizeLoginConsentTokenRefresh(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	loginPage := b.get(w.authorizePath(c, change{"scope": {"mcp:tools mcp:prompts openid tool:send_message"}}))
	w.clock.advance(10 * time.Second)
	loggedIn := w.clock.Now()
	consent := b.post("/oauth2/login", url.Values{"request": {loginPage.sealed(t)}, "user": {"alice"}})
	w.clock.advance(20 * time.Second)
	q := b.decide(consent, "approve").query(t, c.redirect)
	if diff := cmp.Diff(url.Values{"code": q["code"], "state": {"xyz"}, "iss": {w.url}}, q); diff != "" {
		t.Errorf("redirect (-want +got):\n%s", diff)
	}
	a := w.token(&c, codeForm(c, q.Get("code"), change{"resource": {w.mail()}}))
	w.wantOK(a)
	w.wantWellFormed(a)
	if a.TokenType != "Bearer" || a.ExpiresIn != 300 || a.Scope != "mcp:tools mcp:prompts tool:send_message" || a.RefreshToken == "" {
		t.Errorf("answer %s", a.body)
	}
	wantClaims(t, w, a.AccessToken, c, loggedIn, a.Scope)
	txn := payload(t, a.AccessToken)["txn"]

	w.clock.advance(time.Hour)
	r := w.token(&c, refreshForm(a.RefreshToken)) // go-sdk sends no resource
	w.wantOK(r)
	wantClaims(t, w, r.AccessToken, c, loggedIn, a.Scope)
	if got := payload(t, r.AccessToken)["txn"]; got != txn {
		t.Errorf("txn %v after refresh, want %v", got, txn)
	}
	if r.RefreshToken == "" || r.RefreshToken == a.RefreshToken {
		t.Error("the refresh token was not rotated")
	}
}

// wantClaims holds a token to RFC 9068 §2.2 and DESIGN.md section 1.
func wantClaims(t *testing.T, w *world, raw string, c client, loggedIn time.Time, scope string) {
	t.Helper()
	if _, err := w.verifier.ParseAccess(t.Context(), raw, w.mail(), token.Confirmation{}); err != nil {
		t.Fatalf("the token is not valid for the resource: %v", err)
	}
	if _, err := w.verifier.ParseAccess(t.Context(), raw, w.files(), token.Confirmation{}); err == nil {
		t.Error("the token is valid for another resource")
	}
	got := payload(t, raw)
	now := float64(w.clock.Now().Unix())
	want := map[string]any{"iss": w.url, "sub": "alice", "aud": w.mail(), "client_id": c.ID, "scope": scope, "iat": now,
		"exp": now + 300, "auth_time": float64(loggedIn.Unix()), "jti": got["jti"], "txn": got["txn"]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if got["jti"] == "" || got["txn"] == "" {
		t.Errorf("jti %v, txn %v", got["jti"], got["txn"])
	}
	header, _, _ := strings.Cut(raw, ".")
	if h := string(must(base64.RawURLEncoding.DecodeString(header))(t)); !strings.Contains(h, `"typ":"at+jwt"`) || !strings.Contains(h, `"alg":"ES256"`) {
		t.Errorf("header %s", h)
	}
}

func TestEmptyScopeMeansTheDefaults(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for name, ch := range map[string]change{"no scope": {"scope": nil}, "empty scope": {"scope": {""}}, "blank scope": {"scope": {"  "}}} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			if got := w.tokens(c, ch).Scope; got != "mcp:tools mcp:resources mcp:prompts" {
				t.Errorf("scope %q", got)
			}
		})
	}
}

func TestScopeAtAuthorize(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for name, scope := range map[string]string{
		"only unknown scopes":               "openid profile",
		"the scope of a call token":         "mcp:session",
		"a quotation mark":                  `mcp:tools "`,
		"a tool name that smuggles a scope": "tool:x\ttool:y",
		"a tool name with odd characters":   "tool:a*b",
		"case":                              "MCP:TOOLS",
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			q := w.browser().get(w.authorizePath(c, change{"scope": {scope}})).query(t, c.redirect)
			if q.Get("error") != "invalid_scope" {
				t.Errorf("redirect with %v, want invalid_scope", q)
			}
		})
	}
}

func TestClientWithoutRefreshTokenGrantGetsNone(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://127.0.0.1:7777/callback", map[string]any{"grant_types": []string{"authorization_code"}})
	if a := w.tokens(c); a.RefreshToken != "" {
		t.Error("a refresh token for a client that did not register for it")
	}
}

func TestConfidentialClientGoesTheSameWay(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	a := w.tokens(c)
	w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
	w.wantError(w.token(&client{ID: c.ID}, refreshForm(a.RefreshToken)), http.StatusUnauthorized, "invalid_client")
}

func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	agent := client{ID: "agent", Secret: agentSecret}
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {w.mail()}, "scope": {"mcp:tools"}}
	a := w.token(&agent, form)
	w.wantOK(a)
	got := payload(t, a.AccessToken)
	now := float64(began.Unix())
	want := map[string]any{"iss": w.url, "sub": "agent", "aud": w.mail(), "client_id": "agent", "scope": "mcp:tools", "iat": now, "exp": now + 300, "jti": got["jti"], "txn": got["txn"]}
	if diff := cmp.Diff(want, got); diff != "" || got["txn"] == nil {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if a.RefreshToken != "" {
		t.Error("a refresh token for client_credentials (RFC 6749 §4.4.3)")
	}
	for name, ch := range map[string]change{
		"no resource":       {"resource": nil},
		"two resources":     {"resource": {w.mail(), w.files()}},
		"internal resource": {"resource": {upstreamURI}},
		"unknown resource":  {"resource": {w.url + "/mcp/other"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantError(w.token(&agent, with(url.Values{"grant_type": {"client_credentials"}, "resource": {w.mail()}}, ch)), 400, "invalid_target")
		})
	}
	t.Run("public client", func(t *testing.T) {
		w := w.in(t)
		w.wantError(w.token(&client{ID: "carol"}, form), 400, "unauthorized_client")
	})
}

func TestGrantThatIsHandedIn(t *testing.T) {
	w := newWorld(t)
	form := url.Values{"grant_type": {grantEcho}}
	if a := w.token(&client{ID: "agent", Secret: agentSecret}, form); a.AccessToken != "for agent" {
		t.Errorf("answer %s", a.body)
	}
	c := w.public()
	w.wantError(w.token(&c, form), 400, "unauthorized_client")
	w.wantError(w.token(&client{ID: "agent", Secret: "wrong"}, form), 401, "invalid_client")
}
