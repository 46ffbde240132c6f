// Package gateway is the PEP (policy enforcement point) in front of MCP servers.
//
// Every message of a client passes the same steps: admit, parse, visible, schema,
// decide, record, exchange, dispatch, filter, record. The last four are reachable
// only with a value of type token.Call, which only package token can make: a
// received token is never forwarded.
//
// It speaks both eras of MCP on one endpoint, the stateless one (2026-07-28) and that of
// sessions (2025-11-25, 2025-06-18, 2025-03-26), to upstreams of either, and refuses what
// it does not know. It does NOT speak the HTTP+SSE transport of 2024-11-05, batches and
// tasks.
//
// Enforcer is the thin half of it, in front of one server: there the call token is the
// decision.
//
// A client that exchanged a tool token for itself (RFC 8693) presents it for its one
// call, within a session that it opened with an access token; see tooltoken.go.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/limit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

// Limits.
const (
	maxRequest  = 512 << 10 // bytes of a client's message
	maxResponse = 4 << 20   // bytes of an upstream's message
)

// Verifier checks the tokens of callers. *token.Verifier is one.
type Verifier interface {
	ParseTool(ctx context.Context, raw, audience string, proof token.Confirmation) (token.Tool, error)
	ParseAccess(ctx context.Context, raw, audience string, proof token.Confirmation) (token.Access, error)
	// Alive asks about revocations again, once a body has come.
	Alive(t token.Verified) error
}

// PDP decides. *policies.PDP is one. It never fails: what goes wrong is a denial.
type PDP interface {
	Decide(ctx context.Context, q policies.Request) policies.Decision
	Digest() string
}

// Exchanger turns what a caller presents into a call token for an upstream (RFC 8693),
// in process or at a remote AS: *exchange.Exchanger or *remote.Exchanger. An error of it
// may have a method Reason, which returns a word for the audit log.
type Exchanger interface {
	Call(ctx context.Context, parent token.Access, s token.CallSpec) (token.Call, error)
	// Readdress is the one hop of a tool token, which the caller has spent.
	Readdress(ctx context.Context, t token.Tool, audience string, presenter identity.ClientID) (token.Call, error)
}

// Freezes knows which servers an operator has frozen, and whom they have revoked.
// *revocation.View is one.
type Freezes interface {
	// Server returns an error for a server that must not be called.
	Server(name string) error
	// Person returns an error where what somebody has done does not count any more.
	Person(who identity.Subject, did time.Time) error
}

// Refusals takes the refusals of callers who never authenticated, and bounds what
// they can write into the audit log.
type Refusals interface {
	Refuse(ctx context.Context, e audit.Event) error
}

// CredentialSource obtains what a legacy server takes in place of a token.
// *vaultbridge.Source is one. An error of it has a method Reason, which returns a word for
// the audit log, and Advice, which tells a caller what is wrong and who can help, without
// saying anything of Vault that is not theirs.
type CredentialSource interface {
	// Obtain returns a credential that nobody else's calls are made with. It needs a call
	// that was recorded. Who gets one ends it.
	Obtain(ctx context.Context, r credential.Request) (*credential.Credential, error)
	// EndSession ends what is kept for a session that is over.
	EndSession(session string)
}

// Upstream is an MCP server behind the gateway.
type Upstream struct {
	Name     string         // in /mcp/{name}, access.yaml and the audit log
	Resource oauth.Resource // public: what clients ask for
	URL      string         // where it listens
	Audience oauth.Resource // internal: aud of the call tokens it gets

	// Transport reaches it; nil: that of the Config.
	Transport http.RoundTripper

	// Credentials are what it is called with, and it gets no token at all; nil: call tokens.
	Credentials CredentialSource

	// CredentialForAll: every message is sent with one, initialize and lists too. Else only
	// calls of tools, prompts, resources and completions are.
	CredentialForAll bool

	// Timeout is how long a call may take; 0: 2 minutes.
	Timeout time.Duration

	// Budget of each subject at this server.
	Budget Budget

	// OpenTools take parameters that their definitions do not name.
	OpenTools []string

	// SenderConstrained: only tokens that are bound to a key are admitted.
	SenderConstrained bool

	// Redactor looks at what the server answers to a call; nil: nothing is redacted.
	Redactor *redact.Redactor

	// Shown looks at the arguments that an approver sees, who cannot judge what is masked;
	// nil: the Redactor does. What a rule redacts is masked in both.
	Shown *redact.Redactor
}

// Config is all that a Gateway needs; every field is required unless it says otherwise.
type Config struct {
	ClientID      identity.ClientID // the gateway's own, client_id of call tokens
	Upstreams     []Upstream
	All           oauth.Resource // of the endpoint over all servers; zero: there is none
	AllBudget     Budget         // of each subject there
	Verifier      Verifier
	PDP           PDP
	Exchanger     Exchanger
	Freezes       Freezes       // nil: no server is ever frozen
	Approvals     Approvals     // nil: nobody approves, and what needs an approval is denied
	Limits        limit.Counter // of policy; nil: they are counted in this process
	Pins          Pins
	TrustFirstUse bool   // approve a tool's definition when it is first seen; for development
	Single        Single // spends tool tokens
	Audit         audit.Recorder
	KeepArguments bool // of calls, redacted, in the audit log
	Refusals      Refusals
	Sealer        Sealer
	Transport     http.RoundTripper // to upstreams
	Issuer        string            // base of the metadata's URLs
	MutualTLS     string            // base of URLs for clients with certificates, without trailing slash; empty: the issuer
	DPoP          *dpop.Verifier

	// Own is an access token of the gateway's own for the server, with which it reads
	// definitions when nobody else's can be used for that.
	Own func(ctx context.Context, server Upstream) (token.Access, error)

	Log   *slog.Logger
	Now   func() time.Time
	Ticks Ticks // nil: those of the machine

	Observe    func(Called)  // is told of every message, and must not block; nil: nobody is
	SlowClient time.Duration // for which a client may take nothing of its answer; 0: 30 seconds
	Pause      time.Duration // for which a server that does not answer is left alone; 0: 10 seconds
	MaxStreams int64         // without an end, open at once in this process; 0: 10,000
}

// Gateway is the PEP. It is safe for concurrent use.
type Gateway struct {
	cfg       Config
	upstreams map[string]*upstream
	names     []string  // of them, sorted
	all       *upstream // stands for all of them
	sessions  sessionTokens
	waiting   waiting
	parked    parkingLot
	ended     endedSessions
	opened    openedHandles
	pins      *PinView
	life      *life
	streams   atomic.Int64 // without an end, that are open
	kept      atomic.Int64 // sessions with upstreams
}

type upstream struct {
	Upstream
	url     *url.URL // URL, parsed
	catalog *catalog
	lender  *lender // nil: it gets call tokens
	echoes  *echoes // nil unless there is a lender
	era     eraOf
	shared  sharedSessions
	health  health
	budget  *budget

	streams        atomic.Int64 // without an end, that are open
	sent, received atomic.Int64 // bytes
}

var serverName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// New makes a Gateway.
func New(cfg Config) (*Gateway, error) {
	if cfg.Ticks == nil {
		cfg.Ticks = realTicks
	}
	if cfg.Limits == nil {
		cfg.Limits = limit.NewMemory(cfg.Now)
	}
	cfg.SlowClient, cfg.Pause, cfg.MaxStreams = cmp.Or(cfg.SlowClient, slowClient), cmp.Or(cfg.Pause, circuitPause), cmp.Or(cfg.MaxStreams, maxStreams)
	g := &Gateway{cfg: cfg, upstreams: map[string]*upstream{}, sessions: newSessionTokens(), pins: newPinView(cfg), life: newLife()}
	for _, u := range cfg.Upstreams {
		if !serverName.MatchString(u.Name) {
			return nil, fmt.Errorf("server name %q: want 1 to 63 of a-z 0-9 -, beginning with a letter or digit", u.Name)
		}
		if g.upstreams[u.Name] != nil {
			return nil, fmt.Errorf("server name %q is given twice", u.Name)
		}
		up, err := g.newUpstream(u)
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", u.Name, err)
		}
		g.upstreams[u.Name] = up
	}
	g.names = names(g.upstreams)
	all, err := g.newUpstream(Upstream{Name: everyServer, Resource: cfg.All, Budget: cfg.AllBudget})
	g.all = all
	return g, err
}

func (g *Gateway) newUpstream(u Upstream) (*upstream, error) {
	at, err := url.Parse(u.URL)
	if err != nil {
		return nil, err
	}
	u.Timeout = cmp.Or(u.Timeout, callTimeout)
	l := newLender(u.Credentials, u.CredentialForAll, g.cfg.Ticks)
	if l != nil {
		l.local = at.Scheme == commandScheme
	}
	return &upstream{Upstream: u, url: at, catalog: newCatalog(g.cfg, g.pins, u), lender: l, echoes: l.known(), shared: sharedSessions{kept: &g.kept},
		health: newHealth(u.Name, g.cfg.Pause, g.changed), budget: newBudget(u.Budget, g.cfg.Now)}, nil
}

// Register adds the endpoints to mux. sameSite refuses other sites' pages.
func (g *Gateway) Register(mux *http.ServeMux, sameSite func(http.Handler) http.Handler) {
	if !g.cfg.All.IsZero() && len(g.names) > 0 {
		mux.Handle("/mcp", sameSite(web.LimitBody(maxRequest, g.alive(g.serveEvery))))
	}
	mux.Handle("/mcp/{server}", sameSite(web.LimitBody(maxRequest, g.alive(g.serve))))
}

// serve is /mcp/{server}.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	up := g.upstreams[r.PathValue("server")]
	if up == nil {
		g.refuse(r, audit.Event{Action: "admit", Reason: "unknown_server"})
		_ = web.WriteJSON(w, http.StatusNotFound, &oauth.Error{Code: oauth.InvalidRequest, Description: "there is no such server here"})
		return
	}
	g.serveAt(w, r, up)
}

// serveEvery is /mcp: one endpoint over all servers that a caller may use.
func (g *Gateway) serveEvery(w http.ResponseWriter, r *http.Request) { g.serveAt(w, r, g.all) }

// serveAt admits the caller and hands over by method.
func (g *Gateway) serveAt(w http.ResponseWriter, r *http.Request, up *upstream) {
	who, err := g.admit(w, r, up)
	if err != nil {
		g.challenge(w, r, up, err)
		return
	}
	p := newPassage(g, w, r, up, who)
	switch r.Method {
	case http.MethodPost:
		p.post()
	case http.MethodGet:
		p.listen()
	case http.MethodDelete:
		p.end()
	default:
		notAllowed(w)
	}
}

func notAllowed(w http.ResponseWriter) {
	w.Header().Set("Allow", "GET, POST, DELETE")
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
}

// refuse notes a caller that never authenticated.
func (g *Gateway) refuse(r *http.Request, e audit.Event) {
	e.Kind, e.Decision, e.Source, e.RequestID = audit.Refusal, "deny", web.Source(r), web.RequestID(r.Context())
	if err := g.cfg.Refusals.Refuse(r.Context(), e); err != nil {
		g.cfg.Log.ErrorContext(r.Context(), "record refusal", "error", err)
	}
}

// Definition returns the digest of the approved definition of a tool. It is what
// package exchange binds a tool token to that a client asked for itself.
func (g *Gateway) Definition(_ context.Context, server, tool string) (string, bool) {
	up := g.upstreams[server]
	if up == nil {
		return "", false
	}
	t := up.catalog.get(tool)
	if t == nil {
		return "", false
	}
	return t.digest, true
}

var errNoToken = errors.New("no access token")
