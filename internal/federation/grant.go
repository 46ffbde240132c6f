package federation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// grantTypes are the typ of ID-JAGs, and of nothing else: an ID token, which the same
// IdP signs with the same key, is none.
var grantTypes = []string{"oauth-id-jag+jwt"}

// Grant verifies an ID-JAG for the authenticated client, who has proved to have the keys
// of proof (draft-ietf-oauth-identity-assertion-authz-grant-04 §4.4.1). It returns what
// it says of the person, with a zero Scope where it says none, and the one resource that
// it is for. That its jti counts once is for the caller to see to, last of all. It fails
// with an *oauth.Error for what it refuses.
func (t *Table) Grant(ctx context.Context, raw string, client identity.ClientID, proof token.Confirmation) (token.Foreign, oauth.Resource, error) {
	f, resource, err := t.grant(ctx, raw, client, proof)
	if err != nil {
		return token.Foreign{}, oauth.Resource{}, refusal(err)
	}
	return f, resource, nil
}

func (t *Table) grant(ctx context.Context, raw string, client identity.ClientID, proof token.Confirmation) (f token.Foreign, r oauth.Resource, err error) {
	var c claims
	signed, err := jws.Parse(raw, &c, grantTypes...)
	if err != nil {
		return f, r, err
	}
	is, err := t.issuer(c)
	if err != nil {
		return f, r, err
	}
	if !is.Grants {
		return f, r, errors.New("no identity assertions of this issuer are taken")
	}
	if err := t.verify(ctx, is, signed); err != nil {
		return f, r, err
	}
	if f, err = t.assertion(ctx, is, c, client); err != nil {
		return f, r, err
	}
	if !f.Confirmation.ProvenBy(proof) {
		return f, r, token.ErrUnproven
	}
	r, err = t.resource(c)
	return f, r, err
}

// assertion reads the claims of §3.1. A delegation chain could not be carried into the
// token, nor could authorization_details or a tenant of ours be honoured.
func (t *Table) assertion(ctx context.Context, is *issuer, c claims, client identity.ClientID) (f token.Foreign, err error) {
	if err := c.audience(t.cfg.Issuer); err != nil {
		return f, err
	}
	if err := c.none("act", "may_act", "authorization_details", "aud_tenant"); err != nil {
		return f, err
	}
	id, err := c.text("client_id")
	if err != nil || client.IsZero() || id != client.String() {
		return f, errors.Join(errors.New("client_id is not the client that presents it"), err)
	}
	issued, expires, err := c.times(t.cfg.Now().Unix())
	if err != nil {
		return f, err
	}
	if expires-issued > maxGrantAge { // and iat is not ahead
		return f, errors.New("it is good for too long")
	}
	f = token.Foreign{Issuer: is.Name, ClientID: client, IssuedAt: time.Unix(issued, 0), Expiry: time.Unix(expires, 0)}
	if f.ID, err = c.id(); err != nil {
		return f, err
	}
	if f.Scope, err = c.grantedScope(); err != nil {
		return f, err
	}
	if f.Confirmation, err = c.confirmation(); err != nil {
		return f, err
	}
	return f, t.person(ctx, is, c, &f)
}

// grantedScope is the scope that the IdP allows; it may say nothing of it. One that is
// none of ours shows that the assertion is for something else (Enterprise-Managed
// Authorization §7.6.2).
func (c claims) grantedScope() (token.Scope, error) {
	if _, ok := c["scope"]; !ok {
		return token.Scope{}, nil
	}
	text, err := c.text("scope")
	if err != nil {
		return token.Scope{}, err
	}
	scope, err := token.ParseScope(text)
	if err != nil {
		return token.Scope{}, err
	}
	if scope.IsZero() || slices.ContainsFunc(scope.Fields(), unknownScope) {
		return token.Scope{}, errors.New("scope is empty, or has one that is none of ours")
	}
	return scope, nil
}

// resource is the one of ours that the assertion is for (Enterprise-Managed
// Authorization §5.1).
func (t *Table) resource(c claims) (oauth.Resource, error) {
	uri, err := c.one("resource")
	r, ok := t.cfg.Resources.Public(uri)
	if err != nil || !ok {
		return oauth.Resource{}, errors.Join(errors.New("resource is none of ours"), err)
	}
	return r, nil
}
