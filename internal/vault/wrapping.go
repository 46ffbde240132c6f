package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// ErrUnwrapped is in the chain of the Error of a wrapping token that is good for nothing:
// it has expired, or it was used, which it can be once.
var ErrUnwrapped = errors.New("vault: the wrapping token is not valid: it has expired, or somebody has used it already, which may be an attack; find out who unwrapped it in Vault's audit log, destroy that secret_id, and wrap a new one")

// UnwrapSecretID gives the secret_id that AppRole auth at mount made and wrapped. It is to
// be kept: a second time there is nothing to unwrap.
//
// What the token wraps is asked first. One that wraps something else was put in the place
// of ours, and is not unwrapped.
func (c *Client) UnwrapSecretID(ctx context.Context, mount string, wrapping Token) (string, error) {
	if err := c.checkWrapped(ctx, mount, wrapping); err != nil {
		return "", err
	}
	r := request{what: "unwrap secret_id", method: http.MethodPost, path: "sys/wrapping/unwrap", token: wrapping, login: true}
	s, err := c.secret(ctx, r)
	if err != nil {
		return "", gone(err)
	}
	id, _ := s.Data["secret_id"].(string)
	if id == "" {
		return "", &Error{Malformed, r.what, errors.New("the answer has no secret_id")}
	}
	return id, nil
}

func (c *Client) checkWrapped(ctx context.Context, mount string, wrapping Token) error {
	r := request{what: "look up wrapping token", method: http.MethodPost, path: "sys/wrapping/lookup", login: true,
		body: map[string]string{"token": wrapping.s}, secrets: func() []string { return []string{wrapping.s} }}
	s, err := c.secret(ctx, r)
	if err != nil {
		return gone(err)
	}
	path, _ := s.Data["creation_path"].(string)
	role, ok := strings.CutPrefix(path, "auth/"+mount+"/role/")
	role, of := strings.CutSuffix(role, "/secret-id")
	if !ok || !of || role == "" || strings.Contains(role, "/") {
		return &Error{LoggedOut, r.what, fmt.Errorf("it wraps %s and not auth/%s/role/ROLE/secret-id: somebody may have put it there, and it was not unwrapped", r.words(path), mount)}
	}
	return nil
}

// gone says what a refusal of a wrapping token means.
func gone(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Why == LoggedOut {
		return &Error{e.Why, e.What, fmt.Errorf("%w (%w)", ErrUnwrapped, e.Err)}
	}
	return err
}
