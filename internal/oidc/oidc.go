// Package oidc is the login of people at the organisation's identity provider
// (IdP): OpenID Connect Core 1.0, code flow with PKCE, as a client of the IdP.
//
// It does NOT keep sessions, state or nonces (package authz does, bound to the
// browser), does NOT log anybody in without an IdP, and does NOT ask the UserInfo
// endpoint: what policy is to know must be in the ID token. It supports neither
// encrypted ID tokens, nor aggregated and distributed claims (Core §5.6.2), nor
// client authentication other than client_secret_basic, client_secret_post and
// none (Core §9).
package oidc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/wicketgate/wicketgate/authz"
)

// Claims that can name the subject.
const (
	claimSub               = "sub"
	claimEmail             = "email"
	claimPreferredUsername = "preferred_username"
)

const defaultGroups = "groups"

// Config is what a Provider needs; every field is required unless it says otherwise.
type Config struct {
	// Issuer is the IdP's issuer URL, to the letter as its discovery document says
	// it: with or without the slash at the end. It is https; http is for an IdP on
	// a loopback host.
	Issuer string

	// ClientID and ClientSecret are ours at the IdP. Without a secret we are a
	// public client there, and only PKCE protects the code.
	ClientID     string
	ClientSecret Secret

	// RedirectURI is where the IdP sends the browser back, as registered there.
	RedirectURI string

	// Scopes are asked of the IdP. The default is openid alone; others must hold it.
	Scopes []string

	// SubjectClaim names the subject: sub (the default), email or
	// preferred_username. email counts only beside email_verified: true.
	//
	// DANGER: sub alone is never given to somebody else. Whoever can change the
	// claim named here at the IdP, or gets a name that was another's before,
	// becomes that other person here, with all grants of theirs.
	SubjectClaim string

	// GroupsClaim is where the groups are; the default is groups. A name with dots
	// that is no claim itself is a path: realm_access.roles.
	GroupsClaim string

	// Claims are those to keep for policy, named as GroupsClaim is. None by default.
	Claims []string

	// AllowedAlgorithms are those that may sign an ID token. The default is what
	// the IdP's discovery document lists, as far as it is RS256, PS256, ES256 or EdDSA.
	AllowedAlgorithms []string

	HTTPClient *http.Client // optional; its transport is used, its timeout if it is shorter than ours
	Log        *slog.Logger // is told when the IdP is lost and found again
	Now        func() time.Time
}

// Provider is one IdP. It is safe for concurrent use.
type Provider struct {
	cfg       Config
	client    *http.Client
	discovery discovery
}

var _ authz.IdentityProvider = (*Provider)(nil)

// New makes a Provider. It asks the IdP nothing yet: we can start while it is down.
func New(cfg Config) (*Provider, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{gooidc.ScopeOpenID}
	}
	if cfg.SubjectClaim == "" {
		cfg.SubjectClaim = claimSub
	}
	if cfg.GroupsClaim == "" {
		cfg.GroupsClaim = defaultGroups
	}
	return &Provider{cfg: cfg, client: restrict(cfg.HTTPClient), discovery: newDiscovery()}, nil
}

func (c *Config) check() error {
	if c.Log == nil || c.Now == nil {
		return errors.New("identity provider: Log and Now must be set")
	}
	if err := checkURL(c.Issuer, isLoopback(c.Issuer)); err != nil {
		return fmt.Errorf("identity provider's issuer %q: %w", c.Issuer, err)
	}
	if strings.Contains(c.Issuer, "?") { // OpenID Connect Discovery 1.0 §3
		return fmt.Errorf("identity provider's issuer %q: it must have no query", c.Issuer)
	}
	if err := checkURL(c.RedirectURI, isLoopback(c.RedirectURI)); err != nil {
		return fmt.Errorf("redirect URI for the identity provider %q: %w", c.RedirectURI, err)
	}
	if c.ClientID == "" {
		return errors.New("identity provider: the client ID is empty")
	}
	if len(c.Scopes) > 0 && !slices.Contains(c.Scopes, gooidc.ScopeOpenID) { // Core §3.1.2.1
		return errors.New("identity provider: the scopes must hold openid")
	}
	if !slices.Contains([]string{"", claimSub, claimEmail, claimPreferredUsername}, c.SubjectClaim) {
		return fmt.Errorf("identity provider's subject claim %q: want sub, email or preferred_username", c.SubjectClaim)
	}
	for _, alg := range c.AllowedAlgorithms {
		if !slices.Contains(asymmetric, alg) {
			return fmt.Errorf("identity provider's algorithm %q: want one of %v", alg, asymmetric)
		}
	}
	if slices.Contains(c.Claims, "") {
		return errors.New("identity provider: a claim to keep has no name")
	}
	return nil
}

// checkURL wants an absolute https URL without what has no business there.
// plain allows http on a loopback host, where nobody listens in.
func checkURL(s string, plain bool) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return errors.New("want an absolute URL")
	case u.User != nil || strings.Contains(s, "#"):
		return errors.New("it must have no user information and no fragment")
	case u.Scheme == "https" || plain && isLoopback(s):
		return nil
	}
	return errors.New("it must be https: http is for a loopback host only")
}

// isLoopback reports whether s is an http URL on this machine.
func isLoopback(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
