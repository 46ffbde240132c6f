package authz_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// wantServerError checks that the answer tells nothing and that the log tells why.
func (w *world) wantServerError(a answer, cause error) {
	w.t.Helper()
	w.wantError(a, 500, "server_error")
	if !strings.Contains(w.log.String(), cause.Error()) {
		w.t.Errorf("the log does not tell %q: %s", cause, w.log)
	}
}

// wantBrokenPage is wantServerError for a page.
func (w *world) wantBrokenPage(p page, cause error) {
	w.t.Helper()
	if p.status != http.StatusInternalServerError || p.to != nil || strings.Contains(p.body, cause.Error()) {
		w.t.Errorf("answer %d to %v: %s", p.status, p.to, p.text())
	}
	if !strings.Contains(w.log.String(), cause.Error()) {
		w.t.Errorf("the log does not tell %q: %s", cause, w.log)
	}
}

func TestNothingIsIssuedWithoutARecord(t *testing.T) {
	t.Run("no client", func(t *testing.T) {
		w := newWorld(t)
		w.audit.setBroken(true)
		w.wantServerError(w.postRegister(`{"redirect_uris":["http://localhost/cb"]}`), errAudit)
		if w.store.called("InsertClient") {
			t.Error("the client was stored")
		}
	})
	t.Run("no login", func(t *testing.T) {
		w := newWorld(t)
		c := w.public()
		b := w.browser()
		p := b.get(w.authorizePath(c))
		w.audit.setBroken(true)
		w.wantBrokenPage(b.post("/oauth2/login", url.Values{"request": {p.sealed(t)}, "user": {"alice"}}), errAudit)
		if p := b.get(w.authorizePath(c)); !strings.Contains(p.text(), "Sign in to let") {
			t.Errorf("logged in: %s", p.text())
		}
	})
	for _, decision := range []string{"approve", "deny"} {
		t.Run("no code, decision "+decision, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			p := b.login(w.authorizePath(w.public()), "alice")
			w.audit.setBroken(true)
			w.wantBrokenPage(b.decide(p, decision), errAudit)
			if w.store.called("InsertCode") {
				t.Error("the code was stored")
			}
		})
	}
	t.Run("no token for a code, which stays unused", func(t *testing.T) {
		w := newWorld(t)
		c := w.public()
		form := codeForm(c, w.approve(c).Get("code"))
		w.audit.setBroken(true)
		w.wantServerError(w.token(&c, form), errAudit)
		w.audit.setBroken(false)
		w.wantOK(w.token(&c, form))
	})
	t.Run("no token for a refresh token, which stays unused", func(t *testing.T) {
		w := newWorld(t)
		c := w.public()
		a := w.tokens(c)
		w.audit.setBroken(true)
		w.wantServerError(w.token(&c, refreshForm(a.RefreshToken)), errAudit)
		w.audit.setBroken(false)
		w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
	})
	t.Run("no token for a workload", func(t *testing.T) {
		w := newWorld(t)
		w.audit.setBroken(true)
		w.wantServerError(w.token(&client{ID: "agent", Secret: agentSecret}, url.Values{"grant_type": {"client_credentials"}, "resource": {w.mail()}}), errAudit)
	})
	t.Run("a denial that cannot be recorded", func(t *testing.T) {
		w := newWorld(t)
		w.audit.setBroken(true)
		w.wantServerError(w.token(&client{ID: "agent", Secret: agentSecret}, url.Values{"grant_type": {"client_credentials"}}), errAudit)
	})
	t.Run("a reuse revokes the family all the same", func(t *testing.T) {
		w := newWorld(t)
		c := w.public()
		a := w.tokens(c)
		b := w.token(&c, refreshForm(a.RefreshToken))
		w.clock.advance(grace)
		w.audit.setBroken(true)
		w.wantServerError(w.token(&c, refreshForm(a.RefreshToken)), errAudit)
		w.audit.setBroken(false)
		w.wantError(w.token(&c, refreshForm(b.RefreshToken)), 400, "invalid_grant")
	})
}

func TestStoreThatFailsAtTheTokenEndpoint(t *testing.T) {
	for _, method := range []string{"Client", "Code", "InTx", "RedeemCode", "InsertRefreshToken"} {
		t.Run("redeem a code, "+method, func(t *testing.T) {
			w := newWorld(t)
			c := w.public()
			form := codeForm(c, w.approve(c).Get("code"))
			w.store.on(failing(method))
			w.wantServerError(w.token(&c, form), errDisk)
			w.store.on(nil)
			w.wantOK(w.token(&c, form)) // nothing of it was stored
		})
	}
	for _, method := range []string{"Client", "RefreshToken", "InTx", "RotateRefreshToken", "InsertRefreshToken"} {
		t.Run("refresh, "+method, func(t *testing.T) {
			w := newWorld(t)
			c := w.public()
			form := refreshForm(w.tokens(c).RefreshToken)
			w.store.on(failing(method))
			w.wantServerError(w.token(&c, form), errDisk)
			w.store.on(nil)
			w.wantOK(w.token(&c, form))
		})
	}
	t.Run("revoke a family", func(t *testing.T) {
		w := newWorld(t)
		c := w.public()
		a := w.tokens(c)
		w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
		w.clock.advance(grace)
		w.store.on(failing("RevokeAuthorization"))
		w.wantServerError(w.token(&c, refreshForm(a.RefreshToken)), errDisk)
	})
}

func TestStoreThatFailsElsewhere(t *testing.T) {
	t.Run("register", func(t *testing.T) {
		w := newWorld(t)
		w.store.on(failing("InsertClient"))
		w.wantServerError(w.postRegister(`{"redirect_uris":["http://localhost/cb"]}`), errDisk)
	})
	t.Run("authorize", func(t *testing.T) {
		w := newWorld(t)
		c := w.public()
		w.store.on(failing("Client"))
		w.wantBrokenPage(w.browser().get(w.authorizePath(c)), errDisk)
	})
	t.Run("login", func(t *testing.T) {
		w := newWorld(t)
		c := w.public()
		b := w.browser()
		p := b.get(w.authorizePath(c))
		w.store.on(failing("Client"))
		w.wantBrokenPage(b.post("/oauth2/login", url.Values{"request": {p.sealed(t)}, "user": {"alice"}}), errDisk)
	})
	t.Run("consent", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		p := b.login(w.authorizePath(w.public()), "alice")
		w.store.on(failing("InsertCode"))
		w.wantBrokenPage(b.decide(p, "approve"), errDisk)
	})
}

// TestStrangersCannotFillTheAuditLog: who has proven nothing shares a bounded
// number of lines, whatever it sends. A public client has proven nothing.
func TestStrangersCannotFillTheAuditLog(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for name, send := range map[string]func(){
		"unknown clients":                   func() { w.token(&client{ID: "nobody"}, nil) },
		"wrong secrets":                     func() { w.token(&client{ID: "agent", Secret: "x"}, nil) },
		"bodies that are no forms":          func() { w.do(w.request("POST", "/oauth2/token", "application/json", "{}")) },
		"a public client with bad codes":    func() { w.token(&c, codeForm(c, "x")) },
		"a public client with bad refresh":  func() { w.token(&c, refreshForm("x")) },
		"a public client with bad grants":   func() { w.token(&c, url.Values{"grant_type": {"x"}}) },
		"registrations that are no JSON":    func() { w.postRegister("x") },
		"registrations of bad redirects":    func() { w.postRegister(`{"redirect_uris":["x"]}`) },
		"authorizations of unknown clients": func() { w.browser().get(w.authorizePath(client{ID: "x"})) },
		"authorizations of bad redirects":   func() { w.browser().get(w.authorizePath(c, change{"redirect_uri": {"https://evil.example"}})) },
		"authorizations without PKCE":       func() { w.browser().get(w.authorizePath(c, change{"code_challenge": nil})) },
		"forged consents":                   func() { w.browser().post("/oauth2/consent", url.Values{"request": {"x"}}) },
	} {
		t.Run(name, func(t *testing.T) {
			w.clock.advance(2 * window)
			w.audit.take()
			for range 20 {
				send()
			}
			events := w.audit.take()
			refusals := 0
			for _, e := range events {
				if e.Kind != audit.Refusal {
					t.Errorf("a line of its own: %+v", e)
				} else if e.Count == 0 {
					refusals++
					if e.Source != "127.0.0.1" || e.Decision != audit.Deny || e.Reason == "" || e.Action == "" || e.RequestID == "" {
						t.Errorf("refusal %+v", e)
					}
				}
			}
			if refusals != 1 {
				t.Errorf("%d lines for 20 refusals, want the first", refusals)
			}
		})
	}
}

func TestDenialOfAConfidentialClientIsALine(t *testing.T) {
	w := newWorld(t)
	w.audit.take()
	w.token(&client{ID: "agent", Secret: agentSecret}, url.Values{"grant_type": {"client_credentials"}, "resource": {upstreamURI}})
	w.token(&client{ID: "agent", Secret: agentSecret}, url.Values{"grant_type": {"a\nforged line"}})
	got := w.audit.take()
	for i := range got {
		got[i].RequestID = ""
	}
	line := audit.Event{Kind: audit.Denial, Client: "agent", Source: "127.0.0.1", Decision: audit.Deny}
	first, second := line, line
	first.Action, first.Reason = "client_credentials", "invalid_target"
	second.Action, second.Reason = "unknown grant_type", "unsupported_grant_type"
	if diff := cmp.Diff([]audit.Event{first, second}, got); diff != "" {
		t.Errorf("audit lines (-want +got):\n%s", diff)
	}
}

// TestStrangerWhoRegistersCannotFillTheAuditLog: a secret that anybody gets proves nobody.
func TestStrangerWhoRegistersCannotFillTheAuditLog(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	w.audit.take()
	for range 50 {
		w.wantError(w.token(&c, url.Values{"grant_type": {"password"}}), 400, "unsupported_grant_type")
	}
	if events := w.audit.take(); len(events) != 1 || events[0].Kind != audit.Refusal || events[0].Client != c.ID {
		t.Errorf("%d lines, the first %+v", len(events), events[:min(1, len(events))])
	}
}

func TestAuditLinesOfTheWholeWay(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	a := w.tokens(c, change{"scope": {"mcp:tools"}})
	w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
	txn, _ := payload(t, a.AccessToken)["txn"].(string)
	got := w.audit.take()
	for i := range got {
		if got[i].RequestID == "" {
			t.Errorf("no request id: %+v", got[i])
		}
		got[i].RequestID = ""
	}
	base := audit.Event{Client: c.ID, Source: "127.0.0.1", Decision: audit.Allow}
	lines := make([]audit.Event, 5)
	for i, kind := range []audit.Kind{audit.Registration, audit.Login, audit.Consent, audit.Token, audit.Token} {
		lines[i] = base
		lines[i].Kind = kind
		if i > 0 {
			lines[i].Subject = "alice"
		}
		if i > 1 {
			lines[i].Resource, lines[i].Scope, lines[i].Txn = w.mail(), "mcp:tools", txn // which begins with what the person allowed
		}
		if i > 2 {
			lines[i].Action = "authorization_code"
		}
	}
	lines[4].Action = "refresh_token"
	if diff := cmp.Diff(lines, got); diff != "" {
		t.Errorf("audit lines (-want +got):\n%s", diff)
	}
}
