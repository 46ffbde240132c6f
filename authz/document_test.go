package authz_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/metadata"
)

// documents is the guarded fetcher, on loopback, that counts.
type documents struct {
	to *metadata.Fetcher

	mu      sync.Mutex // guards what follows
	fetched []string
	fail    error
}

var errFetch = errors.New("connection to 10.0.0.1 refused")

func newDocuments(c *authz.Config) *documents {
	return &documents{to: metadata.NewFetcher(metadata.FetcherConfig{Now: c.Now, InsecureLoopback: true})}
}

func (d *documents) Get(ctx context.Context, url string, maxBytes int64) ([]byte, time.Time, error) {
	d.mu.Lock()
	d.fetched = append(d.fetched, url)
	err := d.fail
	d.mu.Unlock()
	if err != nil {
		return nil, time.Time{}, err
	}
	got, err := d.to.Get(ctx, url, maxBytes)
	return got.Body, got.Fresh, err
}

// take returns what was fetched since the last take.
func (d *documents) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.fetched
	d.fetched = nil
	return out
}

func (d *documents) failWith(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// publisher is a web server with documents.
type publisher struct {
	*world
	*documents
	at string // its origin

	mu    sync.Mutex // guards pages
	pages map[string]string
}

func newPublisher(t *testing.T, options ...func(*authz.Config)) *publisher {
	t.Helper()
	p := &publisher{pages: map[string]string{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		body, ok := p.pages[r.URL.RequestURI()]
		p.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	p.at = srv.URL
	p.world = newWorld(t, append([]func(*authz.Config){func(c *authz.Config) {
		p.documents = newDocuments(c)
		c.Fetcher = p.documents
	}}, options...)...)
	return p
}

// use has the publisher's helpers report to a subtest while that runs.
func (p *publisher) use(t *testing.T) {
	outer := p.t
	p.t = t
	t.Cleanup(func() { p.t = outer })
}

func (p *publisher) set(path, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[path] = body
}

// publish publishes a good document, changed; a nil value removes a member.
func (p *publisher) publish(path string, changes map[string]any) client {
	p.t.Helper()
	c := client{ID: p.at + path, redirect: "http://127.0.0.1:7777/callback"}
	doc := map[string]any{"client_id": c.ID, "client_name": "Published", "redirect_uris": []string{c.redirect}, "token_endpoint_auth_method": "none"}
	maps.Copy(doc, changes)
	maps.DeleteFunc(doc, func(_ string, v any) bool { return v == nil })
	p.set(path, string(must(json.Marshal(doc))(p.t)))
	return c
}

func (p *publisher) snapshot(id string) authz.Document {
	p.t.Helper()
	return must(p.store.Document(p.t.Context(), identity.MustClientID(id), ""))(p.t)
}

const couldNotRead = "the metadata of this application could not be read"

func TestClientIsKnownByItsDocument(t *testing.T) {
	p := newPublisher(t)
	if !p.server.DocumentsOffered() || newWorld(t).server.DocumentsOffered() {
		t.Error("DocumentsOffered() is wrong")
	}
	c := p.publish("/oauth/client.json", nil)
	page := p.browser().login(p.authorizePath(c), "alice")
	if !strings.Contains(page.text(), "Published") {
		t.Errorf("the page does not name the client: %s", page.text())
	}
	a := p.tokens(c)
	if got := payload(t, a.AccessToken)["client_id"]; got != c.ID {
		t.Errorf("client_id %v, want %s", got, c.ID)
	}
	p.wantOK(p.token(&c, refreshForm(a.RefreshToken)))
	if got := p.take(); !slices.Equal(got, []string{c.ID}) {
		t.Errorf("fetched %q, want once", got)
	}
	body := p.pages["/oauth/client.json"]
	digest := sha256.Sum256([]byte(body))
	want := authz.Document{ClientID: identity.MustClientID(c.ID), Digest: base64.RawURLEncoding.EncodeToString(digest[:]), Body: []byte(body), Fetched: began, Fresh: began.Add(10 * time.Minute)}
	if diff := cmp.Diff(want, p.snapshot(c.ID), cmp.Comparer(func(a, b identity.ClientID) bool { return a == b })); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func TestBadDocumentsAreRefusedAndNotKept(t *testing.T) {
	jwt := func(m map[string]any) map[string]any {
		m["token_endpoint_auth_method"] = "private_key_jwt"
		return m
	}
	keys := func(s string) any { return must(parseJSON(s))(t) }
	tests := map[string]map[string]any{
		"no client_id":                       {"client_id": nil},
		"another client's client_id":         {"client_id": "https://claude.ai/oauth/claude-code-client-metadata"},
		"client_id in another spelling":      {"client_id": "HTTP://127.0.0.1/client.json"},
		"a client_id that is a number":       {"client_id": 1},
		"no client_name":                     {"client_name": nil},
		"an empty client_name":               {"client_name": ""},
		"a blank client_name":                {"client_name": "  "},
		"a name that turns the text around":  {"client_name": "a\u202eb"},
		"a name of 101 characters":           {"client_name": strings.Repeat("a", 101)},
		"no redirect_uris":                   {"redirect_uris": nil},
		"an empty list of redirect_uris":     {"redirect_uris": []string{}},
		"eleven redirect_uris":               {"redirect_uris": slices.Repeat([]string{"https://app.example/cb"}, 11)},
		"a redirect to plain http":           {"redirect_uris": []string{"http://app.example/cb"}},
		"a redirect that runs script":        {"redirect_uris": []string{"javascript:alert(1)"}},
		"a scheme that nobody allowed":       {"redirect_uris": []string{"com.evil:/cb"}},
		"one bad redirect among good":        {"redirect_uris": []string{"https://app.example/cb", "https://u@app.example/cb"}},
		"client_secret":                      {"client_secret": "x"},
		"an empty client_secret":             {"client_secret": ""},
		"client_secret_expires_at":           {"client_secret_expires_at": 0},
		"client_secret_basic":                {"token_endpoint_auth_method": "client_secret_basic"},
		"client_secret_post":                 {"token_endpoint_auth_method": "client_secret_post"},
		"client_secret_jwt":                  {"token_endpoint_auth_method": "client_secret_jwt"},
		"a secret, though none is listed":    {"token_endpoint_auth_method": "client_secret_post", "token_endpoint_auth_methods_supported": []string{"none"}},
		"only secrets listed":                {"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"}},
		"tls_client_auth":                    {"token_endpoint_auth_method": "tls_client_auth"},
		"self_signed_tls_client_auth":        {"token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": keys(publicKeys)},
		"a method that we do not know":       {"token_endpoint_auth_method": "attest_jwt_client_auth"},
		"private_key_jwt without keys":       jwt(map[string]any{}),
		"keys twice":                         jwt(map[string]any{"jwks": keys(publicKeys), "jwks_uri": "https://app.example/jwks"}),
		"private keys":                       jwt(map[string]any{"jwks": keys(privateKeys)}),
		"private keys that nobody uses":      {"jwks": keys(privateKeys)},
		"a private RSA key that nobody uses": {"jwks": keys(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","dp":"AQAB"}]}`)},
		"a symmetric key":                    jwt(map[string]any{"jwks": keys(`{"keys":[{"kty":"oct","k":"AQAB"}]}`)}),
		"no key in the set":                  jwt(map[string]any{"jwks": keys(`{"keys":[]}`)}),
		"keys by plain http":                 jwt(map[string]any{"jwks_uri": "http://app.example/jwks"}),
		"keys in a file":                     jwt(map[string]any{"jwks_uri": "file:///etc/passwd"}),
		"assertions without signature":       jwt(map[string]any{"jwks": keys(publicKeys), "token_endpoint_auth_signing_alg": "none"}),
		"only grants that we do not offer":   {"grant_types": []string{"client_credentials", "implicit"}},
		"only the device grant":              {"grant_types": []string{"urn:ietf:params:oauth:grant-type:device_code"}},
		"a malformed scope":                  {"scope": `"x"`},
		"redirect_uris that are a string":    {"redirect_uris": "https://app.example/cb"},
		"more than 5 KiB":                    {"x": strings.Repeat("a", 5<<10)},
	}
	p := newPublisher(t)
	n := 0
	for name, changes := range tests {
		n++
		path := "/" + strings.Repeat("a", n)
		t.Run(name, func(t *testing.T) {
			p.use(t)
			p.refused(t, p.publish(path, changes))
		})
	}
	for name, body := range map[string]string{
		"nothing": ``, "no JSON": `<html>`, "a list": `[]`, "null": `null`, "no UTF-8": "{\"client_id\":\"CLIENT\",\"client_name\":\"\xff\",\"redirect_uris\":[\"https://a.example/\"]}",
		"a member twice": `{"client_id":"CLIENT","client_name":"a","redirect_uris":["https://evil.example/"],"redirect_uris":["https://a.example/"]}`,
		"two documents":  `{"client_id":"CLIENT","client_name":"a","redirect_uris":["https://a.example/"]}{}`,
		"another case":   `{"Client_ID":"CLIENT","client_name":"a","redirect_uris":["https://a.example/"]}`,
	} {
		n++
		path := "/" + strings.Repeat("a", n)
		t.Run(name, func(t *testing.T) {
			p.use(t)
			p.set(path, strings.ReplaceAll(body, "CLIENT", p.at+path))
			p.refused(t, client{ID: p.at + path, redirect: "https://a.example/"})
		})
	}
}

func parseJSON(s string) (v any, err error) { return v, json.Unmarshal([]byte(s), &v) }

// refused wants the page that says the one thing, at each try, and no snapshot.
func (p *publisher) refused(t *testing.T, c client) {
	t.Helper()
	p.take()
	for range 2 {
		p.clock.advance(time.Minute) // for the quota
		got := p.browser().get(p.authorizePath(c))
		if got.status != 400 || got.to != nil || !strings.Contains(got.text(), couldNotRead) {
			t.Errorf("%d %v %s", got.status, got.to, got.text())
		}
	}
	if got := p.take(); !slices.Equal(got, []string{c.ID, c.ID}) {
		t.Errorf("fetched %q, want twice: a failure is not kept", got)
	}
	if _, err := p.store.Document(t.Context(), identity.MustClientID(c.ID), ""); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("a snapshot was kept: %v", err)
	}
}

var requestID = regexp.MustCompile(`[A-Z2-7]{26}`)

// Nobody scans a network through us: whatever went wrong, the page is the same.
func TestPageDoesNotTellWhyTheDocumentWasNotRead(t *testing.T) {
	p := newPublisher(t)
	p.set("/html", `<html>`)
	seen := map[string]bool{}
	for _, at := range []string{p.at + "/html", p.at + "/missing", "http://127.0.0.1:1/closed", "https://10.0.0.1/private", "https://no.such.host.invalid/x"} {
		got := p.browser().get(p.authorizePath(client{ID: at, redirect: "https://a.example/"}))
		if got.status != 400 || !strings.Contains(got.text(), couldNotRead) {
			t.Errorf("%s: %d %s", at, got.status, got.text())
		}
		seen[requestID.ReplaceAllString(got.text(), "")] = true
	}
	p.failWith(errFetch)
	got := p.browser().get(p.authorizePath(client{ID: p.at + "/x", redirect: "https://a.example/"}))
	if strings.Contains(got.body, "10.0.0.1") || !strings.Contains(p.log.String(), "10.0.0.1") {
		t.Errorf("the cause belongs in the log only: %s", got.text())
	}
	if len(seen) != 1 {
		t.Errorf("%d different pages: %q", len(seen), slices.Collect(maps.Keys(seen)))
	}
}

func TestOddClientIDsAreNotFetched(t *testing.T) {
	p := newPublisher(t)
	for _, id := range []string{
		"https://app.example", "https://app.example?x=/", "https:///client.json", "https://", "https:client.json", "https:/app.example/client.json",
		"https://app.example/client.json#", "https://app.example/client.json#x", "https://u@app.example/c", "https://u:p@app.example/c", "https://@app.example/c",
		"https://app.example/./c", "https://app.example/a/../c", "https://app.example/a/..", "https://app.example/.", "https://app.example/%2e%2e/c", "https://app.example/%2E/c",
		"https://app.example/a/.%2e/c", "https://app.example/a%2f..%2fc", "https://app.example/a%5c..%5cc", `https://app.example/a\c`,
		"https://*/c", "https://a;b/c", "https://app.example:x/c", "https://app.example/%zz", "https://app%2eexample/c", "https://[::1%25eth0]/c",
		"http://app.example/client.json", "http://10.0.0.1/client.json", "http://127.0.0.1.app.example/c", "http://127.0.0.2/c",
		"https://app.example/" + strings.Repeat("a", 1024),
	} {
		t.Run(id[:min(len(id), 60)], func(t *testing.T) {
			p.use(t)
			got := p.browser().get(p.authorizePath(client{ID: id, redirect: "https://a.example/"}))
			if fetched := p.take(); got.status != 400 || got.to != nil || len(fetched) != 0 || p.store.called("PutDocument") {
				t.Errorf("%d %s, fetched %q", got.status, got.text(), fetched)
			}
		})
	}
	for _, id := range []string{"HTTPS://app.example/c", "hTTp://127.0.0.1/c", "ftp://app.example/c", "file:///etc/passwd", "//app.example/c", "gopher://127.0.0.1:70/c", "spiffe://app.example/c"} {
		got := p.browser().get(p.authorizePath(client{ID: id, redirect: "https://a.example/"}))
		if fetched := p.take(); got.status != 400 || len(fetched) != 0 {
			t.Errorf("%s: %d %s, fetched %q", id, got.status, got.text(), fetched)
		}
	}
}

// What is allowed on a developer's machine is not elsewhere: neither the document
// nor the keys may be at an http URL of ours.
func TestLoopbackDocumentsAreForLoopbackIssuersOnly(t *testing.T) {
	p := newPublisher(t, func(c *authz.Config) { c.Issuer = "https://mcp.example.com" })
	c := p.publish("/client.json", nil)
	if got := p.browser().get(p.authorizePath(c)); got.status != 400 || len(p.take()) != 0 {
		t.Errorf("%d %s", got.status, got.text())
	}
	p.wantError(p.postRegister(`{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"`+p.at+`/jwks"}`), 400, "invalid_client_metadata")
	body := p.pages["/client.json"]
	noError(t, p.store.PutDocument(t.Context(), authz.Document{ClientID: identity.MustClientID(c.ID), Digest: "d", Body: []byte(body), Fetched: began, Fresh: began.Add(time.Hour)}))
	p.wantError(p.token(&c, refreshForm("x")), 401, "invalid_client")
}

func TestDocumentsAreUnknownWithoutFetcher(t *testing.T) {
	p := newPublisher(t, func(c *authz.Config) { c.Fetcher = nil })
	c := p.publish("/client.json", nil)
	noError(t, p.store.PutDocument(t.Context(), authz.Document{ClientID: identity.MustClientID(c.ID), Digest: "d", Body: []byte(p.pages["/client.json"]), Fetched: began, Fresh: began.Add(time.Hour)}))
	if got := p.browser().get(p.authorizePath(c)); got.status != 400 || !strings.Contains(got.text(), "not registered") {
		t.Errorf("%d %s", got.status, got.text())
	}
	p.wantError(p.token(&c, refreshForm("x")), 401, "invalid_client")
}

// Only the authorization endpoint fetches: elsewhere no person is there, and who
// changes the document must not change what was granted.
func TestOnlyTheAuthorizationEndpointFetches(t *testing.T) {
	p := newPublisher(t)
	device := "urn:ietf:params:oauth:grant-type:device_code"
	c := p.publish("/client.json", map[string]any{"grant_types": []string{"authorization_code", "refresh_token", device}})
	other := func(when string) {
		for path, form := range map[string]url.Values{
			"/oauth2/token":                codeForm(c, "x"),
			"/oauth2/token?refresh":        refreshForm("x"),
			"/oauth2/token?device":         {"grant_type": {device}, "device_code": {"x"}},
			"/oauth2/token?credentials":    {"grant_type": {"client_credentials"}},
			"/oauth2/revoke":               {"token": {"x"}},
			"/oauth2/introspect":           {"token": {"x"}},
			"/oauth2/par":                  {"response_type": {"code"}, "redirect_uri": {c.redirect}, "resource": {p.mail()}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}},
			"/oauth2/device_authorization": {"resource": {p.mail()}},
		} {
			a := p.do(p.request("POST", path, "application/x-www-form-urlencoded", with(form, change{"client_id": {c.ID}}).Encode()))
			if got := p.take(); len(got) != 0 {
				t.Errorf("%s, %s fetched %q", when, path, got)
			}
			if unknown := a.status == 401 && a.Error == "invalid_client"; unknown != (when == "never seen") && path != "/oauth2/introspect" {
				t.Errorf("%s, %s: %d %s", when, path, a.status, a.body)
			}
		}
	}
	other("never seen")
	p.tokens(c)
	p.take()
	other("fresh")
	p.clock.advance(time.Hour)
	other("stale")
}

func TestStaleDocumentIsNotUsedForNewGrants(t *testing.T) {
	p := newPublisher(t)
	c := p.publish("/client.json", nil)
	a := p.tokens(c)
	p.clock.advance(10*time.Minute - time.Second)
	p.take()
	if p.tokens(c); len(p.take()) != 0 {
		t.Error("fetched though fresh")
	}
	p.clock.advance(time.Second)
	p.failWith(errFetch)
	if got := p.browser().get(p.authorizePath(c)); got.status != 400 || !strings.Contains(got.text(), couldNotRead) {
		t.Errorf("stale and away: %d %s", got.status, got.text())
	}
	next := p.token(&c, refreshForm(a.RefreshToken)) // what was granted goes on
	p.wantOK(next)
	p.failWith(nil)
	p.publish("/client.json", map[string]any{"redirect_uris": []string{"http://127.0.0.1:7777/other"}})
	if got := p.browser().get(p.authorizePath(c)); got.status != 400 || !strings.Contains(got.text(), "redirect_uri") {
		t.Errorf("a redirect that was taken out: %d %s", got.status, got.text())
	}
}

// A domain that changes hands, or a document that was tampered with, does not take
// over the codes and refresh tokens of the grants before.
func TestChangedDocumentDoesNotChangeWhatWasGranted(t *testing.T) {
	p := newPublisher(t)
	c := p.publish("/client.json", nil)
	old := p.tokens(c)
	code := p.approve(c).Get("code")
	p.clock.advance(30 * time.Second)
	p.publish("/client.json", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": must(parseJSON(publicKeys))(t), "grant_types": []string{"authorization_code"}})
	p.expire(c)
	p.browser().get(p.authorizePath(c)) // the last snapshot is the new one now
	p.wantOK(p.token(&c, codeForm(c, code)))
	next := p.token(&c, refreshForm(old.RefreshToken))
	p.wantOK(next)
	fresh := p.approve(c).Get("code")
	p.wantError(p.token(&c, codeForm(c, fresh)), 401, "invalid_client")
	// Naming an old grant beside the one that is redeemed does not choose its document.
	p.wantError(p.token(&c, codeForm(c, fresh, change{"refresh_token": {next.RefreshToken}, "token": {next.RefreshToken}})), 401, "invalid_client")
}

// expire makes the last snapshot stale without moving the clock.
func (p *publisher) expire(c client) {
	p.t.Helper()
	d := p.snapshot(c.ID)
	d.Fetched, d.Fresh = p.clock.Now(), p.clock.Now()
	noError(p.t, p.store.PutDocument(p.t.Context(), d))
}

// Another client's grant does not choose the document.
func TestGrantOfAnotherClientChoosesNoDocument(t *testing.T) {
	p := newPublisher(t)
	a, b := p.publish("/a.json", nil), p.publish("/b.json", nil)
	code := p.approve(a).Get("code")
	p.approve(b)
	p.wantError(p.token(&b, codeForm(b, code)), 400, "invalid_grant")
}

// Where the grant cannot be read, nothing else stands in for its document: it is
// read once more when it is redeemed, and then there may be no error.
func TestUnreadableGrantFailsClosed(t *testing.T) {
	p := newPublisher(t)
	c := p.publish("/client.json", nil)
	a := p.tokens(c)
	for method, form := range map[string]url.Values{"Code": codeForm(c, p.approve(c).Get("code")), "RefreshToken": refreshForm(a.RefreshToken)} {
		p.store.on(failingOnce(method))
		p.wantError(p.token(&c, form), 500, "server_error")
		p.wantOK(p.token(&c, form))
		p.store.on(nil)
	}
}

// failingOnce makes one method fail the first time.
func failingOnce(method string) func(context.Context, string) error {
	var failed atomic.Bool
	return func(_ context.Context, m string) error {
		if m == method && !failed.Swap(true) {
			return errDisk
		}
		return nil
	}
}

// A document of a version that took more is fetched anew, and what it was granted ends.
func TestSnapshotIsCheckedByTheRulesOfNow(t *testing.T) {
	p := newPublisher(t)
	c := p.publish("/client.json", map[string]any{"redirect_uris": []string{"http://127.0.0.1:7777/callback", cursorScheme}})
	a := p.tokens(c)
	strict := newPublisher(t, func(cfg *authz.Config) { cfg.Store, cfg.CustomSchemes = p.store, nil })
	strict.wantError(strict.token(&c, refreshForm(a.RefreshToken)), 401, "invalid_client")
	if got := strict.browser().get(strict.authorizePath(c)); got.status != 400 || len(strict.take()) != 1 {
		t.Errorf("%d %s", got.status, got.text())
	}
}

func TestConfigurationComesBeforeTheDocument(t *testing.T) {
	p := newPublisher(t)
	c := p.publish("/client.json", map[string]any{"redirect_uris": []string{"https://evil.example/"}})
	noError(t, p.server.PutStatic(t.Context(), authz.Client{ID: identity.MustClientID(c.ID), AuthMethod: oauth.AuthNone, RedirectURIs: []string{c.redirect},
		GrantTypes: []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken}}))
	p.tokens(c)
	if got := p.take(); len(got) != 0 {
		t.Errorf("fetched %q", got)
	}
}

// A host is not hammered through us, however its URLs are made up.
func TestFetchFloodOfOneHostIsStopped(t *testing.T) {
	p := newPublisher(t)
	get := func(id string) page {
		return p.browser().get(p.authorizePath(client{ID: id, redirect: "https://a.example/"}))
	}
	known := p.publish("/known.json", nil)
	p.tokens(known)
	p.take()
	for i := range 12 {
		got := get(p.at + "/" + strings.Repeat("x", i))
		if limited := got.status == 503; limited != (i > 8) { // the tenth was the known one
			t.Errorf("try %d: %d %s", i, got.status, got.text())
		}
	}
	if n := len(p.take()); n != 9 {
		t.Errorf("%d fetches, want 9", n)
	}
	p.clock.advance(15 * time.Second)
	p.expire(known)
	if p.tokens(known); len(p.take()) != 1 {
		t.Error("the flood keeps a known document from being fetched again")
	}
	p.failWith(errFetch)
	p.expire(known)
	for range 15 {
		get(known.ID)
	}
	if n := len(p.take()); n != 10 {
		t.Errorf("%d fetches of a known document that fails, want 10", n)
	}
}

func TestNamesBelowOneDomainAreOnePublisher(t *testing.T) {
	p := newPublisher(t)
	p.failWith(errFetch)
	for i := range 12 {
		p.browser().get(p.authorizePath(client{ID: "https://" + strings.Repeat("a", i+1) + ".evil.example/c", redirect: "https://a.example/"}))
	}
	if n := len(p.take()); n != 10 {
		t.Errorf("%d fetches, want 10", n)
	}
	p.browser().get(p.authorizePath(client{ID: "https://other.example/c", redirect: "https://a.example/"}))
	for _, id := range []string{"https://one.github.io/c", "https://two.github.io/c"} { // whose owners differ
		p.browser().get(p.authorizePath(client{ID: id, redirect: "https://a.example/"}))
	}
	if n := len(p.take()); n != 3 {
		t.Errorf("%d fetches of other domains, want 3", n)
	}
}
