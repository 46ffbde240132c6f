package metadata_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/metadata"
)

// everywhere is where documents are when there is one resource.
var everywhere = []string{
	"/.well-known/oauth-authorization-server",
	"/.well-known/openid-configuration",
	"/.well-known/oauth-protected-resource/mcp/mail",
	"/.well-known/oauth-protected-resource/mcp/mail/",
	"/.well-known/oauth-protected-resource",
	"/.well-known/oauth-protected-resource/",
	metadata.PathJWKS,
}

// TestDocumentThatIsKnownIsNotSentAgain: 304 with the headers of the 200 that a
// cache renews itself by (RFC 9110 §15.4.5).
func TestDocumentThatIsKnownIsNotSentAgain(t *testing.T) {
	srv := serve(t, config(issuer+"/mcp/mail"))
	for _, at := range everywhere {
		t.Run(at, func(t *testing.T) {
			full, doc := send(t, "GET", srv.URL+at)
			etag := full.Header.Get("ETag")
			if len(etag) != 45 || etag[0] != '"' || etag[44] != '"' {
				t.Fatalf("ETag %s", etag)
			}
			for sent, known := range map[string]bool{
				etag: true, "W/" + etag: true, "*": true, `"x", ` + etag: true, `"x",W/` + etag + ` , "y"`: true,
				`"x"`: false, "": false, strings.Trim(etag, `"`): false, "w/" + etag: false, etag[:44]: false,
			} {
				for _, method := range []string{"GET", "HEAD"} {
					resp, body := send(t, method, srv.URL+at, "If-None-Match", sent)
					want, wantBody := http.StatusOK, doc
					if known {
						want = http.StatusNotModified
					}
					if known || method == "HEAD" {
						wantBody = ""
					}
					if resp.StatusCode != want || body != wantBody {
						t.Errorf("%s with %s: %d %q", method, sent, resp.StatusCode, body)
					}
					same := []string{"ETag", "Cache-Control", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"}
					if !known {
						same = append(same, "Content-Type", "Content-Length")
					}
					for _, name := range same {
						if diff := cmp.Diff(full.Header.Values(name), resp.Header.Values(name)); diff != "" {
							t.Errorf("%s with %s: %s (-200 +this):\n%s", method, sent, name, diff)
						}
					}
				}
			}
		})
	}
}

func TestETagChangesWithTheKeys(t *testing.T) {
	cfg := config(issuer + "/mcp/mail")
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	cfg.JWKS = func() any { return set }
	srv := serve(t, cfg)
	before, _ := send(t, "GET", srv.URL+metadata.PathJWKS)
	set.Keys = append(set.Keys, jose.JSONWebKey{Key: []byte("0123456789abcdef"), KeyID: "k1"})
	after, body := send(t, "GET", srv.URL+metadata.PathJWKS, "If-None-Match", before.Header.Get("ETag"))
	if after.StatusCode != http.StatusOK || !strings.Contains(body, "k1") || after.Header.Get("ETag") == before.Header.Get("ETag") {
		t.Errorf("answer %d, ETag %s, %s", after.StatusCode, after.Header.Get("ETag"), body)
	}
}

// TestNothingElseBelowWellKnown: 404 that a page may read and nobody keeps, for
// every method; no redirect, though the mux likes to.
func TestNothingElseBelowWellKnown(t *testing.T) {
	srv := serveExact(t, config(issuer+"/mcp/mail", issuer+"/mcp/files"))
	for _, at := range []string{
		"/.well-known", "/.well-known/", "/.well-known/x", "/.well-known/x/", "/.well-known/jwks.json", "/.well-known/webfinger?resource=x",
		"/.well-known/oauth-authorization-server/", "/.well-known/oauth-authorization-server/mcp/mail", "/.well-known/openid-configuration/", "/.well-known/openid-configuration/mcp/mail",
		"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/", "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/mcp/",
		"/.well-known/oauth-protected-resource/mcp/mail/x", "/.well-known/oauth-protected-resource/mcp/Mail", "/.well-known/oauth-protected-resource/mcp%2Fmail",
		"/.well-known//oauth-authorization-server", "/.well-known/./oauth-authorization-server", "/.well-known/x/../oauth-authorization-server", "//.well-known/oauth-authorization-server",
		"/x/../.well-known/openid-configuration", "/.well-known/../oauth2/jwks", "/.well-known/oauth-protected-resource//mcp/mail", "/.well-known/oauth-protected-resource/mcp/mail//", "/.well-known/oauth-protected-resource/mcp//mail",
	} {
		t.Run(at, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PROPFIND"} {
				resp, body := send(t, method, srv.URL+at)
				if resp.StatusCode != http.StatusNotFound || resp.Header.Get("Location") != "" || resp.Header.Get("Access-Control-Allow-Origin") != "*" ||
					resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("WWW-Authenticate") != "" || strings.Contains(body, issuer) {
					t.Errorf("%s: %d %v %s", method, resp.StatusCode, resp.Header, body)
				}
			}
			if resp, _ := send(t, "OPTIONS", srv.URL+at); resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
			}
		})
	}
}

// TestDocumentsBelowExact are where they are without it, and so is what is not a
// document: of that, the mux cleans paths as it always does.
func TestDocumentsBelowExact(t *testing.T) {
	srv := serveExact(t, config(issuer+"/mcp/mail"))
	for _, at := range everywhere {
		resp, body := send(t, "GET", srv.URL+at)
		if resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, "{") {
			t.Errorf("%s: %d %s", at, resp.StatusCode, body)
		}
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			resp, _ := send(t, method, srv.URL+at)
			if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD, OPTIONS" || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s %s: %d %v", method, at, resp.StatusCode, resp.Header)
			}
		}
	}
	if resp, _ := send(t, "GET", srv.URL+"/oauth2//jwks"); resp.Header.Get("Location") != "/oauth2/jwks" {
		t.Errorf("a path that is no well-known one: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := send(t, "GET", srv.URL+"/"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the root: %d", resp.StatusCode)
	}
}

// serveExact is serve with Exact around the mux.
func serveExact(t *testing.T, cfg metadata.Config) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	if err := metadata.Register(mux, cfg); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(metadata.Exact(mux))
	t.Cleanup(srv.Close)
	return srv
}

// TestTrailingSlashIsAnAlias: one document, one canonical resource in it, whichever
// way the resource was spelled in configuration.
func TestTrailingSlashIsAnAlias(t *testing.T) {
	for _, resource := range []string{issuer + "/mcp/mail", issuer + "/mcp/mail/", issuer, issuer + "/"} {
		srv := serve(t, config(resource, issuer+"/mcp/another"))
		u, err := url.Parse(resource)
		if err != nil {
			t.Fatal(err)
		}
		at := "/.well-known/oauth-protected-resource" + strings.TrimSuffix(u.Path, "/")
		for _, spelling := range []string{at, at + "/"} {
			resp, body := send(t, "GET", srv.URL+spelling)
			if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"resource":"`+resource+`"`) {
				t.Errorf("%s at %s: %d %s", resource, spelling, resp.StatusCode, body)
			}
		}
	}
}

// TestUnsupportedIsAbsent, and supported is there under its registered name.
func TestUnsupportedIsAbsent(t *testing.T) {
	cfg := config(issuer + "/mcp/mail")
	cfg.Server.MTLSAliases = &metadata.MTLSAliases{}
	if _, body := send(t, "GET", serve(t, cfg).URL+everywhere[0]); body != asm {
		t.Errorf("document %s", body)
	}
	s := &cfg.Server
	s.RevocationEndpoint, s.IntrospectionEndpoint, s.PAREndpoint, s.DeviceEndpoint, s.ServiceDocumentation = "1", "2", "3", "4", "5"
	s.RequirePAR, s.CIMDSupported = true, true
	s.RevocationAuthMethods, s.IntrospectionAuthMethods = []string{"a"}, []string{"b"}
	s.RevocationSigningAlgs, s.IntrospectionSigningAlgs, s.TokenAuthSigningAlgs = []string{"c"}, []string{"d"}, []string{"e"}
	s.ACRValues, s.PromptValues = []string{"f"}, []string{"g"}
	s.MTLSAliases = &metadata.MTLSAliases{TokenEndpoint: "6", RevocationEndpoint: "7", IntrospectionEndpoint: "8", PAREndpoint: "9", DeviceEndpoint: "10"}
	srv := serve(t, cfg)
	_, body := send(t, "GET", srv.URL+everywhere[0])
	_, oidc := send(t, "GET", srv.URL+everywhere[1])
	if body != oidc {
		t.Errorf("OpenID Connect's address has %s", oidc)
	}
	var got, before map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(asm), &before); err != nil {
		t.Fatal(err)
	}
	for name := range before {
		delete(got, name)
	}
	want := map[string]any{
		"revocation_endpoint": "1", "introspection_endpoint": "2", "pushed_authorization_request_endpoint": "3", "device_authorization_endpoint": "4", "service_documentation": "5",
		"require_pushed_authorization_requests": true, "client_id_metadata_document_supported": true,
		"revocation_endpoint_auth_methods_supported": []any{"a"}, "introspection_endpoint_auth_methods_supported": []any{"b"},
		"revocation_endpoint_auth_signing_alg_values_supported": []any{"c"}, "introspection_endpoint_auth_signing_alg_values_supported": []any{"d"},
		"token_endpoint_auth_signing_alg_values_supported": []any{"e"}, "acr_values_supported": []any{"f"}, "prompt_values_supported": []any{"g"},
		"mtls_endpoint_aliases": map[string]any{"token_endpoint": "6", "revocation_endpoint": "7", "introspection_endpoint": "8",
			"pushed_authorization_request_endpoint": "9", "device_authorization_endpoint": "10"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("further members (-want +got):\n%s", diff)
	}
}
