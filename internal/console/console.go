// Package console is the operators' side of a running server, below ISSUER/console/: the
// pages and the JSON API where people approve or deny calls that wait for them.
//
// It is an OAuth client of the authorization server like any other: code with PKCE
// (RFC 7636), iss in the answer (RFC 9207), step-up by acr_values and max_age (RFC 9470).
// What it gets stays here; a browser holds the name of a session. It is a protected
// resource too, whose tokens only our own clients can get: each request verifies the token
// anew, so that a revocation counts from the next click on.
//
// It does NOT decide who may approve (package policies does), keep requests or their rules
// (package approval does, and refuses one's own call once more), or issue tokens. It runs
// no script.
package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

// Paths, below the issuer.
const (
	Path          = "/console" // the protected resource
	PathCallback  = "/console/callback"
	PathApprovals = "/console/approvals/" // and the id of one
	PathAPI       = "/console/api/approvals"
	pathLogin     = "/console/login"
	pathLogout    = "/console/logout"
)

const maxBody = 8 << 10 // bytes of a form, or of a decision in JSON

// Verifier checks access tokens. *token.Verifier is one.
type Verifier interface {
	ParseAccess(ctx context.Context, raw, audience string, proof token.Confirmation) (token.Access, error)
}

// PDP says who may approve. *policies.PDP is one. It never fails: what goes wrong is a denial.
type PDP interface {
	Decide(ctx context.Context, q policies.Request) policies.Decision
}

// Approvals are the requests, and the one place that changes them. *approval.Service is one.
// It refuses to have people decide on calls of their own.
type Approvals interface {
	Get(ctx context.Context, id string) (approval.Request, error)
	List(ctx context.Context, of approval.State, limit int) ([]approval.Request, error)
	Decide(ctx context.Context, d approval.Decision) (approval.Request, error)
}

// ErrNoSession means that nobody is signed in under that name.
var ErrNoSession = errors.New("there is no such session")

// Sessions keep what a browser has only the name of, durably, so that any replica serves it.
type Sessions interface {
	Put(ctx context.Context, name string, sealed []byte, expires time.Time) error
	// Get returns ErrNoSession for one that is unknown, over or ended.
	Get(ctx context.Context, name string) ([]byte, error)
	End(ctx context.Context, name string, expires time.Time) error
}

// Sealer is authenticated encryption for what a browser, or the store, carries for us.
type Sealer interface {
	Seal(plain []byte) []byte
	Open(sealed []byte) (plain []byte, ok bool)
}

// Refusals takes the refusals of callers who never authenticated, and bounds what they can
// write into the audit log.
type Refusals interface {
	Refuse(ctx context.Context, e audit.Event) error
}

// Config is all that a Console needs; every field is required.
type Config struct {
	Issuer    string                     // without trailing slash; base of every URL here
	Resource  oauth.Resource             // ISSUER/console, what its tokens are for
	Client    identity.ClientID          // of the pages
	Clients   map[identity.ClientID]bool // whose tokens count: of the pages, and of the command line
	Verifier  Verifier
	PDP       PDP
	Approvals Approvals
	Sessions  Sessions
	Sealer    Sealer
	Audit     audit.Recorder
	Refusals  Refusals

	// AuthorizationEndpoint is where browsers are sent; TokenEndpoint is reached through the
	// Transport, which may lead into this process.
	AuthorizationEndpoint, TokenEndpoint string
	Transport                            http.RoundTripper

	Log *slog.Logger
	Now func() time.Time
}

// Console is the pages and the API. It is safe for concurrent use.
type Console struct {
	cfg    Config
	desk   desk
	http   *http.Client
	secure bool // the issuer is https, so cookies are
}

// New makes a Console.
func New(cfg Config) (*Console, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || cfg.Resource.String() != cfg.Issuer+Path {
		return nil, fmt.Errorf("console: issuer %q and resource %s do not belong together", cfg.Issuer, cfg.Resource)
	}
	return &Console{cfg: cfg, desk: desk{cfg}, secure: u.Scheme == "https", http: &http.Client{Transport: cfg.Transport, Timeout: redeemWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Register adds the endpoints to mux.
func (c *Console) Register(mux *http.ServeMux) {
	page := func(h pageFunc) http.Handler { return web.LimitBody(maxBody, c.page(h)) }
	api := func(h apiFunc) http.Handler { return web.LimitBody(maxBody, c.api(h)) }
	mux.Handle("GET "+Path+"/{$}", http.RedirectHandler(PathApprovals, http.StatusSeeOther))
	mux.Handle("GET "+PathApprovals+"{$}", page(c.list))
	mux.Handle("GET "+PathApprovals+"{id}", page(c.show))
	mux.Handle("GET "+PathApprovals+"{id}/stepup", page(c.stepUp))
	mux.Handle("POST "+PathApprovals+"{id}", page(c.own(c.answer)))
	mux.Handle("GET "+pathLogin, page(c.login))
	mux.Handle("GET "+PathCallback, page(c.callback))
	mux.Handle("POST "+pathLogout, page(c.own(c.logout)))
	mux.Handle("GET "+PathAPI, api(c.apiList))
	mux.Handle("GET "+PathAPI+"/{id}", api(c.apiShow))
	mux.Handle("POST "+PathAPI+"/{id}/decision", api(c.apiDecide))
}
