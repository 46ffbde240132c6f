package authz

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// fositeStore gives fosite the view of our Store that it wants. Its "signatures"
// are the SHA-256 of a whole code or token. It opens no transactions itself: the
// token endpoint puts one around all of NewAccessResponse. Every value it returns
// is fresh, for fosite writes into them.
type fositeStore struct{ cfg Config }

var (
	_ fosite.Storage                = (*fositeStore)(nil)
	_ oauth2.CoreStorage            = (*fositeStore)(nil)
	_ oauth2.TokenRevocationStorage = (*fositeStore)(nil)
	_ pkce.PKCERequestStorage       = (*fositeStore)(nil)
)

// GetClient returns the client that the endpoint has already found, with the one
// redirect URI that it matched; fosite must not look for others.
func (s *fositeStore) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	c := stateOf(ctx).client
	if c.ID.IsZero() || c.ID.String() != id {
		return nil, fosite.ErrNotFound
	}
	return fositeClient(c), nil
}

// ClientAssertionJWTValid refuses: client assertions are not fosite's business.
func (*fositeStore) ClientAssertionJWTValid(context.Context, string) error {
	return fosite.ErrJTIKnown
}

// SetClientAssertionJWT refuses, as ClientAssertionJWTValid.
func (*fositeStore) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

func (s *fositeStore) CreateAuthorizeCodeSession(ctx context.Context, sig string, r fosite.Requester) error {
	ses := r.GetSession().(*session)
	now := s.cfg.Now()
	a := ses.authorization
	a.ID, a.Created, a.Expires = r.GetID(), now, now.Add(s.cfg.AbsoluteLifetime)
	return s.cfg.Store.InsertCode(ctx, a, Code{Hash: []byte(sig), RedirectURI: ses.redirectURI, Challenge: ses.challenge, JKT: ses.jkt, Expires: now.Add(s.cfg.CodeLifetime)})
}

// GetAuthorizeCodeSession never finds an expired code, nor one whose family was revoked.
func (s *fositeStore) GetAuthorizeCodeSession(ctx context.Context, sig string, _ fosite.Session) (fosite.Requester, error) {
	c, a, err := s.cfg.Store.Code(ctx, []byte(sig))
	if err != nil {
		return nil, notFound(err)
	}
	r, err := s.request(ctx, a, url.Values{"redirect_uri": {c.RedirectURI}, "code_challenge": {c.Challenge}, "code_challenge_method": {"S256"}})
	switch {
	case err != nil:
		return nil, err
	case !proven(oauth.Proof{JKT: c.JKT}, stateOf(ctx).proof): // before it counts as used a second time: a thief has not the key
		return nil, errUnproven()
	case !c.Used.IsZero() && a.Revoked.IsZero() && a.ClientID == stateOf(ctx).client.ID:
		stateOf(ctx).reused = a.ID
		return r, fosite.ErrInvalidatedAuthorizeCode
	case !c.Used.IsZero(), !s.cfg.Now().Before(c.Expires), !a.Revoked.IsZero():
		return nil, fosite.ErrNotFound
	}
	return r, nil
}

// InvalidateAuthorizeCodeSession is where exactly one of several redeemers wins.
func (s *fositeStore) InvalidateAuthorizeCodeSession(ctx context.Context, sig string) error {
	return s.spent(ctx, s.cfg.Store.RedeemCode(ctx, []byte(sig), s.cfg.Now()), fosite.ErrInvalidatedAuthorizeCode, func() (Authorization, error) {
		_, a, err := s.cfg.Store.Code(ctx, []byte(sig))
		return a, err
	})
}

// GetPKCERequestSession reads the challenge from the code's own row: there is no
// second row that could vanish before the verifier was checked.
func (s *fositeStore) GetPKCERequestSession(ctx context.Context, sig string, ses fosite.Session) (fosite.Requester, error) {
	return s.GetAuthorizeCodeSession(ctx, sig, ses)
}

// CreatePKCERequestSession does nothing: the challenge is in the code's row.
func (*fositeStore) CreatePKCERequestSession(context.Context, string, fosite.Requester) error {
	return nil
}

// DeletePKCERequestSession does nothing, as CreatePKCERequestSession.
func (*fositeStore) DeletePKCERequestSession(context.Context, string) error { return nil }

// CreateAccessTokenSession does nothing: access tokens are verified offline.
func (*fositeStore) CreateAccessTokenSession(context.Context, string, fosite.Requester) error {
	return nil
}

// GetAccessTokenSession finds nothing, as CreateAccessTokenSession stores nothing.
func (*fositeStore) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}

// DeleteAccessTokenSession does nothing, as CreateAccessTokenSession.
func (*fositeStore) DeleteAccessTokenSession(context.Context, string) error { return nil }

func (s *fositeStore) CreateRefreshTokenSession(ctx context.Context, sig, _ string, r fosite.Requester) error {
	now := s.cfg.Now()
	expires := now.Add(s.cfg.RefreshLifetime)
	if a := r.GetSession().(*session).authorization; !a.Expires.IsZero() && a.Expires.Before(expires) {
		expires = a.Expires // the family's absolute lifetime
	}
	return s.cfg.Store.InsertRefreshToken(ctx, r.GetID(), RefreshToken{Hash: []byte(sig), Created: now, Expires: expires, Bound: stateOf(ctx).refreshBound()})
}

// GetRefreshTokenSession answers ErrInactiveToken for a rotated token of the same
// client, which revokes the family; another client's attempt finds nothing, so
// that nobody can end a family that is not theirs.
func (s *fositeStore) GetRefreshTokenSession(ctx context.Context, sig string, _ fosite.Session) (fosite.Requester, error) {
	t, a, err := s.cfg.Store.RefreshToken(ctx, []byte(sig))
	if err != nil {
		return nil, notFound(err)
	}
	now := s.cfg.Now()
	if a.ClientID != stateOf(ctx).client.ID || !a.Revoked.IsZero() || !now.Before(t.Expires) || !now.Before(a.Expires) {
		return nil, fosite.ErrNotFound
	}
	if !proven(t.Bound, stateOf(ctx).proof) { // as with a code
		return nil, errUnproven()
	}
	r, err := s.request(ctx, a, nil)
	if err == nil && !t.Rotated.IsZero() {
		stateOf(ctx).reused = a.ID
		return r, fosite.ErrInactiveToken
	}
	return r, err
}

// DeleteRefreshTokenSession does nothing: used tokens stay, so that reuse is seen.
func (*fositeStore) DeleteRefreshTokenSession(context.Context, string) error { return nil }

// RotateRefreshToken is where exactly one of several refreshers wins, unless the
// family was revoked since fosite looked.
func (s *fositeStore) RotateRefreshToken(ctx context.Context, _ string, sig string) error {
	find := func() (Authorization, error) {
		_, a, err := s.cfg.Store.RefreshToken(ctx, []byte(sig))
		return a, err
	}
	successor, err := sealSuccessor(stateOf(ctx).refresh, stateOf(ctx).rotateTo)
	if err != nil {
		return err
	}
	if err := s.spent(ctx, s.cfg.Store.RotateRefreshToken(ctx, []byte(sig), successor, s.cfg.Now()), fosite.ErrInactiveToken, find); err != nil {
		return err
	}
	a, err := find()
	if err == nil && !a.Revoked.IsZero() {
		err = fosite.ErrNotFound
	}
	return err
}

// RevokeRefreshToken does nothing: the endpoint revokes the family itself, outside
// of any transaction that the error would roll back.
func (*fositeStore) RevokeRefreshToken(context.Context, string) error { return nil }

// RevokeAccessToken does nothing, as RevokeRefreshToken.
func (*fositeStore) RevokeAccessToken(context.Context, string) error { return nil }

// spent notes the family of a code or token that somebody else used first.
func (s *fositeStore) spent(ctx context.Context, err, as error, find func() (Authorization, error)) error {
	if !errors.Is(err, ErrSpent) {
		return err
	}
	a, err := find()
	if err != nil {
		return err
	}
	stateOf(ctx).reused = a.ID
	return as
}

// request builds the fosite request of an authorization.
func (s *fositeStore) request(ctx context.Context, a Authorization, form url.Values) (fosite.Requester, error) {
	scope, err := token.ParseScope(a.Scope)
	if err != nil {
		return nil, err
	}
	r := fosite.NewRequest()
	r.ID, r.RequestedAt = a.ID, a.Created
	r.Client = &fosite.DefaultClient{ID: a.ClientID.String()}
	if c := stateOf(ctx).client; c.ID == a.ClientID {
		r.Client = fositeClient(c)
	}
	r.RequestedScope, r.GrantedScope = scope.Fields(), scope.Fields()
	r.RequestedAudience, r.GrantedAudience = fosite.Arguments{a.Resource}, fosite.Arguments{a.Resource}
	r.Form = form
	r.Session = &session{authorization: a, scope: scope}
	return r, nil
}

func notFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return fosite.ErrNotFound
	}
	return err
}
