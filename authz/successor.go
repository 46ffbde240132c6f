package authz

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// refreshGrace is how long a rotated refresh token still leads to its successor.
// Clients lose answers, and several processes of one client refresh at once with
// the token that they share; after that a second use is a theft.
const refreshGrace = 30 * time.Second

// sealSuccessor seals the token that the old one was rotated to under the old one:
// only who has the old one can read it, which the store has not. The key is good
// for this one token, so nothing else need be bound in.
func sealSuccessor(old, successor string) ([]byte, error) {
	aead, err := successorKey(old)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, []byte(successor), nil), nil
}

func openSuccessor(old string, sealed []byte) (string, error) {
	aead, err := successorKey(old)
	if err != nil {
		return "", err
	}
	plain, err := aead.Open(nil, nil, sealed, nil)
	return string(plain), err
}

func successorKey(old string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(old), nil, "wicketgate refresh token successor", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// errNoSuccessor means that a second use is what it looks like.
var errNoSuccessor = errors.New("no successor to give")

// again answers a refresh token that was rotated just now with the very successor
// that it was rotated to: never with a second one, and with nothing for a family
// that has ended.
func (g fositeGrant) again(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	if r.Form.Get("grant_type") != oauth.GrantRefreshToken {
		return oauth.TokenResponse{}, errNoSuccessor
	}
	a, successor, err := g.successor(ctx, r.Form.Get("refresh_token"))
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	if err := g.s.mayIssueOf(a, r.Trace); err != nil {
		return oauth.TokenResponse{}, err
	}
	if err := stateOf(ctx).spendProof(ctx); err != nil {
		return oauth.TokenResponse{}, err
	}
	scope, err := token.ParseScope(a.Scope)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	ses := &session{authorization: a, scope: scope}
	if err := g.narrow(ses, r.Form); err != nil {
		return oauth.TokenResponse{}, err
	}
	if err := g.s.record(ctx, audit.Event{Kind: audit.Token, Action: oauth.GrantRefreshToken, Subject: a.Subject.String(), Client: a.ClientID.String(),
		Txn: a.ID, Resource: a.Resource, Scope: ses.scope.String(), Source: r.Source, Decision: "allow", Reason: "successor_again"}); err != nil {
		return oauth.TokenResponse{}, err
	}
	raw, err := g.s.accessToken(a, ses.scope, stateOf(ctx))
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	return g.s.tokenResponse(ctx, raw, ses.scope, successor, r.Bind), nil
}

// successor is what the old token was rotated to, within the grace. It returns
// errNoSuccessor. That it is the client's own token, and bound to a key that the
// request proves, has been seen: another's attempt is no reuse. The successor may be
// bound where the old one was not.
func (g fositeGrant) successor(ctx context.Context, old string) (Authorization, string, error) {
	t, a, err := g.s.cfg.Store.RefreshToken(ctx, hash(old))
	if err != nil {
		return Authorization{}, "", err
	}
	now := g.s.cfg.Now()
	if now.Sub(t.Rotated) > refreshGrace || !now.Before(a.Expires) || !a.Revoked.IsZero() {
		return Authorization{}, "", errNoSuccessor
	}
	next, err := openSuccessor(old, t.Successor)
	if err != nil {
		return Authorization{}, "", errNoSuccessor
	}
	t, _, err = g.s.cfg.Store.RefreshToken(ctx, hash(next))
	if err == nil && !proven(t.Bound, stateOf(ctx).proof) {
		err = errUnproven()
	}
	return a, next, err
}

// accessToken mints for an authorization.
func (s *Server) accessToken(a Authorization, scope token.Scope, state *requestState) (string, error) {
	raw, _, err := mintAccess(s.cfg, a, scope, state)
	return raw, err
}
