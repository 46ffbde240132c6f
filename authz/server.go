// Package authz is the authorization server (AS): the authorize and token
// endpoints, login and consent pages, client registration and client
// authentication.
//
// OAuth 2.1 only: code with PKCE S256, refresh with rotation, client
// credentials, device codes, assertions of trusted issuers (a [Federation] verifies them); no
// implicit and no password grant, by any configuration. The state
// machines of code, PKCE and refresh are fosite's, behind interfaces of ours;
// fosite is imported nowhere else. Other grants (RFC 8693) are handed in as
// [Grant]s. It does NOT decide who may call which tool (package policies does)
// and does NOT serve its metadata (package metadata does).
//
// It does NOT check what the IdP says (an [IdentityProvider] does), does NOT fetch
// from addresses that strangers name without a guard (package metadata has one), and does
// NOT check DPoP proofs itself (package dpop does): it notes what was proved.
package authz

import (
	"context"
	"crypto/x509"
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
	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// Paths of the endpoints, below the issuer.
const (
	PathAuthorize           = "/oauth2/authorize"
	PathToken               = "/oauth2/token"
	PathPAR                 = "/oauth2/par"
	PathRegister            = "/oauth2/register"
	PathRevoke              = "/oauth2/revoke"
	PathIntrospect          = "/oauth2/introspect"
	PathDeviceAuthorization = "/oauth2/device_authorization"
	PathDevice              = "/oauth2/device"      // where a person enters a user code
	PathCallback            = "/oauth2/callback"    // where the IdP sends people back to
	PathRevocations         = "/oauth2/revocations" // for gateways of other processes, as the next
	PathDefinitions         = "/oauth2/definitions"
	pathLogin               = "/oauth2/login"
	pathConsent             = "/oauth2/consent"
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

	// Verifier reads access tokens that are to be revoked or introspected. It, and the
	// Minter, ask the same view of revocations.
	Verifier    *token.Verifier
	Revocations Revocations

	// ResourceServers are the clients that may introspect tokens for the audiences.
	ResourceServers map[identity.ClientID][]string

	// Login is where people log in; nil: nobody can, unless there are InsecureUsers.
	Login IdentityProvider

	// Fetcher gets what clients point at: metadata documents and key sets. Nil: clients
	// with either are not known.
	Fetcher jws.Fetcher

	// ClientCAs are the authorities for tls_client_auth (RFC 8705 §2.1); nil: nobody
	// authenticates by a certificate of a PKI.
	ClientCAs *x509.CertPool

	// SVIDs verifies what workloads of SPIFFE bring; nil: there are none.
	SVIDs SVIDs

	// Federation is which other issuers are trusted; nil: none.
	Federation Federation

	// DPoP checks proofs of the keys that tokens are to be bound to (RFC 9449).
	DPoP *dpop.Verifier

	// MutualTLS is the URL below which clients with certificates find the endpoints, without
	// trailing slash; empty: the issuer.
	MutualTLS string

	// Gateways are those of other processes; zero: there are none.
	Gateways Gateways

	// Registration bounds dynamic client registration.
	Registration Registration

	// SecretMaxAge is when a generated client secret stops being good; zero: never.
	SecretMaxAge time.Duration

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

// Registration bounds how clients come to be known by themselves. Zero values are
// the defaults.
type Registration struct {
	Off         bool // no dynamic client registration (RFC 7591)
	NoDocuments bool // no client ID metadata documents

	MaxUnused int           // clients that were never used, at any time; zero: 10000
	PerMinute int           // registrations from one source address; zero: 60
	Unused    time.Duration // after which a client that was never used is removed; zero: 7 days
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	cfg    Config
	fosite *fosite.Fosite
	grants map[string]Grant
	secure bool // the issuer is https, so cookies are

	keys    jws.Cache // of clients
	guesses *limiter  // of user codes
	quotas  quotas
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || strings.HasSuffix(cfg.Issuer, "/") {
		return nil, fmt.Errorf("issuer %q: want an absolute URL without trailing slash", cfg.Issuer)
	}
	s := &Server{cfg: cfg, secure: u.Scheme == "https", grants: map[string]Grant{}, guesses: newLimiter(time.Minute, 10)}
	s.cfg.Registration = cfg.Registration.withDefaults()
	s.quotas = newQuotas(s.cfg.Registration)
	s.fosite = newProvider(cfg)
	flow := fositeGrant{s}
	s.grants[oauth.GrantAuthorizationCode] = flow
	s.grants[oauth.GrantRefreshToken] = flow
	s.grants[oauth.GrantClientCredentials] = clientCredentials{s}
	s.grants[oauth.GrantDeviceCode] = deviceGrant{s}
	if s.federated() {
		s.grants[oauth.GrantJWTBearer] = jwtBearer{s}
	}
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
	types := []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials, oauth.GrantDeviceCode}
	if s.federated() {
		types = append(types, oauth.GrantJWTBearer)
	}
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
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
		mux.Handle(method+" "+PathRegister+"/{id}", open(maxRegistration, s.manage))
	}
	mux.Handle("POST "+PathPAR, open(maxPushed, s.push))
	mux.Handle("OPTIONS "+PathPAR, open(0, nil))
	mux.Handle("POST "+PathRevoke, open(maxForm, s.revocation))
	mux.Handle("OPTIONS "+PathRevoke, open(0, nil))
	mux.Handle("POST "+PathIntrospect, web.LimitBody(maxForm, web.JSON(s.cfg.Log, s.introspection))) // no page has a secret
	if len(s.cfg.Gateways.Clients) > 0 {
		mux.Handle("POST "+PathRevocations, web.LimitBody(maxForm, web.JSON(s.cfg.Log, s.revocations)))
		mux.Handle("POST "+PathDefinitions, web.LimitBody(maxForm, web.JSON(s.cfg.Log, s.definition)))
	}
	mux.Handle("POST "+PathDeviceAuthorization, open(maxForm, s.deviceAuthorization))
	mux.Handle("OPTIONS "+PathDeviceAuthorization, open(0, nil))
	mux.Handle("GET "+PathDevice, s.page("device", s.device))
	mux.Handle("POST "+PathDevice, page("device", s.enterDevice))
	mux.Handle("GET "+PathAuthorize, s.page("authorize", s.authorize)) // a link from anywhere may lead here
	mux.Handle("GET "+PathCallback, s.page("callback", s.callback))    // the IdP leads here
	mux.Handle("GET "+pathConsent, s.page("consent", s.resumed))
	mux.Handle("GET "+pathLogin, s.page("login", s.switchPerson))
	mux.Handle("POST "+pathLogin, page("login", s.login))
	mux.Handle("POST "+pathConsent, page("consent", s.consent))
}

// PutStatic stores the clients of the configuration.
func (s *Server) PutStatic(ctx context.Context, clients ...Client) error {
	for _, c := range clients {
		c.Static, c.Created, c.SecretCreated = true, s.cfg.Now(), s.cfg.Now() // the store keeps the older ones
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
