package authz_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestConsentIsRemembered(t *testing.T) {
	w := newWorld(t)
	redirect := "https://app.example/callback"
	c := w.register(redirect, nil)
	b := w.browser()
	b.decide(b.login(w.authorizePath(c), "alice"), "approve").query(t, redirect)
	asked := func(b *browser, changes ...change) bool {
		t.Helper()
		p := b.get(w.authorizePath(c, changes...))
		if p.to != nil && p.to.Query().Get("code") == "" {
			t.Fatalf("redirect with %v", p.to.Query())
		}
		return p.to == nil
	}
	if asked(b) {
		t.Error("the same was asked again")
	}
	if q := b.get(w.authorizePath(c, change{"prompt": {"none"}})).query(t, redirect); !q.Has("code") {
		t.Errorf("prompt none: %v", q)
	}
	for name, change := range map[string]change{
		"another resource": {"resource": {w.files()}},
		"fewer scopes":     {"scope": {"mcp:tools"}},
		"another scope":    {"scope": {"mcp:tools tool:x"}},
		"prompt consent":   {"prompt": {"consent"}},
	} {
		if !asked(b, change) {
			t.Errorf("%s was not asked about", name)
		}
	}
	bob := w.browser()
	if p := bob.login(w.authorizePath(c), "bob"); p.to != nil {
		t.Error("bob was not asked")
	}
	other := w.register(redirect, nil)
	if p := b.get(w.authorizePath(other)); p.to != nil {
		t.Error("another client was not asked about")
	}
	w.clock.advance(absoluteLifetime)
	if p := b.login(w.authorizePath(c), "alice"); p.to != nil {
		t.Error("it is remembered for longer than a grant lives")
	}
}

// TestConsentOfANativeClientIsAskedAgain: any program on the machine can pretend to
// be it (RFC 8252 §8.6).
func TestConsentOfANativeClientIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	for _, redirect := range []string{"http://127.0.0.1:7777/callback", "http://localhost/cb", "https://localhost/cb", "https://127.0.0.1/cb", cursorScheme} {
		c := w.register(redirect, nil)
		b := w.browser()
		b.decide(b.login(w.authorizePath(c), "alice"), "approve").query(t, redirect)
		if p := b.get(w.authorizePath(c)); p.to != nil {
			t.Errorf("%s: a code without asking", redirect)
		}
		if q := b.get(w.authorizePath(c, change{"prompt": {"none"}})).query(t, redirect); q.Get("error") != "consent_required" {
			t.Errorf("%s: prompt none: %v", redirect, q)
		}
	}
}

func TestDeclineIsNotRemembered(t *testing.T) {
	w := newWorld(t)
	c := w.register("https://app.example/callback", nil)
	b := w.browser()
	b.decide(b.login(w.authorizePath(c), "alice"), "deny")
	if p := b.get(w.authorizePath(c)); p.to != nil {
		t.Error("not asked again")
	}
}

// TestDoubleClickOnAllow: the browser shows the answer to the second post only.
func TestDoubleClickOnAllow(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	p := b.login(w.authorizePath(c), "alice")
	first, second := b.decide(p, "approve").query(t, c.redirect), b.decide(p, "approve").query(t, c.redirect)
	if first.Get("code") != second.Get("code") {
		t.Error("one page gave two codes")
	}
	w.wantOK(w.token(&c, codeForm(c, second.Get("code"))))
	wantErrorPage(t, b.decide(p, "approve"), "answered before") // the client has it: again would end the grant
}

func TestDoubleClickInParallelIsOneGrant(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	p := b.login(w.authorizePath(c), "alice")
	cookies := b.jar.Cookies(must(url.Parse(w.url))(t))
	answers := together(16, func() answer {
		r := w.request("POST", "/oauth2/consent", "application/x-www-form-urlencoded", url.Values{"request": {p.sealed(t)}, "decision": {"approve"}}.Encode())
		r.Header.Set("Origin", w.url)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return w.do(r)
	})
	codes := map[string]bool{}
	for _, a := range answers {
		codes[must(url.Parse(a.header.Get("Location")))(t).Query().Get("code")] = true
	}
	if len(codes) != 1 || codes[""] {
		t.Errorf("one page gave %d codes", len(codes))
	}
}

func TestAnsweredPageExpiresWithItsCode(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	p := b.login(w.authorizePath(c), "alice")
	b.decide(p, "approve").query(t, c.redirect)
	w.clock.advance(codeLifetime)
	wantErrorPage(t, b.decide(p, "approve"), "answered before")
}

// TestConsentPageCanBeLoadedAgain, also after a login by a pushed request.
func TestConsentPageCanBeLoadedAgain(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	p := b.login(w.authorizePath(c), "alice")
	again := b.get("/oauth2/consent?request=" + p.sealed(t))
	if !strings.Contains(again.text(), "signed in as alice") {
		t.Errorf("loaded again: %s", again.text())
	}
	b.decide(again, "approve").query(t, c.redirect)
	if p := w.browser().get("/oauth2/consent?request=" + p.sealed(t)); p.status != http.StatusBadRequest {
		t.Errorf("in another browser: %d", p.status)
	}
}

// TestLoginSessionIsServerSide: the cookie says nothing, and names nobody after the end.
func TestLoginSessionIsServerSide(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	b.login(w.authorizePath(c), "alice")
	if v := b.cookie("session"); len(v) != 26 || strings.Contains(w.database(), v) {
		t.Errorf("cookie %q: want a random name that the database has only the hash of", v)
	}
	before := b.cookie("session")
	b.login(w.authorizePath(c, change{"prompt": {"login"}}), "alice")
	if b.cookie("session") == before {
		t.Error("the session kept its name over a login (session fixation)")
	}
	w.clock.advance(loginLifetime - time.Second)
	if p := b.get(w.authorizePath(c)); !strings.Contains(p.text(), "signed in as") {
		t.Error("the session ended early")
	}
}
