package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/spiretest"
)

// The authorization server and the gateway, where they are two processes of two users.
const (
	issuerID    = "spiffe://example.org/wicketgate/as"
	gatewayID   = "spiffe://example.org/wicketgate/gateway"
	gatewayUser = 20004
)

// startRoles starts the two, behind a proxy that makes one origin of them.
func startRoles(t *testing.T, s *spire) (as, gateway *spiffeHouse) {
	t.Helper()
	s.register(t, spiretest.Entry{ID: issuerID, Selectors: []string{spiretest.User(gateUser)}, X509TTL: shortLived},
		spiretest.Entry{ID: gatewayID, Selectors: []string{spiretest.User(gatewayUser)}, X509TTL: shortLived},
		spiretest.Entry{ID: mailID, X509TTL: shortLived}, spiretest.Entry{ID: agentID, X509TTL: shortLived},
		spiretest.Entry{ID: senderID, Selectors: []string{spiretest.User(mailAgent)}})
	one, other := freeport.Address(t), freeport.Address(t)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		to := one
		if strings.HasPrefix(r.In.URL.Path, "/mcp/") || strings.HasPrefix(r.In.URL.Path, "/.well-known/oauth-protected-resource") {
			to = other
		}
		r.SetURL(&url.URL{Scheme: "http", Host: to})
		r.Out.Host = r.In.Host
	}})
	t.Cleanup(proxy.Close)
	mail := startMail(t, proxy.URL, sourceOf(t, s, mailID), gatewayID)
	as = startSPIFFEAt(t, s, spiffeSetup{listen: one, issuer: proxy.URL, mail: mail, args: []string{"--role", "authz"},
		config: s.config(withAgents) + "  - {id: \"" + gatewayID + "\", auth_method: spiffe_x509, gateway: true}\n"})
	gateway = startSPIFFEAt(t, s, spiffeSetup{listen: other, issuer: proxy.URL, user: gatewayUser, mail: mail, args: []string{"--role", "gateway"},
		config: s.config("spiffe: {workload_api: SOCKET, trust_domains: [{name: example.org}]}\n") +
			`exchange: {url: "` + as.mutual + `", spiffe_id: "` + issuerID + "\"}\n"})
	return as, gateway
}

// TestGatewayOfItsOwnProcess exchanges with its X.509-SVID for each call, while that and
// everybody's changes every few seconds, and no call is lost.
func TestGatewayOfItsOwnProcess(t *testing.T) {
	t.Parallel()
	s := newSPIRE(t, spiretest.Config{})
	as, gateway := startRoles(t, s)
	if code, out, errs := as.callAs(t, mailAgent, "", "mail", "list_messages", "--spiffe", "--svid", "jwt"); code != 0 || !strings.Contains(out, "subject") {
		t.Fatalf("one call: %d %s %s", code, out, errs)
	}
	load(t, as, sourceOf(t, s, agentID), []string{issuerID, gatewayID}, as, gateway)

	lines := about(gateway.audit(t), senderID, "list_messages")
	if len(lines) != 2 || lines[0].Client != senderID {
		t.Errorf("the gateway's audit log of one call: %+v", lines)
	}
	exchanged := 0
	for _, l := range as.audit(t) {
		if l.Kind == "token" && l.Client == gatewayID && l.Subject == senderID && l.Tool == "list_messages" {
			exchanged++
		}
	}
	if exchanged != 1 {
		t.Errorf("the authorization server recorded %d exchanges for that call, want one, by the gateway", exchanged)
	}
	if text := readFile(t, gateway.config) + gateway.stderr.String(); strings.Contains(text, "BEGIN") {
		t.Error("the gateway has a key of somebody's in its files")
	}
	checkSaysNothing(t, as.house)
	checkSaysNothing(t, gateway.house)
}

// TestGatewayWithoutItsSVIDMakesNoCall: SPIRE is down for longer than its SVID lasts, or its
// entry is deleted.
func TestGatewayWithoutItsSVIDMakesNoCall(t *testing.T) {
	t.Parallel()
	s := newSPIRE(t, spiretest.Config{})
	as, gateway := startRoles(t, s)
	svid, err := sourceOf(t, s, agentID).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	a := as.byX509(t, pair(svid), agentID)
	if a.AccessToken == "" {
		t.Fatalf("%+v", a)
	}
	session := open(t, as.house, a.AccessToken)
	if resp, body := session.call(t, "list_messages", `{}`); resp.StatusCode != http.StatusOK || strings.Contains(string(body), `"error"`) {
		t.Fatalf("%s %s", resp.Status, body)
	}
	s.Stop()
	s.agent.Stop()
	eventually(t, "the end of the gateway's SVID", func() bool {
		status, _, failure := gateway.ready(t)
		return status == http.StatusServiceUnavailable && strings.Contains(failure, gatewayID+" expired")
	})
	resp, body := session.call(t, "list_messages", `{}`)
	if resp.StatusCode == http.StatusOK && !strings.Contains(string(body), `"error"`) {
		t.Errorf("a call goes through: %s", body)
	}
}
