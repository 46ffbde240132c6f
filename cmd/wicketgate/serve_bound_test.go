package main

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// boundMembers are those members of both documents that say what tokens can be bound to,
// and who may assert.
var boundMembers = []string{"dpop_signing_alg_values_supported", "dpop_bound_access_tokens_required", "tls_client_certificate_bound_access_tokens",
	"authorization_grant_profiles_supported"}

// said are the boundMembers of a document of the running server.
func (w *world) said(path string) map[string]any {
	w.t.Helper()
	status, body := w.get(w.issuer + "/.well-known/" + path)
	var doc map[string]any
	if status != http.StatusOK || json.Unmarshal([]byte(body), &doc) != nil {
		w.t.Fatalf("%s: %d %s", path, status, body)
	}
	said := map[string]any{}
	for _, name := range boundMembers {
		if v, ok := doc[name]; ok {
			said[name] = v
		}
	}
	return said
}

// TestMetadataSaysWhatTokensAreBoundTo, and does not ask for DPoP where a certificate
// would do as well.
func TestMetadataSaysWhatTokensAreBoundTo(t *testing.T) {
	w, algs := newCertified(t), []any{"RS256", "PS256", "ES256", "EdDSA"}
	w.write("idp.json", newAssertions(t).keySet())
	for name, tt := range map[string]struct {
		config       string
		constrained  bool
		issuer, mail map[string]any
	}{
		"bearer": {withTLS, false,
			map[string]any{"dpop_signing_alg_values_supported": algs},
			map[string]any{"dpop_signing_alg_values_supported": algs}},
		"DPoP alone": {withTLS, true,
			map[string]any{"dpop_signing_alg_values_supported": algs},
			map[string]any{"dpop_signing_alg_values_supported": algs, "dpop_bound_access_tokens_required": true}},
		"or a certificate": {withTLS + withMutualTLS, true,
			map[string]any{"dpop_signing_alg_values_supported": algs, "tls_client_certificate_bound_access_tokens": true},
			map[string]any{"dpop_signing_alg_values_supported": algs, "tls_client_certificate_bound_access_tokens": true}},
		"an IdP": {withTLS + "trusted_issuers: [{issuer: \"https://idp.example.com\", jwks_file: idp.json, id_jag: true}]\n", false,
			map[string]any{"dpop_signing_alg_values_supported": algs, "authorization_grant_profiles_supported": []any{oauth.ProfileIDJAG}},
			map[string]any{"dpop_signing_alg_values_supported": algs}},
	} {
		t.Run(name, func(t *testing.T) {
			config := w.config(tt.config)
			if tt.constrained {
				w.write("wicketgate.yaml", strings.Replace(readText(t, config), `/mcp"}`, `/mcp", sender_constrained: true}`, 1))
			}
			stop := w.restart(config)
			defer stop()
			if got := w.said("oauth-authorization-server"); !reflect.DeepEqual(got, tt.issuer) {
				t.Errorf("the authorization server says %v", got)
			}
			if got := w.said("oauth-protected-resource/mcp/mail"); !reflect.DeepEqual(got, tt.mail) {
				t.Errorf("the resource says %v", got)
			}
		})
	}
}

// TestStolenCertificateBoundToken is good over the mutual TLS listener with its
// certificate, and with no other, with none, or at the listener that asks for none.
func TestStolenCertificateBoundToken(t *testing.T) {
	w := newCertified(t)
	config := w.config(withTLS + withMutualTLS + strings.Replace(withCertificates, `agent"}`, `agent", tls_client_certificate_bound_access_tokens: true}`, 1))
	w.write("wicketgate.yaml", strings.Replace(readText(t, config), `/mcp"}`, `/mcp", sender_constrained: true}`, 1))
	w.start(config)
	ask := func(id string, c tls.Certificate) string {
		raw, refused := tokenIn(w.post(w.clientAt(w.mutual, c), mutualURL+"/oauth2/token", w.credentials("client_id", id)))
		if raw == "" {
			t.Fatal(refused)
		}
		return raw
	}
	raw := ask("spiffe", w.spiffe)
	client := w.clientAt(w.mutual, w.spiffe)
	client.Transport = bearer{client.Transport, raw}
	if tools, err := w.connectAt(client, mutualURL).ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 1 {
		t.Errorf("with its certificate: %v, %v", tools, err)
	}
	for name, tt := range map[string]struct {
		raw     string
		client  *http.Client
		problem string
	}{
		"another certificate of the same name": {raw, w.clientAt(w.mutual, w.ca.client("uri:spiffe://example.com/agent")), "bound to a key that this request does not prove"},
		"no certificate":                       {raw, w.clientAt(w.mutual), "bound to a key that this request does not prove"},
		"the other listener":                   {raw, w.clientAt(w.front, w.spiffe), "bound to a key that this request does not prove"},
		"a token that is not bound":            {ask("named", w.named), w.clientAt(w.mutual, w.named), "only access tokens that are bound to a key"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodPost, serveIssuer+"/mcp/mail", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Accept", "application/json, text/event-stream")
			tt.client.Transport = bearer{tt.client.Transport, tt.raw}
			if status, body := w.do(tt.client, req); status != http.StatusUnauthorized || !strings.Contains(body, tt.problem) {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}
