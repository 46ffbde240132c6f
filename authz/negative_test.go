package authz_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/token"
)

// The attacks that docs/attacks.md lists and that no other file has a test for.

// TestStateComesBackToTheLetter: a client compares it, and it may be anything.
func TestStateComesBackToTheLetter(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for name, state := range map[string]string{
		"one character":     "x",
		"many scripts":      "zustand Ü 状態 🙂 \u202e",
		"2 KiB":             strings.Repeat("ab+/=%20&;", 205),
		"what looks quoted": `"<script>'&amp;%3D+ ` + "`",
		"a URL":             "https://evil.example/?state=1&code=2#x",
		"bytes, not text":   "\xff\xfe\x00\r\n\t",
		"parameters":        "a&iss=https://evil.example&code=1&state=2",
		"spaces":            "  a  b  ",
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			b := w.browser()
			sent := change{"state": {state}}
			_, pushed := w.push(c, sent)
			for what, p := range map[string]page{
				"an approval":              b.decide(b.login(w.authorizePath(c, sent), "alice"), "approve"),
				"a pushed request":         b.decide(b.get(pushed), "approve"),
				"a refusal of the person":  b.decide(b.get(w.authorizePath(c, sent)), "deny"),
				"an error":                 b.get(w.authorizePath(c, sent, change{"resource": nil})),
				"an error of prompt none":  w.browser().get(w.authorizePath(c, sent, change{"prompt": {"none"}})),
				"an error without a login": w.browser().get(w.authorizePath(c, sent, change{"code_challenge": nil})),
			} {
				if q := p.query(t, c.redirect); len(q["state"]) != 1 || q["state"][0] != state {
					t.Errorf("%s: state %q, want %q", what, q["state"], state)
				}
				wantAnswer(t, w, p)
			}
		})
	}
}

// wantAnswer holds a redirect to the client to what all of them have in common: iss,
// to the letter of the metadata (RFC 9207 §2.4), nothing in the fragment, and nothing
// left behind in a cache or a Referer.
func wantAnswer(t *testing.T, w *world, p page) {
	t.Helper()
	if p.to == nil {
		t.Errorf("no redirect: %d %s", p.status, p.text())
		return
	}
	q := p.to.Query()
	if len(q["iss"]) != 1 || q["iss"][0] != w.url {
		t.Errorf("iss %q, want %s", q["iss"], w.url)
	}
	if p.to.Fragment != "" || strings.Contains(p.header.Get("Location"), "#") {
		t.Errorf("a fragment: %s", p.to)
	}
	if len(q["code"])+len(q["error"]) != 1 || q.Has("access_token") || q.Has("id_token") {
		t.Errorf("redirect with %v", q)
	}
	if p.status != http.StatusSeeOther || p.header.Get("Cache-Control") != "no-store" || p.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("status %d with %v", p.status, p.header)
	}
}

// TestIssCannotBeSetByTheRedirectURI is the mix-up by a client that registers with an
// iss of its own: ours is the only one.
func TestIssCannotBeSetByTheRedirectURI(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://127.0.0.1:7777/cb?iss=https://evil.example&state=evil&keep=1", nil)
	b := w.browser()
	for what, p := range map[string]page{
		"an approval": b.decide(b.login(w.authorizePath(c), "alice"), "approve"),
		"an error":    b.get(w.authorizePath(c, change{"resource": nil})),
	} {
		wantAnswer(t, w, p)
		if q := p.to.Query(); len(q["state"]) != 1 || q.Get("state") != "xyz" || q.Get("keep") != "1" {
			t.Errorf("%s: redirect with %v", what, q)
		}
	}
	if q := b.get(w.authorizePath(c, change{"resource": nil, "state": nil})).to.Query(); q.Has("state") {
		t.Errorf("a state that nobody sent: %v", q)
	}
}

// TestResponseModesThatLeak: a fragment stays in the history, a posted form crosses
// sites.
func TestResponseModesThatLeak(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	b.login(w.authorizePath(c), "alice")
	for _, mode := range []string{"fragment", "form_post", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt", "web_message", "Query", "query "} {
		p := b.get(w.authorizePath(c, change{"response_mode": {mode}}))
		if q := p.query(t, c.redirect); q.Get("error") != "invalid_request" {
			t.Errorf("%s: redirect with %v", mode, q)
		}
		wantAnswer(t, w, p)
	}
	p := b.decide(b.get(w.authorizePath(c, change{"response_mode": {"query"}})), "approve")
	if q := p.query(t, c.redirect); !q.Has("code") {
		t.Errorf("query: redirect with %v", q)
	}
}

// TestImplicitAndHybridResponses, in every order and case.
func TestImplicitAndHybridResponses(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	b.login(w.authorizePath(c), "alice")
	for _, types := range []string{"token", "id_token", "code token", "token code", "code id_token", "code id_token token", "none", "CODE", " code", "code ", "code code", "code\x00"} {
		p := b.get(w.authorizePath(c, change{"response_type": {types}}))
		if q := p.query(t, c.redirect); q.Get("error") != "unsupported_response_type" {
			t.Errorf("%q: redirect with %v", types, q)
		}
		wantAnswer(t, w, p)
	}
}

// TestVerifierForACodeWithoutChallenge is the downgrade of RFC 9700 §4.8.2: such a
// code cannot be had here, and counts for nothing if there were one.
func TestVerifierForACodeWithoutChallenge(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]client{"public": w.public(), "confidential": w.confidential()} {
		_, a, err := w.store.Code(t.Context(), sum(w.approve(c).Get("code")))
		noError(t, err)
		for i, ch := range []change{{}, {"code_verifier": nil}, {"code_verifier": {""}}} {
			code := "wg_ac_" + name + strconv.Itoa(i)
			a.ID = name + strconv.Itoa(i)
			noError(t, w.store.InsertCode(t.Context(), a, authz.Code{Hash: sum(code), RedirectURI: c.redirect, Expires: w.clock.Now().Add(time.Minute)}))
			w.wantError(w.token(&c, codeForm(c, code, ch)), 400, "invalid_request")
		}
	}
}

// TestCodeInjectedIntoAnothersSession is RFC 9700 §4.5: the attacker's own client
// session is fed with the victim's code, or the other way round. The code is the
// right one of the right client; only the verifier is of another session.
func TestCodeInjectedIntoAnothersSession(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]client{"public": w.public(), "confidential": w.confidential()} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			other := strings.Repeat("other-verifier_", 3)
			victims := w.approve(c).Get("code")
			attackers := w.approve(c, change{"code_challenge": {base64.RawURLEncoding.EncodeToString(sum(other))}}).Get("code")
			w.wantError(w.token(&c, codeForm(c, victims, change{"code_verifier": {other}})), 400, "invalid_grant")
			w.wantError(w.token(&c, codeForm(c, attackers)), 400, "invalid_grant")
			w.wantOK(w.token(&c, codeForm(c, victims)))
			w.wantOK(w.token(&c, codeForm(c, attackers, change{"code_verifier": {other}})))
		})
	}
}

// TestChallengeUsedAgain: two codes of one challenge stay two, and the end of one
// family is not that of the other.
func TestChallengeUsedAgain(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	first, second := w.approve(c).Get("code"), w.approve(c).Get("code")
	w.wantOK(w.token(&c, codeForm(c, first)))
	w.wantError(w.token(&c, codeForm(c, first)), 400, "invalid_grant") // ends the first family
	w.wantOK(w.token(&c, codeForm(c, second)))
}

func TestTamperedCode(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	code := w.approve(c).Get("code")
	tampered := []string{code + "A", code + "=", code + " ", " " + code, code + "\x00", strings.ToUpper(code), code + "." + code, code[:len(code)-1],
		strings.TrimPrefix(code, "wg_ac_"), strings.Replace(code, "wg_ac_", "wg_rt_", 1), string(sum(code)), base64.RawURLEncoding.EncodeToString(sum(code))}
	for i := range code {
		flipped := []byte(code)
		flipped[i] ^= 1
		tampered = append(tampered, string(flipped))
	}
	for _, s := range tampered {
		w.wantError(w.token(&c, codeForm(c, s)), 400, "invalid_grant")
	}
	w.wantOK(w.token(&c, codeForm(c, code)))
}

// TestCodeOfAnotherServer: neither codes nor refresh tokens of one issuer are worth
// anything at another, for a client that both know by the same name.
func TestCodeOfAnotherServer(t *testing.T) {
	a, b := newWorld(t), newWorld(t)
	c := client{ID: "shared", redirect: "http://127.0.0.1:7777/callback"}
	for _, w := range []*world{a, b} {
		w.putStatic(c.ID, c.redirect, "authorization_code", "refresh_token")
	}
	code := a.approve(c).Get("code")
	b.wantError(b.token(&c, codeForm(c, code)), 400, "invalid_grant")
	tokens := a.token(&c, codeForm(c, code))
	a.wantOK(tokens)
	b.wantError(b.token(&c, refreshForm(tokens.RefreshToken)), 400, "invalid_grant")
	if _, err := b.verifier.ParseAccess(t.Context(), tokens.AccessToken, b.mail(), token.Confirmation{}); err == nil {
		t.Error("the access token is good there too")
	}
}

// TestReaderOfTheStoreCannotUseOrEndAFamily: what the store has of a token is as
// good as a guess. With fosite's own strategy the stored signature alone ends a
// family, from any client.
func TestReaderOfTheStoreCannotUseOrEndAFamily(t *testing.T) {
	w := newWorld(t)
	c, other := w.public(), w.public()
	old, next := w.rotated(c)
	used := w.approve(c).Get("code")
	live := w.token(&c, codeForm(c, used))
	w.wantOK(live)
	w.clock.advance(grace)
	for _, secret := range []string{old.RefreshToken, next.RefreshToken, used} {
		raw := sum(secret)
		for _, known := range []string{string(raw), base64.RawURLEncoding.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), secret[len("wg_rt_"):]} {
			for _, guess := range []string{known, "x." + known, "wg_rt_x." + known, "wg_ac_x." + known, "." + known, known + "."} {
				for _, by := range []client{c, other} {
					if a := w.token(&by, refreshForm(guess)); a.Error != "invalid_grant" {
						t.Errorf("refresh: %d %s", a.status, a.body)
					}
					if a := w.token(&by, codeForm(c, guess)); a.Error != "invalid_grant" {
						t.Errorf("code: %d %s", a.status, a.body)
					}
				}
			}
		}
	}
	w.wantOK(w.token(&c, refreshForm(next.RefreshToken)))
	w.wantOK(w.token(&c, refreshForm(live.RefreshToken)))
}

// TestCodeIsNoRefreshToken, nor any other secret one of another kind.
func TestCodeIsNoRefreshToken(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	code := w.approve(c).Get("code")
	a := w.tokens(c)
	for _, s := range []string{code, a.AccessToken} {
		w.wantError(w.token(&c, refreshForm(s)), 400, "invalid_grant")
	}
	for _, s := range []string{a.RefreshToken, a.AccessToken} {
		w.wantError(w.token(&c, codeForm(c, s)), 400, "invalid_grant")
	}
	w.wantOK(w.token(&c, codeForm(c, code)))
	w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
}

// TestTicketOfOneKindCountsForNoOther is CVE-2026-4325: all that is used once lies in
// one table, and each has a purpose.
func TestTicketOfOneKindCountsForNoOther(t *testing.T) {
	p := &idp{url: "https://idp.example"}
	w := newWorld(t, func(c *authz.Config) { c.Login = p })
	p.set(authz.Person{Subject: subject(t, "alice"), AuthTime: began})
	c := w.public()
	b := w.browser()
	_, pushed := w.push(c)
	request := must(url.Parse(pushed))(t).Query().Get("request_uri")
	request = request[strings.LastIndex(request, ":")+1:]
	state := b.get(w.authorizePath(c)).to.Query().Get("state")
	wantErrorPage(t, b.get("/oauth2/callback?code=x&state="+request), "finished before")
	b.visit(w.authorizePath(c))
	for name, id := range map[string]string{"a login's state": state, "a session": b.cookie("session"), "a browser": b.cookie("browser")} {
		path := "/oauth2/authorize?" + url.Values{"client_id": {c.ID}, "request_uri": {"urn:ietf:params:oauth:request_uri:" + id}}.Encode()
		if p := w.browser().get(path); p.status != http.StatusBadRequest || p.to != nil {
			t.Errorf("%s is a pushed request: %d to %v", name, p.status, p.to)
		}
	}
	for name, id := range map[string]string{"a pushed request": request, "a login's state": state, "a browser": b.cookie("browser")} {
		other := w.browser()
		other.jar.SetCookies(must(url.Parse(w.url))(t), []*http.Cookie{{Name: "wicketgate_browser", Value: b.cookie("browser")}, {Name: "wicketgate_session", Value: id}})
		if p := other.get(w.authorizePath(c)); p.to == nil || !strings.HasPrefix(p.to.String(), "https://idp.example/") {
			t.Errorf("%s is a session: %d %s", name, p.status, p.text())
		}
	}
	if p := b.get(pushed); p.status != http.StatusOK {
		t.Errorf("and what was pushed is spent: %d %s", p.status, p.text())
	}
}

// TestConsentForOneRedirectHostIsNotForAnother of the same client.
func TestConsentForOneRedirectHostIsNotForAnother(t *testing.T) {
	w := newWorld(t)
	one, two := "https://one.example/cb", "https://two.example/cb"
	c := w.register(one, map[string]any{"redirect_uris": []string{one, two}})
	b := w.browser()
	b.decide(b.login(w.authorizePath(c), "alice"), "approve").query(t, one)
	if q := b.get(w.authorizePath(c)).query(t, one); !q.Has("code") {
		t.Fatalf("the same was asked again: %v", q)
	}
	c.redirect = two
	if p := b.get(w.authorizePath(c)); p.to != nil || !strings.Contains(p.text(), "two.example") {
		t.Errorf("not asked about the other host: %d to %v", p.status, p.to)
	}
}

// TestConsentToADocumentIsNotForItsNextVersion: what the person saw was another one.
func TestConsentToADocumentIsNotForItsNextVersion(t *testing.T) {
	p := newPublisher(t)
	redirect := "https://app.example/cb"
	publish := func(name string) client {
		c := p.publish("/client.json", map[string]any{"client_name": name, "redirect_uris": []string{redirect}})
		c.redirect = redirect
		return c
	}
	c := publish("Mail Reader")
	b := p.browser()
	b.decide(b.login(p.authorizePath(c), "alice"), "approve").query(t, redirect)
	b.get(p.authorizePath(c)).query(t, redirect)
	publish("Mail Eraser")
	p.expire(c)
	if got := b.get(p.authorizePath(c)); got.to != nil || !strings.Contains(got.text(), "Mail Eraser") {
		t.Errorf("not asked about the new document: %d to %v", got.status, got.to)
	}
}

// TestPostedFormIsNotPostedOn is RFC 9700 §4.12: 307 and 308 would have the browser
// post the login or the decision to the client.
func TestPostedFormIsNotPostedOn(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	form := url.Values{"request": {b.get(w.authorizePath(c)).sealed(t)}, "user": {"alice"}}
	cookies := func(r *http.Request) *http.Request {
		r.Header.Set("Origin", w.url)
		for _, c := range b.jar.Cookies(r.URL) {
			r.AddCookie(c)
		}
		return r
	}
	a := w.do(cookies(w.request("POST", "/oauth2/login", "application/x-www-form-urlencoded", form.Encode())))
	if a.status != http.StatusSeeOther {
		t.Errorf("login: %d", a.status)
	}
	sealed := b.login(w.authorizePath(c), "alice").sealed(t)
	for _, decision := range []string{"approve", "deny"} {
		form := url.Values{"request": {sealed}, "decision": {decision}}
		a := w.do(cookies(w.request("POST", "/oauth2/consent", "application/x-www-form-urlencoded", form.Encode())))
		if a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), c.redirect) {
			t.Errorf("%s: %d to %s", decision, a.status, a.header.Get("Location"))
		}
	}
}
