package console_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/console"
	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

const (
	pagesID = "wicketgate-console"
	lineID  = "wicketgate-cli"
)

var began = time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)

// world is a console beside a real authorization server, with hooks to break parts of it.
type world struct {
	t        testing.TB
	url      string
	clock    *clock
	store    *sqlite.Store
	minter   *token.Minter
	view     *revocation.View
	service  *approval.Service
	pdp      *pdp
	audit    *recorder
	log      *bytes.Buffer
	sessions *sessions
	handler  http.Handler
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	w := &world{t: t, clock: &clock{now: began}, audit: &recorder{}, log: &bytes.Buffer{}}
	srv := httptest.NewUnstartedServer(nil)
	host := srv.Listener.Addr().String()
	w.url = "http://" + host
	w.store = must(sqlite.Open(ctx, filepath.Join(t.TempDir(), "wicketgate.db")))(t)
	t.Cleanup(func() { _ = w.store.Close() })
	ring := must(keys.Open(ctx, w.store, keys.KEK{1}, w.clock.Now))(t)
	w.view = revocation.NewView(revocation.Config{Store: w.store, Issuer: w.url, Now: w.clock.Now, MaxAge: time.Hour})
	noError(t, w.view.Poll(ctx))
	w.minter = token.NewMinter(token.MinterConfig{Issuer: w.url, Signer: ring, Now: w.clock.Now, Revocations: w.view})
	w.service = approval.New(approval.Config{Store: w.store, Audit: w.audit, Now: w.clock.Now, Page: w.url + console.PathApprovals})
	w.pdp, w.sessions = newPDP(t), &sessions{to: map[string][]byte{}, now: w.clock.Now}
	verifier := token.NewVerifier(token.VerifierConfig{Issuer: w.url, Keys: ring, Now: w.clock.Now, Revocations: w.view})
	log := slog.New(slog.NewTextHandler(w.log, nil))
	mux := http.NewServeMux()
	m := web.Middleware{Hosts: []string{host}, Origins: []string{w.url, "http://inspector.example"}, Log: log}
	w.authorizationServer(ring, verifier, log).Register(mux, m.SameSite)
	con := must(console.New(console.Config{Issuer: w.url, Resource: resource(t, w.url+console.Path), Client: identity.MustClientID(pagesID),
		Clients:  map[identity.ClientID]bool{identity.MustClientID(pagesID): true, identity.MustClientID(lineID): true},
		Verifier: verifier, PDP: w.pdp, Approvals: w.service, Sessions: w.sessions, Sealer: ring.Sealer("console"), Audit: w.audit,
		Refusals: audit.NewRefusals(w.audit, time.Minute, w.clock.Now, 16), AuthorizationEndpoint: w.url + authz.PathAuthorize, TokenEndpoint: w.url + authz.PathToken,
		Transport: http.DefaultTransport, Log: log, Now: w.clock.Now}))(t)
	con.Register(mux)
	w.handler = m.Wrap(mux)
	srv.Config.Handler = w.handler
	srv.Start()
	t.Cleanup(srv.Close)
	return w
}

func (w *world) authorizationServer(ring *keys.Ring, verifier *token.Verifier, log *slog.Logger) *authz.Server {
	t := w.t
	users := []identity.Subject{subject(t, "alice"), subject(t, "bob"), subject(t, "carol"), subject(t, "dave")}
	as := must(authz.New(authz.Config{Issuer: w.url, Resources: oauth.NewResources([]oauth.Resource{resource(t, w.url+"/mcp/mail")}, nil).
		Reserve(resource(t, w.url+console.Path), []string{oauth.ScopeApprovals}, pagesID, lineID),
		Store: w.store, Minter: w.minter, Audit: w.audit, Refusals: audit.NewRefusals(w.audit, time.Minute, w.clock.Now, 16), Sealer: ring.Sealer("browser"), Log: log, Now: w.clock.Now,
		Verifier: verifier, Revocations: w.view, DPoP: dpop.New(dpop.Config{Sealer: ring.Sealer("dpop nonce"), Now: w.clock.Now}), InsecureUsers: users,
		AccessLifetime: 5 * time.Minute, CodeLifetime: time.Minute, RefreshLifetime: time.Hour, AbsoluteLifetime: 24 * time.Hour, LoginLifetime: 12 * time.Hour}))(t)
	noError(t, as.PutStatic(context.WithoutCancel(t.Context()),
		authz.Client{ID: identity.MustClientID(pagesID), Name: "Wicketgate console", AuthMethod: oauth.AuthNone, GrantTypes: []string{oauth.GrantAuthorizationCode}, RedirectURIs: []string{w.url + console.PathCallback}},
		authz.Client{ID: identity.MustClientID(lineID), Name: "wicketgate approvals", AuthMethod: oauth.AuthNone, GrantTypes: []string{oauth.GrantDeviceCode}}))
	return as
}

// sessions is a console.Sessions in memory.
type sessions struct {
	mu  sync.Mutex // guards to
	to  map[string][]byte
	now func() time.Time
}

func (s *sessions) Put(_ context.Context, name string, sealed []byte, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to[name] = sealed
	return nil
}

func (s *sessions) Get(_ context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.to[name]; ok {
		return b, nil
	}
	return nil, console.ErrNoSession
}

func (s *sessions) End(_ context.Context, name string, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.to, name)
	return nil
}

// waiting is a call of alice's that waits for approval.
func (w *world) waiting(changes ...func(*approval.Request)) approval.Request {
	w.t.Helper()
	r := approval.Request{Binding: approval.Binding{Subject: subject(w.t, "alice"), Client: identity.MustClientID("agent"), Actors: []string{"agent", "notebook"}, Server: "mail", Tool: "send_message",
		ArgumentsDigest: "digest", DefinitionDigest: "digest", PolicyDigest: w.pdp.real.Digest(), Rule: w.pdp.rule(w.t)},
		Arguments: jsontext.Value(`{"to":"eve@example.com","body":"[redacted]"}`), Risk: "high", By: [][]string{{"approver"}}, Expires: w.clock.Now().Add(15 * time.Minute)}
	for _, change := range changes {
		change(&r)
	}
	return must(w.service.Open(w.t.Context(), r))(w.t)
}

// state is what became of it.
func (w *world) state(id string) approval.State {
	w.t.Helper()
	return must(w.service.Get(w.t.Context(), id))(w.t).State
}

func (w *world) wantState(id string, want approval.State) {
	w.t.Helper()
	if got := w.state(id); got != want {
		w.t.Errorf("it is %s, want %s", got, want)
	}
}

// recorder keeps events, or fails.
type recorder struct {
	mu     sync.Mutex // guards both
	events []audit.Event
	broken bool
}

func (r *recorder) Record(_ context.Context, e audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return errors.New("the disk is full")
	}
	r.events = append(r.events, e)
	return nil
}

// denials are the reasons of the lines about decisions that were refused.
func (r *recorder) denials() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		if e.Kind == audit.Denial && e.Action == "approvals/decide" {
			out = append(out, e.Operator+" "+e.Reason)
		}
	}
	return out
}

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// browser keeps cookies, follows redirects within the server, and posts forms with the
// Origin that browsers send.
type browser struct {
	w   *world
	jar http.CookieJar
}

func (w *world) browser() *browser { return &browser{w, must(cookiejar.New(nil))(w.t)} }

// page is where the browser ended.
type page struct {
	status int
	header http.Header
	body   string
	at     *url.URL
}

func (b *browser) send(method, path string, form url.Values, header http.Header) page {
	b.w.t.Helper()
	r := must(http.NewRequestWithContext(b.w.t.Context(), method, b.w.url+path, strings.NewReader(form.Encode())))(b.w.t)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.w.url)
	}
	for name, v := range header {
		r.Header[name] = v
	}
	c := http.Client{Jar: b.jar, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if next.URL.Scheme+"://"+next.URL.Host == b.w.url {
			return nil
		}
		return http.ErrUseLastResponse
	}}
	resp := must(c.Do(r))(b.w.t)
	defer resp.Body.Close()
	return page{resp.StatusCode, resp.Header, string(must(io.ReadAll(resp.Body))(b.w.t)), resp.Request.URL}
}

func (b *browser) get(path string) page {
	b.w.t.Helper()
	return b.send(http.MethodGet, path, nil, nil)
}

func (b *browser) post(path string, form url.Values) page {
	b.w.t.Helper()
	return b.send(http.MethodPost, path, form, nil)
}

// as opens a page of the console and logs in there.
func (b *browser) as(user, path string) page {
	b.w.t.Helper()
	return b.logIn(b.get(path), user)
}

// logIn goes through login and consent, where they are asked for.
func (b *browser) logIn(p page, user string) page {
	b.w.t.Helper()
	if strings.Contains(p.body, `name="user"`) {
		p = b.post("/oauth2/login", url.Values{"request": {p.field(b.w.t, "request")}, "user": {user}})
	}
	if strings.Contains(p.body, "to act for you?") {
		p = b.post("/oauth2/consent", url.Values{"request": {p.field(b.w.t, "request")}, "decision": {"approve"}})
	}
	return p
}

// field is the value of the last hidden field of the name in the main form.
func (p page) field(t testing.TB, name string) string {
	t.Helper()
	m := regexp.MustCompile(`<input type="hidden" name="` + name + `" value="([^"]*)">`).FindStringSubmatch(p.body)
	if m == nil {
		t.Fatalf("no field %s on this page: %d %s", name, p.status, p.text())
	}
	return m[1]
}

var tags = regexp.MustCompile(`(?s)<style>.*?</style>|<[^>]*>`)

// text is what a person reads, with its HTML escapes.
func (p page) text() string {
	return strings.Join(strings.Fields(tags.ReplaceAllString(p.body, " ")), " ")
}

// decide answers the form of the page of the request.
func (b *browser) decide(p page, id, decision string) page {
	b.w.t.Helper()
	return b.post("/console/approvals/"+id, url.Values{"ticket": {p.field(b.w.t, "ticket")}, "decision": {decision}, "comment": {"looked at it"}})
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		noError(t, err)
		return v
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func resource(t testing.TB, s string) oauth.Resource  { return must(oauth.ParseResource(s))(t) }
func subject(t testing.TB, s string) identity.Subject { return must(identity.ParseSubject(s))(t) }
