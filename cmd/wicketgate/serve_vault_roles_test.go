package main

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// twoRoles has the authorization server and the gateway of a legacy world in processes of
// their own, behind a proxy for the tests: Vault asks the authorization server for its keys,
// and the gateway gets call tokens for Vault over HTTP.
type twoRoles struct {
	*legacyWorld
	gw *world
}

const authzVault = `vault:
  address: %s
  audience: ` + vaultAudience + `
  login: {method: jwt, role: wicketgate}
`

func newTwoRoles(t *testing.T) *twoRoles {
	t.Helper()
	w := &twoRoles{legacyWorld: newLegacyWorld(t)}
	w.gw = &world{t: t, dir: t.TempDir(), issuer: w.issuer, served: make(chan struct{}), log: newLog()}
	_, key := newPair(t, 3)
	path := w.gw.write("gateway.key.pem", string(key))
	var jwks strings.Builder
	if code := run(t.Context(), []string{"keys", "jwks", path}, &jwks, &jwks); code != 0 {
		t.Fatal(jwks.String())
	}
	w.write("gateway.jwks.json", jwks.String())
	as := w.write("wicketgate.yaml", `issuer: `+w.issuer+`
listen: `+strings.TrimPrefix(w.issuer, "http://")+`
admin: {listen: "127.0.0.1:0"}
data: data
policy: access.yaml
trust: first-use
`+strings.ReplaceAll(authzVault, "%s", w.vault.URL)+`servers:
  - {name: reports, url: "`+w.reports.URL+`/reports", credential: vault}
  - {name: notes, url: "`+w.reports.URL+`/notes", credential: vault}
  - {name: mail, url: "`+w.reports.URL+`/mail"}
clients:
`+legacyClients+`  - {id: `+keyGateway+`, auth_method: private_key_jwt, jwks_file: gateway.jwks.json, gateway: true}
log: {level: debug, format: json}
`)
	w.stop = w.start(as, "--role", "authz")
	w.setUp("jwt", w.issuer, vaultAudience)
	w.both("jwt")
	w.gw.write("access.yaml", readText(t, filepath.Join(w.dir, "access.yaml")))
	gateway := w.gw.write("wicketgate.yaml", `issuer: `+w.issuer+`
listen: 127.0.0.1:`+freeport.Port(t)+`
admin: {listen: "127.0.0.1:0"}
data: data
policy: access.yaml
trust: first-use
exchange: {url: "`+w.issuer+`", client_id: `+keyGateway+`, key_file: gateway.key.pem}
`+strings.ReplaceAll(authzVault, "%s", w.vault.URL)+`servers:
`+w.servers(func(name string) string { return "role: " + name })+`
log: {level: debug, format: json}
`)
	w.gw.start(gateway, "--role", "gateway")
	return w
}

// proxied sends what is for the gateway there.
func (w *twoRoles) proxied() http.RoundTripper {
	return proxy{&http.Transport{}, towards{w.gw.front}}
}

// towards sends requests to another address, as a proxy does.
type towards struct{ address string }

func (a towards) RoundTrip(r *http.Request) (*http.Response, error) {
	to := r.Clone(r.Context())
	to.URL.Host, to.Host = a.address, r.URL.Host
	return http.DefaultTransport.RoundTrip(to)
}

// TestSplitRolesCallLegacyServers: the gateway has no key that signs tokens, and what it
// logs in to Vault with the authorization server made for the call.
func TestSplitRolesCallLegacyServers(t *testing.T) {
	w := newTwoRoles(t)
	w.transport = w.proxied()
	said, err := w.query("alice", "SELECT amount::text FROM salaries")
	if err != nil || !strings.HasPrefix(said, "v-jwt-alic") || !strings.HasSuffix(said, " 7 ") {
		t.Fatalf("%q, %v", said, err)
	}
	w.until("the users are gone", func() bool { return len(w.users()) == 0 })
	lines := w.vaultLines("database/creds/reports-alice")
	if len(lines) != 1 || lines[0].Auth.Metadata["actor"] != agentID {
		t.Errorf("Vault's audit has %+v", lines)
	}
	if len(w.leaseLines(w.gw)) == 0 || len(w.leaseLines(w.world)) != 0 {
		t.Error("leases are in the audit log of the gateway, and of nobody else")
	}
}

// TestNobodyAsksForATokenForVault at the token endpoint but a gateway: with that a client
// could log in to Vault itself.
func TestNobodyAsksForATokenForVault(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(loginByJWT)
	raw := w.token("alice", "reports", true)
	for _, target := range []string{vaultAudience, vaultAudience + "/", "https://nowhere.example"} {
		form := url.Values{"grant_type": {oauth.GrantTokenExchange}, "subject_token": {raw}, "subject_token_type": {oauth.TokenTypeAccessToken}, "resource": {target},
			"scope": {"tool:query"}, "authorization_details": {`[{"type":"mcp_tool_call","server":"reports","tool":"query","arguments":{"sql":"x"}}]`}}
		if status, body := w.post(w.client(), w.issuer+"/oauth2/token", form, agentID, agentSecret); status != http.StatusBadRequest || !strings.Contains(body, `"invalid_target"`) || strings.Contains(body, "vault") {
			t.Errorf("%s: %d %s", target, status, body)
		}
		form = url.Values{"grant_type": {"client_credentials"}, "resource": {target}}
		if status, body := w.post(w.client(), w.issuer+"/oauth2/token", form, "alice", "alice"+agentSecret); status != http.StatusBadRequest || !strings.Contains(body, `"invalid_target"`) {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
}
