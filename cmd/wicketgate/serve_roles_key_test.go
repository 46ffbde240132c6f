package main

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// key is a client key, of the file if there is one.
func (w *world) key(id, file string) *clientKey {
	w.t.Helper()
	_, text := newPair(w.t, 9)
	if file != "" {
		text = []byte(readText(w.t, filepath.Join(w.dir, file)))
	}
	k, err := newClientKey(identity.MustClientID(id), text)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (k *clientKey) mustAssert(t *testing.T, issuer string, now time.Time) string {
	t.Helper()
	raw, err := k.assertion(issuer, func() time.Time { return now })()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestGatewayWithAKeyProvesItAnew for each request: an assertion that somebody has read is
// spent, one for another issuer or of another key is none, and a name alone is nothing.
func TestGatewayWithAKeyProvesItAnew(t *testing.T) {
	d := twoProcessesByKey(t)
	ours, now := d.gw.key(keyGateway, "gateway.key.pem"), time.Now()
	client := d.mutualClient(tls.Certificate{})
	ask := func(path, assertion string) (int, string) {
		form := url.Values{"after": {"0"}, "client_id": {keyGateway}, "grant_type": {oauth.GrantClientCredentials}, "resource": {d.issuer + "/mcp/mail"}}
		if assertion != "" {
			form.Set("client_assertion_type", oauth.AssertionJWTBearer)
			form.Set("client_assertion", assertion)
		}
		return d.post(client, "https://"+d.wire.address+path, form)
	}
	for _, path := range []string{"/oauth2/revocations", "/oauth2/token"} {
		read := ours.mustAssert(t, d.issuer, now)
		if status, body := ask(path, read); status != http.StatusOK {
			t.Fatalf("%s: %d %s: the test shows nothing", path, status, body)
		}
		for name, assertion := range map[string]string{
			"the same assertion again":    read,
			"one for another issuer":      ours.mustAssert(t, "https://as.example.net", now),
			"one for the endpoint's URL":  ours.mustAssert(t, "https://"+d.wire.address+path, now),
			"one that has expired":        ours.mustAssert(t, d.issuer, now.Add(-3*time.Minute)),
			"one by somebody else's key":  d.gw.key(keyGateway, "").mustAssert(t, d.issuer, now),
			"one of another client":       d.gw.key(agentID, "gateway.key.pem").mustAssert(t, d.issuer, now),
			"no assertion, but the name":  "",
			"an assertion without a name": strings.Repeat("a", 40),
		} {
			if status, body := ask(path, assertion); status != http.StatusUnauthorized || !strings.Contains(body, "invalid_client") {
				t.Errorf("%s, %s: %d %s", path, name, status, body)
			}
		}
	}
}

// TestGatewayWithAKeyTellsNobodyButItsAuthorizationServer: a server that its authorities
// do not vouch for is shown no assertion and no token of a caller.
func TestGatewayWithAKeyTellsNobodyButItsAuthorizationServer(t *testing.T) {
	d := twoProcessesByKey(t)
	raw := d.token()
	if _, err := d.callOnce(raw); err != nil {
		t.Fatal(err)
	}
	d.stopGW()
	other, _ := newPair(t, 4)
	d.gw.write("as.pem", string(other))
	d.gw.restart(filepath.Join(d.gw.dir, "wicketgate.yaml"), "--role", "gateway")
	if status, body := d.say("", raw, ping); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, body)
	}
	if status, body := d.gw.get(d.gw.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"name":"authorization_server","ok":false`) || !strings.Contains(body, "certificate") {
		t.Errorf("readyz: %d %s", status, body)
	}
}

// TestClientKey: what is no key that we sign with is refused, and is not repeated.
func TestClientKey(t *testing.T) {
	for _, text := range []string{"", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"} {
		if _, err := newClientKey(identity.ClientID{}, []byte(text)); err == nil || strings.Contains(err.Error(), "c2VjcmV0") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
