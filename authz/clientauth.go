package authz

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// credentials is what a request says of its client.
type credentials struct{ id, secret string }

// authenticate finds the client and has it prove who it is (RFC 6749 §2.3). All
// failures look alike: unknown client, wrong secret, wrong method. A confidential
// client may send its secret either way, whichever it registered.
func (s *Server) authenticate(ctx context.Context, r *http.Request, form url.Values) (Client, error) {
	cred, err := parseCredentials(r, form)
	if err != nil {
		return Client{}, err
	}
	id, err := identity.ParseClientID(cred.id)
	if err != nil {
		return Client{}, errInvalidClient(err)
	}
	c, err := s.cfg.Store.Client(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return Client{}, errInvalidClient(err)
	case err != nil:
		return Client{}, err
	case !c.Confidential() && cred.secret != "", c.Confidential() && !c.secretIs(cred.secret):
		return Client{}, errInvalidClient(errors.New("wrong secret"))
	}
	return c, nil
}

// secretIs compares in constant time. Secrets have 256 random bits, so one
// SHA-256 is enough, and costs an attacker's flood little.
func (c Client) secretIs(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	return secret != "" && subtle.ConstantTimeCompare(sum[:], c.SecretHash) == 1
}

// parseCredentials reads HTTP Basic or the body, never both (RFC 6749 §2.3). A
// Basic header with an empty secret is what some public clients send first.
func parseCredentials(r *http.Request, form url.Values) (credentials, error) {
	body := credentials{id: form.Get("client_id"), secret: form.Get("client_secret")}
	header := r.Header.Get("Authorization") != ""
	if form.Get("client_assertion") != "" && (header || body.secret != "") {
		return credentials{}, errTwoWays()
	}
	if !header {
		return body, nil
	}
	id, secret, ok := r.BasicAuth()
	if !ok {
		return credentials{}, errInvalidClient(errors.New("not Basic"))
	}
	basic := credentials{id: unescape(id), secret: unescape(secret)}
	if body.secret != "" || body.id != "" && body.id != basic.id {
		return credentials{}, errTwoWays()
	}
	return basic, nil
}

func errTwoWays() error {
	return &oauth.Error{Code: oauth.InvalidRequest, Description: "the client authenticated in more than one way"}
}

// unescape undoes the form encoding of RFC 6749 §2.3.1, which many clients leave
// out; our own ids and secrets read the same either way.
func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func errInvalidClient(cause error) error {
	return &oauth.Error{Code: oauth.InvalidClient, Description: "the client is unknown or did not prove who it is", Cause: cause}
}
