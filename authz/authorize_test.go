package authz_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAuthorizeRefusesPKCEDowngrade(t *testing.T) {
	w := newWorld(t)
	c, confidential := w.public(), w.confidential()
	for name, ch := range map[string]change{
		"no challenge":                             {"code_challenge": nil},
		"no challenge and no method":               {"code_challenge": nil, "code_challenge_method": nil},
		"plain":                                    {"code_challenge": {verifier}, "code_challenge_method": {"plain"}},
		"no method, which means plain":             {"code_challenge_method": nil},
		"method in lower case":                     {"code_challenge_method": {"s256"}},
		"challenge of 42 characters":               {"code_challenge": {challenge[:42]}},
		"challenge of 44 characters":               {"code_challenge": {challenge + "A"}},
		"challenge of 64 bytes":                    {"code_challenge": {challenge + challenge}},
		"challenge with padding":                   {"code_challenge": {challenge + "="}},
		"challenge in base64 instead of base64url": {"code_challenge": {strings.ReplaceAll(challenge, "-", "+")}},
		"challenge with a line break":              {"code_challenge": {challenge[:20] + "\n" + challenge[20:]}},
		"challenge that nothing hashes to":         {"code_challenge": {challenge[:42] + "N"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			for _, c := range []client{c, confidential} {
				b := w.browser()
				b.login(w.authorizePath(c), "alice") // so that errors go by redirect
				if q := b.get(w.authorizePath(c, ch)).query(t, c.redirect); q.Get("error") != "invalid_request" {
					t.Errorf("redirect with %v, want invalid_request", q)
				}
			}
		})
	}
}

func TestErrorRedirectCarriesIssAndState(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	tests := map[string]struct {
		change change
		want   string
	}{
		"response_type token":          {change{"response_type": {"token"}}, "unsupported_response_type"},
		"response_type code token":     {change{"response_type": {"code token"}}, "unsupported_response_type"},
		"response_type id_token":       {change{"response_type": {"id_token"}}, "unsupported_response_type"},
		"response_type missing":        {change{"response_type": nil}, "unsupported_response_type"},
		"response_mode fragment":       {change{"response_mode": {"fragment"}}, "invalid_request"},
		"response_mode form_post":      {change{"response_mode": {"form_post"}}, "invalid_request"},
		"a request object":             {change{"request": {"eyJhbGciOiJub25lIn0.e30."}}, "invalid_request"},
		"a request_uri":                {change{"request_uri": {"https://evil.example/request"}}, "invalid_request"},
		"no PKCE":                      {change{"code_challenge": nil}, "invalid_request"},
		"no resource":                  {change{"resource": nil}, "invalid_target"},
		"scope that is malformed":      {change{"scope": {`"`}}, "invalid_scope"},
		"prompt none, not logged in":   {change{"prompt": {"none"}}, "login_required"},
		"prompt none and login":        {change{"prompt": {"login none"}}, "invalid_request"},
		"a long state in many scripts": {change{"state": {strings.Repeat("ü+%&= ", 300)}, "resource": nil}, "invalid_target"},
		"a state that is no UTF-8":     {change{"state": {"\xff\x00"}, "resource": nil}, "invalid_target"},
		"no state":                     {change{"state": nil, "resource": nil}, "invalid_target"},
		"empty state":                  {change{"state": {""}, "resource": nil}, "invalid_target"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			path := w.authorizePath(c, test.change)
			p := w.browser().get(path)
			got := p.query(t, c.redirect)
			want := url.Values{"error": {test.want}, "error_description": got["error_description"], "iss": {w.url}}
			sent := must(url.Parse(path))(t).Query()
			if sent.Get("state") != "" {
				want["state"] = sent["state"]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("redirect (-want +got):\n%s", diff)
			}
			if p.header.Get("Cache-Control") != "no-store" {
				t.Error("the redirect may be cached")
			}
		})
	}
}

func TestClientForAnotherGrantGetsNoCode(t *testing.T) {
	w := newWorld(t)
	redirect := "http://127.0.0.1:7777/callback"
	w.putStatic("robot", redirect, "client_credentials")
	q := w.browser().get(w.authorizePath(client{ID: "robot", redirect: redirect})).query(t, redirect)
	if q.Get("error") != "unauthorized_client" {
		t.Errorf("redirect with %v, want unauthorized_client", q)
	}
}

func TestPromptNoneWhileLoggedIn(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	b.login(w.authorizePath(c), "alice")
	q := b.get(w.authorizePath(c, change{"prompt": {"none"}})).query(t, c.redirect)
	if q.Get("error") != "consent_required" || q.Has("code") {
		t.Errorf("redirect with %v, want consent_required", q)
	}
}

func TestPromptLoginAsksAgainEvenRightAfterALogin(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	b := w.browser()
	if p := b.login(w.authorizePath(c), "alice"); !strings.Contains(p.text(), "signed in as alice") {
		t.Fatalf("no consent page: %s", p.text())
	}
	p := b.get(w.authorizePath(c, change{"prompt": {"login"}}))
	if !strings.Contains(p.text(), "Sign in") || strings.Contains(p.text(), "signed in as") {
		t.Errorf("prompt=login shows %s", p.text())
	}
	p = b.login(w.authorizePath(c, change{"prompt": {"login"}}), "bob")
	if !strings.Contains(p.text(), "signed in as bob") {
		t.Errorf("after the login: %s", p.text())
	}
}

// TestRedirectURIOffByOneCharacter is about the attack of RFC 9700 §4.1: nothing
// may be sent to a URI that was not registered, errors neither.
func TestRedirectURIOffByOneCharacter(t *testing.T) {
	w := newWorld(t)
	app := w.register("https://app.example/cb?v=1", nil)
	local := w.register("http://localhost:7777/callback", nil)
	ip := w.register("http://127.0.0.1/callback", nil)
	six := w.register("http://[::1]/callback", nil)
	httpsLocal := w.register("https://localhost/callback", nil)
	tests := []struct {
		name string
		c    client
		uri  string
	}{
		{"path", app, "https://app.example/cc?v=1"},
		{"longer path", app, "https://app.example/cb/x?v=1"},
		{"shorter path", app, "https://app.example/c?v=1"},
		{"trailing slash", app, "https://app.example/cb/?v=1"},
		{"dot segment", app, "https://app.example/x/../cb?v=1"},
		{"encoded dot segment", app, "https://app.example/%2e%2e/cb?v=1"},
		{"encoded letter", app, "https://app.example/%63b?v=1"},
		{"double slash", app, "https://app.example//cb?v=1"},
		{"backslash", app, `https://app.example\cb?v=1`},
		{"host", app, "https://bpp.example/cb?v=1"},
		{"subdomain", app, "https://x.app.example/cb?v=1"},
		{"suffix of the host", app, "https://app.example.evil/cb?v=1"},
		{"trailing dot of the host", app, "https://app.example./cb?v=1"},
		{"scheme", app, "http://app.example/cb?v=1"},
		{"javascript", app, "javascript:alert(1)//app.example/cb?v=1"},
		{"data", app, "data:text/html,app.example/cb?v=1"},
		{"no scheme", app, "//app.example/cb?v=1"},
		{"port on https", app, "https://app.example:8443/cb?v=1"},
		{"default port on https", app, "https://app.example:443/cb?v=1"},
		{"query value", app, "https://app.example/cb?v=2"},
		{"query added", app, "https://app.example/cb?v=1&w=2"},
		{"query missing", app, "https://app.example/cb"},
		{"user information", app, "https://app.example@evil.example/cb?v=1"},
		{"user information before the right host", app, "https://evil@app.example/cb?v=1"},
		{"fragment", app, "https://app.example/cb?v=1#x"},
		{"empty fragment", app, "https://app.example/cb?v=1#"},
		{"case of the host", app, "https://APP.example/cb?v=1"},
		{"case of the path", app, "https://app.example/CB?v=1"},
		{"case of the scheme", app, "HTTPS://app.example/cb?v=1"},
		{"space before", app, " https://app.example/cb?v=1"},
		{"line break after", app, "https://app.example/cb?v=1\n"},
		{"another client's", app, "http://127.0.0.1/callback"},
		{"127.0.0.1 for localhost", local, "http://127.0.0.1:7777/callback"},
		{"::1 for localhost", local, "http://[::1]:7777/callback"},
		{"localhost for 127.0.0.1", ip, "http://localhost/callback"},
		{"127.0.0.1 for ::1", six, "http://127.0.0.1/callback"},
		{"https for http on localhost", local, "https://localhost:7777/callback"},
		{"http for https on localhost", httpsLocal, "http://localhost/callback"},
		{"another port on https localhost", httpsLocal, "https://localhost:8443/callback"},
		{"path on localhost with another port", local, "http://localhost:9999/callbacks"},
		{"query on localhost with another port", local, "http://localhost:9999/callback?x=1"},
		{"empty query on localhost with another port", local, "http://localhost:9999/callback?"},
		{"user information on localhost", local, "http://evil@localhost:9999/callback"},
		{"fragment on localhost", local, "http://localhost:9999/callback#x"},
		{"empty fragment on localhost", local, "http://localhost:9999/callback#"},
		{"encoded letter on localhost", local, "http://localhost:9999/%63allback"},
		{"localhost as a label", local, "http://localhost.evil.example:9999/callback"},
		{"case of localhost", local, "http://LOCALHOST:9999/callback"},
		{"case of http", local, "HTTP://localhost:9999/callback"},
		{"127.0.0.2", ip, "http://127.0.0.2/callback"},
		{"short form of 127.0.0.1", ip, "http://127.1/callback"},
		{"hexadecimal form of 127.0.0.1", ip, "http://0x7f000001/callback"},
		{"a port that is no number", ip, "http://127.0.0.1:x/callback"},
		{"custom scheme that the client did not register", app, cursorScheme},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := w.in(t)
			for _, ch := range []change{{}, {"code_challenge": nil}, {"prompt": {"none"}}, {"response_type": {"token"}}} {
				wantErrorPage(t, w.browser().get(w.authorizePath(test.c, change{"redirect_uri": {test.uri}}, ch)), "redirect_uri")
			}
		})
	}
}

// wantErrorPage checks that the person sees the error, and nobody else.
func wantErrorPage(t *testing.T, p page, says string) {
	t.Helper()
	if p.status != http.StatusBadRequest || p.to != nil || !strings.Contains(p.text(), says) {
		t.Errorf("answer %d, redirect to %v, %s; want a page that says %q", p.status, p.to, p.text(), says)
	}
	if p.header.Get("Refresh") != "" || strings.Contains(p.body, "http-equiv") {
		t.Error("the page redirects after all")
	}
}

func TestRedirectURIThatMatches(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct{ name, registered, sent string }{
		{"to the letter, with a query", "https://app.example/cb?b=2&a=%20", "https://app.example/cb?b=2&a=%20"},
		{"another port on localhost", "http://localhost/callback", "http://localhost:3335/callback"},
		{"another port than the registered on localhost", "http://localhost:1/callback", "http://localhost:3335/callback"},
		{"no port on localhost", "http://localhost:1/callback", "http://localhost/callback"},
		{"another port on 127.0.0.1", "http://127.0.0.1/", "http://127.0.0.1:33418/"},
		{"another port on ::1", "http://[::1]:1/callback", "http://[::1]:3335/callback"},
		{"the custom scheme of the configuration", cursorScheme, cursorScheme},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := w.in(t)
			c := w.register(test.registered, nil)
			c.redirect = test.sent
			b := w.browser()
			p := b.decide(b.login(w.authorizePath(c), "alice"), "approve")
			if p.to == nil || !strings.HasPrefix(p.to.String(), strings.Split(test.sent, "?")[0]) {
				t.Fatalf("answer %d to %v", p.status, p.to)
			}
			for k, v := range must(url.Parse(test.sent))(t).Query() { // RFC 6749 §3.1.2: kept
				if p.to.Query().Get(k) != v[0] {
					t.Errorf("%s lost its parameter %s", p.to, k)
				}
			}
			w.wantOK(w.token(&c, codeForm(c, p.to.Query().Get("code"))))
		})
	}
}

func TestRedirectURIMayBeLeftOutIfThereIsOne(t *testing.T) {
	w := newWorld(t)
	one := w.public()
	two := w.register("", map[string]any{"redirect_uris": []string{"https://app.example/1", "https://app.example/2"}})
	for name, ch := range map[string]change{"left out": {"redirect_uri": nil}, "empty": {"redirect_uri": {""}}} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			code := w.approve(one, ch).Get("code")
			w.wantOK(w.token(&one, codeForm(one, code, change{"redirect_uri": nil})))
			wantErrorPage(t, w.browser().get(w.authorizePath(two, ch)), "redirect_uri")
		})
	}
}

func TestNothingIsRedirectedBeforeTheClientIsKnown(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for name, test := range map[string]struct{ path, says string }{
		"unknown client":           {w.authorizePath(client{ID: "nobody", redirect: c.redirect}), "not registered"},
		"no client":                {w.authorizePath(c, change{"client_id": nil}), "client_id"},
		"client_id with a space":   {w.authorizePath(c, change{"client_id": {"a b"}}), "client_id"},
		"two client_ids":           {w.authorizePath(c, change{"client_id": {c.ID, c.ID}}), "more than once"},
		"two redirect_uris":        {w.authorizePath(c, change{"redirect_uri": {c.redirect, c.redirect}}), "more than once"},
		"two states":               {w.authorizePath(c, change{"state": {"a", "b"}}), "more than once"},
		"two challenges":           {w.authorizePath(c, change{"code_challenge": {challenge, challenge}}), "more than once"},
		"a pair that is malformed": {w.authorizePath(c) + "&a;b=c", "malformed"},
		"an escape that is none":   {w.authorizePath(c) + "&a=%zz", "malformed"},
	} {
		t.Run(name, func(t *testing.T) { wantErrorPage(t, w.in(t).browser().get(test.path), test.says) })
	}
}

// TestAuthorizeIsNoOpenRedirector is RFC 9700 §4.11.2: anybody may register a
// client with a redirect URI on a site of theirs, so that a link to us must not
// send a stranger's browser there without the person's doing.
func TestAuthorizeIsNoOpenRedirector(t *testing.T) {
	w := newWorld(t)
	evil := w.register("https://phishing.example/cb", nil)
	for name, ch := range map[string]change{"bad scope": {"scope": {`"`}}, "prompt none": {"prompt": {"none"}}, "bad response_type": {"response_type": {"x"}}} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			b := w.browser()
			p := b.get(w.authorizePath(evil, ch))
			wantErrorPage(t, p, "phishing.example")
			if !strings.Contains(p.body, `href="https://phishing.example/cb?error=`) {
				t.Errorf("no way on for the person: %s", p.body)
			}
			b.login(w.authorizePath(evil), "alice")
			if q := b.get(w.authorizePath(evil, ch)).query(t, evil.redirect); q.Get("error") == "" {
				t.Errorf("redirect with %v", q)
			}
		})
	}
	t.Run("a client of the configuration is trusted", func(t *testing.T) {
		w := w.in(t)
		w.putStatic("portal", "https://portal.example/cb", "authorization_code")
		q := w.browser().get(w.authorizePath(client{ID: "portal", redirect: "https://portal.example/cb"}, change{"scope": {`"`}})).query(t, "https://portal.example/cb")
		if q.Get("error") != "invalid_scope" {
			t.Errorf("redirect with %v", q)
		}
	})
}
