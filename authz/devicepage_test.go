package authz_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// wantPage checks that it is a page that says something, and not a redirect.
func wantPage(t testing.TB, p page, status int, says string) {
	t.Helper()
	if p.status != status || p.to != nil || !strings.Contains(p.text(), says) {
		t.Errorf("answer %d to %v: %s, want %d with %q", p.status, p.to, p.text(), status, says)
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
	for name, code := range map[string]string{"a script": `"><script>alert(1)</script>`, "something else": "BBBB-BBB", "two": "BBBB-BBBB&user_code=CCCC-CCCC", "malformed": "%zz"} {
		p := b.get("/oauth2/device?user_code=" + code)
		wantPage(t, p, 200, "Enter the code")
		if strings.Contains(p.body, "<script") || strings.Contains(p.body, "CCCC-CCCC") {
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

// TestDeviceFormForgery is a page of another site that has the victim's browser enter
// the attacker's code (CSRF).
func TestDeviceFormForgery(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	victim, attacker := w.browser(), w.browser()
	mine := victim.get("/oauth2/device").sealed(t)
	theirs := attacker.get("/oauth2/device").sealed(t)
	raw := must(base64.RawURLEncoding.DecodeString(mine))(t)
	raw[len(raw)-1] ^= 1
	for name, request := range map[string][]string{
		"none":                         nil,
		"an empty one":                 {""},
		"the attacker's":               {theirs},
		"a tampered one":               {base64.RawURLEncoding.EncodeToString(raw)},
		"one that was never sealed":    {base64.RawURLEncoding.EncodeToString([]byte(`{"b":"` + victim.cookie("browser") + `","e":9999999999}`))},
		"the cookie itself":            {victim.cookie("browser")},
		"that of an authorize request": {victim.get(w.authorizePath(c)).sealed(t)},
		"that of another device":       {victim.enter(w.begin(c).UserCode).sealed(t)},
	} {
		t.Run(name, func(t *testing.T) {
			p := victim.post("/oauth2/device", url.Values{"request": request, "user_code": {d.UserCode}})
			wantPage(t, p, 400, "That page was too old")
			if strings.Contains(p.body, d.UserCode) {
				t.Error("the code is carried on")
			}
		})
	}
	t.Run("a page of another site posts", func(t *testing.T) {
		r := w.request("POST", "/oauth2/device", "application/x-www-form-urlencoded", url.Values{"request": {mine}, "user_code": {d.UserCode}}.Encode())
		r.Header.Set("Origin", "https://evil.example")
		if p := victim.open(r); p.status != http.StatusForbidden || p.to != nil {
			t.Errorf("answer %d to %v", p.status, p.to)
		}
	})
	t.Run("the device form's is no consent and no login", func(t *testing.T) {
		for _, path := range []string{"/oauth2/consent", "/oauth2/login"} {
			if p := victim.post(path, url.Values{"request": {mine}, "user": {"alice"}, "decision": {"approve"}}); p.status != 400 || p.to != nil {
				t.Errorf("%s: %d", path, p.status)
			}
		}
	})
	t.Run("two codes", func(t *testing.T) {
		wantPage(t, victim.post("/oauth2/device", url.Values{"request": {mine}, "user_code": {d.UserCode, "BBBB-BBBB"}}), 400, "more than once")
	})
	wantPage(t, victim.post("/oauth2/device", url.Values{"request": {mine}, "user_code": {d.UserCode}}), 200, "Sign in to let")
	w.clock.advance(15 * time.Minute)
	wantPage(t, victim.post("/oauth2/device", url.Values{"request": {mine}, "user_code": {w.begin(c).UserCode}}), 400, "That page was too old")
}

// TestDeviceConsentForgery: the consent page belongs to the browser and the person.
func TestDeviceConsentForgery(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	attackers := w.begin(c)
	victim, attacker := w.browser(), w.browser()
	victim.device(w.begin(c), "alice")
	theirs := attacker.device(attackers, "bob")
	wantPage(t, victim.decide(theirs, "approve"), 400, "belongs to another browser")
	p := attacker.device(attackers, "bob")
	attacker.get("/oauth2/login?request=" + p.sealed(t)) // signs out
	attacker.login(w.authorizePath(c), "alice")
	wantPage(t, attacker.decide(p, "approve"), 200, "signed in as alice") // asked anew
	w.waiting(c, attackers)
}

// TestAuthorizationRequestIsNoDeviceRequest, whatever parameters it carries.
func TestAuthorizationRequestIsNoDeviceRequest(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	b := w.browser()
	smuggled := change{"user_code": {d.UserCode}, "device_code": {d.DeviceCode}, "device": {d.DeviceCode}}
	p := b.login(w.authorizePath(c, smuggled), "alice")
	if strings.Contains(p.text(), "The device shows") {
		t.Errorf("the page asks about a device: %s", p.text())
	}
	if q := b.decide(p, "approve").query(t, c.redirect); !q.Has("code") {
		t.Errorf("redirect with %v", q)
	}
	_, path := w.push(c, smuggled)
	p = b.get(path + "&user_code=" + d.UserCode)
	if q := b.decide(p, "approve").query(t, c.redirect); !q.Has("code") {
		t.Errorf("pushed: redirect with %v", q)
	}
	w.waiting(c, d)
}

// TestConsentIsNeverRememberedForDevices: the code that somebody enters may be
// anybody's (RFC 8628 §5.4), even for a client that proves who it is.
func TestConsentIsNeverRememberedForDevices(t *testing.T) {
	w := newWorld(t)
	redirect := "https://app.example/callback"
	c := w.register(redirect, map[string]any{"token_endpoint_auth_method": "client_secret_post", "grant_types": []string{"authorization_code", "refresh_token", deviceCode}})
	b := w.browser()
	asked := func() page {
		t.Helper()
		d := w.begin(c)
		p := b.device(d, "alice")
		wantPage(t, p, 200, "The device shows "+d.UserCode)
		w.waiting(c, d)
		return p
	}
	b.decide(asked(), "approve")
	p := b.get(w.authorizePath(c))
	wantPage(t, p, 200, "signed in as alice") // a device's consent is none for a browser
	b.decide(p, "approve").query(t, redirect)
	b.get(w.authorizePath(c)).query(t, redirect) // it is remembered
	asked()
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

func TestGuessesAtUserCodesAreLimited(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	b := w.browser()
	for range 12 { // a class that connects its devices from one address
		wantPage(t, w.browser().enter(w.begin(c).UserCode), 200, "Sign in to let")
	}
	for range 10 {
		wantPage(t, b.enter("BBBB-BBBB"), 400, "There is no such code")
	}
	for name, guess := range map[string]string{"a wrong one": "BBBB-BBBB", "a malformed one": "x", "the right one": d.UserCode} {
		p := w.browser().enter(guess) // a new browser is no new source
		wantPage(t, p, 429, "Too many codes")
		if p.header.Get("Retry-After") != "60" || strings.Contains(p.body, d.UserCode) {
			t.Errorf("%s: Retry-After %q", name, p.header.Get("Retry-After"))
		}
		w.wantSafePage(t, p)
	}
	form := url.Values{"request": {b.get("/oauth2/device").sealed(t)}, "user_code": {d.UserCode}}.Encode()
	r := httptest.NewRequest("POST", w.url+"/oauth2/device", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.AddCookie(&http.Cookie{Name: "wicketgate_browser", Value: b.cookie("browser")})
	r.RemoteAddr = "192.0.2.1:1"
	rec := httptest.NewRecorder()
	if w.handler.ServeHTTP(rec, r); rec.Code != http.StatusSeeOther {
		t.Errorf("from another network: %d", rec.Code)
	}
	w.clock.advance(time.Minute)
	wantPage(t, b.enter("BBBB-BBBC"), 400, "There is no such code")
	wantPage(t, b.enter(d.UserCode), 429, "Too many codes")
	w.clock.advance(time.Minute)
	wantPage(t, b.enter(d.UserCode), 200, "Sign in to let")
}

// TestGuessesCannotFillTheAuditLog, and are seen in it.
func TestGuessesCannotFillTheAuditLog(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for _, reason := range []string{"invalid_grant", "temporarily_unavailable"} {
		w.clock.advance(2 * window)
		if reason == "temporarily_unavailable" {
			w.clock.advance(-2 * window)
			for range 10 {
				b.enter("BBBB-BBBB")
			}
			w.clock.advance(window)
		}
		w.audit.take()
		for range 5 {
			b.enter("BBBB-BBBB")
		}
		lines := 0
		for _, e := range w.audit.take() {
			if e.Kind != audit.Refusal || e.Action != "device" {
				t.Errorf("line %+v", e)
			} else if e.Count == 0 {
				lines++
			}
		}
		if lines == 0 || lines > 2 {
			t.Errorf("%s: %d lines", reason, lines)
		}
	}
}

// TestCodeOfAClientThatIsGone is as none: a page that says so, and no failure of ours.
func TestCodeOfAClientThatIsGone(t *testing.T) {
	for name, end := range map[string]func(w *world, m managed){
		"deleted": func(w *world, m managed) {
			noError(w.t, w.store.DeleteClient(w.t.Context(), identity.MustClientID(m.ID), w.clock.Now()))
		},
		"without the grant": func(w *world, m managed) {
			c := w.stored(m.ID)
			c.GrantTypes = []string{"authorization_code"}
			noError(w.t, w.store.ReplaceClient(w.t.Context(), c))
		},
		"expired": func(w *world, _ managed) { w.clock.advance(deviceLifetime) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			m := w.managed(string(must(json.Marshal(map[string]any{"grant_types": []string{deviceCode}, "token_endpoint_auth_method": "none"}))(t)))
			c := client{ID: m.ID}
			d := w.begin(c)
			b := w.browser()
			atLogin := w.browser().enter(d.UserCode)
			consent := b.device(d, "alice")
			end(w, m)
			w.store.on(nil)
			wantPage(t, b.enter(d.UserCode), 400, "There is no such code")
			wantPage(t, b.decide(consent, "approve"), 400, "this code is too old")
			wantPage(t, b.decide(consent, "deny"), 400, "this code is too old")
			if p := b.post("/oauth2/login", url.Values{"request": {atLogin.sealed(t)}, "user": {"alice"}}); p.status != 400 || p.to != nil {
				t.Errorf("login: %d", p.status)
			}
			if w.store.called("DecideDeviceCode") || w.log.String() != "" {
				t.Errorf("it was decided, or something failed: %s", w.log)
			}
		})
	}
}

func TestDevicePagesFailClosed(t *testing.T) {
	for _, method := range []string{"UserCode", "Client", "DeviceCode"} {
		t.Run("enter a code, "+method, func(t *testing.T) {
			w := newWorld(t)
			d := w.begin(w.deviceClient())
			w.store.on(failing(method))
			w.wantBrokenPage(w.browser().enter(d.UserCode), errDisk)
		})
	}
	for decision, methods := range map[string][]string{
		"approve": {"UserCode", "Client", "DeviceCode", "InTx", "InsertAuthorization", "UseClient", "DecideDeviceCode", "the audit log"},
		"deny":    {"InTx", "DecideDeviceCode", "the audit log"},
	} {
		for _, method := range methods {
			t.Run(decision+", "+method, func(t *testing.T) {
				w := newWorld(t)
				c := w.deviceClient()
				d := w.begin(c)
				b := w.browser()
				consent := b.device(d, "alice")
				if method == "the audit log" {
					w.audit.setBroken(true)
					w.wantBrokenPage(b.decide(consent, decision), errAudit)
					w.audit.setBroken(false)
				} else {
					w.store.on(failing(method))
					w.wantBrokenPage(b.decide(consent, decision), errDisk)
					w.store.on(nil)
				}
				w.waiting(c, d)
				wantPage(t, b.decide(consent, "approve"), 200, "The device is connected")
				w.wantOK(w.poll(c, d))
			})
		}
	}
	t.Run("after the decision", func(t *testing.T) {
		w := newWorld(t)
		c := w.deviceClient()
		d := w.begin(c)
		b := w.browser()
		consent := b.device(d, "alice")
		reads := 0
		w.store.on(func(_ context.Context, method string) error {
			if method == "Authorization" {
				return errDisk
			} else if method == "DeviceCode" {
				reads++
			}
			return nil
		})
		w.wantBrokenPage(b.decide(consent, "approve"), errDisk)
		w.store.on(nil)
		wantPage(t, b.decide(consent, "approve"), 200, "The device is connected")
	})
}
