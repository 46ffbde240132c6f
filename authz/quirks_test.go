package authz_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// The documents and registrations of real clients, as they were seen
// (their URLs are those of the test's own server).

func TestClaudeCodeDocumentHasNoPorts(t *testing.T) {
	p := newPublisher(t)
	c := p.publish("/oauth/claude-code-client-metadata", map[string]any{"client_name": "Claude Code", "client_uri": "https://claude.ai",
		"redirect_uris": []string{"http://localhost/callback", "http://127.0.0.1/callback"}, "grant_types": []string{"authorization_code", "refresh_token"},
		"response_types": []string{"code"}, "token_endpoint_auth_method": "none"})
	for _, redirect := range []string{"http://localhost:53682/callback", "http://127.0.0.1:49152/callback"} {
		c.redirect = redirect
		p.tokens(c)
	}
	for _, redirect := range []string{"http://localhost.evil.example:53682/callback", "http://[::1]:53682/callback", "https://localhost:53682/callback", "http://localhost:53682/callback/x", "http://localhost:53682/callback?x"} {
		c.redirect = redirect
		if got := p.browser().get(p.authorizePath(c)); got.status != 400 || got.to != nil {
			t.Errorf("%s: %d %s", redirect, got.status, got.text())
		}
	}
}

func TestVSCodeDocumentListsTheDeviceGrant(t *testing.T) {
	p := newPublisher(t)
	c := p.publish("/oauth/client-metadata.json", map[string]any{"client_name": "Visual Studio Code", "application_type": "native",
		"grant_types":    []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "urn:example:unheard-of"},
		"response_types": []string{"code"}, "client_uri": "https://vscode.dev/product", "redirect_uris": []string{"http://127.0.0.1:33418/", "https://vscode.dev/redirect"}})
	for _, redirect := range []string{"http://127.0.0.1:33418/", "http://127.0.0.1:50123/", "https://vscode.dev/redirect"} {
		c.redirect = redirect
		p.wantOK(p.tokens(c))
	}
}

// ChatGPT prefers private_key_jwt and names none as what it falls back to. We take
// what it prefers, so that nobody without its key redeems its codes.
func TestChatGPTDocumentPrefersItsKey(t *testing.T) {
	p := newPublisher(t)
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	b64 := base64.RawURLEncoding.EncodeToString
	p.set("/oauth/jwks.json", string(must(json.Marshal(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256",
		"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}}}))(t)))
	c := p.publish("/oauth/abc/client.json", map[string]any{"client_name": "ChatGPT", "redirect_uris": []string{"https://chatgpt.com/connector/oauth/abc"},
		"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_methods_supported": []string{"none", "private_key_jwt"},
		"token_endpoint_auth_signing_alg": "RS256", "jwks_uri": p.at + "/oauth/jwks.json"})
	c.redirect = "https://chatgpt.com/connector/oauth/abc"
	code := p.approve(c).Get("code")
	p.take()
	p.wantError(p.token(&c, codeForm(c, code)), 401, "invalid_client")
	assertion := signRS256(t, key, map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"}, map[string]any{"iss": c.ID, "sub": c.ID, "aud": p.world.url, "jti": "1",
		"iat": began.Unix(), "exp": began.Unix() + 60})
	a := p.token(&c, codeForm(c, code, change{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion}}))
	p.wantOK(a)
	for _, at := range p.take() {
		if at != p.at+"/oauth/jwks.json" {
			t.Errorf("the token endpoint fetched %s", at)
		}
	}
}

func TestDocumentsAuthenticationMethod(t *testing.T) {
	keys := must(parseJSON(publicKeys))(t)
	tests := map[string]struct {
		method, methods any
		public          bool
	}{
		"none":                                 {"none", nil, true},
		"nothing":                              {nil, nil, true},
		"none first":                           {nil, []string{"none", "private_key_jwt"}, true},
		"a key first":                          {nil, []string{"private_key_jwt", "none"}, false},
		"a secret first":                       {nil, []string{"client_secret_basic", "none"}, true},
		"what we do not know first":            {nil, []string{"attest_jwt_client_auth", "private_key_jwt"}, false},
		"a preference that we do not know":     {"attest_jwt_client_auth", []string{"none"}, true},
		"a preference that is not among these": {"private_key_jwt", []string{"none"}, false},
	}
	p := newPublisher(t)
	n := 0
	for name, test := range tests {
		n++
		path := "/" + strings.Repeat("a", n)
		t.Run(name, func(t *testing.T) {
			p.use(t)
			c := p.publish(path, map[string]any{"token_endpoint_auth_method": test.method, "token_endpoint_auth_methods_supported": test.methods, "jwks": keys})
			a := p.token(&c, codeForm(c, p.approve(c).Get("code")))
			if test.public {
				p.wantOK(a)
			} else {
				p.wantError(a, 401, "invalid_client")
			}
		})
	}
}

func TestCursorRegistersThreeRedirectsAtOnce(t *testing.T) {
	w := newWorld(t)
	got := w.registration(`{"client_name":"Cursor","redirect_uris":["` + cursorScheme + `","https://www.cursor.com/agents/mcp/oauth/callback","http://localhost:8787/callback"],
		"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`)
	for _, redirect := range []string{cursorScheme, "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"} {
		w.tokens(client{ID: got["client_id"].(string), redirect: redirect})
	}
}

// What each sends besides its redirect URI, and where it is called back.
func TestRegistrationsOfRealClients(t *testing.T) {
	for name, test := range map[string]struct{ body, redirect string }{
		"Inspector, with an empty scope": {`"redirect_uris":["http://localhost:6274/oauth/callback"],"client_name":"MCP Inspector","client_uri":"https://github.com/modelcontextprotocol/inspector",
			"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"scope":""`, "http://localhost:6274/oauth/callback"},
		"Codex, with a path of its own":      {`"redirect_uris":["http://127.0.0.1:34567/callback/f00d"],"client_name":"Codex","token_endpoint_auth_method":"none"`, "http://127.0.0.1:34567/callback/f00d"},
		"opencode, without application_type": {`"redirect_uris":["http://127.0.0.1:19876/mcp/oauth/callback"],"client_name":"OpenCode","token_endpoint_auth_method":"none"`, "http://127.0.0.1:19876/mcp/oauth/callback"},
		"go-sdk, with application_type only": {`"redirect_uris":["http://localhost:3142/callback"],"application_type":"native","token_endpoint_auth_method":"none"`, "http://localhost:3142/callback"},
		"mcp-remote, with a software_id":     {`"redirect_uris":["http://localhost:3335/oauth/callback"],"software_id":"x","software_version":"1","token_endpoint_auth_method":"none"`, "http://localhost:3335/oauth/callback"},
		"VS Code, four redirects": {`"redirect_uris":["https://vscode.dev/redirect","https://insiders.vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],"application_type":"native",
			"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"token_endpoint_auth_method":"none"`, "http://127.0.0.1:61234/"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			got := w.registration(`{` + test.body + `}`)
			w.tokens(client{ID: got["client_id"].(string), redirect: test.redirect})
		})
	}
}

// claude.ai registers again at each connect; what it registered before keeps working.
func TestClaudeRegistersAgainAndKeepsWhatItHas(t *testing.T) {
	w := newWorld(t)
	body := map[string]any{"client_name": "Claude", "token_endpoint_auth_method": "none"}
	first := w.register("https://claude.ai/api/mcp/auth_callback", body)
	tokens := w.tokens(first)
	second := w.register("https://claude.ai/api/mcp/auth_callback", body)
	w.tokens(second)
	w.wantOK(w.token(&first, refreshForm(tokens.RefreshToken)))
	if c := must(w.store.Client(t.Context(), identity.MustClientID(first.ID)))(t); c.Used.IsZero() {
		t.Error("the client counts as unused")
	}
}

// signRS256 makes a JWT.
func signRS256(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))(t)) }
	signed := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:]))(t))
}
