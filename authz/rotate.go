package authz

import (
	"errors"
	"time"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// ErrNoSecret is returned for a client that authenticates by something else.
var ErrNoSecret = errors.New("the client has no secret: it authenticates in another way")

// RotateSecret gives the client a new secret, which it returns and which nobody can
// read afterwards. The one before is good until then.
func (c *Client) RotateSecret(now, until time.Time) (string, error) {
	if c.AuthMethod != oauth.AuthBasic && c.AuthMethod != oauth.AuthPost {
		return "", ErrNoSecret
	}
	secret := newSecret("wg_cs_")
	c.OldSecretHash, c.OldSecretExpires = c.SecretHash, until
	c.SecretHash, c.SecretCreated = hash(secret), now
	return secret, nil
}
