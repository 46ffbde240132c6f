package authz_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestConsentForgery is about a page of another site that has the victim's
// browser approve (CSRF): what the hidden field seals is bound to one browser.
func TestConsentForgery(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	victim, attacker := w.browser(), w.browser()
	mine := victim.login(w.authorizePath(c), "alice")
	theirs := attacker.login(w.authorizePath(c), "bob")
	sealed := mine.sealed(t)
	raw := must(base64.RawURLEncoding.DecodeString(sealed))(t)
	raw[len(raw)-1] ^= 1
	tests := map[string]struct {
		by      *browser
		request []string
	}{
		"without a sealed request":              {victim, nil},
		"with an empty one":                     {victim, []string{""}},
		"with one that the attacker was shown":  {victim, []string{theirs.sealed(t)}},
		"with a tampered one":                   {victim, []string{base64.RawURLEncoding.EncodeToString(raw)}},
		"with one that is cut":                  {victim, []string{sealed[:len(sealed)-4]}},
		"with one that was never sealed":        {victim, []string{base64.RawURLEncoding.EncodeToString([]byte(`{"q":"","b":"","e":9999999999}`))}},
		"with a session cookie for it":          {victim, []string{victim.cookie("session")}},
		"the attacker with the victim's":        {attacker, []string{sealed}},
		"a browser without cookies":             {w.browser(), []string{sealed}},
		"with the victim's from the login page": {victim, []string{victim.get(w.authorizePath(c, change{"prompt": {"login"}})).sealed(t)}},
		"two of them":                           {victim, []string{sealed, sealed}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.store.on(nil)
			p := test.by.post("/oauth2/consent", url.Values{"request": test.request, "decision": {"approve"}})
			if p.to != nil || w.store.called("InsertCode") {
				t.Errorf("answer %d to %v", p.status, p.to)
			}
		})
	}
	if q := victim.decide(mine, "approve").query(t, c.redirect); !q.Has("code") {
		t.Errorf("and the victim's own approval: %v", q)
	}
}

// cookie is the value of one of our cookies.
func (b *browser) cookie(name string) string {
	b.w.t.Helper()
	for _, c := range b.jar.Cookies(must(url.Parse(b.w.url))(b.w.t)) {
		if c.Name == "wicketgate_"+name {
			return c.Value
		}
	}
	b.w.t.Fatalf("no cookie %s", name)
	return ""
}

func TestConsentPageExpires(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	p := b.login(w.authorizePath(c), "alice")
	w.clock.advance(15*time.Minute - time.Second)
	b.decide(p, "approve").query(t, c.redirect)
	w.clock.advance(time.Second)
	wantErrorPage(t, b.decide(p, "approve"), "too old")
}

// TestApprovalOnAPageThatWasShownToSomebodyElse: in another tab the person became
// bob; what was shown as alice's consent must not be bob's.
func TestApprovalOnAPageThatWasShownToSomebodyElse(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	shownToAlice := b.login(w.authorizePath(c), "alice")
	b.login(w.authorizePath(c, change{"prompt": {"login"}}), "bob")
	w.store.on(nil)
	p := b.decide(shownToAlice, "approve")
	if p.to != nil || w.store.called("InsertCode") {
		t.Fatalf("answer %d to %v", p.status, p.to)
	}
	if !strings.Contains(p.text(), "signed in as bob") {
		t.Errorf("bob is not asked: %s", p.text())
	}
	if q := b.decide(p, "approve").query(t, c.redirect); !q.Has("code") {
		t.Errorf("and bob's own approval: %v", q)
	}
}

// TestLoginForgery is login CSRF: the attacker logs the victim's browser in as
// somebody of the attacker's choice.
func TestLoginForgery(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	victim, attacker := w.browser(), w.browser()
	victim.get(w.authorizePath(c))
	sealed := attacker.get(w.authorizePath(c)).sealed(t)
	p := victim.post("/oauth2/login", url.Values{"request": {sealed}, "user": {"bob"}})
	wantErrorPage(t, p, "another browser")
	for _, set := range p.header.Values("Set-Cookie") {
		if strings.HasPrefix(set, "wicketgate_session") {
			t.Errorf("logged in: %s", set)
		}
	}
}

// TestSessionOfAnotherBrowser: a session cookie that was planted or copied does
// not work beside another browser cookie.
func TestSessionOfAnotherBrowser(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	attacker, victim := w.browser(), w.browser()
	attacker.login(w.authorizePath(c), "bob")
	victim.get(w.authorizePath(c))
	victim.jar.SetCookies(must(url.Parse(w.url))(t), []*http.Cookie{{Name: "wicketgate_session", Value: attacker.cookie("session")}})
	if p := victim.get(w.authorizePath(c)); !strings.Contains(p.text(), "Sign in to let") {
		t.Errorf("the victim is %s", p.text())
	}
	for name, value := range map[string]string{"a sealed request": attacker.get(w.authorizePath(c)).sealed(t), "nothing": "", "garbage": "AAAA"} {
		attacker.jar.SetCookies(must(url.Parse(w.url))(t), []*http.Cookie{{Name: "wicketgate_session", Value: value}})
		if p := attacker.get(w.authorizePath(c)); !strings.Contains(p.text(), "Sign in to let") {
			t.Errorf("%s is a session: %s", name, p.text())
		}
	}
}

func TestPostFromAnotherSite(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	consent := b.login(w.authorizePath(c), "alice")
	for _, path := range []string{"/oauth2/login", "/oauth2/consent"} {
		for _, origin := range []string{"https://evil.example", "null", strings.Replace(w.url, "127.0.0.1", "localhost", 1)} {
			t.Run(path+" from "+origin, func(t *testing.T) {
				w := w.in(t)
				w.store.on(nil)
				r := w.request("POST", path, "application/x-www-form-urlencoded", url.Values{"request": {consent.sealed(t)}, "decision": {"approve"}, "user": {"bob"}}.Encode())
				r.Header.Set("Origin", origin)
				if p := b.open(r); p.status != http.StatusForbidden || p.to != nil || w.store.called("InsertCode") {
					t.Errorf("answer %d to %v", p.status, p.to)
				}
			})
		}
	}
}

func TestPagesTakeNoOddBodies(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	sealed := b.login(w.authorizePath(c), "alice").sealed(t)
	good := url.Values{"request": {sealed}, "decision": {"approve"}}.Encode()
	for name, test := range map[string]struct{ path, contentType, body string }{
		"in the URL":    {"?" + good, "application/x-www-form-urlencoded", ""},
		"text/plain":    {"", "text/plain", good},
		"multipart":     {"", "multipart/form-data; boundary=x", "--x--\r\n"},
		"over 64 KiB":   {"", "application/x-www-form-urlencoded", good + "&x=" + strings.Repeat("a", 64<<10)},
		"two decisions": {"", "application/x-www-form-urlencoded", good + "&decision=deny"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			if p := b.open(w.request("POST", "/oauth2/consent"+test.path, test.contentType, test.body)); p.status != http.StatusBadRequest || p.to != nil {
				t.Errorf("answer %d to %v", p.status, p.to)
			}
		})
	}
	if p := b.get("/oauth2/consent?" + good); p.to != nil || w.store.called("InsertCode") { // it shows the page again
		t.Errorf("a GET approved: %d", p.status)
	}
}
