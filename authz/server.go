// Package authz is the authorization server (AS): the authorize and token
// endpoints, login and consent pages, client registration and client
// authentication.
//
// OAuth 2.1 only: code with PKCE S256, refresh with rotation, client
// credentials; no implicit and no password grant, by any configuration. The state
// machines of code, PKCE and refresh are fosite's, behind interfaces of ours;
// fosite is imported nowhere else. Other grants (RFC 8693) are handed in as
// [Grant]s. It does NOT decide who may call which tool (package policies does)
// and does NOT serve its metadata (package metadata does).
//
// Not here yet: pushed requests (RFC 9126), revocation (RFC 7009), introspection
// (RFC 7662), client ID metadata documents, private_key_jwt, mutual TLS, the
// device grant, OpenID Connect login at the organisation's IdP.
package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// Paths of the endpoints, below the issuer.
const (
	PathAuthorize = "/oauth2/authorize"
	PathToken     = "/oauth2/token"
	PathRegister  = "/oauth2/register"
	pathLogin     = "/oauth2/login"
	pathConsent   = "/oauth2/consent"
)

// Body limits, bytes.
const (
	maxForm         = 64 << 10
	maxRegistration = 16 << 10
)

// Grant answers one grant type at the token endpoint, for a client that has been
// authenticated and has registered for the type. It returns an *oauth.Error for
// what the client did wrong. It records before it mints.
type Grant interface {
	Issue(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error)
}

// Refusals takes the refusals of callers who never proved who they are, and
// bounds what they can write into the audit log.
type Refusals interface {
	Refuse(ctx context.Context, e audit.Event) error
}

// Sealer is authenticated encryption for what a browser carries for us.
type Sealer interface {
	Seal(plain []byte) []byte
	Open(sealed []byte) (plain []byte, ok bool)
}

// Config is all that a Server needs; every field is required unless it says otherwise.
type Config struct {
	Issuer    string // without trailing slash; also the base of every URL here
	Resources oauth.Resources
	Store     Store
	Minter    *token.Minter
	Grants    map[string]Grant // further grant types, each an absolute URI (RFC 6749 §4.5)
	Audit     audit.Recorder
	Refusals  Refusals
	Sealer    Sealer
	Log       *slog.Logger
	Now       func() time.Time

	// InsecureUsers may log in by a click, without any proof. It is for
	// development on loopback only; cmd refuses it elsewhere.
	InsecureUsers []identity.Subject

	// CustomSchemes are the only redirect URIs, to the letter, that are neither
	// https nor loopback http.
	CustomSchemes []string

	AccessLifetime   time.Duration // of an access token; minutes
	CodeLifetime     time.Duration // of an authorization code; at most a minute is sensible
	RefreshLifetime  time.Duration // of one refresh token, from its issue
	AbsoluteLifetime time.Duration // of a family of refresh tokens, from consent
	LoginLifetime    time.Duration // of a login session in the browser
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	cfg    Config
	fosite *fosite.Fosite
	grants map[string]Grant
	secure bool // the issuer is https, so cookies are
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || strings.HasSuffix(cfg.Issuer, "/") {
		return nil, fmt.Errorf("issuer %q: want an absolute URL without trailing slash", cfg.Issuer)
	}
	s := &Server{cfg: cfg, secure: u.Scheme == "https", grants: map[string]Grant{}}
	s.fosite = newProvider(cfg)
	flow := fositeGrant{s}
	s.grants[oauth.GrantAuthorizationCode] = flow
	s.grants[oauth.GrantRefreshToken] = flow
	s.grants[oauth.GrantClientCredentials] = clientCredentials{s}
	for name, g := range cfg.Grants {
		if !strings.Contains(name, ":") { // so that nobody brings password back, or replaces a grant of ours
			return nil, fmt.Errorf("grant type %q: want an absolute URI", name)
		}
		s.grants[name] = g
	}
	return s, nil
}

// GrantTypes lists what the token endpoint answers, for the metadata.
func (s *Server) GrantTypes() []string {
	types := []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials}
	return append(types, slices.Sorted(maps.Keys(s.cfg.Grants))...)
}

// Register adds the endpoints to mux. sameSite is put around what only our own
// pages may post to.
func (s *Server) Register(mux *http.ServeMux, sameSite func(http.Handler) http.Handler) {
	open := func(limit int64, h web.HandlerFunc) http.Handler {
		return web.Public(web.LimitBody(limit, web.JSON(s.cfg.Log, h)))
	}
	page := func(action string, h pageFunc) http.Handler {
		return sameSite(web.LimitBody(maxForm, s.page(action, h)))
	}
	mux.Handle("POST "+PathToken, open(maxForm, s.token))
	mux.Handle("OPTIONS "+PathToken, open(0, nil))
	mux.Handle("POST "+PathRegister, open(maxRegistration, s.register))
	mux.Handle("OPTIONS "+PathRegister, open(0, nil))
	mux.Handle("GET "+PathAuthorize, s.page("authorize", s.authorize)) // a link from anywhere may lead here
	mux.Handle("POST "+pathLogin, page("login", s.login))
	mux.Handle("POST "+pathConsent, page("consent", s.consent))
}

// PutStatic stores the clients of the configuration.
func (s *Server) PutStatic(ctx context.Context, clients ...Client) error {
	for _, c := range clients {
		c.Static, c.Created = true, s.cfg.Now()
		if err := s.cfg.Store.PutClient(ctx, c); errors.Is(err, ErrExists) {
			return fmt.Errorf("static client %s: a client that registered itself has this id", c.ID)
		} else if err != nil {
			return fmt.Errorf("static client %s: %w", c.ID, err)
		}
	}
	return nil
}

// record writes an audit line; its failure denies the request.
func (s *Server) record(ctx context.Context, e audit.Event) error {
	e.RequestID = web.RequestID(ctx)
	if err := s.cfg.Audit.Record(ctx, e); err != nil {
		return fmt.Errorf("record %s: %w", e.Kind, err)
	}
	return nil
}
