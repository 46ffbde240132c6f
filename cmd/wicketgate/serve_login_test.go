package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestServeStartsWhileTheIdPIsDown: the person reads that the login does not work, the
// log says why, and it works once the IdP is there.
func TestServeStartsWhileTheIdPIsDown(t *testing.T) {
	reserved, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	idp := "http://" + reserved.Addr().String()
	reserved.Close()
	w := newWorld(t, nil)
	w.write("idp.secret", agentSecret)
	w.start(w.config(withTLS + withAgent + "login: {issuer: \"" + idp + "\", client_id: wicketgate, client_secret_file: idp.secret}\n"))
	id, _ := w.register()
	q := url.Values{"client_id": {id}, "redirect_uri": {"http://127.0.0.1/cb"}, "response_type": {"code"}, "resource": {serveIssuer + "/mcp/mail"},
		"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"}}
	authorize := serveIssuer + "/oauth2/authorize?" + q.Encode()
	status, page := w.get(authorize)
	if status != http.StatusServiceUnavailable || !strings.Contains(page, "identity provider") || strings.Contains(page, idp) {
		t.Errorf("while it is down: %d\n%s", status, page)
	}
	w.log.with(`"level":"ERROR","msg":"the identity provider cannot be used: check that its issuer is right and that this machine reaches it","issuer":"` + idp + `","error":`)
	if raw, refused := w.accessToken(w.client()); raw == "" {
		t.Errorf("a workload needs no login: %s", refused)
	}
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	idpAt(t, strings.TrimPrefix(idp, "http://"))
	if to := w.redirected(authorize); !strings.HasPrefix(to, idp+"/authorize?") || !strings.Contains(to, "redirect_uri="+url.QueryEscape(serveIssuer+"/oauth2/callback")) {
		t.Errorf("once it is up, the browser is sent to %s", to)
	}
	if strings.Contains(w.log.String(), agentSecret) {
		t.Error("the log has the secret of Wicketgate at the IdP")
	}
}

// idpAt is as much of an IdP as is needed to send a browser there.
func idpAt(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	issuer := "http://" + address
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token",
			"jwks_uri": issuer + "/jwks", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	s := httptest.NewUnstartedServer(mux)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}

// redirected asks until the answer is a redirect: an IdP that was down is not asked
// again at once.
func (w *world) redirected(from string) (to string) {
	w.t.Helper()
	client, deadline := w.client(), time.After(30*time.Second)
	for tick := time.Tick(50 * time.Millisecond); ; {
		resp, err := client.Get(from)
		if err != nil {
			w.t.Fatal(err)
		}
		resp.Body.Close()
		if to := resp.Header.Get("Location"); to != "" {
			return to
		}
		select {
		case <-tick:
		case <-deadline:
			w.t.Fatalf("no redirect, but %d", resp.StatusCode)
		}
	}
}
