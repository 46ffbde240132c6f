package main

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

const (
	issuerID  = "spiffe://example.org/wicketgate/as"
	gatewayAt = "spiffe://example.org/wicketgate/gateway"
	helperID  = "helper"

	rolesAccess = `version: 1
roles:
  billing:
    who: {clients: [` + agentID + `, ` + helperID + `]}
    servers:
      mail: {tools: [list_messages]}
`
	rolesClients = `clients:
  - {id: ` + agentID + `, secret_file: agent.secret, grant_types: [client_credentials, "` + oauth.GrantTokenExchange + `"]}
  - {id: ` + helperID + `, secret_file: helper.secret, grant_types: ["` + oauth.GrantTokenExchange + `"], acts_for: [` + agentID + `]}
`
	helperSecret = "1f7f3c1b5f8a4d3e9c6b2a1908f7e6d5c4b3a29180716253443526170819a0b2"
)

// sightings are the call tokens that an upstream was sent: for tools, and for reading what
// there is.
type sightings struct {
	t  *testing.T
	mu sync.Mutex // guards what follows
	of []map[string]any

	reader map[string]any
}

func (s *sightings) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		c := claimsOf(s.t, raw)
		s.mu.Lock()
		switch {
		case strings.HasPrefix(c["scope"].(string), "tool:"):
			s.of = append(s.of, c)
		case s.reader == nil: // the first is the gateway's own
			s.reader = c
		}
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// last is the newest one, without what differs from one call to the next.
func (s *sightings) last(upstream string) map[string]any {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) == 0 {
		s.t.Fatal("the upstream saw no call token for a tool")
	}
	c := s.of[len(s.of)-1]
	for _, name := range []string{"iat", "exp", "jti", "txn"} {
		if c[name] == nil {
			s.t.Errorf("no %s", name)
		}
		delete(c, name)
	}
	if c["aud"] != upstream {
		s.t.Errorf("aud is %v, want %s", c["aud"], upstream)
	}
	delete(c, "aud")
	return c
}

// deployment is what serves an origin: one process, or one for each role behind a proxy.
type deployment struct {
	*world           // the authorization server's
	gw        *world // the gateway's; the same for one process
	seen      *sightings
	wire      *wire // between the two
	domain    *spiffetest.Domain
	gatewayAt string // its client_id
	asAPI     *spiffetest.WorkloadAPI
	gwAPI     *spiffetest.WorkloadAPI
	asConfig  string
	stopAS    func() int
	stopGW    func() int
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{seen: &sightings{t: t}}
	d.world = newWorld(t, d.seen.around)
	d.gw = d.world
	d.write("helper.secret", helperSecret+"\n")
	d.write("access.yaml", rolesAccess)
	return d
}

func oneProcess(t *testing.T) *deployment {
	t.Helper()
	d := newDeployment(t)
	d.start(d.config(withTLS + rolesClients))
	return d
}

// twoProcessesByKey has the gateway prove itself by private_key_jwt, without any SVID.
func twoProcessesByKey(t *testing.T) *deployment {
	t.Helper()
	d := newDeployment(t)
	d.wire, d.gatewayAt = newWire(t), keyGateway
	d.asConfig = d.config(withTLS + `mutual_tls: {listen: "127.0.0.1:0", url: "https://` + d.wire.address + `"}` + "\n" + rolesClients + `
  - {id: ` + keyGateway + `, auth_method: private_key_jwt, jwks_file: gateway.jwks.json, gateway: true}
`)
	d.gw = &world{t: t, dir: t.TempDir(), mail: d.mail, issuer: d.issuer, served: make(chan struct{}), log: newLog()}
	writePair(t, d.gw.dir, 2)
	_, key := newPair(t, 3)
	path := d.gw.write("gateway.key.pem", string(key))
	var jwks strings.Builder
	if code := run(t.Context(), []string{"keys", "jwks", path}, &jwks, &jwks); code != 0 {
		t.Fatal(jwks.String())
	}
	d.write("gateway.jwks.json", jwks.String())
	d.gw.write("as.pem", readText(t, filepath.Join(d.dir, "cert.pem")))
	d.gw.write("access.yaml", rolesAccess)
	d.startAS(d.start)
	d.stopGW = d.gw.start(d.gw.config(withTLS+`exchange: {url: "https://`+d.wire.address+`", client_id: `+keyGateway+`, key_file: gateway.key.pem, ca: as.pem}`+"\n"), "--role", "gateway")
	return d
}

const keyGateway = "edge-gateway"

func twoProcesses(t *testing.T) *deployment {
	t.Helper()
	d := newDeployment(t)
	d.gatewayAt = gatewayAt
	d.wire, d.domain = newWire(t), spiffetest.NewDomain(t, "example.org")
	d.asAPI, d.gwAPI = d.workload(issuerID), d.workload(gatewayAt)
	d.asConfig = d.config(withTLS + `mutual_tls: {listen: "127.0.0.1:0", url: "https://` + d.wire.address + `", svid: true}` + "\n" + withAgentOf(d.asAPI) + rolesClients + `
  - {id: "` + gatewayAt + `", auth_method: spiffe_x509, gateway: true}
  - {id: "spiffe://example.org/agent/*", auth_method: spiffe, grant_types: ["` + oauth.GrantTokenExchange + `"]}
`)
	d.startAS(d.start)
	d.gw = &world{t: t, dir: t.TempDir(), mail: d.mail, issuer: d.issuer, served: make(chan struct{}), log: newLog()}
	writePair(t, d.gw.dir, 2)
	d.gw.write("access.yaml", rolesAccess)
	d.stopGW = d.gw.start(d.gw.config(withTLS+withAgentOf(d.gwAPI)+`exchange: {url: "https://`+d.wire.address+`", spiffe_id: "`+issuerID+`"}`+"\n"), "--role", "gateway")
	return d
}

// startAS starts the authorization server, which listens elsewhere each time.
func (d *deployment) startAS(start func(string, ...string) func() int) {
	d.t.Helper()
	d.stopAS = start(d.asConfig, "--role", "authz")
	d.wire.lead(d.mutual)
}

func withAgentOf(api *spiffetest.WorkloadAPI) string {
	return "spiffe: {workload_api: \"" + api.Address() + "\", trust_domains: [{name: example.org}]}\n"
}

// workload is the Workload API of a workload with that SPIFFE ID.
func (d *deployment) workload(id string) *spiffetest.WorkloadAPI {
	return spiffetest.Serve(d.t, d.state(id))
}

func (d *deployment) state(id string) spiffetest.State {
	return spiffetest.State{SVIDs: []tls.Certificate{d.domain.X509(d.t, id)}, Domains: []*spiffetest.Domain{d.domain}}
}

// client goes to the origin, where the proxy knows which process has which path.
func (d *deployment) client() *http.Client {
	d.t.Helper()
	c := d.world.client()
	c.Transport = proxy{c.Transport, d.gw.client().Transport}
	return c
}

type proxy struct{ issues, enforces http.RoundTripper }

func (p proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/mcp/") || strings.HasPrefix(r.URL.Path, "/.well-known/oauth-protected-resource") {
		return p.enforces.RoundTrip(r)
	}
	return p.issues.RoundTrip(r)
}

// token is an access token of the agent for itself.
func (d *deployment) token() string {
	d.t.Helper()
	raw, refused := d.accessToken(d.client())
	if raw == "" {
		d.t.Fatal(refused)
	}
	return raw
}

// exchange exchanges at the token endpoint.
func (d *deployment) exchange(raw, id, secret string, further ...string) (string, string) {
	d.t.Helper()
	form := url.Values{"grant_type": {oauth.GrantTokenExchange}, "subject_token": {raw}, "subject_token_type": {oauth.TokenTypeAccessToken}, "resource": {d.issuer + "/mcp/mail"}}
	for i := 0; i < len(further); i += 2 {
		form.Set(further[i], further[i+1])
	}
	return tokenIn(d.post(d.client(), d.issuer+"/oauth2/token", form, id, secret))
}

// callOnce opens a session, and calls the one tool.
func (d *deployment) callOnce(raw string) (string, error) {
	d.t.Helper()
	c := d.client()
	c.Transport = bearer{c.Transport, raw}
	return d.callBy(d.connectBy(c))
}

func (d *deployment) callBy(s *mcp.ClientSession) (string, error) {
	d.t.Helper()
	res, err := s.CallTool(d.t.Context(), &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{"limit": 2}})
	if err != nil {
		return "", err
	}
	return res.Content[0].(*mcp.TextContent).Text, nil
}

const toolDetails = `[{"type":"mcp_tool_call","server":"mail","tool":"list_messages","arguments":{"limit":2}}]`

// say posts a message in a session.
func (d *deployment) say(session, raw, body string) (int, string) {
	d.t.Helper()
	req, err := http.NewRequest(http.MethodPost, d.issuer+"/mcp/mail", strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Session-Id": session, "Authorization": "Bearer " + raw} {
		req.Header.Set(name, value)
	}
	return d.do(d.client(), req)
}

// mutualClient goes over the wire, and believes whoever answers: what is tried is the
// server.
func (d *deployment) mutualClient(c tls.Certificate) *http.Client {
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{c}}}
	d.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_messages","arguments":{"limit":2}}}`

const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`

// session opens a session and calls once, so that the definitions are known.
func (d *deployment) session(raw string) string {
	d.t.Helper()
	req, err := http.NewRequest(http.MethodPost, d.issuer+"/mcp/mail", strings.NewReader(initialize))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + raw}}
	resp, err := d.client().Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	resp.Body.Close()
	s := resp.Header.Get("Mcp-Session-Id")
	if _, body := d.say(s, raw, call); !strings.Contains(body, `"result"`) {
		d.t.Fatalf("initialize %d, call %s", resp.StatusCode, body)
	}
	return s
}

// checkAudit wants the last call in both logs, with the same transaction: the gateway's
// intent, and before it was minted the exchange, which says who asked.
func (d *deployment) checkAudit() {
	d.t.Helper()
	intent, exchanged := d.lastLine(d.gw, "intent", "list_messages"), d.lastLine(d.world, "token", "list_messages")
	for _, name := range []string{"subject", "actors", "txn", "token_id", "arguments_digest", "definition_digest", "policy_digest"} {
		if diff := cmp.Diff(intent[name], exchanged[name]); diff != "" {
			d.t.Errorf("%s, at the gateway and at the authorization server:\n%s", name, diff)
		}
	}
	if exchanged["client"] != d.gatewayAt || exchanged["txn"] == nil || exchanged["resource"] != d.mail.URL+"/mcp" {
		d.t.Errorf("the authorization server recorded %v", exchanged)
	}
}

// lastLine is the last of a kind about a tool.
func (d *deployment) lastLine(of *world, kind, tool string) (last map[string]any) {
	d.t.Helper()
	for line := range strings.Lines(readText(d.t, filepath.Join(of.dir, "data", fileAudit))) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			d.t.Fatal(err)
		}
		if l["kind"] == kind && l["tool"] == tool {
			last = l
		}
	}
	if last == nil {
		d.t.Fatalf("no %s about %s", kind, tool)
	}
	return last
}
