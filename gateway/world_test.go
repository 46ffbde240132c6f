package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

const (
	issuer   = "https://as.test"
	resource = issuer + "/mcp/mail"
)

const accessYAML = `
version: 1
roles:
  reader:
    who: {users: [alice], clients: [robot]}
    servers:
      mail: {tools: [list_messages, read_message]}
  operator:
    who: {users: [bob]}
    servers:
      mail: {tools: [list_messages, read_message, send_message]}
  everything:
    who: {users: [root]}
    servers:
      mail: {tools: ["*"]}
`

var (
	gatewayClient = identity.MustClientID("gateway")
	mcpClient     = identity.MustClientID("editor")
)

// world is a gateway with everything real around it but the upstream, which is a
// real HTTP server that answers what a test wants.
type world struct {
	t       *testing.T
	now     *clock
	url     string // of the gateway's /mcp/mail
	base    string
	handler http.Handler
	up      *upstream
	minter  *token.Minter
	ring    *keys.Ring
	store   *sqlite.Store
	audit   string // path of the log
	logs    *bytes.Buffer
	writer  *syncWriter
	gateway *gateway.Gateway
}

// clock is an injected clock.
type clock struct {
	mu sync.Mutex // guards t
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newWorld starts a world; change may replace parts of the configuration.
func newWorld(t *testing.T, change ...func(*gateway.Config)) *world {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	w := &world{t: t, now: &clock{t: time.Now()}, up: newUpstream(t), audit: filepath.Join(dir, "audit.jsonl"), logs: &bytes.Buffer{}}
	w.writer = &syncWriter{w: w.logs}
	w.store = must(sqlite.Open(ctx, filepath.Join(dir, "db")))(t)
	t.Cleanup(func() { w.store.Close() })
	w.ring = must(keys.Open(ctx, w.store, keys.KEK{1}, w.now.Now))(t)
	log := must(audit.Open(ctx, audit.Config{Path: w.audit, Signer: w.ring.AuditSigner(), Heads: w.store, Now: w.now.Now}))(t)
	t.Cleanup(func() { log.Close() })
	refusals := audit.NewRefusals(log, time.Minute, w.now.Now, 64)
	pdp := must(policies.New(ctx, policies.Config{Access: []byte(accessYAML)}))(t)
	public, internal := must(oauth.ParseResource(resource))(t), must(oauth.ParseResource(w.up.URL))(t)
	w.minter = token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: w.ring, Now: w.now.Now})
	verifier := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: w.ring, Now: w.now.Now})
	ex := exchange.New(exchange.Config{Resources: oauth.NewResources([]oauth.Resource{public}, []oauth.Resource{internal}), Minter: w.minter, Verifier: verifier, PDP: pdp, Audit: log, Now: w.now.Now})
	cfg := gateway.Config{ClientID: gatewayClient, Upstreams: []gateway.Upstream{{Name: "mail", Resource: public, URL: w.up.URL, Audience: internal}},
		Verifier: verifier, PDP: pdp, Exchanger: ex, Pins: w.store, Single: tickets{w.store, w.now.Now}, Own: w.own, TrustFirstUse: true, Audit: log, Refusals: refusals, Sealer: w.ring.Sealer("mcp session"),
		Transport: http.DefaultTransport, Issuer: issuer, MutualTLS: "https://mtls.example.com",
		DPoP: dpop.New(dpop.Config{Sealer: w.ring.Sealer("dpop nonce"), Proofs: proofs{w.store}, Now: w.now.Now}), Log: slog.New(slog.NewTextHandler(w.writer, nil)), Now: w.now.Now}
	for _, c := range change {
		c(&cfg)
	}
	w.gateway = must(gateway.New(cfg))(t)
	w.serve(w.gateway, refusals)
	return w
}

// tickets is the store as a gateway.Single, as cmd has it.
type tickets struct {
	store *sqlite.Store
	now   func() time.Time
}

func (s tickets) Spend(ctx context.Context, jti string, until time.Time) error {
	err := s.store.InsertTicket(ctx, authz.TicketToolToken, authz.TicketKey(jti), nil, s.now(), until)
	if errors.Is(err, authz.ErrExists) {
		return gateway.ErrSpent
	}
	return err
}

// proofs is the store as a dpop.Once, as cmd has it.
type proofs struct{ store *sqlite.Store }

func (p proofs) Spend(ctx context.Context, key []string, now, expires time.Time) error {
	err := p.store.InsertTicket(ctx, authz.TicketProof, authz.TicketKey(key...), nil, now, expires)
	if errors.Is(err, authz.ErrExists) {
		return dpop.ErrSpent
	}
	return err
}

// own is the gateway's own token.
func (w *world) own(context.Context, gateway.Upstream) (token.Access, error) {
	_, own := w.access(tokenSpec{subject: "gateway", client: gatewayClient})
	return own, nil
}

// serve mounts the gateway as cmd does.
func (w *world) serve(g *gateway.Gateway, refusals *audit.Refusals) {
	srv := httptest.NewUnstartedServer(nil)
	host := srv.Listener.Addr().String()
	m := web.Middleware{Hosts: []string{host}, Origins: []string{"http://" + host}, Log: slog.New(slog.DiscardHandler), Refused: func(r *http.Request, reason string) {
		if err := refusals.Refuse(r.Context(), audit.Event{Kind: audit.Refusal, Action: "admit", Decision: audit.Deny, Reason: "foreign_" + reason}); err != nil {
			w.t.Error(err)
		}
	}}
	mux := http.NewServeMux()
	g.Register(mux, m.SameSite)
	w.handler = m.Wrap(mux)
	srv.Config.Handler = w.handler
	srv.Start()
	w.t.Cleanup(srv.Close)
	w.base, w.url = srv.URL, srv.URL+"/mcp/mail"
}

type syncWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (s *syncWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// log is what the gateway has logged.
func (w *world) log() string {
	w.writer.mu.Lock()
	defer w.writer.mu.Unlock()
	return w.logs.String()
}

// tokenSpec is what a test wants of an access token; zero fields are ordinary.
type tokenSpec struct {
	subject, scope, audience string
	client                   identity.ClientID
	lifetime                 time.Duration
	bound                    token.Confirmation
}

func (w *world) token(s tokenSpec) string {
	w.t.Helper()
	raw, _ := w.access(s)
	return raw
}

func (w *world) access(s tokenSpec) (string, token.Access) {
	w.t.Helper()
	if s.client.IsZero() {
		s.client = mcpClient
	}
	if s.scope == "" {
		s.scope = "mcp:tools"
	}
	if s.audience == "" {
		s.audience = resource
	}
	if s.lifetime == 0 {
		s.lifetime = 5 * time.Minute
	}
	raw, a, err := w.minter.Access(token.AccessSpec{Subject: must(identity.ParseSubject(s.subject))(w.t), ClientID: s.client, Audience: s.audience,
		Scope: must(token.ParseScope(s.scope))(w.t), Lifetime: s.lifetime, Txn: "grant-1", Confirmation: s.bound})
	if err != nil {
		w.t.Fatal(err)
	}
	return raw, a
}

// reply is an HTTP answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

// do sends a request; headers come as name, value pairs and replace the ordinary ones.
func (w *world) do(method, url, bearer, body string, headers ...string) reply {
	w.t.Helper()
	req := must(http.NewRequest(method, url, strings.NewReader(body)))(w.t)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	return read(w.t, must(http.DefaultClient.Do(req))(w.t))
}

func read(t *testing.T, resp *http.Response) reply {
	t.Helper()
	defer resp.Body.Close()
	return reply{resp.StatusCode, resp.Header, string(must(io.ReadAll(resp.Body))(t))}
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"sampling":{}},"clientInfo":{"name":"test","version":"1"}}}`

// session is a client with an open MCP session.
type session struct {
	*world
	bearer, id string
}

func (w *world) session(s tokenSpec) session {
	w.t.Helper()
	bearer := w.token(s)
	r := w.do("POST", w.url, bearer, initialize)
	id := r.header.Get("Mcp-Session-Id")
	if r.status != 200 || id == "" {
		w.t.Fatalf("initialize: %s", r)
	}
	return session{w, bearer, id}
}

// post sends a message in the session.
func (s session) post(body string, headers ...string) reply {
	s.t.Helper()
	return s.do("POST", s.url, s.bearer, body, append([]string{"Mcp-Session-Id", s.id}, headers...)...)
}

// call sends tools/call with the params given as JSON.
func (s session) call(params string) reply {
	s.t.Helper()
	return s.post(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":` + params + `}`)
}

// lines reads the audit log.
func (w *world) lines() []audit.Event {
	w.t.Helper()
	log := must(os.ReadFile(w.audit))(w.t)
	log = log[:bytes.LastIndexByte(log, '\n')+1] // what follows is being written
	var events []audit.Event
	for line := range bytes.Lines(log) {
		var e audit.Event
		if err := json.Unmarshal(line, &e); err != nil {
			w.t.Fatalf("audit line %q: %v", line, err)
		}
		if e.Kind != audit.Headed && e.Kind != audit.Start {
			events = append(events, e)
		}
	}
	return events
}

// last is the newest audit line.
func (w *world) last() audit.Event {
	w.t.Helper()
	l := w.lines()
	if len(l) == 0 {
		w.t.Fatal("the audit log is empty")
	}
	return l[len(l)-1]
}
