package metadata_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/metadata"
)

const issuer = "https://mcp.example.com"

func config(resources ...string) metadata.Config {
	cfg := metadata.Config{JWKS: func() any { return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}} }, Server: metadata.AuthorizationServer{
		Issuer: issuer, AuthorizationEndpoint: issuer + "/oauth2/authorize", TokenEndpoint: issuer + "/oauth2/token",
		RegistrationEndpoint: issuer + "/oauth2/register", JWKSURI: issuer + "/oauth2/jwks", ScopesSupported: []string{"mcp:tools"},
		ResponseTypes: []string{"code"}, ResponseModes: []string{"query"}, GrantTypes: []string{"authorization_code"}, TokenAuthMethods: []string{"none"},
		CodeChallengeMethods: []string{"S256"}, AuthorizationDetails: []string{"mcp_tool_call"}, IssInResponseSupported: true}}
	for _, r := range resources {
		cfg.Resources = append(cfg.Resources, metadata.ProtectedResource{Resource: r, AuthorizationServers: []string{issuer}, ScopesSupported: []string{"mcp:tools"},
			BearerMethods: []string{"header"}, Name: "mail"})
	}
	return cfg
}

func serve(t *testing.T, cfg metadata.Config) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	if err := metadata.Register(mux, cfg); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

// send sends a request with these headers, and follows no redirect.
func send(t *testing.T, method, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://inspector.example")
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

const asm = `{"issuer":"https://mcp.example.com","authorization_endpoint":"https://mcp.example.com/oauth2/authorize",` +
	`"token_endpoint":"https://mcp.example.com/oauth2/token","registration_endpoint":"https://mcp.example.com/oauth2/register",` +
	`"jwks_uri":"https://mcp.example.com/oauth2/jwks","scopes_supported":["mcp:tools"],"response_types_supported":["code"],` +
	`"response_modes_supported":["query"],"grant_types_supported":["authorization_code"],"token_endpoint_auth_methods_supported":["none"],` +
	`"code_challenge_methods_supported":["S256"],"authorization_details_types_supported":["mcp_tool_call"],"authorization_response_iss_parameter_supported":true}`

const prm = `{"resource":"https://mcp.example.com/mcp/mail","authorization_servers":["https://mcp.example.com"],"scopes_supported":["mcp:tools"],` +
	`"bearer_methods_supported":["header"],"resource_name":"mail"}`

func TestDocuments(t *testing.T) {
	srv := serve(t, config(issuer+"/mcp/mail"))
	for path, want := range map[string]string{
		"/.well-known/oauth-authorization-server":         asm,
		"/.well-known/openid-configuration":               asm,
		"/.well-known/oauth-protected-resource/mcp/mail":  prm,
		"/.well-known/oauth-protected-resource/mcp/mail/": prm,
		"/.well-known/oauth-protected-resource":           prm,
		"/.well-known/oauth-protected-resource/":          prm,
		"/oauth2/jwks":                                    `{"keys":[]}`,
	} {
		t.Run(path, func(t *testing.T) {
			resp, body := send(t, "GET", srv.URL+path)
			if diff := cmp.Diff(want, body); diff != "" {
				t.Errorf("document (-want +got):\n%s", diff)
			}
			got := map[string]string{}
			for _, name := range []string{"Content-Type", "Cache-Control", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"} {
				got[name] = resp.Header.Get(name)
			}
			wantHeader := map[string]string{"Content-Type": "application/json", "Cache-Control": "public, max-age=60", "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": ""}
			if diff := cmp.Diff(wantHeader, got); diff != "" || resp.StatusCode != http.StatusOK {
				t.Errorf("status %d, headers (-want +got):\n%s", resp.StatusCode, diff)
			}
			if resp, _ := send(t, "OPTIONS", srv.URL+path); resp.StatusCode != http.StatusNoContent || !strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "mcp-protocol-version") {
				t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
			}
			if resp, _ := send(t, "POST", srv.URL+path); resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("POST: %d", resp.StatusCode)
			}
		})
	}
}

// TestOtherWellKnownPaths: 404, for a client that gets anything else does not try
// the next address.
func TestOtherWellKnownPaths(t *testing.T) {
	srv := serve(t, config(issuer+"/mcp/mail", issuer+"/mcp/files"))
	for _, path := range []string{
		"/.well-known/oauth-protected-resource", // names one resource, and there are two
		"/.well-known/oauth-protected-resource/",
		"/.well-known/oauth-protected-resource/mcp",
		"/.well-known/oauth-protected-resource/mcp/other",
		"/.well-known/oauth-protected-resource/mcp/mail/x",
		"/.well-known/oauth-protected-resource/mcp/Mail",
		"/.well-known/oauth-authorization-server/mcp/mail",
		"/.well-known/openid-configuration/mcp/mail",
		"/mcp/mail/.well-known/openid-configuration",
		"/mcp/mail/.well-known/oauth-protected-resource",
		"/.well-known/jwks.json",
		"/.well-known/",
		"/oauth2/jwks/",
	} {
		t.Run(path, func(t *testing.T) {
			if resp, body := send(t, "GET", srv.URL+path); resp.StatusCode != http.StatusNotFound || strings.Contains(body, issuer) {
				t.Errorf("answer %d to %q: %s", resp.StatusCode, resp.Header.Get("Location"), body)
			}
		})
	}
	for _, name := range []string{"mail", "files"} {
		_, body := send(t, "GET", srv.URL+"/.well-known/oauth-protected-resource/mcp/"+name)
		if !strings.Contains(body, `"resource":"`+issuer+"/mcp/"+name+`"`) {
			t.Errorf("%s: %s", name, body)
		}
	}
}

func TestResourcesOfOddPaths(t *testing.T) {
	for name, test := range map[string]struct {
		resource, path string
	}{
		"the origin":           {issuer, "/.well-known/oauth-protected-resource"},
		"the root":             {issuer + "/", "/.well-known/oauth-protected-resource"},
		"a trailing slash":     {issuer + "/mcp/mail/", "/.well-known/oauth-protected-resource/mcp/mail"},
		"an escape":            {issuer + "/mcp/a%2Fb", "/.well-known/oauth-protected-resource/mcp/a%2Fb"},
		"a pattern of the mux": {issuer + "/mcp/{name}", "/.well-known/oauth-protected-resource/mcp/%7Bname%7D"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, config(test.resource, issuer+"/mcp/another"))
			if _, body := send(t, "GET", srv.URL+test.path); !strings.Contains(body, `"resource":"`+test.resource+`"`) {
				t.Errorf("%s: %s", test.path, body)
			}
			serve(t, config(test.resource)) // alone, it has the root form as well
		})
	}
}

func TestResourcesThatCannotBeServed(t *testing.T) {
	for name, resources := range map[string][]string{
		"two at one path":            {issuer + "/mcp/mail", "https://other.example/mcp/mail"},
		"two that differ by a slash": {issuer + "/mcp/mail", issuer + "/mcp/mail/"},
		"a path that is not clean":   {issuer + "/mcp/../mail"},
		"two slashes":                {issuer + "//mail"},
		"no URL":                     {"https://mcp.example.com/%zz"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := metadata.Register(http.NewServeMux(), config(resources...)); err == nil {
				t.Error("no error")
			}
		})
	}
}

// TestJWKSHasThePublicHalf, and follows the rotation of keys.
func TestJWKSHasThePublicHalf(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(issuer + "/mcp/mail")
	set := jose.JSONWebKeySet{}
	cfg.JWKS = func() any { return set }
	srv := serve(t, cfg)
	set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"})
	_, body := send(t, "GET", srv.URL+metadata.PathJWKS)
	var got struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Keys) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	want := map[string]string{"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig", "x": got.Keys[0]["x"], "y": got.Keys[0]["y"]}
	if diff := cmp.Diff(want, got.Keys[0]); diff != "" {
		t.Errorf("key (-want +got):\n%s", diff)
	}
}

func TestJWKSThatCannotBeEncoded(t *testing.T) {
	cfg := config(issuer + "/mcp/mail")
	cfg.JWKS = func() any { return func() {} }
	resp, body := send(t, "GET", serve(t, cfg).URL+metadata.PathJWKS)
	if resp.StatusCode != http.StatusInternalServerError || body != `{"error":"server_error"}` || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("answer %d %s %v", resp.StatusCode, body, resp.Header)
	}
}
