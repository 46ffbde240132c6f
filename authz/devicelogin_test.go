package authz_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

// enterAt types the code at the link that a device shows.
func (b *browser) enterAt(link string, d device) page {
	b.w.t.Helper()
	p := b.get(link)
	form := url.Values{"request": {p.sealed(b.w.t)}, "user_code": {d.UserCode}}
	for _, name := range []string{"max_age", "acr_values"} {
		if _, after, ok := strings.Cut(p.body, `name="`+name+`" value="`); ok {
			value, _, _ := strings.Cut(after, `"`)
			form.Set(name, value)
		}
	}
	return b.post("/oauth2/device", form)
}

// TestDeviceAsksForARecentLogin: a device that was refused for an old login (RFC 9470 §3)
// says in its link what it needs.
func TestDeviceAsksForARecentLogin(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	b := w.browser()
	b.decide(b.device(w.begin(c), "alice"), "approve")
	w.clock.advance(10 * time.Minute)

	d := w.begin(c)
	if p := b.enterAt("/oauth2/device?max_age=900", d); !strings.Contains(p.text(), "Allow") {
		t.Errorf("with a login that is recent enough: %s", p.text())
	}
	p := b.enterAt("/oauth2/device?max_age=300", d)
	if !strings.Contains(p.text(), "Sign in to let") {
		t.Fatalf("with an old login: %s", p.text())
	}
	p = b.post("/oauth2/login", url.Values{"request": {p.sealed(t)}, "user": {"alice"}})
	if p := b.decide(p, "approve"); !strings.Contains(p.text(), "The device is connected") {
		t.Fatalf("%d %s", p.status, p.text())
	}
	a := w.poll(c, d)
	w.wantOK(a)
	at := must(w.verifier.ParseAccess(t.Context(), a.AccessToken, w.mail(), token.Confirmation{}))(t)
	if age := w.clock.Now().Sub(at.AuthTime()); age > time.Minute {
		t.Errorf("the token says that the login is %s old", age)
	}
}

// TestDeviceWhoseLoginCannotBeHad is told, and nothing is allowed.
func TestDeviceWhoseLoginCannotBeHad(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	b := w.browser()
	p := b.enterAt("/oauth2/device?acr_values=urn:example:mfa", d)
	p = b.post("/oauth2/login", url.Values{"request": {p.sealed(t)}, "user": {"alice"}})
	if p.status != http.StatusBadRequest || !strings.Contains(p.text(), "another kind than acr_values") {
		t.Errorf("%d %s", p.status, p.text())
	}
	w.wantError(w.poll(c, d), http.StatusBadRequest, "authorization_pending")
	if p := b.enterAt("/oauth2/device?max_age=soon", w.begin(c)); p.status != http.StatusBadRequest || !strings.Contains(p.text(), "max_age must be a number") {
		t.Errorf("%d %s", p.status, p.text())
	}
	if p := b.get("/oauth2/device?max_age=" + strings.Repeat("9", 2000)); strings.Contains(p.body, "999") {
		t.Error("the page carries whatever is in the link")
	}
}
