package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const rawClientName = "Raw client under test"

// resourceMetadata is what these tests read of RFC 9728 §2.
type resourceMetadata struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
}

// serverMetadata is what these tests read of RFC 8414 §2.
type serverMetadata struct {
	Issuer       string   `json:"issuer"`
	Authorize    string   `json:"authorization_endpoint"`
	Token        string   `json:"token_endpoint"`
	Registration string   `json:"registration_endpoint"`
	JWKS         string   `json:"jwks_uri"`
	Challenges   []string `json:"code_challenge_methods_supported"`
	AuthMethods  []string `json:"token_endpoint_auth_methods_supported"`
	Iss          bool     `json:"authorization_response_iss_parameter_supported"`
}

// tokenAnswer is an answer of the token endpoint, good (RFC 6749 §5.1) or bad (§5.2).
type tokenAnswer struct {
	Status       int    `json:"-"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	Scope        string `json:"scope"`
	Error        string `json:"error"`
}

// rawClient does by hand what an MCP client does.
type rawClient struct {
	h    *house
	meta serverMetadata
	id   string
}

// newRawClient discovers the authorization server and registers.
func newRawClient(t *testing.T, h *house) *rawClient {
	t.Helper()
	return registerAs(t, h, rawClientName, callback)
}

func registerAs(t *testing.T, h *house, name, redirectURI string) *rawClient {
	t.Helper()
	c := &rawClient{h: h}
	getJSON(t, h.url+"/.well-known/oauth-authorization-server", &c.meta)
	resp, body := send(t, http.MethodPost, c.meta.Registration, http.Header{"Content-Type": {"application/json"}}, fmt.Sprintf(
		`{"client_name":%q,"redirect_uris":[%q],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		name, redirectURI))
	var registered struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal(body, &registered); err != nil || resp.StatusCode != http.StatusCreated || registered.ID == "" {
		t.Fatalf("register: status %d, %s", resp.StatusCode, body)
	}
	if registered.Secret != "" {
		t.Errorf("a public client was given a secret")
	}
	c.id = registered.ID
	return c
}

// pkce is a code_verifier and what follows from it (RFC 7636 §4).
type pkce struct{ verifier, challenge string }

func newPKCE() pkce {
	v := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(v))
	return pkce{v, base64.RawURLEncoding.EncodeToString(sum[:])}
}

// authorizeURL is a good request, but for what change does to it.
func (c *rawClient) authorizeURL(p pkce, change func(url.Values)) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {callback}, "state": {"state-of-the-client"},
		"code_challenge": {p.challenge}, "code_challenge_method": {"S256"}, "resource": {c.h.resource()},
	}
	if change != nil {
		change(q)
	}
	return c.meta.Authorize + "?" + q.Encode()
}

// code logs in and returns the authorization code.
func (c *rawClient) code(t *testing.T, r *robot, p pkce) string {
	t.Helper()
	v, err := r.authorize(deadline(t), c.authorizeURL(p, nil))
	if err != nil {
		t.Fatalf("authorize as %s: %v", r.user, err)
	}
	q := v.redirect.Query()
	if q.Get("code") == "" || q.Get("state") != "state-of-the-client" || q.Get("iss") != c.meta.Issuer {
		t.Fatalf("redirect %s, want a code, the client's state and iss", v.redirect)
	}
	return q.Get("code")
}

func (c *rawClient) token(t *testing.T, form url.Values) tokenAnswer {
	t.Helper()
	form.Set("client_id", c.id)
	resp, body := send(t, http.MethodPost, c.meta.Token, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode())
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("token endpoint answers with Cache-Control %q, want no-store", got)
	}
	a := tokenAnswer{Status: resp.StatusCode}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("token endpoint answered %d: %s", resp.StatusCode, body)
	}
	return a
}

func (c *rawClient) redeem(t *testing.T, code string, p pkce) tokenAnswer {
	t.Helper()
	return c.token(t, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {p.verifier}, "resource": {c.h.resource()},
	})
}

// refresh sends no resource, as the Go SDK does not either.
func (c *rawClient) refresh(t *testing.T, refreshToken string) tokenAnswer {
	t.Helper()
	return c.token(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}})
}

// login does the whole flow and wants a token.
func (c *rawClient) login(t *testing.T, user string) tokenAnswer {
	t.Helper()
	p := newPKCE()
	a := c.redeem(t, c.code(t, newRobot(user, "approve"), p), p)
	if a.AccessToken == "" || a.RefreshToken == "" {
		t.Fatalf("no tokens for %s: %d %s", user, a.Status, a.Error)
	}
	return a
}

// session is an MCP session of the 2025-11-25 era, by hand.
type session struct {
	url, accessToken, id string
}

const protocolVersion = "2025-11-25"

// open initializes a session with the access token.
func open(t *testing.T, h *house, accessToken string) *session {
	t.Helper()
	s := &session{url: h.resource(), accessToken: accessToken}
	resp, body := s.post(t, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+protocolVersion+
		`","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("initialize: status %d, %s", resp.StatusCode, body)
	}
	if s.id = resp.Header.Get("Mcp-Session-Id"); s.id == "" {
		t.Fatal("initialize gave no session")
	}
	if resp, body := s.post(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("initialized: status %d, %s", resp.StatusCode, body)
	}
	return s
}

func (s *session) post(t *testing.T, message string) (*http.Response, []byte) {
	t.Helper()
	h := mcpHeader(s.accessToken)
	if s.id != "" {
		h.Set("Mcp-Session-Id", s.id)
		h.Set("MCP-Protocol-Version", protocolVersion)
	}
	return send(t, http.MethodPost, s.url, h, message)
}

func (s *session) call(t *testing.T, tool, arguments string) (*http.Response, []byte) {
	t.Helper()
	return s.post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, arguments))
}

func mcpHeader(accessToken string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if accessToken != "" {
		h.Set("Authorization", "Bearer "+accessToken)
	}
	return h
}

// send does one request, follows no redirect and reads the whole answer.
func send(t *testing.T, method, to string, h http.Header, body string) (*http.Response, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h.Clone()
	resp, err := (&http.Client{CheckRedirect: stay}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		t.Fatalf("%s %s: %v", method, to, err)
	}
	return resp, b
}

func getJSON(t *testing.T, from string, v any) {
	t.Helper()
	resp, body := send(t, http.MethodGet, from, nil, "")
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		t.Fatalf("GET %s: status %d, %s, %s", from, resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("GET %s: %v\n%s", from, err, body)
	}
}

// part decodes the header (0) or the claims (1) of a JWT.
func part(t *testing.T, jwt string, i int) object {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", jwt)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		t.Fatal(err)
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	return o
}
