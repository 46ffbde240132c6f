package authz

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"

	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// newProvider wires fosite by hand: compose would hide the order that matters
// (the code handler before PKCE) and bring handlers that we do not want. Every
// field whose getter would otherwise write a default without a lock is set.
func newProvider(cfg Config) *fosite.Fosite {
	st := &fositeStore{cfg}
	s := strategy{cfg}
	fc := &fosite.Config{
		AccessTokenLifespan:   cfg.AccessLifetime,
		RefreshTokenLifespan:  cfg.RefreshLifetime,
		AuthorizeCodeLifespan: cfg.CodeLifetime,
		EnforcePKCE:           true,
		MinParameterEntropy:   1,          // state is optional; ours is put in where there is none
		RefreshTokenScopes:    []string{}, // nil would tie refresh tokens to offline_access
		SanitationWhiteList:   []string{"redirect_uri", "code_challenge", "code_challenge_method"},
		// Scopes and audiences were decided at consent; fosite's own matchers
		// check prefixes and treat all opaque URIs alike.
		ScopeStrategy:                func([]string, string) bool { return true },
		AudienceMatchingStrategy:     func(_, _ []string) error { return nil },
		ClientAuthenticationStrategy: authenticated,
		ClientSecretsHasher:          noHasher{},
		TokenEntropy:                 32,
	}
	code := &oauth2.AuthorizeExplicitGrantHandler{AccessTokenStrategy: s, RefreshTokenStrategy: s, AuthorizeCodeStrategy: s,
		CoreStorage: st, TokenRevocationStorage: st, Config: fc}
	proof := &pkce.Handler{AuthorizeCodeStrategy: s, Storage: st, Config: fc}
	refresh := &oauth2.RefreshTokenGrantHandler{AccessTokenStrategy: s, RefreshTokenStrategy: s, TokenRevocationStorage: st, Config: fc}
	fc.AuthorizeEndpointHandlers = fosite.AuthorizeEndpointHandlers{code, proof}
	fc.TokenEndpointHandlers = fosite.TokenEndpointHandlers{code, proof, refresh}
	return fosite.NewOAuth2Provider(st, fc)
}

// requestState is what one request at the token endpoint shares with fosite's
// callbacks.
type requestState struct {
	client   Client
	proof    oauth.Proof // the keys that the request proves
	bind     oauth.Proof // those that its access token is bound to
	dpop     dpop.Proof  // for spendProof, as the next
	spent    bool
	refresh  string // the refresh token that was presented
	rotateTo string // the one that it is rotated to
	reused   string // the authorization whose code or refresh token came a second time
}

type requestStateKey struct{}

func withState(ctx context.Context, s *requestState) context.Context {
	return context.WithValue(ctx, requestStateKey{}, s)
}

func stateOf(ctx context.Context) *requestState {
	s, _ := ctx.Value(requestStateKey{}).(*requestState)
	if s == nil {
		return &requestState{}
	}
	return s
}

// authenticated hands fosite the client that our own client authentication found.
func authenticated(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
	s := stateOf(ctx)
	if s.client.ID.IsZero() {
		return nil, fosite.ErrInvalidClient
	}
	return fositeClient(s.client), nil
}

// noHasher refuses everything: fosite never compares a secret here.
type noHasher struct{}

func (noHasher) Compare(context.Context, []byte, []byte) error { return fosite.ErrInvalidClient }
func (noHasher) Hash(context.Context, []byte) ([]byte, error)  { return nil, fosite.ErrInvalidClient }

// fositeClient is deliberately no fosite.OpenIDConnectClient: that would open
// request objects, with alg none.
func fositeClient(c Client) fosite.Client {
	return &fosite.DefaultClient{ID: c.ID.String(), RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes,
		ResponseTypes: []string{"code"}, Public: !c.Confidential()}
}

// session is what fosite carries beside a request. Nothing of it is stored: the
// authorization is.
type session struct {
	authorization Authorization
	scope         token.Scope // of this access token, narrowed from the authorization's
	challenge     string
	redirectURI   string
	jkt           string // of the key that whoever redeems the code must prove
	expires       map[fosite.TokenType]time.Time
}

func (s *session) SetExpiresAt(k fosite.TokenType, t time.Time) {
	if s.expires == nil {
		s.expires = map[fosite.TokenType]time.Time{}
	}
	s.expires[k] = t
}
func (s *session) GetExpiresAt(k fosite.TokenType) time.Time { return s.expires[k] }
func (s *session) GetUsername() string                       { return "" }
func (s *session) GetSubject() string                        { return s.authorization.Subject.String() }
func (s *session) Clone() fosite.Session {
	c := *s
	c.expires = maps.Clone(s.expires)
	return &c
}

// strategy makes and names tokens. Codes and refresh tokens are 256 random bits
// known at rest by the SHA-256 of the whole, so that neither reading the store
// nor guessing at a signature gets anybody anything. Access tokens are minted by
// package token.
type strategy struct{ cfg Config }

const (
	codePrefix    = "wg_ac_"
	refreshPrefix = "wg_rt_"
)

func newSecret(prefix string) string {
	var b [32]byte
	rand.Read(b[:])
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func (strategy) AuthorizeCodeSignature(_ context.Context, code string) string {
	return string(hash(code))
}

func (s strategy) GenerateAuthorizeCode(ctx context.Context, _ fosite.Requester) (string, string, error) {
	code := newSecret(codePrefix)
	return code, s.AuthorizeCodeSignature(ctx, code), nil
}

// ValidateAuthorizeCode has nothing to add: the store answers only for the SHA-256
// of the whole code and never for an expired one.
func (strategy) ValidateAuthorizeCode(context.Context, fosite.Requester, string) error { return nil }

func (strategy) RefreshTokenSignature(_ context.Context, t string) string { return string(hash(t)) }

func (s strategy) GenerateRefreshToken(ctx context.Context, _ fosite.Requester) (string, string, error) {
	t := newSecret(refreshPrefix)
	stateOf(ctx).rotateTo = t
	return t, s.RefreshTokenSignature(ctx, t), nil
}

// ValidateRefreshToken has nothing to add, as ValidateAuthorizeCode.
func (strategy) ValidateRefreshToken(context.Context, fosite.Requester, string) error { return nil }

// AccessTokenSignature is never needed: access tokens are not stored.
func (strategy) AccessTokenSignature(context.Context, string) string { return "" }

// GenerateAccessToken mints for the one resource of the authorization.
func (s strategy) GenerateAccessToken(ctx context.Context, r fosite.Requester) (string, string, error) {
	ses := r.GetSession().(*session)
	return mintAccess(s.cfg, ses.authorization, ses.scope, stateOf(ctx))
}

// mintAccess mints an access token of an authorization for the client of the request,
// and returns its jti too.
func mintAccess(cfg Config, a Authorization, scope token.Scope, state *requestState) (raw, id string, err error) {
	var said personClaims
	if len(a.Claims) > 0 {
		if err := json.Unmarshal(a.Claims, &said); err != nil {
			return "", "", fmt.Errorf("claims of authorization %s: %w", a.ID, err)
		}
	}
	raw, at, err := cfg.Minter.Access(token.AccessSpec{
		Subject: a.Subject, ClientID: a.ClientID, Audience: a.Resource, Scope: scope, Txn: a.ID, AuthTime: a.AuthTime, Lifetime: lifetimeOf(cfg, state.client),
		Groups: said.Groups, Claims: said.Claims, ACR: a.ACR, Confirmation: token.Confirmation(state.bind),
	})
	return raw, at.ID(), err
}

// ValidateAccessToken is never asked: package token verifies.
func (strategy) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return fosite.ErrTokenSignatureMismatch
}
