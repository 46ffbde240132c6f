package authz_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

func identifier() string { return rand.Text() }

func TestIDJAGGetsAToken(t *testing.T) {
	w := newFederated(t, withResourceServers)
	w.putResourceServers()
	w.audit.take()
	jti := identifier()
	a := w.bear(&host, w.idJAG("host", object{"jti": jti, "groups": []string{"staff"}, "acr": "mfa", "auth_time": w.clock.Now().Unix() - 60}), change{"code": {""}}) // which the Go SDK sends
	w.wantOK(a)
	if a.RefreshToken != "" || a.TokenType != "Bearer" || a.Scope != "mcp:tools mcp:prompts" || a.ExpiresIn != int(accessLifetime.Seconds()) {
		t.Errorf("answer %s", a.body)
	}
	at := must(w.verifier.ParseAccess(t.Context(), a.AccessToken, w.mail(), token.Confirmation{}))(t)
	if at.Subject().String() != idpIssuer+"|alice" || at.ClientID().String() != "host" || at.Workload() || at.ACR() != "mfa" || len(at.Groups()) != 1 || at.AuthTime().IsZero() {
		t.Errorf("token for %s of %s", at.Subject(), at.ClientID())
	}
	events := w.audit.take()
	i := slices.IndexFunc(events, func(e audit.Event) bool { return e.Kind == audit.Token })
	if i < 0 || events[i].Action != oauth.GrantJWTBearer || events[i].Txn != at.Txn() || events[i].TokenID != jti || !strings.Contains(events[i].Reason, idpIssuer) {
		t.Errorf("recorded %+v", events)
	}
	w.wantActive(mailServer, a.AccessToken, true)
	w.revoke(host, a.AccessToken)
	w.wantActive(mailServer, a.AccessToken, false)
}

// TestRevokingTheAssertionOfTheAuditLogRevokesItsToken: the jti in the line of a grant is
// the assertion's, and what an operator revokes by it is what came of that.
func TestRevokingTheAssertionOfTheAuditLogRevokesItsToken(t *testing.T) {
	w := newFederated(t, withResourceServers)
	w.putResourceServers()
	a := w.bear(&host, w.idJAG("host", object{"jti": "in-the-log"}))
	w.wantOK(a)
	w.wantActive(mailServer, a.AccessToken, true)
	noError(t, w.store.Revoke(t.Context(), revocation.New(revocation.Token, "in-the-log", w.clock.Now())))
	noError(t, w.view.Poll(t.Context()))
	w.wantActive(mailServer, a.AccessToken, false)
}

func TestIDJAGIsGoodOnce(t *testing.T) {
	w := newFederated(t)
	raw := w.idJAG("host")
	w.wantOK(w.bear(&host, raw))
	w.wantError(w.bear(&host, raw), 400, "invalid_grant")
	w.clock.advance(299 * time.Second)
	w.wantError(w.bear(&host, raw), 400, "invalid_grant")
	w.wantOK(w.bear(&host, w.idJAG("host", object{"jti": "x"})))
	w.wantError(w.bear(&host, w.idJAG("host", object{"jti": "x", "sub": "bob"})), 400, "invalid_grant") // whatever else it says
}

// TestIDJAGIsSpentBeyondItsExpiry: a replica whose clock is behind still takes it.
func TestIDJAGIsSpentBeyondItsExpiry(t *testing.T) {
	w := newFederated(t)
	iat := w.clock.Now().Unix()
	w.wantOK(w.bear(&host, w.idJAG("host", object{"jti": "x"})))
	key := authz.TicketKey(idpIssuer, "x")
	for at, want := range map[time.Duration]bool{300 * time.Second: true, 419 * time.Second: true, 421 * time.Second: false} {
		_, err := w.store.Ticket(t.Context(), authz.TicketGrant, key, time.Unix(iat, 0).Add(at))
		if (err == nil) != want {
			t.Errorf("after %s: %v", at, err)
		}
	}
}

func TestThirtyTwoBearersOfOneIDJAG(t *testing.T) {
	w := newFederated(t)
	raw := w.idJAG("host")
	won := 0
	for _, a := range together(32, func() answer { return w.bear(&host, raw) }) {
		if a.status == http.StatusOK {
			won++
		} else {
			w.wantError(a, 400, "invalid_grant")
		}
	}
	if won != 1 {
		t.Errorf("%d tokens by one assertion", won)
	}
}

// TestIDJAGThatIsNotTaken: one answer to all, and none is spent by it.
func TestIDJAGThatIsNotTaken(t *testing.T) {
	w := newFederated(t)
	want := w.bear(&host, "x")
	w.wantError(want, 400, "invalid_grant")
	for name, a := range map[string]answer{
		"of another client":                w.bear(&host, w.idJAG("narrow")),
		"for a resource elsewhere":         w.bear(&host, w.idJAG("host", object{"resource": "https://other.example"})),
		"for an upstream":                  w.bear(&host, w.idJAG("host", object{"resource": upstreamURI})),
		"for another than is asked for":    w.bear(&host, w.idJAG("host"), change{"resource": {w.files()}}),
		"for one of two asked for":         w.bear(&host, w.idJAG("host"), change{"resource": {w.mail(), w.files()}}),
		"expired":                          w.bear(&host, w.idJAG("host", object{"iat": w.clock.Now().Unix() - 300, "exp": w.clock.Now().Unix()})),
		"another audience":                 w.bear(&host, w.idJAG("host", object{"aud": w.url + "/"})),
		"bound to a key":                   w.bear(&host, w.idJAG("host", object{"cnf": object{"jkt": strings.Repeat("A", 43)}})),
		"an ID token":                      w.bear(&host, es256(t, w.claims("alice", object{"iss": idpIssuer, "aud": "host", "client_id": "host", "resource": w.mail()}), object{"typ": "JWT"})),
		"an access token of ours":          w.bear(&host, w.workload()),
		"a client assertion":               w.bear(&host, es256(t, w.claims("host"))),
		"a workload's, with credentials":   w.bear(&host, w.svid()),
		"a workload's of that client":      w.bear(&host, w.svid(object{"sub": trustDomain + "/with-a-secret"})),
		"of somebody with a client's name": w.bear(&host, w.idJAG("host", object{"iss": trustDomain})),
	} {
		if a.status != want.status || a.body != want.body {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	w.wantError(w.bear(&host, ""), 400, "invalid_request")
	w.wantError(w.bear(&client{ID: "open"}, w.idJAG("open")), 400, "unauthorized_client")
	w.wantError(w.bear(&client{ID: "host", Secret: "wrong"}, w.idJAG("host")), 401, "invalid_client")
	w.wantError(w.bear(&client{ID: "host"}, w.idJAG("host")), 401, "invalid_client")
	w.wantError(w.bear(&agent, w.idJAG("agent")), 400, "unauthorized_client") // which did not register for it
	raw := w.idJAG("host")
	w.wantError(w.bear(&host, raw, change{"resource": {w.files()}}), 400, "invalid_grant")
	w.wantOK(w.bear(&host, raw))
}

func TestIDJAGWidensNothing(t *testing.T) {
	w := newFederated(t)
	for name, tt := range map[string]struct {
		by, asserted string
		asked, want  string
	}{
		"as asserted":                       {"host", "mcp:tools", "", "mcp:tools"},
		"more than asserted":                {"host", "mcp:tools", "mcp:tools mcp:prompts", "mcp:tools"},
		"less than asserted":                {"host", "mcp:tools mcp:prompts", "mcp:prompts", "mcp:prompts"},
		"one tool, as asserted":             {"host", "tool:send_message", "", "tool:send_message"},
		"one tool of all":                   {"host", "mcp:tools", "tool:send_message", "tool:send_message"},
		"all tools of one":                  {"host", "tool:send_message", "mcp:tools", ""},
		"another tool":                      {"host", "tool:send_message", "tool:read_message tool:send_message", "tool:send_message"},
		"more than the client has":          {"narrow", "mcp:tools mcp:prompts", "", "mcp:tools"},
		"nothing that the client has":       {"narrow", "mcp:prompts", "", ""},
		"nothing asserted":                  {"host", "", "", "mcp:tools mcp:resources mcp:prompts"},
		"nothing asserted, something asked": {"host", "", "mcp:prompts openid", "mcp:prompts"},
		"nothing asserted, narrow client":   {"narrow", "", "mcp:prompts mcp:tools", "mcp:tools"},
	} {
		c := object{"scope": tt.asserted}
		if tt.asserted == "" {
			c["scope"] = nil
		}
		a := w.bear(&client{ID: tt.by, Secret: agentSecret}, w.idJAG(tt.by, c), change{"scope": {tt.asked}})
		if tt.want == "" {
			w.wantError(a, 400, "invalid_scope")
		} else if a.Scope != tt.want || w.parse(a.AccessToken).Scope().String() != tt.want {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.body, tt.want)
		}
	}
}

func (w *world) parse(raw string) token.Access {
	w.t.Helper()
	return must(w.verifier.ParseAccess(w.t.Context(), raw, w.mail(), token.Confirmation{}))(w.t)
}

// TestIDJAGThatCannotBeRecordedIsNotSpent, stored or answered: all of it, or nothing.
func TestIDJAGThatCannotBeRecordedIsNotSpent(t *testing.T) {
	w := newFederated(t)
	raw := w.idJAG("host")
	w.audit.setBroken(true)
	w.wantError(w.bear(&host, raw), 500, "server_error")
	w.audit.setBroken(false)
	for _, method := range []string{"InsertTicket", "InTx", "Client"} {
		w.store.on(failing(method))
		w.wantError(w.bear(&host, raw), 500, "server_error")
	}
	w.store.on(nil)
	w.wantOK(w.bear(&host, raw))
}

// TestIDJAGIsNoClientAssertion, and the reverse.
func TestIDJAGIsNoClientAssertion(t *testing.T) {
	w := newFederated(t)
	w.static("asserting", func(c *authz.Client) { c.GrantTypes = []string{oauth.GrantJWTBearer, grantEcho} })
	now := w.clock.Now().Unix()
	both := object{"iss": "asserting", "sub": "asserting", "aud": w.url, "client_id": "asserting", "resource": w.mail(), "iat": now, "exp": now + 60}
	asserting := func(typ, jti string, claims object) change {
		claims["jti"] = jti
		return change{"client_assertion_type": {oauth.AssertionJWTBearer}, "client_assertion": {es256(t, claims, object{"typ": typ})}}
	}
	w.wantError(w.bear(nil, w.idJAG("asserting"), asserting("oauth-id-jag+jwt", "1", both)), 401, "invalid_client")
	w.wantOK(w.bear(nil, w.idJAG("asserting"), asserting("JWT", "2", both)))
	w.wantError(w.bear(nil, es256(t, both), asserting("JWT", "3", both)), 400, "invalid_grant")
}

func TestWorkloadGetsATokenOfItsClient(t *testing.T) {
	w := newFederated(t)
	w.audit.take()
	raw := w.svid()
	for _, by := range []*client{nil, &reporter, nil} { // the same token again, with client_id or without
		a := w.bear(by, raw, change{"resource": {w.mail()}})
		w.wantOK(a)
		if at := w.parse(a.AccessToken); !at.Workload() || at.Subject().String() != "report-agent" || a.RefreshToken != "" {
			t.Errorf("token for %s, %s", at.Subject(), a.body)
		}
	}
	if e := w.audit.take(); len(e) != 3 || e[0].Client != "report-agent" || e[0].Reason != trustDomain+"|"+reportSVID {
		t.Errorf("recorded %+v", e)
	}
	w.wantError(w.bear(nil, raw), 400, "invalid_target")
	w.wantError(w.bear(nil, raw, change{"resource": {upstreamURI}}), 400, "invalid_target")
	w.wantError(w.bear(nil, raw, change{"resource": {w.mail()}, "scope": {"wif.rejected"}}), 400, "invalid_scope")
}

// TestWorkloadSaysWhatItIsFor, even where there is only one server.
func TestWorkloadSaysWhatItIsFor(t *testing.T) {
	w := newFederated(t, func(c *authz.Config) {
		c.Resources = oauth.NewResources([]oauth.Resource{resource(t, c.Issuer+"/mcp/mail")}, nil)
	})
	w.wantError(w.bear(nil, w.svid()), 400, "invalid_target")
	w.wantOK(w.bear(nil, w.svid(), change{"resource": {w.mail()}}))
}

// TestWorkloadAssertionThatProvesNobody: one answer to all.
func TestWorkloadAssertionThatProvesNobody(t *testing.T) {
	w := newFederated(t)
	to := change{"resource": {w.mail()}}
	for name, a := range map[string]answer{
		"unknown":                    w.bear(nil, w.svid(object{"sub": trustDomain + "/x"}), to),
		"of a client with a secret":  w.bear(nil, w.svid(object{"sub": trustDomain + "/with-a-secret"}), to),
		"of a client that is gone":   w.bear(nil, w.svid(object{"sub": trustDomain + "/not-there"}), to),
		"an ID-JAG":                  w.bear(nil, w.idJAG("host"), to),
		"an ID-JAG for the workload": w.bear(&reporter, w.idJAG("report-agent"), to),
		"another audience":           w.bear(nil, w.svid(object{"aud": w.mail()}), to),
		"an access token of ours":    w.bear(nil, w.workload(), to),
		"no JWT":                     w.bear(nil, "x", to),
	} {
		if a.Error != "invalid_grant" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		w.wantWellFormed(a)
	}
	w.wantError(w.bear(nil, "", to), 400, "invalid_request")
	for _, cause := range []string{"proves itself in another way", "is not configured"} {
		if !strings.Contains(w.log.String(), cause) {
			t.Errorf("no assertion was refused because its client %s", cause)
		}
	}
}

// TestWorkloadWithAnothersName: a client_id beside the assertion must be its client's, and
// what is issued is what the assertion proves when it is issued.
func TestWorkloadWithAnothersName(t *testing.T) {
	w := newFederated(t)
	raw, to := w.svid(object{"sub": trustDomain + "/scan"}), change{"resource": {w.mail()}}
	w.wantError(w.bear(&reporter, raw, to), 400, "invalid_grant")
	w.wantOK(w.bear(&client{ID: "scanner"}, raw, to))
	w = newFederated(t, func(c *authz.Config) { c.Federation = &fickle{Federation: c.Federation} })
	w.wantError(w.bear(nil, w.svid(), to), 400, "invalid_grant")
}

// TestWorkloadAssertionBesideAnotherProof, or at another door, proves nothing.
func TestWorkloadAssertionBesideAnotherProof(t *testing.T) {
	w := newFederated(t)
	w.static("asserting")
	raw, to := w.svid(), change{"resource": {w.mail()}}
	w.wantError(w.bear(&host, raw, to), 400, "invalid_grant")
	w.wantError(w.bear(&client{ID: "report-agent", Secret: agentSecret}, raw, to), 401, "invalid_client")
	w.wantError(w.bear(&client{ID: "host"}, raw, to), 401, "invalid_client")
	w.wantError(w.bear(&client{ID: "open"}, raw, to), 400, "unauthorized_client")
	w.wantError(w.bear(&client{ID: "nobody"}, raw, to), 401, "invalid_client")
	own := change{"client_assertion_type": {oauth.AssertionJWTBearer}, "client_assertion": {raw}}
	w.wantError(w.bear(nil, raw, to, own), 401, "invalid_client")
	w.wantError(w.bear(nil, raw, to, change{"client_assertion": {es256(t, w.claims("asserting"))}, "client_assertion_type": {oauth.AssertionJWTBearer}}), 400, "unauthorized_client")
	w.wantError(w.bear(nil, raw, to, change{"client_assertion": {es256(t, w.claims("report-agent"))}, "client_assertion_type": {oauth.AssertionJWTBearer}}), 401, "invalid_client")
	w.wantError(w.bear(nil, raw, to, change{"client_secret": {agentSecret}}), 401, "invalid_client")
	for _, header := range []string{"Basic ", "Basic Og==", "Bearer x", "Basic cmVwb3J0LWFnZW50Og=="} {
		r := w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", "grant_type="+oauth.GrantJWTBearer+"&assertion="+raw+"&resource="+w.mail())
		r.Header.Set("Authorization", header)
		w.wantError(w.do(r), 401, "invalid_client")
	}
	for _, grant := range []string{oauth.GrantClientCredentials, grantEcho, "", oauth.GrantTokenExchange, "authorization_code", "refresh_token"} {
		for _, by := range []*client{nil, &reporter} {
			if a := w.bear(by, raw, to, change{"grant_type": {grant}}); a.status != 401 || a.Error != "invalid_client" {
				t.Errorf("grant %q: %d %s", grant, a.status, a.body)
			}
		}
	}
	for _, path := range []string{"/oauth2/revoke", "/oauth2/introspect", "/oauth2/par", "/oauth2/device_authorization"} {
		for _, by := range []*client{nil, &reporter} {
			form := url.Values{"grant_type": {oauth.GrantJWTBearer}, "assertion": {raw}, "token": {"x"}}
			if a := w.postForm(path, by, form); a.status != 401 || a.Error != "invalid_client" {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
}

// TestJWTBearerIsOfferedWhereSomebodyIsTrusted.
func TestJWTBearerIsOfferedWhereSomebodyIsTrusted(t *testing.T) {
	w := newWorld(t)
	w.wantError(w.bear(&agent, w.idJAG("agent")), 400, "unsupported_grant_type")
	w.wantError(w.bear(nil, w.svid()), 401, "invalid_client")
	for want, s := range map[bool]*authz.Server{false: w.server, true: newFederated(t).server} {
		if got := slices.Contains(s.GrantTypes(), oauth.GrantJWTBearer); got != want {
			t.Errorf("grant types %v", s.GrantTypes())
		}
		if got := slices.Equal(s.GrantProfiles(), []string{"urn:ietf:params:oauth:grant-profile:id-jag"}); got != want {
			t.Errorf("profiles %v", s.GrantProfiles())
		}
	}
}

// TestPersonWithTheNameOfAnotherIssuers could act as who has an ID-JAG of that.
func TestPersonWithTheNameOfAnotherIssuers(t *testing.T) {
	w := newFederated(t, func(c *authz.Config) {
		c.InsecureUsers = append(c.InsecureUsers, subject(t, idpIssuer+"|alice"))
	})
	if p := w.browser().login(w.authorizePath(w.public()), idpIssuer+"|alice"); p.status != http.StatusBadRequest || !strings.Contains(p.text(), "another issuer") {
		t.Errorf("%d %s", p.status, p.text())
	}
}

func TestIDJAGWhileTheStoreCannotTellWhoIsAClient(t *testing.T) {
	w := newFederated(t)
	raw := w.idJAG("host")
	asked := 0
	w.store.on(func(_ context.Context, method string) error {
		if method == "Client" {
			asked++
		}
		if method == "Client" && asked > 1 { // the second asks for a client with the person's name
			return errDisk
		}
		return nil
	})
	w.wantError(w.bear(&host, raw), 500, "server_error")
	w.store.on(nil)
	w.wantOK(w.bear(&host, raw))
}
