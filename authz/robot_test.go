package authz_test

import (
	"bytes"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
)

// The PKCE pair of RFC 7636 appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// client is a registered OAuth client.
type client struct {
	ID       string `json:"client_id"`
	Secret   string `json:"client_secret"`
	redirect string
}

// answer is an answer of the token or registration endpoint.
type answer struct {
	status int
	header http.Header
	body   string

	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
	Error        string `json:"error"`
	Description  string `json:"error_description"`
}

// do sends a request and reads the whole answer.
func (w *world) do(r *http.Request) answer {
	w.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))(w.t)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		noError(w.t, json.Unmarshal(body, &a))
	}
	return a
}

func (w *world) request(method, path, contentType, body string) *http.Request {
	w.t.Helper()
	r := must(http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body)))(w.t)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// token posts a form to the token endpoint; the client, unless nil, says who it
// is in the body.
func (w *world) token(c *client, form url.Values) answer {
	w.t.Helper()
	f := url.Values{}
	if c != nil {
		f.Set("client_id", c.ID)
		if c.Secret != "" {
			f.Set("client_secret", c.Secret)
		}
	}
	for k, v := range form {
		f[k] = v
	}
	return w.do(w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", f.Encode()))
}

// postRegister registers with a JSON body.
func (w *world) postRegister(body string) answer {
	w.t.Helper()
	return w.do(w.request("POST", "/oauth2/register", "application/json", body))
}

// register registers a client with one redirect URI and further members.
func (w *world) register(redirect string, more map[string]any) client {
	w.t.Helper()
	meta := map[string]any{"redirect_uris": []string{redirect}, "client_name": "Test Client", "token_endpoint_auth_method": "none"}
	for k, v := range more {
		meta[k] = v
	}
	a := w.postRegister(string(must(json.Marshal(meta))(w.t)))
	if a.status != http.StatusCreated {
		w.t.Fatalf("register: %d %s", a.status, a.body)
	}
	c := client{redirect: redirect}
	noError(w.t, json.Unmarshal([]byte(a.body), &c))
	return c
}

// public and confidential register a client of that kind.
func (w *world) public() client { return w.register("http://127.0.0.1:7777/callback", nil) }
func (w *world) confidential() client {
	return w.register("https://app.example/callback", map[string]any{"token_endpoint_auth_method": "client_secret_post"})
}

// change is a change of a request's parameters; an empty list removes one.
type change map[string][]string

func with(v url.Values, changes ...change) url.Values {
	for _, c := range changes {
		for name, values := range c {
			v[name] = values
			if len(values) == 0 {
				delete(v, name)
			}
		}
	}
	return v
}

// authorizePath is a good authorization request, changed.
func (w *world) authorizePath(c client, changes ...change) string {
	q := url.Values{"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {c.redirect}, "state": {"xyz"}, "resource": {w.mail()},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}}
	return "/oauth2/authorize?" + with(q, changes...).Encode()
}

// browser is a browser with a person in front of it. It keeps cookies, follows
// redirects within the server's origin only, and posts forms with the Origin that
// browsers send.
type browser struct {
	w   *world
	jar http.CookieJar
}

func (w *world) browser() *browser {
	return &browser{w, must(cookiejar.New(nil))(w.t)}
}

// page is what the browser ended at: a page, or a redirect to elsewhere.
type page struct {
	status int
	header http.Header
	body   string
	to     *url.URL // where it was redirected to, nil when it was not
}

func (b *browser) get(path string) page {
	b.w.t.Helper()
	return b.open(b.w.request("GET", path, "", ""))
}

func (b *browser) post(path string, form url.Values) page {
	b.w.t.Helper()
	r := b.w.request("POST", path, "application/x-www-form-urlencoded", form.Encode())
	r.Header.Set("Origin", b.w.url)
	return b.open(r)
}

func (b *browser) open(r *http.Request) page {
	b.w.t.Helper()
	c := http.Client{Jar: b.jar, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if next.URL.Scheme+"://"+next.URL.Host == b.w.url && next.URL.Path != "/console/callback" { // a client's, though it is ours
			return nil
		}
		return http.ErrUseLastResponse
	}}
	resp, err := c.Do(r)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	p := page{status: resp.StatusCode, header: resp.Header, body: string(must(io.ReadAll(resp.Body))(b.w.t))}
	if resp.Header.Get("Location") != "" {
		p.to = must(resp.Location())(b.w.t)
	}
	return p
}

var (
	hidden = regexp.MustCompile(`<input type="hidden" name="request" value="([^"]*)">`)
	tag    = regexp.MustCompile(`<[^>]*>`)
)

// sealed is the hidden input of the page.
func (p page) sealed(t testing.TB) string {
	t.Helper()
	m := hidden.FindStringSubmatch(p.body)
	if m == nil {
		t.Fatalf("no form on this page: %d %s", p.status, p.text())
	}
	return html.UnescapeString(m[1])
}

// text is what a person reads.
func (p page) text() string {
	return html.UnescapeString(strings.Join(strings.Fields(tag.ReplaceAllString(p.body, " ")), " "))
}

// query is what the client got by the redirect to its URI.
func (p page) query(t testing.TB, redirect string) url.Values {
	t.Helper()
	if p.to == nil || p.status != http.StatusSeeOther {
		t.Fatalf("no redirect: %d %s", p.status, p.text())
	}
	if bare, _, _ := strings.Cut(p.to.String(), "?"); bare != redirect {
		t.Fatalf("redirect to %s, want %s", bare, redirect)
	}
	return p.to.Query()
}

// login opens the path and logs in on the login page.
func (b *browser) login(path, user string) page {
	b.w.t.Helper()
	p := b.get(path)
	return b.post("/oauth2/login", url.Values{"request": {p.sealed(b.w.t)}, "user": {user}})
}

// decide answers the consent page.
func (b *browser) decide(p page, decision string) page {
	b.w.t.Helper()
	if p.to != nil { // the person was not asked: consent was remembered
		return p
	}
	return b.post("/oauth2/consent", url.Values{"request": {p.sealed(b.w.t)}, "decision": {decision}})
}

// approve goes the whole way as alice and returns the query of the redirect.
func (w *world) approve(c client, changes ...change) url.Values {
	w.t.Helper()
	b := w.browser()
	return b.decide(b.login(w.authorizePath(c, changes...), "alice"), "approve").query(w.t, c.redirect)
}

// codeForm redeems a code.
func codeForm(c client, code string, changes ...change) url.Values {
	return with(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.redirect}, "code_verifier": {verifier}}, changes...)
}

func refreshForm(token string, changes ...change) url.Values {
	return with(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, changes...)
}

// tokens goes the whole way as alice to the tokens.
func (w *world) tokens(c client, changes ...change) answer {
	w.t.Helper()
	a := w.token(&c, codeForm(c, w.approve(c, changes...).Get("code")))
	w.wantOK(a)
	return a
}

func (w *world) wantOK(a answer) {
	w.t.Helper()
	if a.status != http.StatusOK || a.AccessToken == "" {
		w.t.Fatalf("answer %d %s, want tokens", a.status, a.body)
	}
}

// wantError also holds every error to what all of them have in common.
func (w *world) wantError(a answer, status int, code string) {
	w.t.Helper()
	if a.status != status || a.Error != code {
		w.t.Errorf("answer %d %s, want %d %s", a.status, a.body, status, code)
	}
	w.wantWellFormed(a)
}

var registered = regexp.MustCompile(`^(authorization_pending|slow_down|expired_token|access_denied|invalid_request|invalid_client|invalid_grant|unauthorized_client|unsupported_grant_type|invalid_scope|invalid_target|server_error|temporarily_unavailable|invalid_dpop_proof|use_dpop_nonce|invalid_redirect_uri|invalid_client_metadata)$`)

// wantWellFormed looks for what must never be in an answer.
func (w *world) wantWellFormed(a answer) {
	w.t.Helper()
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		w.t.Errorf("Cache-Control %q of %s, want no-store", got, a.body)
	}
	if a.Error == "" {
		return
	}
	if !registered.MatchString(a.Error) || strings.ContainsAny(a.Description, `"\`) {
		w.t.Errorf("error %q with description %q: not a registered one, or not of RFC 6749 §5.2's characters", a.Error, a.Description)
	}
	for _, theirs := range []string{"error_hint", "error_debug", "error_verbose", "The ", "OAuth 2.0 Client", "fosite", errDisk.Error(), errAudit.Error(), "hint"} {
		if bytes.Contains([]byte(a.body), []byte(theirs)) {
			w.t.Errorf("the answer tells %q: %s", theirs, a.body)
		}
	}
	if a.Error == "server_error" && a.Description != "" {
		w.t.Errorf("server_error with text: %s", a.body)
	}
}

// redirected counts the answers that lead on.
func redirected(answers []answer) (n int) {
	for _, a := range answers {
		if a.status == http.StatusSeeOther {
			n++
		}
	}
	return n
}

// together runs f n times at once.
func together(n int, f func() answer) []answer {
	out := make([]answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { out[i] = f() })
	}
	wg.Wait()
	return out
}
