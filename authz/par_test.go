package authz_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// push pushes a good authorization request, changed, and returns the answer with
// the path that the browser is sent to.
func (w *world) push(c client, changes ...change) (answer, string) {
	w.t.Helper()
	_, query, _ := strings.Cut(w.authorizePath(c), "?")
	form := with(must(url.ParseQuery(query))(w.t), changes...)
	if c.Secret != "" {
		form.Set("client_secret", c.Secret)
	}
	a := w.do(w.request("POST", "/oauth2/par", "application/x-www-form-urlencoded", form.Encode()))
	var got struct {
		URI string `json:"request_uri"`
		In  int    `json:"expires_in"`
	}
	noError(w.t, json.Unmarshal([]byte(a.body), &got))
	return a, "/oauth2/authorize?" + url.Values{"client_id": {c.ID}, "request_uri": {got.URI}}.Encode()
}

func TestPushedRequest(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]client{"a public client": w.public(), "a confidential client": w.confidential()} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a, path := w.push(c)
			if a.status != http.StatusCreated || a.header.Get("Cache-Control") != "no-store" || !strings.Contains(a.body, "urn:ietf:params:oauth:request_uri:") ||
				!strings.Contains(a.body, `"expires_in":90`) {
				t.Fatalf("answer %d %s", a.status, a.body)
			}
			b := w.browser()
			q := b.decide(b.login(path, "alice"), "approve").query(t, c.redirect)
			if q.Get("state") != "xyz" || q.Get("iss") != w.url {
				t.Errorf("redirect with %v", q)
			}
			w.wantOK(w.token(&c, codeForm(c, q.Get("code"))))
		})
	}
}

// TestPushedRequestIsSpentOnce: the link is good once, the page that it leads to may
// be loaded again.
func TestPushedRequestIsSpentOnce(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	_, path := w.push(c)
	b := w.browser()
	p := b.get(path)
	wantErrorPage(t, b.get(path), "used before")
	wantErrorPage(t, w.browser().get(path), "used before")
	p = b.post("/oauth2/login", url.Values{"request": {p.sealed(t)}, "user": {"alice"}})
	b.decide(p, "approve").query(t, c.redirect)
}

func TestPushedRequestInParallelIsSpentOnce(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	_, path := w.push(c)
	answers := together(16, func() answer { return w.do(w.request("GET", path, "", "")) })
	if n := redirected(answers); n != 1 {
		t.Errorf("%d browsers got in by one request_uri", n)
	}
}

func TestPushedRequestExpires(t *testing.T) {
	w := newWorld(t)
	_, path := w.push(w.public())
	w.clock.advance(90 * time.Second)
	wantErrorPage(t, w.browser().get(path), "too old")
}

func TestPushedRequestOfAnotherClient(t *testing.T) {
	w := newWorld(t)
	c, other := w.public(), w.public()
	_, path := w.push(c)
	for name, id := range map[string]string{"another client": other.ID, "no client": "", "an unknown one": "x"} {
		t.Run(name, func(t *testing.T) {
			wantErrorPage(t, w.in(t).browser().get(strings.Replace(path, c.ID, id, 1)), "go back to the application")
		})
	}
	if p := w.browser().get(path); p.status != http.StatusOK { // who guesses does not spend it
		t.Errorf("and the right one: %d %s", p.status, p.text())
	}
}

// TestPushedRequestTakesNothingFromTheURL: what was pushed counts, whatever is put
// beside it in the browser (RFC 9126 §4).
func TestPushedRequestTakesNothingFromTheURL(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	_, path := w.push(c, change{"scope": {"mcp:tools"}})
	p := w.browser().login(path+"&scope=mcp:prompts&state=evil&redirect_uri=https://evil.example/", "alice")
	if strings.Contains(p.text(), "mcp:prompts") || strings.Contains(p.text(), "evil") || !strings.Contains(p.text(), "mcp:tools") {
		t.Errorf("the page: %s", p.text())
	}
}

func TestPushRefuses(t *testing.T) {
	w := newWorld(t)
	c, secret := w.public(), w.confidential()
	stranger := secret
	stranger.Secret = "wrong"
	for name, test := range map[string]struct {
		client client
		change change
		status int
		want   string
	}{
		"a wrong secret":              {stranger, nil, 401, "invalid_client"},
		"an unknown client":           {client{ID: "x", redirect: c.redirect}, nil, 401, "invalid_client"},
		"another redirect URI":        {c, change{"redirect_uri": {"https://evil.example/"}}, 400, "invalid_request"},
		"no PKCE":                     {c, change{"code_challenge": nil}, 400, "invalid_request"},
		"plain PKCE":                  {c, change{"code_challenge_method": {"plain"}}, 400, "invalid_request"},
		"implicit":                    {c, change{"response_type": {"token"}}, 400, "unsupported_response_type"},
		"a request_uri in itself":     {c, change{"request_uri": {"urn:ietf:params:oauth:request_uri:x"}}, 400, "invalid_request"},
		"a request object":            {c, change{"request": {"e30.e30."}}, 400, "invalid_request"},
		"an upstream as resource":     {c, change{"resource": {upstreamURI}}, 400, "invalid_target"},
		"two states":                  {c, change{"state": {"a", "b"}}, 400, "invalid_request"},
		"more than 16 KiB":            {c, change{"state": {strings.Repeat("a", 16<<10)}}, 400, "invalid_request"},
		"a max_age that is no number": {c, change{"max_age": {"-1"}}, 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a, _ := w.push(test.client, test.change)
			if a.status != test.status || a.Error != test.want {
				t.Errorf("answer %d %s, want %d %s", a.status, a.body, test.status, test.want)
			}
			if a.header.Get("Location") != "" {
				t.Error("an endpoint without a browser redirects")
			}
		})
	}
}

// TestPushedSecretsAreNotStored looks through the whole database file.
func TestPushedSecretsAreNotStored(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	a, path := w.push(c)
	if a.status != http.StatusCreated {
		t.Fatal(a.body)
	}
	stored := w.database()
	if !strings.Contains(stored, challenge) {
		t.Fatal("the request is not in the database: this test looks in the wrong place")
	}
	uri := must(url.Parse(path))(t).Query().Get("request_uri")
	for what, secret := range map[string]string{"client_secret": c.Secret, "request_uri": uri[strings.LastIndex(uri, ":")+1:]} {
		if strings.Contains(stored, secret) {
			t.Errorf("the %s is in the database", what)
		}
	}
}
