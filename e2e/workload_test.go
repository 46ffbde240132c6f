package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/wicketgate/wicketgate/internal/freeport"
)

const workloadSecret = "a-secret-of-the-billing-agent-with-many-bits-in-it"

// startWorkloads starts a house with two clients that may read: report-agent, which
// has a key, and billing-agent, which has a secret. What more there is of servers follows
// the mail server.
func startWorkloads(t *testing.T, servers string) (h *house, private jose.JSONWebKey) {
	t.Helper()
	private = newJWK(t)
	h = startServe(t, servers+`clients:
  - {id: report-agent, auth_method: private_key_jwt, jwks_file: keys.json}
  - {id: billing-agent, secret_file: secret}
`, map[string]string{
		"keys.json": publicSet(t, private), "secret": workloadSecret,
		"access.yaml": readers("{clients: [report-agent, billing-agent]}"),
	})
	return h, private
}

// tsWorkload connects with a provider of @modelcontextprotocol/client.
func tsWorkload(t *testing.T, h *house, provider string, options object) (tsClient, error) {
	t.Helper()
	c, _ := startLines(t, program(deadline(t), t, nil, "node", "workload.mjs", h.resource(), provider, asJSON(t, options)))
	_, err := c.read()
	return c, err
}

func TestTypeScript2WorkloadWithAKey(t *testing.T) {
	t.Parallel()
	h, key := startWorkloads(t, "")
	options := object{"clientId": "report-agent", "privateKey": key, "algorithm": "ES256", "expectedIssuer": h.url}
	c, err := tsWorkload(t, h, "PrivateKeyJwt", options)
	if err != nil {
		t.Fatal(err)
	}
	checkReader(t, c)
	checkActed(t, h, "report-agent", "report-agent")
	options["clientId"] = "billing-agent" // with the other's key
	if _, err := tsWorkload(t, h, "PrivateKeyJwt", options); err == nil || !strings.Contains(err.Error(), "did not prove") {
		t.Errorf("with the key of another client: %v", err)
	}
	checkSaysNothing(t, h)
}

func TestTypeScript2WorkloadWithASecret(t *testing.T) {
	t.Parallel()
	h, _ := startWorkloads(t, "")
	options := object{"clientId": "billing-agent", "clientSecret": workloadSecret, "expectedIssuer": h.url}
	c, err := tsWorkload(t, h, "ClientCredentials", options)
	if err != nil {
		t.Fatal(err)
	}
	checkReader(t, c)
	checkActed(t, h, "billing-agent", "billing-agent")
	checkSaysNothing(t, h)
}

// TestGoWorkload has the one provider of the Go SDK for client credentials. MCP wants
// every client to send resource, and it does not.
func TestGoWorkload(t *testing.T) {
	t.Parallel()
	h, _ := startWorkloads(t, "")
	c, err := goWorkload(t, h, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkReader(t, c)
	checkActed(t, h, "billing-agent", "billing-agent")
	checkSaysNothing(t, h)
}

// TestGoWorkloadOfOneServerAmongTwo: the HTTP client under the SDK can do what it does
// not.
func TestGoWorkloadOfOneServerAmongTwo(t *testing.T) {
	t.Parallel()
	h, _ := startWorkloads(t, "  - {name: files, url: \"http://"+freeport.Address(t)+"/mcp\"}\n")
	if _, err := goWorkload(t, h, nil); err == nil || !strings.Contains(err.Error(), "invalid_target") {
		t.Errorf("as the SDK is: %v, want invalid_target; has it learned to send resource? Then docs/interop.md is no longer true", err)
	}
	c, err := goWorkload(t, h, &http.Client{Transport: targeted(h.resource())})
	if err != nil {
		t.Fatal(err)
	}
	checkReader(t, c)
}

func goWorkload(t *testing.T, h *house, httpClient *http.Client) (goClient, error) {
	t.Helper()
	handler, err := extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{HTTPClient: httpClient, Credentials: secretCredentials("billing-agent", workloadSecret)})
	if err != nil {
		t.Fatal(err)
	}
	return goConnect(t, h.resource(), handler)
}

// targeted adds resource to token requests.
type targeted string

func (r targeted) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/token") {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = append(body, "&resource="+url.QueryEscape(string(r))...)
		req = req.Clone(req.Context())
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return http.DefaultTransport.RoundTrip(req)
}

// secretCredentials are a client's, for the Go SDK.
func secretCredentials(id, secret string) *oauthex.ClientCredentials {
	return &oauthex.ClientCredentials{ClientID: id, ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: secret}}
}

// checkActed checks that the audit log has the call of list_messages as the subject's
// by that client.
func checkActed(t *testing.T, h *house, subject, client string) {
	t.Helper()
	lines := about(h.audit(t), subject, "list_messages")
	if len(lines) == 0 || lines[0].Client != client || lines[0].Decision != "allow" {
		t.Errorf("audit lines of %s: %+v, want a call by %s", subject, lines, client)
	}
}
