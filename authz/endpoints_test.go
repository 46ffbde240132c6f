package authz_test

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

// endpoint is one way into the server, with a request that is well-formed.
type endpoint struct {
	method, path string
	query        url.Values
	form         url.Values        // of a POST
	object       map[string]string // of a JSON body: raw values
	header       http.Header
	limit        int  // of the body, bytes
	page         bool // answers a person
	public       bool // pages of every origin may read the answer
	clients      bool // authenticates clients
}

// request makes the request; each part is the well-formed one unless it was changed.
func (e endpoint) request(w *world) *http.Request {
	w.t.Helper()
	path, body, contentType := e.path, "", ""
	if len(e.query) > 0 {
		path += "?" + e.query.Encode()
	}
	switch {
	case e.form != nil:
		body, contentType = e.form.Encode(), "application/x-www-form-urlencoded"
	case e.object != nil:
		body, contentType = e.json(), "application/json"
	}
	r := w.request(e.method, path, contentType, body)
	maps.Copy(r.Header, e.header)
	return r
}

func (e endpoint) json() string {
	var members []string
	for _, name := range slices.Sorted(maps.Keys(e.object)) {
		members = append(members, `"`+name+`":`+e.object[name])
	}
	return "{" + strings.Join(members, ",") + "}"
}

// params are what a client or a browser says in the request.
func (e endpoint) params() url.Values {
	if e.form != nil {
		return e.form
	}
	return e.query
}

// with is the endpoint with other params.
func (e endpoint) with(changes ...change) endpoint {
	if e.form != nil {
		e.form = with(maps.Clone(e.form), changes...)
	} else {
		e.query = with(maps.Clone(e.query), changes...)
	}
	return e
}

// newEndpoints is a world with all its endpoints, and a browser that alice is logged in at.
func newEndpoints(t *testing.T) (*world, []endpoint) {
	p := &idp{url: "https://idp.example"}
	w := newWorld(t, manyRegistrations, withResourceServers, withGateways, func(c *authz.Config) { c.Login = p; c.Fetcher = newDocuments(c) })
	w.putResourceServers()
	p.set(authz.Person{Subject: subject(t, "alice"), AuthTime: began})
	m := w.managed(`{"redirect_uris":["http://127.0.0.1:7777/callback"],"client_name":"Mine","token_endpoint_auth_method":"client_secret_post",
		"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"]}`)
	c := m.client
	c.redirect = "http://127.0.0.1:7777/callback"
	b := w.browser()
	sealed := b.visit(w.authorizePath(c)).sealed(t)
	enter := b.get("/oauth2/device").sealed(t)
	login := b.get(w.authorizePath(c, change{"prompt": {"login"}})).to.Query().Get("state")
	var cookies []string
	for _, k := range b.jar.Cookies(must(url.Parse(w.url))(t)) {
		cookies = append(cookies, k.String())
	}
	browser := http.Header{"Cookie": {strings.Join(cookies, "; ")}, "Origin": {w.url}}
	creds := func(v url.Values) url.Values {
		return with(v, change{"client_id": {c.ID}, "client_secret": {c.Secret}})
	}
	_, authorize, _ := strings.Cut(w.authorizePath(c, change{"scope": {"mcp:tools"}, "prompt": {"consent"}, "max_age": {"3600"}, "login_hint": {"alice"}, "acr_values": {"gold"}, "response_mode": {"query"}}), "?")
	query := must(url.ParseQuery(authorize))(t)
	bearer := http.Header{"Authorization": {"Bearer " + m.Token}}
	metadata := map[string]string{"client_name": `"Mine"`, "redirect_uris": `["https://app.example/cb"]`, "token_endpoint_auth_method": `"private_key_jwt"`, "grant_types": `["authorization_code"]`,
		"response_types": `["code"]`, "scope": `"mcp:tools"`, "jwks": publicKeys, "token_endpoint_auth_signing_alg": `"EdDSA"`, "application_type": `"web"`}
	update := maps.Clone(metadata)
	update["client_id"] = `"` + m.ID + `"`
	return w, []endpoint{
		{method: "POST", path: "/oauth2/token", limit: 64 << 10, public: true, clients: true, form: creds(codeForm(c, "x", change{"resource": {w.mail()}, "scope": {"mcp:tools"}}))},
		{method: "POST", path: "/oauth2/par", limit: 16 << 10, public: true, clients: true, form: creds(maps.Clone(query))},
		{method: "POST", path: "/oauth2/revoke", limit: 64 << 10, public: true, clients: true, form: creds(url.Values{"token": {"x"}, "token_type_hint": {"access_token"}})},
		{method: "POST", path: "/oauth2/introspect", limit: 64 << 10, clients: true, form: creds(url.Values{"token": {"x"}, "token_type_hint": {"access_token"}})},
		{method: "POST", path: "/oauth2/revocations", limit: 64 << 10, clients: true, form: creds(url.Values{"after": {"0"}})},
		{method: "POST", path: "/oauth2/definitions", limit: 64 << 10, clients: true, form: creds(url.Values{"server": {"mail"}, "tool": {"list_messages"}, "digest": {"x"}})},
		{method: "POST", path: "/oauth2/device_authorization", limit: 64 << 10, public: true, clients: true, form: creds(url.Values{"scope": {"mcp:tools"}, "resource": {w.mail()}})},
		{method: "POST", path: "/oauth2/register", limit: 16 << 10, public: true, object: metadata},
		{method: "GET", path: "/oauth2/register/" + m.ID, public: true, header: bearer},
		{method: "PUT", path: "/oauth2/register/" + m.ID, limit: 16 << 10, public: true, header: bearer, object: update},
		{method: "DELETE", path: "/oauth2/register/" + m.ID, public: true, header: bearer},
		{method: "GET", path: "/oauth2/authorize", page: true, query: query},
		{method: "GET", path: "/oauth2/callback", page: true, query: url.Values{"state": {login}, "code": {"x"}, "iss": {"https://idp.example"}}, header: browser},
		{method: "GET", path: "/oauth2/consent", page: true, query: url.Values{"request": {sealed}}, header: browser},
		{method: "POST", path: "/oauth2/consent", limit: 64 << 10, page: true, form: url.Values{"request": {sealed}, "decision": {"deny"}}, header: browser},
		{method: "GET", path: "/oauth2/login", page: true, query: url.Values{"request": {sealed}}, header: browser},
		{method: "POST", path: "/oauth2/login", limit: 64 << 10, page: true, form: url.Values{"request": {sealed}, "user": {"bob"}}, header: browser},
		{method: "GET", path: "/oauth2/device", page: true, query: url.Values{"user_code": {"BBBB-BBBB"}}, header: browser},
		{method: "POST", path: "/oauth2/device", limit: 64 << 10, page: true, form: url.Values{"request": {enter}, "user_code": {"BBBB-BBBB"}}, header: browser},
	}
}

// each runs a subtest for every endpoint that is chosen, in a world of its own.
func each(t *testing.T, chosen func(endpoint) bool, f func(t *testing.T, w *world, e endpoint)) {
	t.Helper()
	_, all := newEndpoints(t)
	for i, e := range all {
		if chosen(e) {
			name, _, _ := strings.Cut(strings.TrimPrefix(e.path, "/oauth2/"), "/wg_")
			t.Run(e.method+" "+name, func(t *testing.T) {
				w, all := newEndpoints(t)
				f(t, w, all[i])
			})
		}
	}
}

func all(endpoint) bool { return true }

// brief is what a person reads of an answer.
func (a answer) brief() string {
	text := page{body: styleElement.ReplaceAllString(a.body, "")}.text()
	return text[:min(len(text), 300)]
}

// wantRefusal checks that a mistake is answered as one: to a client with JSON, to a
// person with a page, to nobody by a redirect.
func (w *world) wantRefusal(e endpoint, a answer) {
	w.t.Helper()
	w.wantSober(e, a)
	if a.status != http.StatusBadRequest || a.header.Get("Location") != "" || !e.page && a.Error == "" {
		w.t.Errorf("answer %d to %q: %s", a.status, a.header.Get("Location"), a.brief())
	}
}

// wantSober checks what holds for every answer whatever was sent.
func (w *world) wantSober(e endpoint, a answer) {
	w.t.Helper()
	if a.status >= 500 || a.header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("answer %d, Cache-Control %q: %s; the log: %s", a.status, a.header.Get("Cache-Control"), a.brief(), w.log)
	}
	want := "application/json"
	if e.page && a.status != http.StatusSeeOther {
		want = "text/html; charset=utf-8"
	}
	if got := a.header.Get("Content-Type"); a.body != "" && a.status != http.StatusSeeOther && got != want {
		w.t.Errorf("Content-Type %q, want %q: %s", got, want, a.body)
	}
	if !e.page && a.body != "" && a.Error != "unsupported_response_type" && a.Error != "invalid_token" { // those two are not of RFC 6749 §5.2
		w.wantWellFormed(a)
	}
}

// tryOne sends a request a while after the last.
func (w *world) tryOne(r *http.Request) answer {
	w.t.Helper()
	w.clock.advance(7 * time.Second) // within the life of pages, under the limit of guesses
	return w.do(r)
}

// TestEveryEndpointIsTried: a new one fails here until it is in the table.
func TestEveryEndpointIsTried(t *testing.T) {
	_, all := newEndpoints(t)
	source := string(must(os.ReadFile("server.go"))(t))
	names := regexp.MustCompile(`(\w+) += "(/oauth2/\w+)"`).FindAllStringSubmatch(source, -1)
	if len(names) < 11 {
		t.Fatalf("read %d paths only: this test looks in the wrong place", len(names))
	}
	for _, name := range names {
		for _, route := range regexp.MustCompile(`Handle\("(\w+) "\+`+name[1]+`,`).FindAllStringSubmatch(source, -1) {
			if route[1] != "OPTIONS" && !slices.ContainsFunc(all, func(e endpoint) bool { return e.method == route[1] && e.path == name[2] }) {
				t.Errorf("%s %s is in no table", route[1], name[2])
			}
		}
		if !strings.Contains(source, "+"+name[1]) {
			t.Errorf("%s is served nowhere that this test finds", name[2])
		}
	}
}

// TestWrongMethod: nothing is done, and no page of another origin can read anything.
func TestWrongMethod(t *testing.T) {
	w, all := newEndpoints(t)
	for _, e := range all {
		var served []string
		for _, other := range all {
			if other.path == e.path {
				served = append(served, other.method)
			}
		}
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get"} {
			if slices.Contains(served, method) {
				continue
			}
			t.Run(method+" "+e.path, func(t *testing.T) {
				w := w.in(t)
				w.store.on(nil)
				r := e.request(w)
				r.Method = method
				a := w.tryOne(r)
				if a.status != http.StatusMethodNotAllowed || !strings.Contains(a.header.Get("Allow"), e.method) || a.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("answer %d, %v: %s", a.status, a.header, a.body)
				}
				if len(w.store.calls) > 0 {
					t.Errorf("the store was asked: %v", w.store.calls)
				}
			})
		}
	}
}

// TestWhoMayReadAnswers is CORS: pages of every origin where a browser app is a
// client, and none where a person decides or a server asks.
func TestWhoMayReadAnswers(t *testing.T) {
	const evil = "https://evil.example"
	each(t, all, func(t *testing.T, w *world, e endpoint) {
		want, preflight := "", http.StatusMethodNotAllowed
		if e.public {
			want, preflight = "*", http.StatusNoContent
		}
		r := e.request(w)
		r.Header.Set("Origin", evil)
		a := w.tryOne(r)
		if got := a.header.Get("Access-Control-Allow-Origin"); got != want || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("Access-Control-Allow-Origin %q, want %q", got, want)
		}
		r = e.request(w)
		r.Method = http.MethodOptions
		r.Header.Set("Origin", evil)
		r.Header.Set("Access-Control-Request-Method", e.method)
		a = w.tryOne(r)
		if got := a.header.Get("Access-Control-Allow-Origin"); got != want || a.status != preflight || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("preflight: %d, Access-Control-Allow-Origin %q, want %d %q", a.status, got, preflight, want)
		}
	})
}

// TestPersonIsToldWhatToDo: whatever is wrong at the endpoints where a person ends
// up, it is a page, and it says what to do or whom to ask.
func TestPersonIsToldWhatToDo(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for path, says := range map[string]string{
		w.authorizePath(client{ID: "gone", redirect: c.redirect}):             "it must register again",
		w.authorizePath(c, change{"redirect_uri": {"https://evil.example/"}}): "redirect_uri",
		w.authorizePath(c, change{"client_id": nil}):                          "client_id is missing",
		"/oauth2/authorize":     "client_id is missing",
		"/oauth2/authorize?%zz": "malformed",
		"/oauth2/authorize?request_uri=urn:ietf:params:oauth:request_uri:x": "go back to the application and connect again",
		"/oauth2/callback":        "no answer to a login",
		"/oauth2/consent":         "go back to the application and connect again",
		"/oauth2/login?request=x": "go back to the application and connect again",
	} {
		p := w.browser().get(path)
		wantErrorPage(t, p, says)
		wantSafe(t, p)
	}
}
