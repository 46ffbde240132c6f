package authz_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

func TestRevocationEndsTheWholeFamily(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	for name, test := range map[string]struct {
		token func(old, next answer) string
		hint  []string
	}{
		"the refresh token":                          {func(_, next answer) string { return next.RefreshToken }, nil},
		"the refresh token, with its hint":           {func(_, next answer) string { return next.RefreshToken }, []string{"refresh_token"}},
		"the refresh token, with a wrong hint":       {func(_, next answer) string { return next.RefreshToken }, []string{"access_token"}},
		"the refresh token that was rotated":         {func(old, _ answer) string { return old.RefreshToken }, nil},
		"the access token":                           {func(_, next answer) string { return next.AccessToken }, []string{"access_token"}},
		"the access token, with a wrong hint":        {func(_, next answer) string { return next.AccessToken }, []string{"refresh_token"}},
		"the access token, with a hint of nothing":   {func(_, next answer) string { return next.AccessToken }, []string{"urn:example:pat"}},
		"the access token from before the rotation":  {func(old, _ answer) string { return old.AccessToken }, nil},
		"the access token, with a hint that is long": {func(_, next answer) string { return next.AccessToken }, []string{strings.Repeat("x", 9000)}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			old, next := w.rotated(c)
			other := w.tokens(c)
			w.wantActive(c, next.AccessToken, true)
			w.audit.take()
			for range 2 { // a second time is no error, and no line
				w.revoke(c, test.token(old, next), change{"token_type_hint": test.hint})
			}
			if n := count(w, "revoke"); n != 1 {
				t.Errorf("%d audit lines, want 1", n)
			}
			for _, dead := range []string{old.AccessToken, old.RefreshToken, next.AccessToken, next.RefreshToken} {
				w.wantActive(c, dead, false)
			}
			w.wantDead(c, old.RefreshToken, next.RefreshToken)
			w.wantActive(c, other.AccessToken, true)
			w.wantOK(w.token(&c, refreshForm(other.RefreshToken)))
		})
	}
}

func TestPublicClientRevokes(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for _, token := range []func(answer) string{func(a answer) string { return a.AccessToken }, func(a answer) string { return a.RefreshToken }} {
		a := w.tokens(c)
		w.revoke(c, token(a))
		w.wantDead(c, a.RefreshToken)
	}
}

func TestRevocationOfAnUnknownTokenIsDone(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	for name, token := range w.unknown(c) {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.audit.take()
			w.revoke(c, token)
			if lines := w.audit.take(); len(lines) != 0 {
				t.Errorf("audit lines %+v", lines)
			}
		})
	}
}

// TestRevocationOfATokenOfAnotherIssuerWithOurKey is as garbage: two servers may share a key.
func TestRevocationOfATokenOfAnotherIssuerWithOurKey(t *testing.T) {
	key := newTestKey(t, "shared")
	w := newWorld(t, func(c *authz.Config) {
		c.Verifier = token.NewVerifier(token.VerifierConfig{Issuer: c.Issuer, Keys: key, Now: c.Now, Revocations: c.Revocations.(*revocation.View)})
	})
	ours, theirs := w.signed(w.url, key), w.signed("https://other.example", key)
	w.wantActive(agent, ours, true)
	w.wantActive(agent, theirs, false)
	w.revoke(agent, theirs)
	w.revoke(agent, ours)
	w.wantActive(agent, ours, false)
}

func TestTokenOfAnotherClientCannotBeRevoked(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	for name, thief := range map[string]client{"a public client": w.public(), "a confidential client": w.confidential(), "a workload": agent} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			old, a := w.rotated(c)
			for _, token := range []string{a.AccessToken, a.RefreshToken, old.RefreshToken} {
				w.wantError(w.postForm("/oauth2/revoke", &thief, url.Values{"token": {token}}), 400, "invalid_grant")
			}
			w.wantActive(c, a.AccessToken, true)
			w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
		})
	}
}

func TestRevokedWorkloadTokenLeavesTheOthers(t *testing.T) {
	w := newWorld(t)
	one, other := w.workload(), w.workload()
	w.revoke(agent, one)
	w.wantActive(agent, one, false)
	w.wantActive(agent, other, true)
	w.clock.advance(accessLifetime - time.Second) // as long as it would have been good
	w.wantActive(agent, one, false)
	w.wantActive(agent, other, true)
}

// TestRevokedCallTokenOfAnothersGrant ends itself only: an exchanger could otherwise
// log people out of the clients whose tokens it is shown.
func TestRevokedCallTokenOfAnothersGrant(t *testing.T) {
	w, call := newCalls(t)
	c := w.confidential()
	exchanger := client{ID: "exchanger", Secret: agentSecret}
	parent := w.tokens(c)
	one, other := call(parent.AccessToken, "exchanger", w.mail()), call(parent.AccessToken, "exchanger", w.mail())
	w.wantError(w.postForm("/oauth2/revoke", &c, url.Values{"token": {one}}), 400, "invalid_grant") // nor is it the client's
	w.revoke(exchanger, one)
	w.wantActive(exchanger, one, false)
	w.wantActive(exchanger, other, true)
	w.wantActive(c, parent.AccessToken, true)
	w.revoke(c, parent.AccessToken) // which ends what came of it
	w.wantActive(exchanger, other, false)
	w.wantDead(c, parent.RefreshToken)
}

// TestBadRequestsOfClients at the endpoints that only clients use.
func TestBadRequestsOfClients(t *testing.T) {
	w := newWorld(t)
	c := w.register("https://app.example/cb", map[string]any{"token_endpoint_auth_method": "client_secret_basic",
		"grant_types": []string{"authorization_code", "refresh_token", deviceCode}})
	a := w.tokens(c)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(c.ID+":"+c.Secret))
	form := "application/x-www-form-urlencoded"
	for _, path := range []string{"/oauth2/revoke", "/oauth2/introspect", "/oauth2/device_authorization"} {
		good := url.Values{"token": {a.RefreshToken}, "resource": {w.mail()}}.Encode()
		for name, test := range map[string]struct {
			authorization, contentType, query, body string
			status                                  int
			code                                    string
		}{
			"no client":                     {"", form, "", good, 401, "invalid_client"},
			"an unknown client":             {"", form, "", good + "&client_id=nobody", 401, "invalid_client"},
			"a wrong secret":                {"Basic " + base64.StdEncoding.EncodeToString([]byte(c.ID+":x")), form, "", good, 401, "invalid_client"},
			"no secret":                     {"", form, "", good + "&client_id=" + c.ID, 401, "invalid_client"},
			"a bearer token":                {"Bearer " + a.AccessToken, form, "", good, 401, "invalid_client"},
			"two ways to authenticate":      {basic, form, "", good + "&client_id=" + c.ID + "&client_secret=" + c.Secret, 400, "invalid_request"},
			"two tokens":                    {basic, form, "", good + "&token=x", 400, "invalid_request"},
			"two scopes":                    {basic, form, "", good + "&scope=a&scope=b", 400, "invalid_request"},
			"JSON":                          {basic, "application/json", "", `{"token":"x"}`, 400, "invalid_request"},
			"no content type":               {basic, "", "", good, 400, "invalid_request"},
			"a body of more than 64 KiB":    {basic, form, "", good + "&x=" + strings.Repeat("x", 64<<10), 400, "invalid_request"},
			"a malformed body":              {basic, form, "", good + "&%zz", 400, "invalid_request"},
			"the client in the URL":         {"", form, "?client_id=" + c.ID + "&client_secret=" + c.Secret, good, 401, "invalid_client"},
			"all in the URL":                {basic, form, "?" + good, "", 400, map[bool]string{true: "invalid_target", false: "invalid_request"}[strings.Contains(path, "device")]},
			"all in the URL, and not POST ": {basic, "", "?" + good, "GET", 405, ""},
		} {
			t.Run(path+", "+name, func(t *testing.T) {
				w := w.in(t)
				method, body := "POST", test.body
				if body == "GET" {
					method, body = "GET", ""
				}
				r := w.request(method, path+test.query, test.contentType, body)
				if test.authorization != "" {
					r.Header.Set("Authorization", test.authorization)
				}
				got := w.do(r)
				if test.code == "" {
					if got.status != test.status {
						t.Errorf("answer %d %s", got.status, got.body)
					}
					return
				}
				w.wantError(got, test.status, test.code)
			})
		}
	}
	w.wantOK(w.token(nil, refreshForm(a.RefreshToken, change{"client_id": {c.ID}, "client_secret": {c.Secret}}))) // nothing of that revoked it
}

func TestRevocationWithoutAToken(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for _, form := range []url.Values{{}, {"token": {""}}, {"token_type_hint": {"refresh_token"}}} {
		w.wantError(w.postForm("/oauth2/revoke", &c, form), 400, "invalid_request")
	}
}

// TestPagesOfOtherOrigins may revoke and begin a device grant, for a client may be a
// page; none may introspect, for it has no secret.
func TestPagesOfOtherOrigins(t *testing.T) {
	w := newWorld(t)
	for path, open := range map[string]bool{"/oauth2/revoke": true, "/oauth2/device_authorization": true, "/oauth2/introspect": false} {
		for _, method := range []string{"OPTIONS", "POST"} {
			r := w.request(method, path, "", "")
			r.Header.Set("Origin", "https://inspector.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
			a := w.do(r)
			if got := a.header.Get("Access-Control-Allow-Origin"); (got == "*") != open || got != "" && !open || method == "OPTIONS" && (a.status == 204) != open {
				t.Errorf("%s %s: %d, Access-Control-Allow-Origin %q", method, path, a.status, got)
			}
		}
	}
}

func TestRevocationFailsClosed(t *testing.T) {
	pick := map[string]func(answer) string{"refresh": func(a answer) string { return a.RefreshToken }, "access": func(a answer) string { return a.AccessToken }}
	for kind, methods := range map[string][]string{
		"refresh": {"Client", "RefreshToken", "RevokeAuthorization"},
		"access":  {"Client", "Authorization", "RevokeAuthorization"},
	} {
		t.Run(kind+", the audit log", func(t *testing.T) {
			w := newWorld(t)
			c := w.confidential()
			a := w.tokens(c)
			w.audit.setBroken(true)
			w.wantServerError(w.postForm("/oauth2/revoke", &c, url.Values{"token": {pick[kind](a)}}), errAudit)
			w.audit.setBroken(false)
			w.wantActive(c, a.AccessToken, true)
			w.revoke(c, pick[kind](a))
			w.wantActive(c, a.AccessToken, false)
		})
		for _, method := range methods {
			t.Run(kind+", "+method, func(t *testing.T) {
				w := newWorld(t)
				c := w.confidential()
				a := w.tokens(c)
				w.store.on(failing(method))
				w.wantServerError(w.postForm("/oauth2/revoke", &c, url.Values{"token": {pick[kind](a)}}), errDisk)
				w.store.on(nil)
				w.wantActive(c, a.AccessToken, true) // all or nothing
				w.revoke(c, pick[kind](a))
				w.wantActive(c, a.AccessToken, false)
				w.wantDead(c, a.RefreshToken)
			})
		}
	}
	t.Run("the keys", func(t *testing.T) {
		w := newWorld(t, func(c *authz.Config) {
			c.Verifier = token.NewVerifier(token.VerifierConfig{Issuer: c.Issuer, Keys: brokenKeys{}, Now: c.Now})
		})
		token := w.workload()
		w.wantServerError(w.postForm("/oauth2/revoke", &agent, url.Values{"token": {token}}), errKeys)
		w.wantServerError(w.postForm("/oauth2/introspect", &agent, url.Values{"token": {token}}), errKeys)
	})
}

func TestSixteenRevocationsAtOnce(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	a := w.tokens(c)
	for _, token := range []string{a.AccessToken, a.RefreshToken} {
		for _, got := range together(16, func() answer { return w.postForm("/oauth2/revoke", &c, url.Values{"token": {token}}) }) {
			if got.status != http.StatusOK {
				t.Errorf("answer %d %s", got.status, got.body)
			}
		}
	}
	w.wantActive(c, a.AccessToken, false)
}

// TestLoserOfTwoRevocations makes the race certain.
func TestLoserOfTwoRevocations(t *testing.T) {
	w := newWorld(t)
	public := w.public()
	for name, test := range map[string]struct {
		by    client
		token string
	}{"of a family": {public, w.tokens(public).AccessToken}, "of a workload's token": {agent, w.workload()}} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.store.on(once("Revoke", func() { w.revoke(test.by, test.token) }))
			w.revoke(test.by, test.token)
		})
	}
}

func TestAuditLinesOfARevocation(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	a, b := w.tokens(c), w.tokens(c)
	w.audit.take()
	w.revoke(c, a.RefreshToken)
	w.revoke(c, b.AccessToken)
	w.wantError(w.postForm("/oauth2/revoke", &agent, url.Values{"token": {a.RefreshToken}}), 400, "invalid_grant")
	got := w.audit.take()
	for i := range got {
		got[i].RequestID = ""
	}
	claims := func(a answer, name string) string { s, _ := payload(t, a.AccessToken)[name].(string); return s }
	want := []audit.Event{
		{Kind: audit.Token, Action: "revoke", Subject: "alice", Client: c.ID, Txn: claims(a, "txn"), Resource: w.mail(), Source: "127.0.0.1", Decision: audit.Allow},
		{Kind: audit.Token, Action: "revoke", Subject: "alice", Client: c.ID, Txn: claims(b, "txn"), TokenID: claims(b, "jti"), Resource: w.mail(),
			Source: "127.0.0.1", Decision: audit.Allow},
		{Kind: audit.Denial, Action: "revoke", Client: "agent", Source: "127.0.0.1", Decision: audit.Deny, Reason: "invalid_grant"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit lines (-want +got):\n%s", diff)
	}
}
