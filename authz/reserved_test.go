package authz_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	pagesID = "wicketgate-console"
	lineID  = "wicketgate-cli"
)

// newConsoleWorld has a resource that is for two clients alone.
func newConsoleWorld(t *testing.T) (w *world, pages, line client) {
	t.Helper()
	w = newWorld(t, func(c *authz.Config) {
		c.Resources = c.Resources.Reserve(resource(t, c.Issuer+"/console"), []string{oauth.ScopeApprovals}, pagesID, lineID)
	})
	pages = client{ID: pagesID, redirect: w.url + "/console/callback"}
	line = client{ID: lineID}
	noError(t, w.server.PutStatic(t.Context(),
		authz.Client{ID: identity.MustClientID(pagesID), Name: "Wicketgate console", AuthMethod: oauth.AuthNone, GrantTypes: []string{oauth.GrantAuthorizationCode}, RedirectURIs: []string{pages.redirect}},
		authz.Client{ID: identity.MustClientID(lineID), Name: "wicketgate approvals", AuthMethod: oauth.AuthNone, GrantTypes: []string{oauth.GrantDeviceCode}}))
	return w, pages, line
}

func (w *world) console() string { return w.url + "/console" }

// consoleTokens goes the whole way as alice.
func (w *world) consoleTokens(pages client, changes ...change) answer {
	w.t.Helper()
	q := w.approve(pages, append([]change{{"resource": {w.console()}}}, changes...)...)
	return w.token(&pages, codeForm(pages, q.Get("code")))
}

func TestConsoleTokenIsForItsResourceAndScopeAlone(t *testing.T) {
	w, pages, _ := newConsoleWorld(t)
	for name, ch := range map[string]change{
		"no scope":                         {},
		"its scope":                        {"scope": {"approvals"}},
		"its scope, with a trailing slash": {"scope": {"approvals"}, "resource": {w.console() + "/"}},
		"more than its scope":              {"scope": {"openid approvals mcp:tools tool:send_message"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.in(t).consoleTokens(pages, ch)
			w.in(t).wantOK(a)
			if a.Scope != "approvals" || a.RefreshToken != "" {
				t.Errorf("scope %q, refresh token %t", a.Scope, a.RefreshToken != "")
			}
			at := must(w.verifier.ParseAccess(t.Context(), a.AccessToken, w.console(), token.Confirmation{}))(t)
			if at.Subject().String() != "alice" || at.ClientID().String() != pagesID || at.AuthTime().IsZero() {
				t.Errorf("token of %s by %s, logged in at %s", at.Subject(), at.ClientID(), at.AuthTime())
			}
		})
	}
}

// TestConsoleTokenForAnotherClientIsRefused: an MCP client of an approver gets none that
// approves, at no endpoint, and is told no more than for a resource that is not there.
func TestConsoleTokenForAnotherClientIsRefused(t *testing.T) {
	w, _, _ := newConsoleWorld(t)
	c := w.register("http://127.0.0.1:7777/callback", map[string]any{"grant_types": []string{"authorization_code", "refresh_token", deviceCode}})
	refresh := w.tokens(c).RefreshToken
	send := map[string]func(w *world, ch change) (code, description string){
		"authorize": func(w *world, ch change) (string, string) {
			q := w.browser().get(w.authorizePath(c, ch)).query(w.t, c.redirect)
			return q.Get("error"), q.Get("error_description")
		},
		"par": func(w *world, ch change) (string, string) { a, _ := w.push(c, ch); return a.Error, a.Description },
		"code": func(w *world, ch change) (string, string) {
			a := w.token(&c, codeForm(c, w.approve(c).Get("code"), ch))
			return a.Error, a.Description
		},
		"refresh": func(w *world, ch change) (string, string) {
			a := w.token(&c, refreshForm(refresh, ch))
			return a.Error, a.Description
		},
		"client credentials": func(w *world, ch change) (string, string) {
			a := w.token(&agent, with(url.Values{"grant_type": {"client_credentials"}}, ch))
			return a.Error, a.Description
		},
		"device": func(w *world, ch change) (string, string) {
			a := w.beginning(c, ch)
			return a.Error, a.Description
		},
	}
	for name, send := range send {
		for _, spelling := range []string{"", "/"} {
			t.Run(name+" "+spelling, func(t *testing.T) {
				w := w.in(t)
				code, text := send(w, change{"resource": {w.console() + spelling}, "scope": {"approvals"}})
				unknown, unknownText := send(w, change{"resource": {w.url + "/nothing"}, "scope": {"approvals"}})
				if code != "invalid_target" || code != unknown || text != unknownText {
					t.Errorf("%s %q, and %s %q for one that is not there; want invalid_target, alike", code, text, unknown, unknownText)
				}
			})
		}
	}
}

// TestApprovalsScopeAtAnMCPServerIsNotGranted: the scope alone opens nothing either.
func TestApprovalsScopeAtAnMCPServerIsNotGranted(t *testing.T) {
	w, _, _ := newConsoleWorld(t)
	c := w.public()
	if a := w.tokens(c, change{"scope": {"approvals mcp:tools"}}); a.Scope != "mcp:tools" {
		t.Errorf("scope %q, want mcp:tools", a.Scope)
	}
	q := w.browser().get(w.authorizePath(c, change{"scope": {"approvals"}})).query(t, c.redirect)
	if q.Get("error") != "invalid_scope" {
		t.Errorf("answer %v, want invalid_scope", q)
	}
}

// TestConsoleClientAtAnMCPServerIsRefused: everybody knows the id of a built-in client,
// and it has proven nothing.
func TestConsoleClientAtAnMCPServerIsRefused(t *testing.T) {
	w, pages, line := newConsoleWorld(t)
	for _, sent := range [][]string{{w.mail()}, {w.url}, {w.console(), w.mail()}, {}} {
		b := w.browser()
		if q := b.get(w.authorizePath(pages, change{"resource": sent})).query(t, pages.redirect); q.Get("error") != "invalid_target" {
			t.Errorf("authorize for %q: %v", sent, q)
		}
		if a := w.beginning(line, change{"resource": sent}); a.Error != "invalid_target" {
			t.Errorf("device for %q: %d %s", sent, a.status, a.body)
		}
	}
	for name, form := range map[string]url.Values{
		"client credentials": {"grant_type": {"client_credentials"}, "resource": {w.console()}},
		"exchange":           {"grant_type": {grantEcho}, "resource": {w.console()}},
	} {
		for _, c := range []client{pages, line} {
			if a := w.token(&c, form); a.Error != "unauthorized_client" {
				t.Errorf("%s by %s: %d %s", name, c.ID, a.status, a.body)
			}
		}
	}
}

// TestConsoleCodeAtAnotherPortIsRefused: on a developer's machine any program listens
// on a port, and loopback redirects may name any (RFC 8252 §7.3); the console's may not.
func TestConsoleCodeAtAnotherPortIsRefused(t *testing.T) {
	w, pages, _ := newConsoleWorld(t)
	for _, redirect := range []string{"http://127.0.0.1:7777/console/callback", "http://127.0.0.1/console/callback", pages.redirect + "/", pages.redirect + "?x"} {
		p := w.browser().get(w.authorizePath(pages, change{"redirect_uri": {redirect}, "resource": {w.console()}}))
		if p.to != nil || p.status != http.StatusBadRequest || !strings.Contains(p.text(), "redirect_uri is not one") {
			t.Errorf("%s: %d %s", redirect, p.status, p.text())
		}
	}
}

// TestConsentSaysWhatApprovalsAre: whoever allows it knows for what.
func TestConsentSaysWhatApprovalsAre(t *testing.T) {
	w, pages, line := newConsoleWorld(t)
	p := w.browser().login(w.authorizePath(pages, change{"resource": {w.console()}}), "alice")
	for _, want := range []string{"“ Wicketgate console ”", "part of this server", "approve or deny risky calls of others", w.console()} {
		if !strings.Contains(p.text(), want) {
			t.Errorf("the page does not say %q: %s", want, p.text())
		}
	}
	if strings.Contains(p.text(), "chose this name itself") || strings.Contains(p.text(), "Any program on this computer") {
		t.Errorf("the page speaks of a stranger: %s", p.text())
	}
	d := w.begin(line, change{"resource": {w.console()}})
	if text := w.browser().device(d, "alice").text(); !strings.Contains(text, "approve or deny risky calls of others") || !strings.Contains(text, "If somebody sent you the code") {
		t.Errorf("the page for a code says: %s", text)
	}
}

// TestDeviceCodeOfSomebodyElseIsNotVouchedFor: whose call waits can begin a login of the
// command line as well, and send its code to an approver.
func TestDeviceCodeOfSomebodyElseIsNotVouchedFor(t *testing.T) {
	w, _, line := newConsoleWorld(t)
	text := w.browser().device(w.begin(line, change{"resource": {w.console()}}), "alice").text()
	if strings.Contains(text, "part of this server") || !strings.Contains(text, "anybody can start, anywhere: they would decide in your name") {
		t.Errorf("the page for a code says: %s", text)
	}
}

func TestConsentForTheConsoleIsRemembered(t *testing.T) {
	w, pages, _ := newConsoleWorld(t)
	b := w.browser()
	path := w.authorizePath(pages, change{"resource": {w.console()}})
	b.decide(b.login(path, "alice"), "approve").query(t, pages.redirect)
	if q := b.get(path).query(t, pages.redirect); q.Get("code") == "" || !slices.Contains(q["iss"], w.url) {
		t.Errorf("the second time: %v", q)
	}
}
