package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

// TestRolesOverProcessesMakeTheSameCallTokens as one process does, claim by claim.
func TestRolesOverProcessesMakeTheSameCallTokens(t *testing.T) {
	one, two, byKey := oneProcess(t), twoProcesses(t), twoProcessesByKey(t)
	for name, raw := range map[string]func(d *deployment) string{
		"a workload for itself": (*deployment).token,
		"a delegate": func(d *deployment) string {
			raw, refused := d.exchange(d.token(), helperID, helperSecret, "scope", "tool:list_messages")
			if raw == "" {
				t.Fatal(refused)
			}
			return raw
		},
	} {
		t.Run(name, func(t *testing.T) {
			var claims []map[string]any
			for _, d := range []*deployment{one, two, byKey} {
				if text, err := d.callOnce(raw(d)); err != nil || text == "" {
					t.Fatalf("%q, %v", text, err)
				}
				claims = append(claims, d.seen.last(d.mail.URL+"/mcp"))
			}
			two.checkAudit()
			byKey.checkAudit()
			for i, way := range []string{"by SVID", "by key"} {
				if diff := cmp.Diff(claims[0], claims[i+1]); diff != "" {
					t.Errorf("one process, two processes %s:\n%s", way, diff)
				}
			}
		})
	}
}

// TestUpstreamIsNotToldHowManyProcessesThereAre, not even by whom its tools are listed.
func TestUpstreamIsNotToldHowManyProcessesThereAre(t *testing.T) {
	for name, d := range map[string]*deployment{"one process": oneProcess(t), "two processes": twoProcesses(t), "two processes by key": twoProcessesByKey(t)} {
		if _, err := d.callOnce(d.token()); err != nil {
			t.Fatal(err)
		}
		d.seen.mu.Lock()
		if c := d.seen.reader; c["sub"] != gatewayID.String() || c["client_id"] != gatewayID.String() || c["act"] != nil {
			t.Errorf("%s: the first to come was %v", name, c)
		}
		d.seen.mu.Unlock()
	}
}

// TestBoundTokenIsExchangedByTheWordOfTheGateway: the proof was for the gateway, which
// checked it; the authorization server gets none, and yet nobody else can do that.
func TestBoundTokenIsExchangedByTheWordOfTheGateway(t *testing.T) {
	d := twoProcesses(t)
	client := d.client()
	p := newProver(t, client)
	client.Transport = p
	raw, refused := d.accessToken(client)
	if raw == "" {
		t.Fatal(refused)
	}
	p.token = raw
	if claimsOf(t, raw)["cnf"] == nil {
		t.Fatal("the token is bound to nothing: the test shows nothing")
	}
	if text, err := d.callBy(d.connectBy(client)); err != nil || text == "" {
		t.Errorf("%q, %v", text, err)
	}
	if c := d.seen.last(d.mail.URL + "/mcp"); c["cnf"] != nil || c["client_id"] != gatewayID.String() {
		t.Errorf("the call token says %v", c)
	}
	stolen, body := d.exchange(raw, agentID, agentSecret, "scope", "mcp:tools")
	if stolen != "" || !strings.Contains(body, "subject_token rejected") {
		t.Errorf("exchanged without its key: %s", body)
	}
}

// A12: TestToolTokenCountsOnceOverProcesses: the authorization server knows the definition
// that the gateway approved.
func TestToolTokenCountsOnceOverProcesses(t *testing.T) {
	var claims []map[string]any
	for _, d := range []*deployment{oneProcess(t), twoProcesses(t), twoProcessesByKey(t)} {
		raw := d.token()
		s := d.session(raw)
		tool, refused := d.exchange(raw, agentID, agentSecret, "scope", "tool:list_messages", "authorization_details", toolDetails)
		if tool == "" {
			t.Fatal(refused)
		}
		for i, want := range []string{`"result"`, "the tool token has been used"} {
			if status, answer := d.say(s, tool, call); !strings.Contains(answer, want) {
				t.Errorf("use %d: %d %s", i, status, answer)
			}
		}
		claims = append(claims, d.seen.last(d.mail.URL+"/mcp"))
	}
	for i := range claims {
		if diff := cmp.Diff(claims[0], claims[i]); diff != "" {
			t.Errorf("one process, two processes:\n%s", diff)
		}
	}
}

// TestOnlyGatewaysMayAimAtAnUpstream: who is none is told what it would be of a resource
// that nobody knows, and a gateway must prove it by an X.509-SVID.
func TestOnlyGatewaysMayAimAtAnUpstream(t *testing.T) {
	d := twoProcesses(t)
	raw := d.token()
	form := func(client string, more ...string) url.Values {
		f := url.Values{"grant_type": {oauth.GrantTokenExchange}, "subject_token": {raw}, "subject_token_type": {oauth.TokenTypeAccessToken}, "resource": {d.mail.URL + "/mcp"},
			"scope": {"tool:list_messages"}, "client_id": {client}, "authorization_details": {`[{"type":"mcp_tool_call","server":"mail","tool":"list_messages","arguments_digest":"x"}]`}}
		for i := 0; i < len(more); i += 2 {
			f.Set(more[i], more[i+1])
		}
		return f
	}
	at := "https://" + d.wire.address + "/oauth2/token"
	byX509 := func(id string) *http.Client { return d.mutualClient(d.domain.X509(t, id)) }
	status, body := d.post(byX509(gatewayAt), at, form(gatewayAt))
	if status != http.StatusOK {
		t.Fatalf("a gateway: %d %s: the test shows nothing", status, body)
	}
	const agent = "spiffe://example.org/agent/a"
	unknown := form("")
	unknown.Del("client_id")
	unknown.Set("resource", "https://unknown.example")
	_, want := d.post(d.client(), d.issuer+"/oauth2/token", unknown, agentID, agentSecret)
	internal := form("")
	internal.Del("client_id")
	for name, ask := range map[string]func() (int, string){
		"a client with a secret": func() (int, string) {
			return d.post(d.client(), d.issuer+"/oauth2/token", internal, agentID, agentSecret)
		},
		"a workload with an X.509-SVID": func() (int, string) { return d.post(byX509(agent), at, form(agent)) },
	} {
		if status, body := ask(); status != http.StatusBadRequest || body != want || !strings.Contains(body, `"invalid_target"`) {
			t.Errorf("%s: %d %s, want %s", name, status, body, want)
		}
	}
	svid := d.domain.JWT(t, map[string]any{"sub": gatewayAt, "aud": d.issuer})
	for path, f := range map[string]url.Values{
		"/oauth2/token":       form(gatewayAt, "client_assertion_type", oauth.AssertionJWTSPIFFE, "client_assertion", svid),
		"/oauth2/revocations": {"after": {"0"}, "client_id": {gatewayAt}, "client_assertion_type": {oauth.AssertionJWTSPIFFE}, "client_assertion": {svid}},
	} {
		if status, body := d.post(d.client(), d.issuer+path, f); status != http.StatusUnauthorized || !strings.Contains(body, `"invalid_client"`) {
			t.Errorf("%s by a JWT-SVID: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/oauth2/revocations", "/oauth2/definitions"} {
		if status, body := d.post(d.client(), d.issuer+path, url.Values{"after": {"0"}}, agentID, agentSecret); status != http.StatusBadRequest || !strings.Contains(body, `"unauthorized_client"`) {
			t.Errorf("%s for who is no gateway: %d %s", path, status, body)
		}
	}
}

// TestGatewayAsksNobodyButItsAuthorizationServer: who answers at its address and is
// another workload is told no token.
func TestGatewayAsksNobodyButItsAuthorizationServer(t *testing.T) {
	d := twoProcesses(t)
	raw := d.token()
	s := d.session(raw)
	d.asAPI.Set(d.state("spiffe://example.org/thief"))
	eventually(t, 5*time.Second, "it shows another SVID", func() bool {
		c, err := tls.Dial("tcp", d.mutual, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return false
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].URIs[0].Path == "/thief"
	})
	d.wire.lead(d.mutual)
	if _, body := d.say(s, raw, call); !strings.Contains(body, "the call could not be made: exchange_untrusted") {
		t.Error(body)
	}
	if lines := readText(t, filepath.Join(d.gw.dir, "data", fileAudit)); !strings.Contains(lines, `"reason":"exchange_untrusted"`) {
		t.Error("the audit log does not say so")
	}
	d.asAPI.Set(d.state(issuerID))
	eventually(t, 10*time.Second, "it goes on with the right one, renewed", func() bool {
		d.wire.lead(d.mutual)
		_, body := d.say(s, raw, call)
		return strings.Contains(body, `"result"`)
	})
	d.gwAPI.Set(d.state(gatewayAt))
	if _, body := d.say(s, raw, call); !strings.Contains(body, `"result"`) {
		t.Errorf("after a renewal of its own: %s", body)
	}
}

// TestGatewayNeedNotComeThroughTheProxy that the listener for clients is for alone.
func TestGatewayNeedNotComeThroughTheProxy(t *testing.T) {
	d := newDeployment(t)
	d.domain = spiffetest.NewDomain(t, "example.org")
	d.start(d.config("listen: \":0\"\ntrusted_proxies: {addresses: [192.0.2.1]}\nmutual_tls: {listen: \"127.0.0.1:0\", url: \"" + mutualURL + "\", svid: true}\n" +
		withAgentOf(d.workload(issuerID)) + "clients:\n  - {id: \"" + gatewayAt + "\", auth_method: spiffe_x509, gateway: true}\n"))
	for address, want := range map[string]int{d.front: http.StatusForbidden, d.mutual: http.StatusOK} {
		c := d.mutualClient(d.domain.X509(t, gatewayAt))
		c.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
		origin := mutualURL
		if want != http.StatusOK {
			origin = "http://" + serveHost
		}
		if status, body := d.post(c, origin+"/oauth2/revocations", url.Values{"after": {"0"}, "client_id": {gatewayAt}}); status != want {
			t.Errorf("%s: %d %s", origin, status, body)
		}
	}
}

// TestProxyIsNoGateway: its word, which counts for other clients, proves none. A
// certificate is no secret, and whoever shares the proxy's address could show one.
func TestProxyIsNoGateway(t *testing.T) {
	const agent = "spiffe://example.org/agent/a"
	d := newDeployment(t)
	d.domain = spiffetest.NewDomain(t, "example.org")
	d.start(d.config("listen: 127.0.0.1:0\ntrusted_proxies: {addresses: [127.0.0.1], client_certificate: Client-Cert}\n" + withMutualSVID + withAgentOf(d.workload(issuerID)) +
		"clients:\n  - {id: \"" + gatewayAt + "\", auth_method: spiffe_x509, gateway: true}\n  - {id: \"" + agent + "\", auth_method: spiffe_x509}\n"))
	for id, want := range map[string]string{gatewayAt: "invalid_client", agent: "unauthorized_client"} {
		header := ":" + base64.StdEncoding.EncodeToString(d.domain.X509(t, id).Certificate[0]) + ":"
		c := &http.Client{Transport: with{asHost{http.DefaultTransport}, "Client-Cert", header}}
		if status, body := d.post(c, "http://"+d.front+"/oauth2/revocations", url.Values{"after": {"0"}, "client_id": {id}}); !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", id, status, body)
		}
	}
}

// TestFreezeReachesTheGatewayOfAnotherProcess within five seconds, with a line in its
// log; the order itself is for the authorization server. That what the operator says is
// in another encoding keeps nobody from knowing what is frozen.
func TestFreezeReachesTheGatewayOfAnotherProcess(t *testing.T) {
	d := twoProcesses(t)
	raw := d.token()
	s := d.session(raw)
	var out strings.Builder
	if code := run(t.Context(), []string{"freeze", "subject", agentID, "--config", filepath.Join(d.gw.dir, "wicketgate.yaml")}, &out, &out); code == 0 || !strings.Contains(out.String(), "use that of the authorization server") {
		t.Errorf("freeze at the gateway: %d %s", code, out.String())
	}
	if code := run(t.Context(), []string{"freeze", "subject", agentID, "--reason", "odd calls, ger\xe4t", "--config", d.asConfig}, &out, &out); code != 0 {
		t.Fatal(out.String())
	}
	eventually(t, 5*time.Second, "the gateway refuses a frozen subject", func() bool {
		status, _ := d.say(s, raw, ping)
		return status == http.StatusUnauthorized
	})
	eventually(t, 5*time.Second, "the gateway has recorded it", func() bool {
		lines := readText(t, filepath.Join(d.gw.dir, "data", fileAudit))
		return strings.Contains(lines, `"action":"freeze"`) && strings.Contains(lines, "\"reason\":\"odd calls, ger\ufffdt\"")
	})
}

// TestFrozenGatewayMakesNoCall: it gets no token for one, and since it is not told any more
// what was revoked it then refuses everything itself.
func TestFrozenGatewayMakesNoCall(t *testing.T) {
	d := twoProcesses(t)
	raw := d.token()
	s := d.session(raw)
	var out strings.Builder
	if code := run(t.Context(), []string{"freeze", "client", gatewayAt, "--config", d.asConfig}, &out, &out); code != 0 {
		t.Fatal(out.String())
	}
	eventually(t, 5*time.Second, "no call is made", func() bool {
		_, body := d.say(s, raw, call)
		return strings.Contains(body, "exchange_refused")
	})
	eventually(t, 10*time.Second, "it refuses everything", func() bool {
		status, _ := d.say(s, raw, ping)
		return status == http.StatusServiceUnavailable
	})
}

// TestGatewayWithoutItsAuthorizationServerRefusesEverything, at first for what the
// exchange says, then since it cannot know what was revoked; and goes on when it is back.
func TestGatewayWithoutItsAuthorizationServerRefusesEverything(t *testing.T) {
	d := twoProcesses(t)
	raw := d.token()
	s := d.session(raw)
	d.wire.cut()
	d.stopAS()
	if _, body := d.say(s, raw, call); !strings.Contains(body, "the call could not be made: exchange_unreachable") {
		t.Errorf("at once: %s", body)
	}
	eventually(t, 10*time.Second, "it refuses everything", func() bool {
		status, _ := d.say(s, raw, ping)
		return status == http.StatusServiceUnavailable
	})
	_, body := d.gw.get(d.gw.admin + "/readyz")
	for _, want := range []string{`{"name":"revocations","ok":false`, `{"name":"authorization_server","ok":false,"error":"authorization server: `} {
		if !strings.Contains(body, want) {
			t.Errorf("readyz has no %s: %s", want, body)
		}
	}
	lines := readText(t, filepath.Join(d.gw.dir, "data", fileAudit))
	for _, want := range []string{`"reason":"exchange_unreachable"`, `"reason":"revocations_stale"`} {
		if !strings.Contains(lines, want) {
			t.Errorf("the audit log has no %s", want)
		}
	}
	d.startAS(d.restart)
	d.wire.mend()
	eventually(t, 10*time.Second, "it goes on", func() bool {
		_, body := d.say(s, raw, call)
		return strings.Contains(body, `"result"`)
	})
	if status, body := d.gw.get(d.gw.admin + "/readyz"); status != http.StatusOK {
		t.Errorf("readyz afterwards: %d %s", status, body)
	}
	for _, log := range []*lockedBuffer{d.gw.log, d.log} {
		if strings.Contains(log.String(), raw) {
			t.Error("a token is in a log")
		}
	}
}

// TestGatewayCannotSign: it makes no key for tokens, and does not start with those of an
// authorization server; nor does that one with the store of a gateway.
func TestGatewayCannotSign(t *testing.T) {
	d := twoProcesses(t)
	gwConfig := filepath.Join(d.gw.dir, "wicketgate.yaml")
	for config, signs := range map[string]bool{d.asConfig: true, gwConfig: false} {
		var out strings.Builder
		if code := run(t.Context(), []string{"keys", "list", "--config", config}, &out, &out); code != 0 || strings.Contains(out.String(), " token ") != signs {
			t.Errorf("keys of %s: %d\n%s", config, code, out.String())
		}
	}
	d.stopAS()
	d.stopGW()
	for _, tt := range []struct {
		config, role, data, want string
	}{
		{gwConfig, "gateway", filepath.Join(d.dir, "data"), "is that of an authorization server: give this process a store of its own"},
		{d.asConfig, "authz", filepath.Join(d.gw.dir, "data"), "is that of serve --role gateway: give the authorization server a store of its own"},
	} {
		replaceFile(t, tt.config, []byte(strings.Replace(readText(t, tt.config), "data: data\n", "data: "+tt.data+"\n", 1)))
		var out strings.Builder
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // where it starts, after all
		defer cancel()
		if code := run(ctx, []string{"serve", "--config", tt.config, "--role", tt.role}, io.Discard, &out); code != 1 || !strings.Contains(out.String(), tt.want) {
			t.Errorf("--role %s with the other's data: %d %s", tt.role, code, out.String())
		}
		out.Reset()
		if code := run(ctx, []string{"keys", "rotate", "--force", "--config", tt.config}, &out, &out); code != 1 || !strings.Contains(out.String(), tt.want) {
			t.Errorf("keys rotate for --role %s with the other's data: %d %s", tt.role, code, out.String())
		}
	}
}

// TestGatewayElsewhereApprovesNothingForTheOneHere: a process of both roles with trust:
// approve waits for its operator, whatever the gateway of another process trusts.
func TestGatewayElsewhereApprovesNothingForTheOneHere(t *testing.T) {
	d := newDeployment(t)
	d.domain = spiffetest.NewDomain(t, "example.org")
	config := d.config(withTLS + withMutualSVID + withAgentOf(d.workload(issuerID)) + rolesClients + "  - {id: \"" + gatewayAt + "\", auth_method: spiffe_x509, gateway: true}\n")
	replaceFile(t, config, []byte(strings.Replace(readText(t, config), "trust: first-use", "trust: approve", 1)))
	d.start(config)
	c := d.mutualClient(d.domain.X509(t, gatewayAt))
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", d.mutual)
	}
	told := url.Values{"server": {"mail"}, "tool": {"unseen"}, "digest": {"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}, "client_id": {gatewayAt}}
	if status, body := d.post(c, mutualURL+"/oauth2/definitions", told); status != http.StatusBadRequest || !strings.Contains(body, `"access_denied"`) {
		t.Errorf("%d %s", status, body)
	}
}

// TestEachProcessServesItsPaths, and no others: what the proxy sends to the wrong one is
// not found.
func TestEachProcessServesItsPaths(t *testing.T) {
	d := twoProcesses(t)
	for path, enforces := range map[string]bool{"/.well-known/oauth-protected-resource/mcp/mail": true, "/.well-known/oauth-protected-resource": true, "/.well-known/oauth-authorization-server": false, "/oauth2/jwks": false} {
		for _, w := range []*world{d.world, d.gw} {
			want := http.StatusNotFound
			if enforces == (w == d.gw) {
				want = http.StatusOK
			}
			if status, body := w.get(d.issuer + path); status != want {
				t.Errorf("%s at the gateway %v: %d %s", path, w == d.gw, status, body)
			}
		}
	}
	for _, path := range []string{"/oauth2/token", "/oauth2/register", "/oauth2/revocations"} {
		if status, _ := d.gw.post(d.gw.client(), d.issuer+path, url.Values{}); status != http.StatusNotFound {
			t.Errorf("%s at the gateway: %d", path, status)
		}
	}
	if status, _ := d.post(d.world.client(), d.issuer+"/mcp/mail", url.Values{}); status != http.StatusNotFound {
		t.Errorf("/mcp/mail at the authorization server: %d", status)
	}
}
