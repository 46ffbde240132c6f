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
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
)

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
	for range 15 {
		b.enter("BBBB-BBBB")
	}
	var reasons []string
	for _, e := range w.audit.take() {
		if e.Kind != audit.Refusal || e.Action != "device" || e.Source != "127.0.0.1" {
			t.Errorf("line %+v", e)
		}
		reasons = append(reasons, e.Reason)
	}
	if diff := cmp.Diff([]string{"invalid_grant", "temporarily_unavailable"}, reasons); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
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

// TestDeviceOfADocumentKeepsItsSnapshot: what a document says now changes nothing of a
// grant that is under way.
func TestDeviceOfADocumentKeepsItsSnapshot(t *testing.T) {
	p := newPublisher(t)
	grants := []string{deviceCode, "refresh_token", "authorization_code"}
	c := p.publish("/client.json", map[string]any{"client_name": "As it was", "grant_types": grants})
	p.browser().get(p.authorizePath(c)) // only this endpoint fetches
	d := p.begin(c)
	p.publish("/client.json", map[string]any{"client_name": "As it is", "grant_types": grants})
	p.expire(c)
	p.clock.advance(time.Second)
	wantPage(t, p.browser().get(p.authorizePath(c)), 200, "As it is")
	p.take()
	b := p.browser()
	consent := b.device(d, "alice")
	wantPage(t, consent, 200, "As it was")
	wantPage(t, b.decide(consent, "approve"), 200, "The device is connected")
	a := p.poll(c, d)
	p.wantOK(a)
	p.wantOK(p.token(&c, refreshForm(a.RefreshToken)))
	if got := p.take(); len(got) != 0 {
		t.Errorf("fetched %q", got)
	}
}
