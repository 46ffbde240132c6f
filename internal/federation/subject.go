package federation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// subjectTypes are the typ of access tokens (RFC 9068 §2.1), and of nothing else.
var subjectTypes = []string{"at+jwt", "application/at+jwt"}

// Trusts reports whether raw says that it is an access token of an issuer whose access
// tokens may be exchanged. Nothing is proven by that: Subject does.
func (t *Table) Trusts(raw string) bool {
	var c claims
	if _, err := jws.Parse(raw, &c, subjectTypes...); err != nil {
		return false
	}
	is, err := t.issuer(c)
	return err == nil && is.SubjectTokens != nil
}

// issuer finds the issuer that a token says it is of.
func (t *Table) issuer(c claims) (*issuer, error) {
	name, err := c.text("iss")
	if err != nil {
		return nil, err
	}
	is, ok := t.issuers[name]
	if !ok {
		return nil, errors.New("iss is no trusted issuer")
	}
	return is, nil
}

// Subject verifies an access token of another issuer as the subject of an exchange
// (RFC 8693 §2.1), which client asks for, who has proved to have the keys of proof. It
// returns what the token says under the names that we use, and the public resources that
// it may be exchanged for. It fails with an *oauth.Error for what it refuses, and with
// token.ErrUnproven in it for a token that is bound to another key.
func (t *Table) Subject(ctx context.Context, raw string, client identity.ClientID, proof token.Confirmation) (token.Foreign, []oauth.Resource, error) {
	f, is, err := t.subject(ctx, raw, client, proof)
	if err != nil {
		return token.Foreign{}, nil, refusal(err)
	}
	return f, slices.Clone(is.SubjectTokens.Resources), nil
}

func (t *Table) subject(ctx context.Context, raw string, client identity.ClientID, proof token.Confirmation) (token.Foreign, *issuer, error) {
	var c claims
	signed, err := jws.Parse(raw, &c, subjectTypes...)
	if err != nil {
		return token.Foreign{}, nil, err
	}
	is, err := t.issuer(c)
	if err != nil {
		return token.Foreign{}, nil, err
	}
	if !is.SubjectTokens.mayExchange(client) {
		return token.Foreign{}, nil, errors.New("the client may not exchange tokens of this issuer")
	}
	if err := t.verify(ctx, is, signed); err != nil {
		return token.Foreign{}, nil, err
	}
	f, err := t.access(ctx, is, c)
	if err == nil && !f.Confirmation.ProvenBy(proof) {
		err = token.ErrUnproven
	}
	return f, is, err
}

// access reads the claims of RFC 9068 §2.2, all of which must be there.
func (t *Table) access(ctx context.Context, is *issuer, c claims) (f token.Foreign, err error) {
	audience := is.SubjectTokens.Audience
	if audience == "" {
		audience = t.cfg.Issuer
	}
	if err := c.audience(audience); err != nil {
		return f, err
	}
	if err := c.none("authorization_details"); err != nil { // RFC 9396: it restricts
		return f, err
	}
	now := t.cfg.Now().Unix()
	issued, expires, err := c.times(now)
	if err != nil {
		return f, err
	}
	if expires-issued > maxSubjectAge { // and iat is not ahead
		return f, errors.New("it is good for too long")
	}
	f = token.Foreign{Issuer: is.Name, IssuedAt: time.Unix(min(issued, now), 0), Expiry: time.Unix(expires, 0)}
	if f.ID, err = c.id(); err != nil {
		return f, err
	}
	if f.Scope, err = c.scope(); err != nil {
		return f, err
	}
	if f.ClientID, err = t.foreignClient(is, c); err != nil {
		return f, err
	}
	if f.Act, err = t.chain(is, c["act"]); err != nil {
		return f, err
	}
	if f.MayAct, err = t.mayAct(is, c["may_act"]); err != nil {
		return f, err
	}
	if f.Confirmation, err = c.confirmation(); err != nil {
		return f, err
	}
	return f, t.person(ctx, is, c, &f)
}

func (t *Table) foreignClient(is *issuer, c claims) (identity.ClientID, error) {
	id, err := c.client()
	if err != nil {
		return identity.ClientID{}, err
	}
	return identity.ParseClientID(t.qualified(is.Name, id))
}

// scope is what of the token's scope means something here. A token without one, or with
// nothing of ours, is good for nothing: never for everything.
func (c claims) scope() (token.Scope, error) {
	text, err := c.text("scope")
	if err != nil {
		return token.Scope{}, err
	}
	scope, err := token.ParseScope(text)
	if err != nil {
		return token.Scope{}, err
	}
	scope = scope.Intersect(slices.DeleteFunc(scope.Fields(), unknownScope))
	if scope.IsZero() {
		return token.Scope{}, errors.New("scope is missing, or has nothing of ours")
	}
	return scope, nil
}

func unknownScope(s string) bool {
	_, err := token.ParseToolScope(s)
	return err != nil && !slices.Contains(oauth.DefaultScopes(), s)
}

// confirmation is cnf, with no member that cannot be enforced.
func (c claims) confirmation() (out token.Confirmation, err error) {
	if v, ok := c["cnf"]; ok {
		err = json.Unmarshal(v, &out)
	}
	return out, err
}
