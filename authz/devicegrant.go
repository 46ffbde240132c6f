package authz

import (
	"context"
	"errors"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// deviceGrant is the grant of RFC 8628 §3.4.
type deviceGrant struct{ s *Server }

func (g deviceGrant) Issue(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	code := r.Form.Get("device_code")
	if code == "" {
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "device_code is missing"}
	}
	d, err := g.s.cfg.Store.DeviceCode(ctx, hash(code))
	if errors.Is(err, ErrNotFound) || err == nil && d.ClientID != stateOf(ctx).client.ID { // who does not slow the client down either
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.InvalidGrant, Description: "the device_code is unknown or was issued to another client"}
	} else if err != nil {
		return oauth.TokenResponse{}, err
	}
	now := g.s.cfg.Now()
	err = g.s.cfg.Store.PollDeviceCode(ctx, d.Hash, now, now.Add(-deviceInterval))
	switch {
	case errors.Is(err, ErrSpent):
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.SlowDown, Description: "wait for the interval between two polls"}
	case err != nil:
		return oauth.TokenResponse{}, err
	case !d.Used.IsZero():
		return oauth.TokenResponse{}, g.replayed(ctx, d, r.Source)
	case !now.Before(d.Expires):
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.ExpiredToken, Description: "the device_code has expired: begin again"}
	case d.Decided.IsZero():
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.AuthorizationPending, Description: "the person has not decided yet"}
	case d.Authorization == "":
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.AccessDenied, Description: "the person declined"}
	}
	return g.redeem(ctx, r, d)
}

func (g deviceGrant) redeem(ctx context.Context, r oauth.TokenRequest, d DeviceCode) (oauth.TokenResponse, error) {
	if sent := r.Form["resource"]; len(sent) > 0 {
		if resource, err := g.s.cfg.Resources.OneFor(d.ClientID.String(), sent); err != nil || resource.String() != d.Resource {
			return oauth.TokenResponse{}, oauth.ErrInvalidTarget()
		}
	}
	if err := stateOf(ctx).spendProof(ctx); err != nil {
		return oauth.TokenResponse{}, err
	}
	var a Authorization
	var scope token.Scope
	var refresh string
	err := g.s.cfg.Store.InTx(ctx, func(ctx context.Context) (err error) {
		if err = g.s.cfg.Store.RedeemDeviceCode(ctx, d.Hash, g.s.cfg.Now()); err != nil {
			return err
		}
		if a, err = g.s.cfg.Store.Authorization(ctx, d.Authorization); err != nil {
			return err
		}
		if !a.Revoked.IsZero() {
			return errDeviceRevoked()
		}
		if err = g.s.mayIssueOf(a, r.Trace); err != nil {
			return err
		}
		if scope, err = token.ParseScope(a.Scope); err != nil {
			return err
		}
		if refresh, err = g.refreshToken(ctx, a); err != nil {
			return err
		}
		return g.s.record(ctx, audit.Event{Kind: audit.Token, Action: oauth.GrantDeviceCode, Subject: a.Subject.String(), Client: a.ClientID.String(),
			Txn: a.ID, Resource: a.Resource, Scope: scope.String(), Source: r.Source, Decision: "allow"})
	})
	if errors.Is(err, ErrSpent) {
		return oauth.TokenResponse{}, g.replayed(ctx, d, r.Source)
	} else if err != nil {
		return oauth.TokenResponse{}, err
	}
	raw, err := g.s.accessToken(a, scope, stateOf(ctx))
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	return g.s.tokenResponse(ctx, raw, scope, refresh, r.Bind), nil
}

// replayed ends the grant of a device_code that came again after it was redeemed:
// somebody has a copy.
func (g deviceGrant) replayed(ctx context.Context, d DeviceCode, source string) error {
	ctx = context.WithoutCancel(ctx) // whoever sent it cannot prevent that by hanging up
	a, err := g.s.cfg.Store.Authorization(ctx, d.Authorization)
	switch {
	case err != nil:
		return err
	case !a.Revoked.IsZero():
		return errDeviceRevoked()
	}
	return g.s.revoke(ctx, a.ID, source)
}

func errDeviceRevoked() error {
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "the authorization was revoked: begin again"}
}

// refreshToken stores a new refresh token, for a client that registered for it. None
// outlives its authorization.
func (g deviceGrant) refreshToken(ctx context.Context, a Authorization) (string, error) {
	if !stateOf(ctx).client.May(oauth.GrantRefreshToken) {
		return "", nil
	}
	secret, now := newSecret(refreshPrefix), g.s.cfg.Now()
	expires := now.Add(g.s.cfg.RefreshLifetime)
	if a.Expires.Before(expires) {
		expires = a.Expires
	}
	return secret, g.s.cfg.Store.InsertRefreshToken(ctx, a.ID, RefreshToken{Hash: hash(secret), Created: now, Expires: expires,
		Bound: stateOf(ctx).refreshBound()})
}
