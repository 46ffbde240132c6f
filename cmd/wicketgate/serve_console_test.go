package main

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/console"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// TestConsoleOfAGatewayAloneAsksTheAuthorizationServer: the pages are where the calls wait,
// and their codes are redeemed where they were issued, over the way that exchange names.
func TestConsoleOfAGatewayAloneAsksTheAuthorizationServer(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *deployment{"by its SVID": twoProcesses, "by its key": twoProcessesByKey, "in one process": oneProcess} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			client := d.gw.client()
			client.Jar = jar
			resp, err := client.Get(d.issuer + console.PathApprovals)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			to, err := url.Parse(resp.Header.Get("Location"))
			if err != nil || !strings.HasPrefix(to.String(), d.issuer+"/oauth2/authorize?") || to.Query().Get("client_id") != consoleID.String() {
				t.Fatalf("%d to %s, %v", resp.StatusCode, to, err)
			}
			if status, body := d.get(to.String()); status != http.StatusBadRequest && status != http.StatusForbidden || !strings.Contains(body, "login is not configured") {
				t.Errorf("the authorization server does not know the console: %d %s", status, body)
			}
			answer := url.Values{"code": {"wg_ac_none"}, "iss": {d.issuer}, "state": {to.Query().Get("state")}}
			resp, err = client.Get(d.issuer + console.PathCallback + "?" + answer.Encode())
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest { // 500 if nobody could be asked
				t.Errorf("a code of nobody's: %d\n%s", resp.StatusCode, d.gw.log)
			}
		})
	}
}

// TestConsoleThatIsOff serves no page, and issues no token for it.
func TestConsoleThatIsOff(t *testing.T) {
	w := newWorld(t, nil)
	stop := w.start(w.config(withTLS + withAgent))
	form := url.Values{"client_id": {cliID.String()}, "resource": {serveIssuer + console.Path}}
	if status, body := w.post(w.client(), serveIssuer+"/oauth2/device_authorization", form); status != http.StatusOK {
		t.Errorf("on: %d %s", status, body)
	}
	if status, body := w.get(serveIssuer + "/.well-known/oauth-protected-resource" + console.Path); status != http.StatusOK || !strings.Contains(body, `"scopes_supported":["approvals"]`) {
		t.Errorf("on: %d %s", status, body)
	}
	stop()
	w.restart(w.config(withTLS + withAgent + "console: {enabled: false}\n"))
	if status, body := w.post(w.client(), serveIssuer+"/oauth2/device_authorization", form); status != http.StatusUnauthorized || !strings.Contains(body, "invalid_client") {
		t.Errorf("off: %d %s", status, body)
	}
	for _, path := range []string{console.PathApprovals, console.PathAPI, "/.well-known/oauth-protected-resource" + console.Path} {
		if status, _ := w.get(serveIssuer + path); status != http.StatusNotFound {
			t.Errorf("off: %s answers %d", path, status)
		}
	}
}

// TestApprovalsTokenAtTheGatewayIsRefused, and the reverse: neither opens the other's door.
func TestApprovalsTokenAtTheGatewayIsRefused(t *testing.T) {
	d, err := openDesk(t)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	bob := d.subject(t, "bob")
	mint := func(audience, scope string) string {
		s, err := token.ParseScope(scope)
		if err != nil {
			t.Fatal(err)
		}
		raw, _, err := d.house.minter.Access(token.AccessSpec{Subject: bob, ClientID: cliID, Audience: d.server.URL + audience, Scope: s, Txn: "t", AuthTime: time.Now(), Lifetime: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, tt := range []struct {
		path, audience, scope string
		status                int
	}{
		{"/mcp/mail", console.Path, oauth.ScopeApprovals, http.StatusUnauthorized},
		{"/mcp/mail", console.Path, "approvals mcp:tools", http.StatusUnauthorized},
		{"/mcp", console.Path, "approvals mcp:tools", http.StatusUnauthorized},
		{"/mcp/mail", "/mcp/mail", oauth.ScopeApprovals, http.StatusForbidden},
		{console.PathAPI, "/mcp/mail", "approvals mcp:tools", http.StatusUnauthorized},
		{console.PathAPI, "/mcp", "approvals", http.StatusUnauthorized},
		{console.PathAPI, console.Path, oauth.ScopeApprovals, http.StatusOK},
		{"/mcp/mail", "/mcp/mail", "mcp:tools", http.StatusOK},
	} {
		method, body := http.MethodPost, initialize
		if tt.path == console.PathAPI {
			method, body = http.MethodGet, ""
		}
		r, err := http.NewRequest(method, d.server.URL+tt.path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + mint(tt.audience, tt.scope)}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
		status, answer, err := roundTrip(nil, r)
		if err != nil || status != tt.status && !(tt.status == http.StatusOK && status == http.StatusBadGateway) { // no mail server is there
			t.Errorf("a token for %s with %s at %s: %d %s %v, want %d", tt.audience, tt.scope, tt.path, status, answer, err, tt.status)
		}
	}
}
