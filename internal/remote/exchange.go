package remote

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Exchanger gets call tokens from an authorization server (RFC 8693). It is safe for
// concurrent use.
type Exchanger struct {
	server   *Server
	verifier *token.Verifier
}

// NewExchanger makes an Exchanger. The verifier is that of the server's tokens.
func NewExchanger(s *Server, v *token.Verifier) *Exchanger { return &Exchanger{s, v} }

// Call implements gateway.Exchanger: it has the access token of a caller narrowed to a
// call. Its sender has proved the keys that the token is bound to, see token.Access.
func (x *Exchanger) Call(ctx context.Context, parent token.Access, s token.CallSpec) (token.Call, error) {
	d := s.Scope.Describe(s.Details)
	details, err := json.Marshal([]token.Details{d})
	if err != nil {
		return token.Call{}, fmt.Errorf("encode authorization_details: %w", err)
	}
	return x.exchange(ctx, parent.SubjectToken(), wanted{parent.Verified, s.Audience, s.Presenter, s.Scope.String(), d},
		url.Values{"scope": {s.Scope.String()}, "authorization_details": {string(details)}})
}

// Readdress implements gateway.Exchanger: the one hop of a tool token.
func (x *Exchanger) Readdress(ctx context.Context, t token.Tool, audience string, presenter identity.ClientID) (token.Call, error) {
	return x.exchange(ctx, t.SubjectToken(), wanted{t.Verified, audience, presenter, t.Scope().String(), t.Details()}, url.Values{})
}

// wanted is what the call token must be.
type wanted struct {
	of        token.Verified
	audience  string
	presenter identity.ClientID
	scope     string
	details   token.Details
}

func (x *Exchanger) exchange(ctx context.Context, subjectToken string, w wanted, form url.Values) (token.Call, error) {
	if subjectToken == "" {
		return token.Call{}, errors.New("exchange: the subject token was not received by this process")
	}
	form.Set("grant_type", oauth.GrantTokenExchange)
	form.Set("resource", w.audience)
	form.Set("subject_token", subjectToken)
	form.Set("subject_token_type", oauth.TokenTypeAccessToken)
	raw, err := x.token(ctx, form)
	if err != nil {
		return token.Call{}, err
	}
	call, err := x.verifier.ParseCall(ctx, raw, w.audience)
	if err != nil {
		return token.Call{}, unusable(err)
	}
	return call, w.check(call)
}

// check refuses a good call token that is for somebody else, or for something else.
func (w wanted) check(c token.Call) error {
	if c.Subject() != w.of.Subject() || c.Txn() != w.of.Txn() || c.ClientID() != w.presenter || c.Scope().String() != w.scope || c.Details() != w.details ||
		c.Expiry().After(w.of.Expiry()) || !slices.Equal(c.Actor().Chain(), w.of.Actors().Chain()) {
		return malformed("the call token %s is for another call", c.ID())
	}
	return nil
}

// Own is an access token for ourselves (RFC 6749 §4.4).
func (x *Exchanger) Own(ctx context.Context, resource string, presenter identity.ClientID) (token.Access, error) {
	raw, err := x.token(ctx, url.Values{"grant_type": {oauth.GrantClientCredentials}, "resource": {resource}, "scope": {oauth.ScopeTools}})
	if err != nil {
		return token.Access{}, err
	}
	own, err := x.verifier.ParseAccess(ctx, raw, resource, token.Confirmation{})
	if err != nil {
		return token.Access{}, unusable(err)
	}
	if own.ClientID() != presenter || !own.Subject().Is(presenter) {
		return token.Access{}, malformed("the access token %s is somebody else's", own.ID())
	}
	return own, nil
}

func (x *Exchanger) token(ctx context.Context, form url.Values) (string, error) {
	var answer oauth.TokenResponse
	if err := x.server.post(ctx, pathToken, form, maxToken, &answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" || answer.TokenType != "Bearer" {
		return "", malformed("%s answered no Bearer token", pathToken)
	}
	return answer.AccessToken, nil
}

// unusable says what is wrong with a token that was issued to us just now.
func unusable(err error) error {
	var known *Failure
	switch {
	case errors.As(err, &known), errors.Is(err, token.ErrStale), errors.Is(err, token.ErrRevoked):
		return err
	}
	return &Failure{Malformed, fmt.Errorf("the token that was issued: %w", err)}
}
