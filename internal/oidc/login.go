package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// Begin implements authz.IdentityProvider.
func (p *Provider) Begin(ctx context.Context, l authz.LoginRequest) (string, error) {
	if err := whole(l); err != nil {
		return "", err
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{gooidc.Nonce(l.Nonce), oauth2.S256ChallengeOption(l.Verifier)}
	for name, value := range map[string]string{"prompt": l.Prompt, "login_hint": l.LoginHint, "acr_values": l.ACRValues} {
		if value != "" {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	if l.HasMaxAge {
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(int64(l.MaxAge/time.Second), 10)))
	}
	return p.flow(m).AuthCodeURL(l.State, options...), nil
}

// Finish implements authz.IdentityProvider.
func (p *Provider) Finish(ctx context.Context, params url.Values, l authz.LoginRequest) (authz.Person, error) {
	if err := whole(l); err != nil {
		return authz.Person{}, err
	}
	for name, values := range params {
		if len(values) > 1 { // RFC 6749 §3.1
			return authz.Person{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "a parameter of the answer of the identity provider is there twice: start the login again",
				Cause: fmt.Errorf("parameter %q occurs %d times", short(name), len(values))}
		}
	}
	if !same(params.Get("state"), l.State) {
		return authz.Person{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "the answer of the identity provider is not for the login that this browser began: start the login again",
			Cause: errors.New("state is not the one of this login")}
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return authz.Person{}, err
	}
	if err := p.checkIss(params, m); err != nil {
		return authz.Person{}, err
	}
	if params.Has("error") {
		return authz.Person{}, refused(params)
	}
	t, err := p.redeem(ctx, m, params.Get("code"), l.Verifier)
	if err != nil {
		return authz.Person{}, err
	}
	return p.person(ctx, m, t, l)
}

// whole refuses a login without the values that protect it: two that are empty
// would compare as the same.
func whole(l authz.LoginRequest) error {
	if l.State == "" || l.Nonce == "" || l.Verifier == "" || l.MaxAge < 0 {
		return errors.New("login at the identity provider: state, nonce and verifier must be set, and max_age must not be negative")
	}
	return nil
}

// checkIss finds an answer that comes from another IdP than the one we sent the
// browser to (RFC 9207 §2.4), errors included.
func (p *Provider) checkIss(params url.Values, m *metadata) error {
	var cause error
	switch iss := params.Get("iss"); {
	case params.Has("iss") && iss != p.cfg.Issuer:
		cause = fmt.Errorf("iss is %q, not our identity provider's issuer", short(iss))
	case !params.Has("iss") && m.saysIss:
		cause = errors.New("iss is missing, though the discovery document promises it")
	default:
		return nil
	}
	return &oauth.Error{Code: oauth.InvalidRequest, Description: "the answer does not come from the identity provider of this login: start the login again", Cause: cause}
}

// flow is made for each login, so that the secret is in no long-lived struct.
func (p *Provider) flow(m *metadata) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.value(),
		Endpoint: m.endpoint, RedirectURL: p.cfg.RedirectURI, Scopes: p.cfg.Scopes,
	}
}

func (p *Provider) redeem(ctx context.Context, m *metadata, code, verifier string) (*oauth2.Token, error) {
	if code == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the answer of the identity provider holds neither a code nor an error: start the login again",
			Cause: errors.New("code is missing")}
	}
	t, err := p.flow(m).Exchange(gooidc.ClientContext(ctx, p.client), code, oauth2.VerifierOption(verifier))
	if err == nil {
		return t, nil
	}
	cause := fmt.Errorf("redeem the code: %w", clip(err))
	var answer *oauth2.RetrieveError
	switch {
	case !errors.As(err, &answer) || answer.Response.StatusCode >= 500 || answer.Response.StatusCode == http.StatusTooManyRequests:
		return nil, unavailable(cause)
	case answer.ErrorCode == string(oauth.InvalidGrant):
		return nil, &oauth.Error{Code: oauth.AccessDenied, Description: "the answer of the identity provider is too old or was used before: start the login again", Cause: cause}
	}
	return nil, misconfigured(cause)
}

// same compares without telling by its time how much is right.
func same(got, want string) bool {
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}
