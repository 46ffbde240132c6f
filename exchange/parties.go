package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// parties is on whose behalf a token is wanted, and who will act.
type parties struct {
	subject token.Access
	leadsTo []oauth.Resource // where the subject_token may be exchanged to
	actor   token.Actor
	until   time.Time // of the actor_token, and of what proved the client; zero: no bound
}

// parties verifies subject_token and actor_token. All that is wrong with the one or
// the other is invalid_request (RFC 8693 §2.2.2), worded alike; what cannot be told is
// not.
func (e *Exchanger) parties(ctx context.Context, form url.Values, q request) (parties, error) {
	p := parties{actor: token.ActorOf(e.cfg.Issuer, q.client)}
	var err error
	if raw := form.Get("subject_token"); e.cfg.Foreign != nil && e.cfg.Foreign.Trusts(raw) {
		p.subject, p.leadsTo, err = e.foreignSubject(ctx, raw, q)
	} else {
		p.subject, p.leadsTo, err = e.ownSubject(ctx, raw, q)
	}
	if err != nil {
		return parties{}, rejected(&oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: err})
	}
	if raw := form.Get("actor_token"); raw != "" {
		if p.actor, p.until, err = e.actor(ctx, raw, q, p.subject); err != nil {
			return parties{}, rejected(&oauth.Error{Code: oauth.InvalidRequest, Description: "actor_token rejected", Cause: err})
		}
	}
	if err := p.subject.MayBegin(&p.actor); err != nil { // the minter would say so too, once it is recorded
		return parties{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: err}
	}
	return p, nil
}

// rejected is e, unless its cause says that nobody could tell.
func rejected(e *oauth.Error) error {
	for _, refusal := range []error{token.ErrMalformed, token.ErrType, token.ErrSignature, token.ErrIssuer, token.ErrAudience, token.ErrExpired, token.ErrNotYet,
		token.ErrUnproven, token.ErrRevoked, errNotTheirs} {
		if errors.Is(e.Cause, refusal) {
			return e
		}
	}
	if errors.Is(e.Cause, token.ErrStale) {
		return &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "whether the token was revoked cannot be told just now: try again", Cause: e.Cause}
	}
	var ours *oauth.Error // of package federation, which knows what it refuses
	if errors.As(e.Cause, &ours) {
		return e
	}
	return fmt.Errorf("%s: %w", e.Description, e.Cause)
}

// errNotTheirs is for a token that the client may not exchange.
var errNotTheirs = errors.New("not issued to the client, nor to one that it acts for")

// ownSubject verifies an access token of ours, whatever its audience, and whether the
// client may exchange it: because it was issued to it, because may_act names it, or
// because it is configured to act for the users of the client that it was issued to.
func (e *Exchanger) ownSubject(ctx context.Context, raw string, q request) (token.Access, []oauth.Resource, error) {
	t, err := e.cfg.Verifier.ParseSubject(ctx, raw, q.proof)
	if err != nil {
		return token.Access{}, nil, err
	}
	if t.ClientID() != q.client && t.MayAct() == nil && !e.actsFor(q.client, t.ClientID()) {
		return token.Access{}, nil, errNotTheirs
	}
	audience, ok := e.cfg.Resources.Public(t.Audience())
	if !ok {
		return token.Access{}, nil, token.ErrAudience
	}
	return t, append([]oauth.Resource{audience}, e.cfg.Downstream[audience]...), nil
}

func (e *Exchanger) actsFor(client, user identity.ClientID) bool {
	p, ok := e.cfg.ActsFor[client]
	for named, of := range e.cfg.ActsFor { // patterns do not overlap
		if !ok && named.Names(client) {
			p = of
		}
	}
	return p.All || slices.ContainsFunc(p.Clients, func(named identity.ClientID) bool { return named.Names(user) })
}

// foreignSubject is the same for the access token of another issuer.
func (e *Exchanger) foreignSubject(ctx context.Context, raw string, q request) (token.Access, []oauth.Resource, error) {
	f, leadsTo, err := e.cfg.Foreign.Subject(ctx, raw, q.client, q.proof)
	if err != nil {
		return token.Access{}, nil, err
	}
	t, err := e.cfg.Minter.Adopt(f)
	if err != nil {
		return token.Access{}, nil, fmt.Errorf("%w: %w", token.ErrMalformed, err)
	}
	return t, leadsTo, e.cfg.Verifier.Alive(t.Verified)
}

// actor verifies an actor_token: an access token that was issued to the very client
// that presents it, with nobody acting in it. A client that acts in its own name needs
// none; one that brings a person is let by may_act alone, since no configuration
// speaks of who may act for whom.
func (e *Exchanger) actor(ctx context.Context, raw string, q request, subject token.Access) (token.Actor, time.Time, error) {
	t, err := e.cfg.Verifier.ParseSubject(ctx, raw, q.proof)
	switch {
	case err != nil:
		return token.Actor{}, time.Time{}, err
	case t.ClientID() != q.client || t.Actor() != nil:
		return token.Actor{}, time.Time{}, errNotTheirs
	case !t.Subject().Is(q.client) && subject.MayAct() == nil:
		return token.Actor{}, time.Time{}, fmt.Errorf("%w: no may_act names its subject", errNotTheirs)
	}
	return token.Actor{Issuer: e.cfg.Issuer, Subject: t.Subject(), ClientID: q.client}, t.Expiry(), nil
}
