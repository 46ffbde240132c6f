package authz_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
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
	upstreamURI  = "http://10.0.0.7:3000/mcp" // internal: nobody may ask for it
	agentSecret  = "the-secret-of-the-agent-0123456789abcdef"
	grantEcho    = "urn:example:echo"
	cursorScheme = "cursor://anysphere.cursor-mcp/oauth/callback"

	accessLifetime   = 5 * time.Minute
	codeLifetime     = time.Minute
	refreshLifetime  = 14 * 24 * time.Hour
	absoluteLifetime = 30 * 24 * time.Hour
	loginLifetime    = 12 * time.Hour
	window           = time.Minute // of refusals
)

var began = time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)

// world is an authorization server with real parts, and hooks to break them.
type world struct {
	t        testing.TB
	url      string // the issuer
	data     string // folder of the store and the audit log
	server   *authz.Server
	handler  http.Handler
	clock    *clock
	store    *hookedStore
	audit    *hookedRecorder
	log      *lockedBuffer
	verifier *token.Verifier
	view     *revocation.View
}

// newWorld starts a server. Each option may change the Config before.
func newWorld(t testing.TB, options ...func(*authz.Config)) *world {
	t.Helper()
	w := &world{t: t, data: t.TempDir(), clock: &clock{now: began}, log: &lockedBuffer{}}
	srv := httptest.NewUnstartedServer(nil)
	host := srv.Listener.Addr().String()
	w.url = "http://" + host
	log := slog.New(slog.NewTextHandler(w.log, nil))
	cfg := w.config(log)
	for _, o := range options {
		o(&cfg)
	}
	w.server = must(authz.New(cfg))(t)
	agentHash := sha256.Sum256([]byte(agentSecret))
	static := []authz.Client{
		{ID: identity.MustClientID("agent"), AuthMethod: oauth.AuthBasic, SecretHash: agentHash[:],
			GrantTypes: []string{oauth.GrantClientCredentials, grantEcho}},
		{ID: identity.MustClientID("exchanger"), AuthMethod: oauth.AuthPost, SecretHash: agentHash[:], GrantTypes: []string{grantEcho}},
		{ID: identity.MustClientID("carol"), AuthMethod: oauth.AuthNone, GrantTypes: []string{oauth.GrantClientCredentials}},
	}
	if err := w.server.PutStatic(t.Context(), static...); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	m := web.Middleware{Hosts: []string{host}, Origins: []string{cfg.Issuer}, Log: log}
	w.server.Register(mux, m.SameSite)
	w.handler = m.Wrap(mux)
	srv.Config.Handler = w.handler
	srv.Start()
	t.Cleanup(srv.Close)
	return w
}

func (w *world) config(log *slog.Logger) authz.Config {
	t := w.t
	ctx := context.WithoutCancel(t.Context())
	noError(t, os.WriteFile(filepath.Join(w.data, "wicketgate.db"), must(migrated())(t), 0o600))
	db := must(sqlite.Open(ctx, filepath.Join(w.data, "wicketgate.db")))(t)
	t.Cleanup(func() { noError(t, db.Close()) })
	ring := must(keys.Open(ctx, db, keys.KEK{1}, w.clock.Now))(t)
	lines := must(audit.Open(ctx, audit.Config{Path: filepath.Join(w.data, "audit.jsonl"), Signer: ring.AuditSigner(), Heads: db, Now: w.clock.Now}))(t)
	t.Cleanup(func() { noError(t, lines.Close()) })
	w.store, w.audit = &hookedStore{Store: db}, &hookedRecorder{to: lines}
	w.view = revocation.NewView(revocation.Config{Store: db, Issuer: w.url, Now: w.clock.Now, MaxAge: 1 << 62}) // tests move the clock
	noError(t, w.view.Poll(ctx))
	w.verifier = token.NewVerifier(token.VerifierConfig{Issuer: w.url, Keys: ring, Now: w.clock.Now, Revocations: w.view})
	return authz.Config{
		Issuer:    w.url,
		Resources: oauth.NewResources([]oauth.Resource{resource(t, w.url+"/mcp/mail"), resource(t, w.url+"/mcp/files")}, []oauth.Resource{resource(t, upstreamURI)}),
		Store:     w.store, Minter: token.NewMinter(token.MinterConfig{Issuer: w.url, Signer: ring, Now: w.clock.Now, Revocations: w.view}),
		Grants: map[string]authz.Grant{grantEcho: echo{}},
		Audit:  w.audit, Refusals: audit.NewRefusals(w.audit, window, w.clock.Now, 16),
		Sealer: ring.Sealer("browser"), Log: log, Now: w.clock.Now, Verifier: w.verifier, Revocations: w.view,
		DPoP:          dpop.New(dpop.Config{Sealer: ring.Sealer("dpop nonce"), Proofs: proofs{w.store}, Now: w.clock.Now}),
		InsecureUsers: []identity.Subject{subject(t, "alice"), subject(t, "bob"), subject(t, "carol")},
		CustomSchemes: []string{cursorScheme}, AccessLifetime: accessLifetime, CodeLifetime: codeLifetime,
		RefreshLifetime: refreshLifetime, AbsoluteLifetime: absoluteLifetime, LoginLifetime: loginLifetime,
	}
}

// proofs is the store as a dpop.Once, as cmd has it.
type proofs struct{ store authz.Store }

func (p proofs) Spend(ctx context.Context, key []string, now, expires time.Time) error {
	err := p.store.InsertTicket(ctx, authz.TicketProof, authz.TicketKey(key...), nil, now, expires)
	if errors.Is(err, authz.ErrExists) {
		return dpop.ErrSpent
	}
	return err
}

// migrated is an empty database: to migrate one for each test takes longer than most
// tests do.
var migrated = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "wicketgate-authz-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "wicketgate.db")
	if err := sqlite.Migrate(context.Background(), path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// in is the same world in a subtest.
func (w *world) in(t testing.TB) *world {
	sub := *w
	sub.t = t
	return &sub
}

// mail and files are the protected resources.
func (w *world) mail() string  { return w.url + "/mcp/mail" }
func (w *world) files() string { return w.url + "/mcp/files" }

// echo is a grant that is handed in: it tells what it was given.
type echo struct{}

func (echo) Issue(_ context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	return oauth.TokenResponse{AccessToken: "for " + r.Client.ID, TokenType: "N_A"}, nil
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

// hookedStore is a real store whose methods can be made to fail, or to be preceded
// by something.
type hookedStore struct {
	authz.Store
	mu    sync.Mutex // guards hook and calls
	hook  func(ctx context.Context, method string) error
	calls []string
}

var errDisk = errors.New("the disk is on fire")

func (s *hookedStore) on(hook func(ctx context.Context, method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook, s.calls = hook, nil
}

// failing makes one method fail.
func failing(method string) func(context.Context, string) error {
	return func(_ context.Context, m string) error {
		if m == method {
			return errDisk
		}
		return nil
	}
}

func (s *hookedStore) called(method string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.calls, method)
}

func (s *hookedStore) before(ctx context.Context, method string) error {
	s.mu.Lock()
	hook := s.hook
	s.calls = append(s.calls, method)
	s.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(ctx, method)
}

func (s *hookedStore) Client(ctx context.Context, id identity.ClientID) (authz.Client, error) {
	if err := s.before(ctx, "Client"); err != nil {
		return authz.Client{}, err
	}
	return s.Store.Client(ctx, id)
}

func (s *hookedStore) InsertClient(ctx context.Context, c authz.Client) error {
	return errors.Join(s.before(ctx, "InsertClient"), s.Store.InsertClient(ctx, c))
}

func (s *hookedStore) InsertCode(ctx context.Context, a authz.Authorization, c authz.Code) error {
	if err := s.before(ctx, "InsertCode"); err != nil {
		return err
	}
	return s.Store.InsertCode(ctx, a, c)
}

func (s *hookedStore) Code(ctx context.Context, hash []byte) (authz.Code, authz.Authorization, error) {
	if err := s.before(ctx, "Code"); err != nil {
		return authz.Code{}, authz.Authorization{}, err
	}
	return s.Store.Code(ctx, hash)
}

func (s *hookedStore) RedeemCode(ctx context.Context, hash []byte, now time.Time) error {
	if err := s.before(ctx, "RedeemCode"); err != nil {
		return err
	}
	return s.Store.RedeemCode(ctx, hash, now)
}

func (s *hookedStore) InsertRefreshToken(ctx context.Context, id string, r authz.RefreshToken) error {
	if err := s.before(ctx, "InsertRefreshToken"); err != nil {
		return err
	}
	return s.Store.InsertRefreshToken(ctx, id, r)
}

func (s *hookedStore) RefreshToken(ctx context.Context, hash []byte) (authz.RefreshToken, authz.Authorization, error) {
	if err := s.before(ctx, "RefreshToken"); err != nil {
		return authz.RefreshToken{}, authz.Authorization{}, err
	}
	return s.Store.RefreshToken(ctx, hash)
}

func (s *hookedStore) RotateRefreshToken(ctx context.Context, hash, successor []byte, now time.Time) error {
	if err := s.before(ctx, "RotateRefreshToken"); err != nil {
		return err
	}
	return s.Store.RotateRefreshToken(ctx, hash, successor, now)
}

func (s *hookedStore) RevokeAuthorization(ctx context.Context, id string, now time.Time) error {
	if err := s.before(ctx, "RevokeAuthorization"); err != nil {
		return err
	}
	return s.Store.RevokeAuthorization(ctx, id, now)
}

func (s *hookedStore) InsertTicket(ctx context.Context, kind authz.TicketKind, key, value []byte, now, expires time.Time) error {
	if err := s.before(ctx, "InsertTicket"); err != nil {
		return err
	}
	return s.Store.InsertTicket(ctx, kind, key, value, now, expires)
}

func (s *hookedStore) TakeTicket(ctx context.Context, kind authz.TicketKind, key []byte, now time.Time) ([]byte, error) {
	if err := s.before(ctx, "TakeTicket"); err != nil {
		return nil, err
	}
	return s.Store.TakeTicket(ctx, kind, key, now)
}

func (s *hookedStore) Ticket(ctx context.Context, kind authz.TicketKind, key []byte, now time.Time) ([]byte, error) {
	if err := s.before(ctx, "Ticket"); err != nil {
		return nil, err
	}
	return s.Store.Ticket(ctx, kind, key, now)
}

func (s *hookedStore) InTx(ctx context.Context, f func(context.Context) error) error {
	if err := s.before(ctx, "InTx"); err != nil {
		return err
	}
	return s.Store.InTx(ctx, f)
}

// hookedRecorder is a real audit log that remembers its events and can be made to fail.
type hookedRecorder struct {
	to     audit.Recorder
	mu     sync.Mutex // guards broken and events
	broken bool
	events []audit.Event
}

var errAudit = errors.New("the audit log is full")

func (r *hookedRecorder) Record(ctx context.Context, e audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return errAudit
	}
	r.events = append(r.events, e)
	return r.to.Record(ctx, e)
}

func (r *hookedRecorder) setBroken(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = broken
}

// take returns the events since the last take.
func (r *hookedRecorder) take() []audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.events
	r.events = nil
	return out
}

// lockedBuffer is a buffer for a log.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// must(f())(t) is f's value, or the end of the test.
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

// database is all that the database files hold.
func (w *world) database() string {
	w.t.Helper()
	var all []byte
	for _, name := range must(filepath.Glob(filepath.Join(w.data, "wicketgate.db*")))(w.t) {
		all = append(all, must(os.ReadFile(name))(w.t)...)
	}
	return string(all)
}
