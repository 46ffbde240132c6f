package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"
)

// LoginJWT logs in with a JWT, at jwt auth that is mounted at mount.
func (c *Client) LoginJWT(ctx context.Context, mount, role, jwt string) (Auth, error) {
	return c.login(ctx, "jwt", "auth/"+mount+"/login", map[string]string{"role": role, "jwt": jwt}, jwt)
}

// LoginCert logs in with the certificate of the configuration, as it is now: on a
// connection of its own, because one that is kept has shown an earlier one. Vault wants a
// common name in it, which SPIRE gives to entries with a DNS name.
func (c *Client) LoginCert(ctx context.Context, mount, role string) (Auth, error) {
	if c.cfg.Certificate == nil {
		return Auth{}, &Error{LoggedOut, "login cert", errors.New("there is no client certificate to log in with")}
	}
	a, err := c.login(ctx, "cert", "auth/"+mount+"/login", map[string]string{"name": role})
	var e *Error
	if errors.As(err, &e) && strings.Contains(err.Error(), noCommonName) {
		return Auth{}, &Error{e.Why, e.What, fmt.Errorf("%w: Vault wants a common name in the certificate: give the entry of SPIRE a DNS name (-dns)", e.Err)}
	}
	return a, err
}

// LoginAppRole logs in with a role_id and a secret_id.
func (c *Client) LoginAppRole(ctx context.Context, mount, roleID, secretID string) (Auth, error) {
	return c.login(ctx, "approle", "auth/"+mount+"/login", map[string]string{"role_id": roleID, "secret_id": secretID}, roleID, secretID)
}

// LoginKubernetes logs in with the token of a service account.
func (c *Client) LoginKubernetes(ctx context.Context, mount, role, jwt string) (Auth, error) {
	return c.login(ctx, "kubernetes", "auth/"+mount+"/login", map[string]string{"role": role, "jwt": jwt}, jwt)
}

func (c *Client) login(ctx context.Context, method, path string, body map[string]string, secrets ...string) (Auth, error) {
	r := request{what: "login " + method + " at " + folded(strings.TrimSuffix(path, "/login")), method: http.MethodPost, path: path, body: body, login: true, fresh: c.cfg.Certificate != nil, secrets: func() []string { return secrets }}
	secret, err := c.do(ctx, r)
	if err != nil {
		return Auth{}, err
	}
	return r.auth(secret)
}

// auth reads the token of an answer.
func (r request) auth(s *api.Secret) (Auth, error) {
	switch {
	case s == nil || s.Auth == nil:
		return Auth{}, &Error{Malformed, r.what, errors.New("the answer has no token")}
	case s.Auth.MFARequirement != nil:
		return Auth{}, &Error{LoggedOut, r.what, errors.New("a second factor is wanted, which a machine does not have")}
	case s.Auth.ClientToken == "":
		return Auth{}, &Error{Malformed, r.what, errors.New("the answer has no token")}
	}
	ttl, err := r.duration(s.Auth.LeaseDuration)
	if err != nil {
		return Auth{}, err
	}
	return Auth{
		Token:     NewToken(s.Auth.ClientToken),
		Accessor:  s.Auth.Accessor,
		TTL:       ttl,
		Renewable: s.Auth.Renewable,
		Batch:     s.Auth.Accessor == "", // a service token always has one
	}, nil
}
