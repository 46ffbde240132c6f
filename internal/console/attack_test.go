package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// TestFormOfAnotherSiteIsRefused (CSRF): an Origin that is not ours, whatever else is right.
func TestFormOfAnotherSiteIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	form := url.Values{"ticket": {b.as("bob", "/console/approvals/"+r.ID).field(t, "ticket")}, "decision": {"approve"}}
	for name, header := range map[string]http.Header{
		"another site":                       {"Origin": {"https://evil.example"}},
		"a page that may call the gateway":   {"Origin": {"http://inspector.example"}},
		"a sandboxed frame":                  {"Origin": {"null"}},
		"no origin":                          {"Origin": nil},
		"two origins":                        {"Origin": {w.url, w.url}},
		"an origin that begins with ours":    {"Origin": {w.url + ".evil.example"}},
		"another site, by Sec-Fetch-Site":    {"Sec-Fetch-Site": {"cross-site"}},
		"another port of this host, by that": {"Sec-Fetch-Site": {"same-site"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.send(http.MethodPost, "/console/approvals/"+r.ID, form, header)
			p.wantSays(t, http.StatusBadRequest, "not from this page: nothing was decided")
			w.wantState(r.ID, approval.Pending)
		})
	}
}

// TestForgedFormIsRefused (CSRF): the ticket is for one form of one session.
func TestForgedFormIsRefused(t *testing.T) {
	w := newWorld(t)
	r, other := w.waiting(), w.waiting(func(r *approval.Request) { r.ArgumentsDigest = "another" })
	bob, dave := w.browser(), w.browser()
	p := bob.as("bob", "/console/approvals/"+r.ID)
	good := p.field(t, "ticket")
	ofDave := dave.as("dave", "/console/approvals/"+r.ID).field(t, "ticket")
	ofOther := bob.get("/console/approvals/"+other.ID).field(t, "ticket")
	toSignOut := strings.Split(strings.Split(p.body, `action="/console/logout"`)[1], `"`)
	for name, form := range map[string]url.Values{
		"no ticket":                {"decision": {"approve"}},
		"an empty one":             {"decision": {"approve"}, "ticket": {""}},
		"one of another session":   {"decision": {"approve"}, "ticket": {ofDave}},
		"one of another request":   {"decision": {"approve"}, "ticket": {ofOther}},
		"that of signing out":      {"decision": {"approve"}, "ticket": {toSignOut[5]}},
		"one that was changed":     {"decision": {"approve"}, "ticket": {"A" + good[1:]}},
		"two":                      {"decision": {"approve"}, "ticket": {good, good}},
		"two decisions":            {"decision": {"deny", "approve"}, "ticket": {good}},
		"no decision":              {"ticket": {good}},
		"a decision of no meaning": {"decision": {"maybe"}, "ticket": {good}},
	} {
		t.Run(name, func(t *testing.T) {
			if p := bob.post("/console/approvals/"+r.ID, form); p.status != http.StatusBadRequest {
				t.Errorf("%d %s", p.status, p.text())
			}
			w.wantState(r.ID, approval.Pending)
		})
	}
	query := url.Values{"decision": {"approve"}, "ticket": {good}}.Encode()
	if p := bob.post("/console/approvals/"+r.ID+"?"+query, nil); p.status != http.StatusBadRequest {
		t.Errorf("in the query: %d %s", p.status, p.text())
	}
	w.wantState(r.ID, approval.Pending)
}

// TestGetDecidesNothing: a link, or an image in a mail, cannot.
func TestGetDecidesNothing(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	ticket := b.as("bob", "/console/approvals/"+r.ID).field(t, "ticket")
	b.get("/console/approvals/" + r.ID + "?decision=approve&ticket=" + ticket)
	b.send(http.MethodHead, "/console/approvals/"+r.ID+"?decision=approve&ticket="+ticket, nil, nil)
	w.wantState(r.ID, approval.Pending)
}

// TestPagesCannotBeFramedScriptedOrKept (clickjacking): every page, errors too.
func TestPagesCannotBeFramedScriptedOrKept(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	b.as("bob", "/console/approvals/")
	for name, p := range map[string]page{
		"list": b.get("/console/approvals/"), "one": b.get("/console/approvals/" + r.ID), "unknown": b.get("/console/approvals/AAAA"), "callback": b.get("/console/callback"),
		"form": b.post("/console/approvals/"+r.ID, nil), "not signed in": w.browser().post("/console/approvals/"+r.ID, nil),
	} {
		csp := p.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'", "style-src 'sha256-"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %s", name, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") || strings.Contains(p.body, "<script") || strings.Contains(p.body, " style=") || strings.Contains(p.body, " on") && strings.Contains(p.body, "onclick") {
			t.Errorf("%s: something may run: %q", name, csp)
		}
		for header, want := range map[string]string{"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Access-Control-Allow-Origin": "", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := p.header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
	}
}

// TestCookieOfTheConsole is one that scripts and other sites' forms do not have, and holds
// no token.
func TestCookieOfTheConsole(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.as("bob", "/console/approvals/")
	at := must(url.Parse(w.url))(t)
	found := false
	for _, c := range b.jar.Cookies(at) {
		if strings.Contains(c.Value, "eyJ") || strings.HasPrefix(c.Name, "wicketgate_console") && c.Name != "wicketgate_console" {
			t.Errorf("cookie %s=%s is left", c.Name, c.Value)
		}
		found = found || c.Name == "wicketgate_console" && len(c.Value) == 26
	}
	if !found {
		t.Error("there is no session")
	}
	r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/console/approvals/", nil))(t)
	resp := must(http.DefaultTransport.RoundTrip(r))(t)
	defer resp.Body.Close()
	for _, line := range resp.Header.Values("Set-Cookie") {
		if !strings.Contains(line, "HttpOnly") || !strings.Contains(line, "SameSite=Lax") || !strings.Contains(line, "Path=/") || strings.Contains(line, "Domain") {
			t.Errorf("Set-Cookie: %s", line)
		}
	}
}

// TestRevokedApproverDecidesNothing: the token is verified anew with each click.
func TestRevokedApproverDecidesNothing(t *testing.T) {
	for kind, name := range map[revocation.Kind]string{revocation.Subject: "bob", revocation.Client: pagesID} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			r := w.waiting()
			b := w.browser()
			p := b.as("bob", "/console/approvals/"+r.ID)
			noError(t, w.store.Revoke(t.Context(), revocation.New(kind, name, w.clock.Now())))
			noError(t, w.view.Poll(t.Context()))
			p = b.decide(p, r.ID, "approve")
			p.wantSays(t, http.StatusUnauthorized, "no longer signed in, so nothing was decided")
			w.wantState(r.ID, approval.Pending)
		})
	}
}

// TestStaleRevocationsDecideNothing: nobody knows whether the approver was revoked.
func TestStaleRevocationsDecideNothing(t *testing.T) {
	w := newWorld(t)
	r := w.waiting(func(r *approval.Request) { r.Expires = w.clock.Now().Add(20 * time.Hour) })
	w.clock.advance(59*time.Minute + 58*time.Second) // the view is good for an hour
	b := w.browser()
	p := b.as("bob", "/console/approvals/"+r.ID)
	p.wantSays(t, 200, "Approve this call?")
	w.clock.advance(3 * time.Second)
	b.decide(p, r.ID, "approve").wantSays(t, http.StatusServiceUnavailable, "is not known here at the moment")
	w.wantState(r.ID, approval.Pending)
}

// TestSessionEndsWithItsToken: the store may keep it for longer.
func TestSessionEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	p := b.as("bob", "/console/approvals/"+r.ID)
	w.clock.advance(5*time.Minute + time.Second)
	b.decide(p, r.ID, "approve").wantSays(t, http.StatusUnauthorized, "no longer signed in")
	w.wantState(r.ID, approval.Pending)
	b.get("/console/approvals/"+r.ID).wantSays(t, 200, "Approve this call?") // signs in by itself
}

// TestSignedOutSessionIsOver, also for who has kept the cookie.
func TestSignedOutSessionIsOver(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	p := b.as("bob", "/console/approvals/")
	at := must(url.Parse(w.url))(t)
	kept := b.jar.Cookies(at)
	b.post("/console/logout", url.Values{"ticket": {p.field(t, "ticket")}}).wantSays(t, 200, "You are signed out of the console")
	thief := w.browser()
	thief.jar.SetCookies(at, kept)
	r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/console/approvals/", nil))(t)
	for _, c := range kept {
		r.AddCookie(c)
	}
	resp := must(http.DefaultTransport.RoundTrip(r))(t)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the old cookie: %d", resp.StatusCode)
	}
}

// TestSessionThatWasPlantedIsNotKept (session fixation).
func TestSessionThatWasPlantedIsNotKept(t *testing.T) {
	w := newWorld(t)
	planted := strings.Repeat("A", 26)
	b := w.browser()
	at := must(url.Parse(w.url))(t)
	b.jar.SetCookies(at, []*http.Cookie{{Name: "wicketgate_console", Value: planted, Path: "/"}})
	b.as("bob", "/console/approvals/").wantSays(t, 200, "Signed in as bob")
	for _, c := range b.jar.Cookies(at) {
		if c.Value == planted {
			t.Error("the browser kept the name that somebody else knows")
		}
	}
}

// TestCallbackOfSomebodyElseIsRefused (login CSRF, mix-up): without the login of this very
// browser, or from another authorization server.
func TestCallbackOfSomebodyElseIsRefused(t *testing.T) {
	w := newWorld(t)
	mallory := w.browser()
	code := mallory.codeOf("carol")
	for name, change := range map[string]func(url.Values){
		"another browser":           func(url.Values) {},
		"no state":                  func(q url.Values) { q.Del("state") },
		"another state":             func(q url.Values) { q.Set("state", strings.Repeat("A", 26)) },
		"a state that begins alike": func(q url.Values) { q.Set("state", q.Get("state")[:8]+strings.Repeat("A", 18)) },
		"two states":                func(q url.Values) { q.Add("state", "x") },
		"no iss (RFC 9207)":         func(q url.Values) { q.Del("iss") },
		"another iss (RFC 9207)":    func(q url.Values) { q.Set("iss", "https://evil.example") },
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			q := code
			if name != "another browser" {
				q = b.codeOf("bob")
			}
			change(q)
			b.get("/console/callback?"+q.Encode()).wantSays(t, http.StatusBadRequest, "no answer to a login that this browser has begun")
			for _, c := range b.jar.Cookies(must(url.Parse(w.url))(t)) {
				if c.Name == "wicketgate_console" {
					t.Error("the browser is signed in")
				}
			}
		})
	}
}

// codeOf logs in up to the answer, which it does not deliver.
func (b *browser) codeOf(user string) url.Values {
	b.w.t.Helper()
	begin := b.step(http.MethodGet, "/console/approvals/", nil)
	to := must(url.Parse(begin.header.Get("Location")))(b.w.t)
	p := b.get(to.RequestURI())
	p = b.step(http.MethodPost, "/oauth2/login", url.Values{"request": {p.field(b.w.t, "request")}, "user": {user}})
	to = must(url.Parse(p.header.Get("Location")))(b.w.t)
	for to.Path != "/console/callback" {
		if p = b.step(http.MethodGet, to.RequestURI(), nil); p.header.Get("Location") == "" {
			p = b.get(to.RequestURI())
			p = b.step(http.MethodPost, "/oauth2/consent", url.Values{"request": {p.field(b.w.t, "request")}, "decision": {"approve"}})
		}
		to = must(url.Parse(p.header.Get("Location")))(b.w.t)
	}
	return to.Query()
}

// step follows no redirect.
func (b *browser) step(method, path string, form url.Values) page {
	b.w.t.Helper()
	r := must(http.NewRequestWithContext(b.w.t.Context(), method, b.w.url+path, strings.NewReader(form.Encode())))(b.w.t)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.w.url)
	}
	c := http.Client{Jar: b.jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp := must(c.Do(r))(b.w.t)
	defer resp.Body.Close()
	return page{status: resp.StatusCode, header: resp.Header, at: r.URL}
}

// TestCallbackThatComesTooLateIsRefused: a login cookie that somebody finds is good for no
// other code later.
func TestCallbackThatComesTooLateIsRefused(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	begin := b.step(http.MethodGet, "/console/approvals/", nil)
	w.clock.advance(15 * time.Minute)
	to := must(url.Parse(begin.header.Get("Location")))(t)
	b.logIn(b.get(to.RequestURI()), "bob").wantSays(t, http.StatusBadRequest, "it came too late")
}

// TestCallbackIsNotTakenTwice: a code and its login count once.
func TestCallbackIsNotTakenTwice(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	q := b.codeOf("bob")
	b.get("/console/callback?"+q.Encode()).wantSays(t, 200, "Signed in as bob")
	b.get("/console/callback?"+q.Encode()).wantSays(t, http.StatusBadRequest, "no answer to a login")
}

// TestLoginLeadsToPagesOfOursOnly (open redirector).
func TestLoginLeadsToPagesOfOursOnly(t *testing.T) {
	w := newWorld(t)
	for _, back := range []string{"https://evil.example/", "//evil.example", "/\\evil.example", "/console/approvals/../../oauth2/authorize", "/oauth2/consent", "/console/approvals/x\r\nLocation: //evil.example", "javascript:alert(1)", ""} {
		p := w.browser().as("bob", "/console/login?return="+url.QueryEscape(back))
		if p.at.String() != w.url+"/console/approvals/" {
			t.Errorf("%q led to %s", back, p.at)
		}
	}
	if p := w.browser().as("bob", "/console/login?return=/console/approvals/ABC"); p.at.Path != "/console/approvals/ABC" {
		t.Errorf("a page of ours led to %s", p.at)
	}
}

// TestSignInAsSomebodyElse asks who, though somebody is logged in.
func TestSignInAsSomebodyElse(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.as("bob", "/console/approvals/").wantSays(t, 200, "Signed in as bob")
	b.as("dave", "/console/login?as=other").wantSays(t, 200, "Signed in as dave")
}
