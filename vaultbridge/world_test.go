package vaultbridge_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

const (
	issuer   = "https://as.test"
	audience = "https://vault.test"
	limit    = time.Minute
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// world is a real Vault that makes users in a real PostgreSQL, with a Bridge before it.
type world struct {
	t       testing.TB
	vault   *vaulttest.Vault
	gate    *gate
	client  *vault.Client
	db      string
	records *memory
	audit   *lines
	log     *syncBuffer
	minter  *token.Minter
	key     *ecdsa.PrivateKey
	own     *vault.Own

	mu     sync.Mutex // guards what follows
	ahead  time.Duration
	frozen func(token.Call, string) error
	events []vaultbridge.Event
}

// SigningKey implements token.Signer.
func (w *world) SigningKey() token.SigningKey {
	return token.SigningKey{KeyID: "k1", Algorithm: "ES256", Key: w.key}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, vault: vaulttest.Start(t), db: pgtest.Empty(t), records: newMemory(), audit: &lines{}, log: &syncBuffer{},
		key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	w.minter = token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: w, Now: time.Now})
	w.gate = newGate(t, w.vault.URL)
	w.client = must(vault.New(vault.Config{Address: w.gate.url}))
	w.own = vault.NewOwn(vault.OwnConfig{Client: w.client, Login: func(ctx context.Context) (vault.Auth, error) {
		return w.client.Child(ctx, vault.NewToken(vaulttest.RootToken), vault.ChildSpec{Policies: []string{"own", "calls"}, TTL: time.Hour})
	}})
	w.setUp()
	return w
}

func (w *world) setUp() {
	w.do("sys/policies/acl/calls", map[string]any{"policy": `path "database/creds/*" { capabilities = ["read"] }
		path "secret/data/*" { capabilities = ["read"] }
		path "sys/leases/revoke" { capabilities = ["update"] }`})
	w.do("sys/policies/acl/own", map[string]any{"policy": `path "auth/token/create" { capabilities = ["update"] }
		path "auth/token/revoke-accessor" { capabilities = ["update"] }
		path "sys/leases/revoke" { capabilities = ["update"] }`})
	w.do("sys/auth/jwt", map[string]any{"type": "jwt"})
	der := must(x509.MarshalPKIXPublicKey(w.key.Public()))
	w.do("auth/jwt/config", map[string]any{"bound_issuer": issuer, "jwt_supported_algs": []string{"ES256"},
		"jwt_validation_pubkeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}})
	w.role(nil)
	w.do("sys/mounts/database", map[string]any{"type": "database"})
	w.database(map[string]any{"default_ttl": "30s", "max_ttl": "10m"})
}

// role sets the role that calls log in as.
func (w *world) role(change map[string]any) {
	w.t.Helper()
	role := map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{audience}, "token_policies": []string{"calls"},
		"token_type": "service", "token_ttl": "30s", "token_explicit_max_ttl": "60s"}
	for k, v := range change {
		role[k] = v
	}
	w.do("auth/jwt/role/calls", role)
}

// database has users made by Vault.
func (w *world) database(role map[string]any) {
	w.t.Helper()
	w.do("database/config/pg", map[string]any{"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": w.db, "max_open_connections": 8})
	role["db_name"] = "pg"
	role["creation_statements"] = []string{`CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`}
	w.do("database/roles/"+w.dbRole(), role)
}

// dbRole is in the names of the users, which all databases of the server have.
func (w *world) dbRole() string {
	u := must(url.Parse(w.db))
	return strings.TrimPrefix(u.Path, "/") + "x"
}

func (w *world) do(path string, body any) {
	w.t.Helper()
	w.vault.Do(w.t, http.MethodPost, path, body)
}

// users are those that Vault has made and not ended yet.
func (w *world) users() []string {
	w.t.Helper()
	return strings.Fields(pgtest.Query(w.t, w.db, `SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%-`+w.dbRole()+`-%' ORDER BY 1`))
}

// tokens are how many Vault tokens calls have.
func (w *world) tokens() int {
	w.t.Helper()
	n := 0
	for _, a := range w.vault.Do(w.t, "LIST", "auth/token/accessors", nil)["data"].(map[string]any)["keys"].([]any) {
		out, err := w.vault.Ask(w.t.Context(), http.MethodPost, "auth/token/lookup-accessor", map[string]any{"accessor": a})
		if err != nil {
			continue // it has gone meanwhile
		}
		policies := fmt.Sprint(out["data"].(map[string]any)["policies"])
		if strings.Contains(policies, "calls") && !strings.Contains(policies, "own") {
			n++
		}
	}
	return n
}

// nothingLeft waits until there is no user, no token and no record.
func (w *world) nothingLeft() {
	w.t.Helper()
	w.until("nothing is left", func() bool { return len(w.users()) == 0 && w.tokens() == 0 && len(w.left()) == 0 })
}

func (w *world) left() []vaultbridge.Record { return must(w.records.Leases(w.t.Context())) }

// until waits for an event.
func (w *world) until(what string, f func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for tick := time.Tick(5 * time.Millisecond); !f(); <-tick {
		if ctx.Err() != nil {
			w.t.Fatalf("it never came: %s\nusers %v\nrecords %+v\nlog %s", what, w.users(), w.left(), w.log)
		}
	}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

func (w *world) freeze(f func(token.Call, string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = f
}

func (w *world) alive(c token.Call, server string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.frozen == nil {
		return nil
	}
	return w.frozen(c, server)
}

func (w *world) observe(e vaultbridge.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *world) server(change func(*vaultbridge.Server)) vaultbridge.Server {
	s := vaultbridge.Server{Name: "reports", Engine: vaultbridge.Database, Path: "database/creds/" + w.dbRole(), Role: "calls", Policies: []string{"calls"},
		Per: vaultbridge.PerCall, Limit: limit,
		Inject: must(credential.Compile(credential.Injection{Basic: &credential.Basic{Username: "{{.username}}", Password: "{{.password}}"}}))}
	if change != nil {
		change(&s)
	}
	return s
}

// bridge is one process, with one server.
func (w *world) bridge(change func(*vaultbridge.Config), servers ...vaultbridge.Server) *vaultbridge.Bridge {
	w.t.Helper()
	cfg := vaultbridge.Config{Vault: w.client, JWTMount: "jwt", Own: w.own, Servers: servers, Records: w.records, Holder: "gateway-1", Audit: w.audit,
		Alive: w.alive, Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: w.now, Observe: w.observe}
	if len(servers) == 0 {
		cfg.Servers = []vaultbridge.Server{w.server(nil)}
	}
	if change != nil {
		change(&cfg)
	}
	b := must(vaultbridge.New(cfg))
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = b.Close(ctx) // a test that wants it to go well closes it itself
	})
	return b
}

// keeps is a Bridge whose only server keeps what is minted for five minutes.
func (w *world) keeps(per vaultbridge.Per) *vaultbridge.Bridge {
	w.role(map[string]any{"token_ttl": "360s", "token_explicit_max_ttl": "360s"})
	w.database(map[string]any{"default_ttl": "360s"})
	return w.bridge(nil, w.server(func(s *vaultbridge.Server) { s.Per, s.TTL = per, 5*time.Minute }))
}

func (w *world) sweep(b *vaultbridge.Bridge) {
	w.t.Helper()
	if err := b.Sweep(w.t.Context()); err != nil {
		w.t.Error(err)
	}
}

// call is one call's request for a credential: of the subject, who uses the client.
func (w *world) call(subject, client, server string) credential.Request {
	scope := must(token.ToolScope("query"))
	_, access, err := w.minter.Access(token.AccessSpec{Subject: must(identity.ParseSubject(subject)), ClientID: identity.MustClientID(client),
		Audience: "https://mcp.test/mcp/reports", Scope: must(token.ParseScope("mcp:tools")), Txn: "grant-" + subject, Lifetime: time.Hour})
	digest := must(token.Digest([]byte(`{}`)))
	c, err2 := w.minter.Call(access, token.CallSpec{Audience: audience, Presenter: identity.MustClientID("gateway"), Scope: scope,
		Details: token.Details{Server: server, ArgumentsDigest: digest, DefinitionDigest: digest, PolicyDigest: digest}})
	if err := errors.Join(err, err2); err != nil {
		panic(err)
	}
	return credential.Request{Call: c, ID: "call-" + rand.Text(), Until: w.now().Add(limit)}
}

func (w *world) alice() credential.Request { return w.call("alice", "editor", "reports") }

// obtain is Obtain that must succeed.
func (w *world) obtain(b *vaultbridge.Bridge, r credential.Request) *credential.Credential {
	w.t.Helper()
	c, err := b.Source("reports").Obtain(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("Obtain() = %v\n%s", err, w.log)
	}
	return c
}

// refused wants Obtain to fail with the reason, and to say something to the caller.
func (w *world) refused(b *vaultbridge.Bridge, r credential.Request, reason vault.Reason) *vaultbridge.Failure {
	w.t.Helper()
	c, err := b.Source("reports").Obtain(w.t.Context(), r)
	var f *vaultbridge.Failure
	if c != nil || !errors.As(err, &f) || f.Reason() != string(reason) || len(f.Advice()) < 20 {
		w.t.Fatalf("Obtain() = %v, %v; want %s", c, err, reason)
	}
	return f
}

// user is the PostgreSQL user of a credential.
func user(c *credential.Credential) string {
	r := http.Request{Header: c.Header()}
	name, _, _ := r.BasicAuth()
	return name
}

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// gate is what stands between the product and the real Vault, so that a test can stop a
// request on its way.
type gate struct {
	url string

	mu     sync.Mutex // guards what follows
	count  map[string]int
	over   map[string]int
	before map[string]func() // by the beginning of the path
}

func newGate(t testing.TB, to string) *gate {
	g := &gate{count: map[string]int{}, over: map[string]int{}, before: map[string]func(){}}
	p := httputil.NewSingleHostReverseProxy(must(url.Parse(to)))
	p.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // as if it had not been there
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		g.pass(strings.TrimPrefix(r.URL.Path, "/v1/"))
		defer g.left(strings.TrimPrefix(r.URL.Path, "/v1/"))
		p.ServeHTTP(rw, r.WithContext(context.WithoutCancel(r.Context()))) // what was sent arrives, whoever waits
	}))
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

func (g *gate) pass(path string) {
	g.mu.Lock()
	var hooks []func()
	for prefix, f := range g.before {
		if strings.HasPrefix(path, prefix) {
			hooks = append(hooks, f)
		}
	}
	g.count[path]++
	g.mu.Unlock()
	for _, f := range hooks {
		f()
	}
}

// on has f called before each request to what begins with path; nil: no more.
func (g *gate) on(path string, f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f == nil {
		delete(g.before, path)
		return
	}
	g.before[path] = f
}

func (g *gate) left(path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over[path]++
}

// done is how many requests Vault has answered.
func (g *gate) done(path string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over[path]
}

func (g *gate) asked(path string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count[path]
}

// lines is an audit log that fails where a test says so. The real one has its own tests.
type lines struct {
	mu   sync.Mutex // guards what follows
	all  []audit.Event
	fail string // status or kind of lines that are not taken
}

func (l *lines) Record(_ context.Context, e audit.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind == audit.Lease && l.fail == e.Status || l.fail == string(e.Kind) {
		return errors.New("the disk is full")
	}
	l.all = append(l.all, e)
	return nil
}

func (l *lines) failing(status string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = cmp.Or(status, "none")
}

// of are the lines of a call, by status.
func (l *lines) of(call string) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Call == call {
			all = append(all, strings.TrimSuffix(e.Status+" "+e.Reason, " "))
		}
	}
	return all
}

// minted are all lines.
func (w *world) minted() string {
	w.audit.mu.Lock()
	defer w.audit.mu.Unlock()
	return fmt.Sprintf("%+v", w.audit.all)
}

func (l *lines) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = nil
}

type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
