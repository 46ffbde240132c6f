package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"golang.org/x/oauth2"
)

const grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer" // RFC 7523 §2.1

// startManaged starts a house whose people come from an enterprise's IdP, and the IdP,
// which lets alice have the scope.
func startManaged(t *testing.T, scope string) (*house, *enterprise) {
	t.Helper()
	e := newEnterprise(t)
	h := startServe(t, `clients:
  - {id: `+chatClientID+`, secret_file: secret, grant_types: ["`+grantJWTBearer+`"]}
trusted_issuers:
  - issuer: `+e.URL+`
    jwks_file: idp.json
    subject_prefix: acme/
    id_jag: true
`, map[string]string{"idp.json": publicSet(t, e.key), "secret": chatSecret, "access.yaml": readers(`{users: ["acme/alice"]}`)})
	e.allowed[h.resource()+" alice"] = scope
	return h, e
}

// tsManaged is CrossAppAccessProvider with the person's ID token.
func tsManaged(t *testing.T, h *house, e *enterprise, subject string) (tsClient, error) {
	t.Helper()
	options := object{"clientId": chatClientID, "clientSecret": chatSecret, "expectedIssuer": h.url,
		"idp": object{"idpUrl": e.URL, "idToken": e.idToken(t, subject), "clientId": idpClientID, "clientSecret": idpClientSecret}}
	cmd := program(deadline(t), t, []string{"NODE_EXTRA_CA_CERTS=" + e.certificateFile(t)}, "node", "workload.mjs", h.resource(), "CrossAppAccess", asJSON(t, options))
	c, _ := startLines(t, cmd)
	_, err := c.read()
	return c, err
}

// goManaged is EnterpriseHandler with the person's ID token.
func goManaged(t *testing.T, h *house, e *enterprise, subject string) (goClient, error) {
	t.Helper()
	idToken := e.idToken(t, subject)
	handler, err := extauth.NewEnterpriseHandler(&extauth.EnterpriseHandlerConfig{
		IdPIssuerURL: e.URL, IdPCredentials: secretCredentials(idpClientID, idpClientSecret),
		MCPAuthServerURL: h.url, MCPResourceURI: h.resource(), MCPCredentials: secretCredentials(chatClientID, chatSecret),
		HTTPClient: e.Client(),
		IDTokenFetcher: func(context.Context) (*oauth2.Token, error) {
			return (&oauth2.Token{}).WithExtra(object{"id_token": idToken}), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return goConnect(t, h.resource(), handler)
}

func TestTypeScript2ClientOfAnEnterprise(t *testing.T) {
	t.Parallel()
	h, e := startManaged(t, "mcp:tools")
	c, err := tsManaged(t, h, e, "alice")
	if err != nil {
		t.Fatal(err)
	}
	checkReader(t, c)
	checkActed(t, h, "acme/alice", chatClientID)
	if _, err := tsManaged(t, h, e, "mallory"); err == nil || !strings.Contains(err.Error(), "does not allow") {
		t.Errorf("somebody whom the enterprise does not allow: %v", err)
	}
	checkSaysNothing(t, h)
}

func TestGoClientOfAnEnterprise(t *testing.T) {
	t.Parallel()
	h, e := startManaged(t, "mcp:tools")
	c, err := goManaged(t, h, e, "alice")
	if err != nil {
		t.Fatal(err)
	}
	checkReader(t, c)
	checkActed(t, h, "acme/alice", chatClientID)
	checkSaysNothing(t, h)
}

// TestScopeOfAnEnterpriseBinds: its policy is the upper bound, whatever ours allows.
func TestScopeOfAnEnterpriseBinds(t *testing.T) {
	t.Parallel()
	h, e := startManaged(t, "tool:list_messages")
	c, err := goManaged(t, h, e, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.call(deadline(t), "list_messages", object{"limit": 1}); err != nil {
		t.Errorf("list_messages: %v", err)
	}
	if r, err := c.call(deadline(t), "read_message", object{"id": "m1"}); err == nil {
		t.Errorf("read_message, which the enterprise did not grant: %+v", r)
	}
}

// TestIdentityAssertionWorksOnce is an ID-JAG that somebody copied, with the client's
// secret besides.
func TestIdentityAssertionWorksOnce(t *testing.T) {
	t.Parallel()
	h, e := startManaged(t, "mcp:tools")
	raw, _, err := e.grant("alice", url.Values{"audience": {h.url}, "resource": {h.resource()}})
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"grant_type": {grantJWTBearer}, "assertion": {raw}, "client_id": {chatClientID}, "client_secret": {chatSecret}}
	if first := askToken(t, h, form); first.AccessToken == "" {
		t.Fatalf("first: %d %s", first.Status, first.Error)
	}
	if second := askToken(t, h, form); second.Error != "invalid_grant" {
		t.Errorf("again: %d %q, want invalid_grant", second.Status, second.Error)
	}
}

// TestMetadataOffersWhatAnEnterpriseLooksFor is how a client knows (Enterprise-Managed
// Authorization §6).
func TestMetadataOffersWhatAnEnterpriseLooksFor(t *testing.T) {
	t.Parallel()
	h, _ := startManaged(t, "mcp:tools")
	var doc struct {
		Grants   []string `json:"grant_types_supported"`
		Profiles []string `json:"authorization_grant_profiles_supported"`
	}
	getJSON(t, h.url+"/.well-known/oauth-authorization-server", &doc)
	if !slices.Contains(doc.Grants, grantJWTBearer) || !slices.Contains(doc.Profiles, "urn:ietf:params:oauth:grant-profile:id-jag") {
		t.Errorf("metadata offers %+v", doc)
	}
}

// askToken asks the token endpoint by hand.
func askToken(t *testing.T, h *house, form url.Values) tokenAnswer {
	t.Helper()
	resp, body := send(t, http.MethodPost, h.url+"/oauth2/token", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode())
	a := tokenAnswer{Status: resp.StatusCode}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("token endpoint: %d %s", resp.StatusCode, body)
	}
	return a
}
