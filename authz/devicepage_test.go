package authz_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// wantPage checks that it is a page that says something, and not a redirect.
func wantPage(t testing.TB, p page, status int, says string) {
	t.Helper()
	if p.status != status || p.to != nil || !strings.Contains(p.text(), says) {
		_, text, _ := strings.Cut(p.text(), "} Wicketgate ") // after the style
		t.Errorf("answer %d to %v: %s, want %d with %q", p.status, p.to, text, status, says)
	}
}

// wantSafePage is wantSafe for the answer to a form: our own origin may read that.
func (w *world) wantSafePage(t *testing.T, p page) {
	t.Helper()
	if p.header.Get("Access-Control-Allow-Origin") == w.url {
		p.header.Del("Access-Control-Allow-Origin")
	}
	wantSafe(t, p)
}

// waiting checks that nobody has decided on the device.
func (w *world) waiting(c client, d device) {
	w.t.Helper()
	w.wantError(w.poll(c, d), 400, "authorization_pending")
}

func TestDevicePages(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c, change{"scope": {"mcp:tools"}})
	b := w.browser()
	form := b.get("/oauth2/device")
	wantPage(t, form, 200, "Enter the code that the device")
	wantPage(t, form, 200, "If somebody sent you the code, it is they who would get in")
	wrong := b.enter("BBBB-BBBB")
	wantPage(t, wrong, 400, "There is no such code")
	consent := b.device(d, "alice")
	for _, says := range []string{"Test Client", "chose this name itself", "signed in as alice", "It wants to reach " + w.mail(), "use the tools that your roles allow", "The device shows " + d.UserCode,
		"If not, deny", c.ID} {
		wantPage(t, consent, 200, says)
	}
	if strings.Contains(consent.text(), "sent back to") {
		t.Errorf("nobody is sent anywhere: %s", consent.text())
	}
	done := b.decide(consent, "approve")
	wantPage(t, done, 200, "The device is connected")
	denied := b.decide(b.device(w.begin(c), "alice"), "deny")
	wantPage(t, denied, 200, "The device was refused")
	for name, p := range map[string]page{"form": form, "wrong code": wrong, "consent": consent, "done": done, "denied": denied} {
		t.Run(name, func(t *testing.T) {
			w.wantSafePage(t, p) // no script: it works without JavaScript
			action := "'self'"
			if name == "done" || name == "denied" {
				action = "'none'"
			}
			if !strings.HasSuffix(p.header.Get("Content-Security-Policy"), "form-action "+action) {
				t.Errorf("Content-Security-Policy %q", p.header.Get("Content-Security-Policy"))
			}
		})
	}
	if !strings.Contains(form.body, `<label for="user_code">`) || !strings.Contains(wrong.body, `role="alert"`) {
		t.Error("a screen reader cannot tell what to enter, or that it was wrong")
	}
}

func TestUserCodeAsPeopleTypeIt(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	for name, test := range map[string]struct {
		typed func(code string) string
		ok    bool
	}{
		"as it is shown":         {func(s string) string { return s }, true},
		"small letters":          {strings.ToLower, true},
		"without the hyphen":     {func(s string) string { return strings.ReplaceAll(s, "-", "") }, true},
		"with a space":           {func(s string) string { return strings.ReplaceAll(s, "-", " ") }, true},
		"with spaces around":     {func(s string) string { return "  " + s + "\t" }, true},
		"spelled out":            {func(s string) string { return strings.Join(strings.Split(s, ""), " ") }, true},
		"with a dash":            {func(s string) string { return strings.ReplaceAll(s, "-", "–") }, true},
		"with a hard space":      {func(s string) string { return strings.ReplaceAll(s, "-", "\u00a0") }, true},
		"with a dot":             {func(s string) string { return s + "." }, true},
		"the first half":         {func(s string) string { return s[:4] }, false},
		"twice":                  {func(s string) string { return s + s }, false},
		"one letter more":        {func(s string) string { return s + "B" }, false},
		"one letter off":         {func(s string) string { return s[:8] + map[bool]string{true: "C", false: "B"}[s[8] == 'B'] }, false},
		"a letter that is none":  {func(s string) string { return s[:8] + "A" }, false},
		"a digit":                {func(s string) string { return s[:8] + "8" }, false},
		"a symbol between":       {func(s string) string { return strings.ReplaceAll(s, "-", "+") }, false},
		"nothing":                {func(string) string { return "" }, false},
		"hyphens":                {func(string) string { return "--------" }, false},
		"a script":               {func(string) string { return "<script>alert(1)</script>" }, false},
		"bytes that are no text": {func(s string) string { return s + "\xff" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.clock.advance(time.Minute) // for the next guess
			typed := test.typed(w.begin(c).UserCode)
			p := w.browser().enter(typed)
			if test.ok {
				wantPage(t, p, 200, "Sign in to let")
			} else {
				wantPage(t, p, 400, "There is no such code")
			}
			if strings.Contains(p.body, "<script") {
				t.Error("the page echoes what was typed")
			}
		})
	}
}

// TestVerificationURICompleteStillAsks: a link decides nothing (RFC 8628 §5.4).
func TestVerificationURICompleteStillAsks(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	b := w.browser()
	b.device(w.begin(c), "alice") // who is logged in now
	d := w.begin(c)
	p := b.get(strings.TrimPrefix(d.Complete, w.url))
	wantPage(t, p, 200, "Enter the code")
	if !strings.Contains(p.body, `name="user_code" value="`+d.UserCode+`"`) {
		t.Error("the code is not filled in")
	}
	w.waiting(c, d)
	consent := b.post("/oauth2/device", url.Values{"request": {p.sealed(t)}, "user_code": {d.UserCode}})
	wantPage(t, consent, 200, "signed in as alice")
	w.waiting(c, d)
	b.decide(consent, "approve")
	w.wantOK(w.poll(c, d))
	for name, test := range map[string]struct {
		code   string
		status int
		says   string
	}{
		"a script":       {url.QueryEscape(`"><script>alert(1)</script>`), 200, "Enter the code"},
		"something else": {"BBBB-BBB", 200, "Enter the code"},
		"eight digits":   {"12345678", 200, "Enter the code"},
		"two":            {"BBBB-BBBB&user_code=CCCC-CCCC", 400, "more than once"},
		"malformed":      {"%zz", 400, "malformed"},
	} {
		p := b.get("/oauth2/device?user_code=" + test.code)
		wantPage(t, p, test.status, test.says)
		if strings.Contains(p.body, "<script") || strings.Contains(p.body, "CCCC-CCCC") || test.status == 200 && !strings.Contains(p.body, `name="user_code" value=""`) {
			t.Errorf("%s is echoed", name)
		}
	}
}

func TestPersonDeniesADevice(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	for name, decision := range map[string]string{"deny": "deny", "nothing": "", "something else": "APPROVE"} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.store.on(nil)
			d := w.begin(c)
			b := w.browser()
			consent := b.device(d, "alice")
			w.audit.take()
			wantPage(t, b.decide(consent, decision), 200, "The device was refused")
			if w.store.called("InsertAuthorization") {
				t.Error("an authorization was stored")
			}
			if got := w.audit.take(); len(got) != 1 || got[0].Kind != audit.Consent || got[0].Decision != audit.Deny || got[0].Reason != "declined" || got[0].Action != "device" {
				t.Errorf("audit lines %+v", got)
			}
			w.wantError(w.poll(c, d), 400, "access_denied")
			wantPage(t, b.enter(d.UserCode), 400, "There is no such code")
			wantPage(t, b.decide(consent, "approve"), 200, "The device was refused") // the first answer stands
			w.wantError(w.poll(c, d), 400, "access_denied")
		})
	}
}

// TestDoubleClickOnAllowADevice: the browser shows the answer to the second post only.
func TestDoubleClickOnAllowADevice(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	b := w.browser()
	consent := b.device(d, "alice")
	w.store.on(nil)
	w.audit.take()
	for range 3 {
		wantPage(t, b.decide(consent, "approve"), 200, "The device is connected")
	}
	wantPage(t, b.decide(consent, "deny"), 200, "answered before")
	if w.store.times("InsertAuthorization") != 1 || len(w.audit.take()) != 1 {
		t.Error("one page, and several grants or audit lines")
	}
	wantPage(t, b.enter(d.UserCode), 400, "There is no such code")
	w.wantOK(w.poll(c, d))
}

// TestDeviceDecidedInTwoBrowsers: the first answer counts, and the second person is told.
func TestDeviceDecidedInTwoBrowsers(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	decide := func(b *browser, p page, decision string) func() page {
		return func() page { return b.decide(p, decision) }
	}
	for name, test := range map[string]struct{ first, second, says string }{
		"both allow":                 {"approve", "approve", "answered before"},
		"bob denies too late":        {"approve", "deny", "answered before"},
		"bob allows what was denied": {"deny", "approve", "The device was refused"},
	} {
		for _, race := range []bool{false, true} {
			t.Run(map[bool]string{false: "", true: "in a race, "}[race]+name, func(t *testing.T) {
				w := w.in(t)
				d := w.begin(c)
				alice, bob := w.browser(), w.browser()
				first := decide(alice, alice.device(d, "alice"), test.first)
				second := decide(bob, bob.device(d, "bob"), test.second)
				if race { // between bob's look and his decision
					w.store.on(once("InTx", func() { first() }))
				} else {
					first()
				}
				wantPage(t, second(), 200, test.says)
				w.store.on(nil)
				a := w.poll(c, d)
				if test.first == "deny" {
					w.wantError(a, 400, "access_denied")
				} else if w.wantOK(a); payload(t, a.AccessToken)["sub"] != "alice" {
					t.Errorf("the device acts for %v", payload(t, a.AccessToken)["sub"])
				}
			})
		}
	}
}

func TestDeviceLoginAtTheIdP(t *testing.T) {
	w, idp := newIDP(t)
	idp.set(authz.Person{Subject: subject(t, "alice"), AuthTime: began.Add(-time.Hour), ACR: "gold", Groups: []string{"staff"}})
	c := w.deviceClient()
	back := func(b *browser, p page) page {
		t.Helper()
		if p.to == nil {
			t.Fatalf("not at the IdP: %d %s", p.status, p.text())
		}
		return b.get("/oauth2/callback?" + url.Values{"code": {"x"}, "state": {p.to.Query().Get("state")}}.Encode())
	}
	d := w.begin(c)
	b := w.browser()
	consent := back(b, b.enter(d.UserCode))
	wantPage(t, consent, 200, "The device shows "+d.UserCode)
	wantPage(t, b.decide(consent, "approve"), 200, "The device is connected")
	a := w.poll(c, d)
	w.wantOK(a)
	if got := payload(t, a.AccessToken); got["acr"] != "gold" || got["auth_time"] != float64(began.Unix()-3600) || len(got["groups"].([]any)) != 1 {
		t.Errorf("claims %v", got)
	}
	t.Run("who has logged in before", func(t *testing.T) {
		wantPage(t, b.enter(w.begin(c).UserCode), 200, "signed in as alice")
	})
	t.Run("somebody else", func(t *testing.T) {
		d := w.begin(c)
		idp.set(authz.Person{Subject: subject(t, "bob"), AuthTime: began})
		p := back(b, b.get("/oauth2/login?request="+b.enter(d.UserCode).sealed(t)))
		if idp.last(t).Prompt != "select_account" {
			t.Errorf("the IdP was asked for %+v", idp.last(t))
		}
		wantPage(t, p, 200, "signed in as bob")
	})
	t.Run("the IdP refuses", func(t *testing.T) {
		idp.fail = &oauth.Error{Code: oauth.AccessDenied, Description: "because"}
		d := w.begin(c)
		b := w.browser()
		wantPage(t, back(b, b.enter(d.UserCode)), 400, "because")
		w.waiting(c, d)
	})
}
