package authz_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

func TestConsentPageTellsWhatIsAsked(t *testing.T) {
	w := newWorld(t)
	c := w.register("https://app.example:8443/callback?secret=1", map[string]any{"client_name": "Mail Reader"})
	p := w.browser().login(w.authorizePath(c, change{"scope": {"mcp:tools tool:send_message"}, "resource": {w.mail() + "/"}}), "bob")
	text := p.text()
	for _, want := range []string{"Mail Reader", "chose this name itself", "signed in as bob", "It wants to reach " + w.mail() + " ", "use the tools that your roles allow mcp:tools",
		"use only the tool send_message", "sent back to app.example:8443 ", c.ID, "Deny", "Allow", "Not bob?"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q: %s", want, text)
		}
	}
	if strings.Contains(text, "on this computer") || strings.Contains(text, "mcp:prompts") {
		t.Errorf("the page says too much: %s", text)
	}
	if p.status != http.StatusOK || strings.Index(p.body, `value="deny"`) > strings.Index(p.body, `value="approve"`) {
		t.Error("the first button, which the enter key presses, is not Deny")
	}
}

func TestConsentPageTellsWhereItGoes(t *testing.T) {
	w := newWorld(t)
	for redirect, want := range map[string]string{
		"http://localhost:3335/cb": "sent back to localhost:3335 (a program on this computer)",
		"http://127.0.0.1:3335/cb": "sent back to 127.0.0.1:3335 (a program on this computer)",
		"http://[::1]:3335/cb":     "sent back to [::1]:3335 (a program on this computer)",
		cursorScheme:               "sent back to cursor://anysphere.cursor-mcp Client ID",
	} {
		t.Run(redirect, func(t *testing.T) {
			w := w.in(t)
			p := w.browser().login(w.authorizePath(w.register(redirect, nil)), "alice")
			if !strings.Contains(p.text(), want) {
				t.Errorf("the page does not say %q: %s", want, p.text())
			}
		})
	}
}

func TestClientNameCannotWriteThePage(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</h1><form action=https://evil.example>`, `{{.Request}}`, `<!--`, `' onclick='x`} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			c := w.register("http://localhost/cb", map[string]any{"client_name": name})
			b := w.browser()
			for _, p := range []page{b.get(w.authorizePath(c)), b.login(w.authorizePath(c), "alice")} {
				if strings.Contains(p.body, name) && strings.ContainsAny(name, "<>\"'") || !strings.Contains(p.text(), name) {
					t.Errorf("the name is not shown as text: %s", p.text())
				}
				wantSafe(t, p)
			}
		})
	}
	t.Run("no name, or one of spaces", func(t *testing.T) {
		for _, name := range []string{"", "   "} {
			w := w.in(t)
			p := w.browser().login(w.authorizePath(w.register("http://localhost/cb", map[string]any{"client_name": name})), "alice")
			if !strings.Contains(p.text(), "application without a name") {
				t.Errorf("the page shows %s", p.text())
			}
		}
	})
}

var (
	activeContent = regexp.MustCompile(`(?i)<(script|iframe|object|embed|link|img|base|meta http-equiv)|\son[a-z]+=|javascript:|https?://[^"]*\.(js|css)`)
	styleElement  = regexp.MustCompile(`(?s)<style>(.*)</style>`)
)

// wantSafe checks that the page cannot be framed, runs nothing and loads nothing.
func wantSafe(t *testing.T, p page) {
	t.Helper()
	if m := activeContent.FindString(strings.Join(tag.FindAllString(p.body, -1), "")); m != "" {
		t.Errorf("the page has %q", m)
	}
	policy := p.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action '"} {
		if !strings.Contains(policy, want) {
			t.Errorf("Content-Security-Policy %q lacks %q", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
		t.Errorf("Content-Security-Policy %q", policy)
	}
	style := styleElement.FindStringSubmatch(p.body)
	if style == nil {
		t.Fatal("no style")
	}
	hash := sha256.Sum256([]byte(style[1]))
	if want := "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"; !strings.Contains(policy, want) {
		t.Errorf("Content-Security-Policy %q does not allow the page's own style %s", policy, want)
	}
	for name, want := range map[string]string{"X-Frame-Options": "DENY", "Cache-Control": "no-store", "Referrer-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8"} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if p.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("other sites may read the page")
	}
}

func TestPagesResistClickjackingAndScripts(t *testing.T) {
	w := newWorld(t)
	c := w.register("https://app.example/cb", nil)
	b := w.browser()
	loginPage, consent, failed := b.get(w.authorizePath(c)), b.login(w.authorizePath(c), "alice"), b.get(w.authorizePath(client{ID: "x"}))
	for name, p := range map[string]page{"login": loginPage, "consent": consent, "error": failed} {
		t.Run(name, func(t *testing.T) { wantSafe(t, p) })
	}
	for name, test := range map[string]struct {
		page   page
		action string
	}{"login": {loginPage, "form-action 'self' https:"}, "consent": {consent, "form-action 'self' https:"}, "error": {failed, "form-action 'none'"}} {
		if !strings.HasSuffix(test.page.header.Get("Content-Security-Policy"), test.action) {
			t.Errorf("%s: %q, want %q at the end", name, test.page.header.Get("Content-Security-Policy"), test.action)
		}
	}
}

func TestDecline(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for name, decision := range map[string]string{"deny": "deny", "nothing": "", "something else": "APPROVE"} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.store.on(nil)
			b := w.browser()
			q := b.decide(b.login(w.authorizePath(c), "alice"), decision).query(t, c.redirect)
			if q.Get("error") != "access_denied" || q.Get("iss") != w.url || q.Get("state") != "xyz" || q.Has("code") {
				t.Errorf("redirect with %v", q)
			}
			if w.store.called("InsertCode") {
				t.Error("a code was stored")
			}
		})
	}
}

func TestSwitchUser(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	stolen := w.browser()
	first := b.login(w.authorizePath(c), "alice")
	stolen.jar.SetCookies(must(url.Parse(w.url))(t), b.jar.Cookies(must(url.Parse(w.url))(t)))
	p := b.get("/oauth2/login?request=" + first.sealed(t))
	if again := stolen.get(w.authorizePath(c)); strings.Contains(again.text(), "signed in as") {
		t.Errorf("a copy of the cookie is still signed in: %s", again.text())
	}
	if !strings.Contains(p.text(), "Sign in") {
		t.Fatalf("after switch: %s", p.text())
	}
	if again := b.get(w.authorizePath(c)); strings.Contains(again.text(), "alice to") || strings.Contains(again.text(), "signed in as") {
		t.Errorf("still signed in: %s", again.text())
	}
	p = b.post("/oauth2/login", url.Values{"request": {p.sealed(t)}, "user": {"bob"}})
	q := b.decide(p, "approve").query(t, c.redirect)
	a := w.token(&c, codeForm(c, q.Get("code")))
	w.wantOK(a)
	if got := payload(t, a.AccessToken)["sub"]; got != "bob" {
		t.Errorf("sub %v, want bob", got)
	}
}

func TestLoginSessionEnds(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	b.login(w.authorizePath(c), "alice")
	w.clock.advance(loginLifetime - time.Second)
	p := b.get(w.authorizePath(c))
	if !strings.Contains(p.text(), "signed in as alice") {
		t.Fatalf("the session ended early: %s", p.text())
	}
	w.clock.advance(time.Second)
	if after := b.decide(p, "approve"); after.to != nil || !strings.Contains(after.text(), "Sign in") {
		t.Errorf("approval after the session's end: %d %v %s", after.status, after.to, after.text())
	}
}

func TestLoginAsSomebodyWhoMayNot(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for name, user := range map[string]string{"a user who is not offered": "mallory", "nobody": "", "case": "Alice", "a client's name among the users": "carol", "with a space": "alice "} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			b := w.browser()
			p := b.login(w.authorizePath(c), user)
			if p.status != http.StatusBadRequest || p.to != nil {
				t.Errorf("answer %d to %v: %s", p.status, p.to, p.text())
			}
			if again := b.get(w.authorizePath(c)); !strings.Contains(again.text(), "Sign in to let") {
				t.Errorf("logged in after all: %s", again.text())
			}
		})
	}
}

func TestNoUsersNoLogin(t *testing.T) {
	w := newWorld(t, func(c *authz.Config) { c.InsecureUsers = nil })
	c := w.public()
	if p := w.browser().get(w.authorizePath(c)); p.status != http.StatusBadRequest || !strings.Contains(p.text(), "login is not configured on this server") {
		t.Errorf("answer %d: %s", p.status, p.text())
	}
}

func TestCookies(t *testing.T) {
	secure := func(c *authz.Config) { c.Issuer = "https" + strings.TrimPrefix(c.Issuer, "http") }
	for name, test := range map[string]struct {
		option func(*authz.Config)
		want   string
	}{
		"over https": {secure, `^__Host-wicketgate_browser=[A-Z2-7]{26}; Path=/; HttpOnly; Secure; SameSite=Lax$`},
		"over http":  {func(*authz.Config) {}, `^wicketgate_browser=[A-Z2-7]{26}; Path=/; HttpOnly; SameSite=Lax$`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.option)
			p := w.browser().get(w.authorizePath(w.public()))
			if got := p.header.Values("Set-Cookie"); len(got) != 1 || !regexp.MustCompile(test.want).MatchString(got[0]) {
				t.Errorf("Set-Cookie %q, want %s", got, test.want)
			}
		})
	}
}

// TestUserNamedLikeAClientAfterTheLogin: the configuration may gain the client
// while somebody of that name is logged in.
func TestUserNamedLikeAClientAfterTheLogin(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	consent := b.login(w.authorizePath(c), "bob")
	noError(t, w.server.PutStatic(t.Context(), authz.Client{ID: identity.MustClientID("bob"), AuthMethod: "none"}))
	if p := b.decide(consent, "approve"); p.status != http.StatusBadRequest || p.to != nil {
		t.Errorf("answer %d to %v: %s", p.status, p.to, p.text())
	}
}
