package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestCertificatePasswordAndParameterReachTheServer: the ways of injection that the example has not. A
// certificate that Vault issued for the subject opens mutual TLS; user and password are HTTP Basic's; and a
// parameter is in the URL where that is allowed.
func TestCertificatePasswordAndParameterReachTheServer(t *testing.T) {
	t.Parallel()
	authorities := x509.NewCertPool()
	mutual := httptest.NewUnstartedServer(nil)
	mutual.Config.Handler = telling(func(r *http.Request) (string, error) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return "", errors.New("no certificate")
		}
		leaf := r.TLS.PeerCertificates[0]
		_, err := leaf.Verify(x509.VerifyOptions{Roots: authorities, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return leaf.Subject.CommonName, err
	})
	mutual.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	mutual.StartTLS()
	t.Cleanup(mutual.Close)
	plain := httptest.NewServer(telling(func(r *http.Request) (string, error) {
		user, password, _ := r.BasicAuth()
		if password == noteKey {
			return user, nil
		}
		if r.URL.Query().Get("key") == noteKey && r.URL.Query().Get("kept") == "yes" {
			return "by parameter", nil
		}
		return "", errors.New("no key")
	}))
	t.Cleanup(plain.Close)
	ca := filepath.Join(t.TempDir(), "server.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mutual.Certificate().Raw})))

	h := newLegacyHouse(t, legacySetup{tools: "      notes: {tools: [query]}\n      signer: {tools: [query]}\n      echoing: {tools: [query]}\n", servers: `
  - name: signer
    url: ` + mutual.URL + `
    credential: vault
    vault:
      engine: pki
      path: pki/issue/calls
      role: signer
      request: [{name: common_name, value: "{{.subject}}"}]
      inject: {client_certificate: true}
  - name: notes
    url: ` + plain.URL + `/basic
    credential: vault
    vault:
      engine: kv
      path: secret/data/shared
      role: notes
      inject: {basic: {username: reader, password: "{{.key}}"}}
  - name: echoing
    url: ` + plain.URL + `/query?kept=yes
    credential: vault
    vault:
      engine: kv
      path: secret/data/shared
      role: echoing
      inject: {query: [{name: key, value: "{{.key}}"}], allow_query: true}
`})
	h.replica.env = append(h.replica.env, "SSL_CERT_FILE="+ca)
	h.start(t)
	h.setUp()
	h.prepare()
	issued := h.vault.Do(t, http.MethodGet, "pki/cert/ca", nil)["data"].(map[string]any)["certificate"].(string)
	if !authorities.AppendCertsFromPEM([]byte(issued)) {
		t.Fatal("Vault's CA is none")
	}
	for _, c := range []struct{ subject, server, want string }{
		{"alice", "signer", "alice"}, {"bob", "signer", "bob"}, {"alice", "signer", "alice"}, {"alice", "notes", "reader"}, {"bob", "echoing", "by parameter"},
	} {
		got, err := h.query(deadline(t), h.token(c.subject, c.server, true), c.server, "")
		if err != nil || got.User != c.want {
			t.Errorf("%s at %s: %q, %v, want %q", c.subject, c.server, got.User, err, c.want)
		}
	}
}

// telling is a server whose tool query answers what f makes of the request.
func telling(f func(*http.Request) (string, error)) http.Handler {
	return mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		s := mcp.NewServer(&mcp.Implementation{Name: "telling", Version: "1"}, nil)
		mcp.AddTool(s, &mcp.Tool{Name: "query"}, func(context.Context, *mcp.CallToolRequest, struct {
			SQL string `json:"sql"`
		}) (*mcp.CallToolResult, rows, error) {
			user, err := f(r)
			return nil, rows{User: user, Rows: []map[string]any{}}, err
		})
		return s
	}, &mcp.StreamableHTTPOptions{Stateless: true})
}
