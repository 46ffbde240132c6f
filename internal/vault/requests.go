package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// Read reads a path: GET.
func (c *Client) Read(ctx context.Context, t Token, path string, query url.Values) (Secret, error) {
	r := request{what: named("read", path), method: http.MethodGet, path: path, query: query, token: t}
	return c.secret(ctx, r)
}

// Write writes to a path: POST. No text of data is in an error.
func (c *Client) Write(ctx context.Context, t Token, path string, data map[string]any) (Secret, error) {
	r := request{what: named("write", path), method: http.MethodPost, path: path, body: data, token: t}
	r.secrets = func() []string {
		var v any
		if b, err := json.Marshal(data); err != nil || json.Unmarshal(b, &v) != nil {
			return nil
		}
		return texts(v)
	}
	return c.secret(ctx, r)
}

// named is for errors, which have one line.
func named(verb, path string) string {
	if checkPath(path) != nil {
		return verb
	}
	return verb + " " + path
}

func (c *Client) secret(ctx context.Context, r request) (Secret, error) {
	s, err := c.do(ctx, r)
	if err != nil {
		return Secret{}, err
	}
	return r.secret(s)
}

// secret is what is read of an answer, which may be none.
func (r request) secret(s *api.Secret) (Secret, error) {
	if s == nil {
		return Secret{}, nil
	}
	ttl, err := r.duration(s.LeaseDuration)
	if err != nil {
		return Secret{}, err
	}
	return Secret{Data: s.Data, LeaseID: s.LeaseID, TTL: ttl, Renewable: s.Renewable}, nil
}

// duration is that of seconds, of which Vault has a hundred years at most.
func (r request) duration(seconds int) (time.Duration, error) {
	if seconds < 0 || seconds > 100*366*24*60*60 {
		return 0, &Error{Malformed, r.what, errors.New("the answer's duration is none")}
	}
	return time.Duration(seconds) * time.Second, nil
}

// ChildSpec is of a token that is made below another one, and is revoked with it.
type ChildSpec struct {
	Role            string            // of auth/token/roles; empty: none
	Policies        []string          // those of the parent at most, without a role that says otherwise
	NoDefaultPolicy bool              // without the policy default
	TTL             time.Duration     // at most, whoever renews it; whole seconds, rounded up
	DisplayName     string            // as Vault's audit has it, after "token-"
	Meta            map[string]string // as Vault's audit has it
}

// Child makes a token below parent.
func (c *Client) Child(ctx context.Context, parent Token, spec ChildSpec) (Auth, error) {
	path := "auth/token/create"
	if spec.Role != "" {
		path += "/" + spec.Role
	}
	ttl := seconds(spec.TTL)
	r := request{what: named("write", path), method: http.MethodPost, path: path, token: parent, body: api.TokenCreateRequest{
		Policies: spec.Policies, NoDefaultPolicy: spec.NoDefaultPolicy, TTL: ttl, ExplicitMaxTTL: ttl,
		DisplayName: spec.DisplayName, Metadata: spec.Meta,
	}}
	s, err := c.do(ctx, r)
	if err != nil {
		return Auth{}, err
	}
	return r.auth(s)
}

// seconds is as Vault reads a duration.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%ds", (d+time.Second-1)/time.Second)
}

// RenewToken makes a token live on, for as long as its role says.
func (c *Client) RenewToken(ctx context.Context, t Token) (Auth, error) {
	r := request{what: "renew token", method: http.MethodPost, path: "auth/token/renew-self", token: t, fresh: c.cfg.Certificate != nil}
	s, err := c.do(ctx, r)
	if err != nil {
		return Auth{}, err
	}
	return r.auth(s)
}

// RenewLease makes a lease live on, and returns for how long: less than increment where
// its end is near.
func (c *Client) RenewLease(ctx context.Context, t Token, leaseID string, increment time.Duration) (time.Duration, error) {
	r := request{what: "renew lease", method: http.MethodPost, path: "sys/leases/renew", token: t,
		body: map[string]string{"lease_id": leaseID, "increment": seconds(increment)}}
	s, err := c.secret(ctx, r)
	return s.TTL, err
}

// RevokeLease ends a lease: what was minted is gone when it returns without error. One
// that Vault does not know is no error.
func (c *Client) RevokeLease(ctx context.Context, t Token, leaseID string) error {
	_, err := c.do(ctx, request{what: "revoke lease", method: http.MethodPost, path: "sys/leases/revoke", token: t,
		body: map[string]any{"lease_id": leaseID, "sync": true}})
	return err
}

// RevokeToken ends a token with all its leases and children. The leases are only marked
// when it returns: Vault ends them soon, and tries again what fails. One that Vault does
// not know is no error.
func (c *Client) RevokeToken(ctx context.Context, t Token) error {
	_, err := c.do(ctx, request{what: "revoke token", method: http.MethodPost, path: "auth/token/revoke-self", token: t})
	if errors.Is(err, ErrInvalidToken) {
		return nil
	}
	return err
}

// RevokeAccessor is RevokeToken for the token with that accessor, by another one.
func (c *Client) RevokeAccessor(ctx context.Context, t Token, accessor string) error {
	_, err := c.do(ctx, request{what: "revoke accessor", method: http.MethodPost, path: "auth/token/revoke-accessor", token: t,
		body: map[string]string{"accessor": accessor}})
	if err != nil && strings.Contains(err.Error(), "token not found") { // it went while it was looked up
		return nil
	}
	return err
}

// Health is nil if Vault serves: it is unsealed, and active or a standby that forwards.
func (c *Client) Health(ctx context.Context) error {
	r := request{what: "health", method: http.MethodGet, path: "sys/health", global: true, query: url.Values{"standbyok": {"true"}, "perfstandbyok": {"true"}}}
	status, _, err := c.exchange(ctx, r)
	switch {
	case err != nil:
		return err
	case status == http.StatusOK:
		return nil
	case status == http.StatusNotImplemented:
		return &Error{Sealed, r.what, errors.New("it is not initialized")}
	case status == http.StatusServiceUnavailable:
		return &Error{Sealed, r.what, errors.New("it is sealed")}
	case status == 472:
		return &Error{Sealed, r.what, errors.New("it is a standby for disaster recovery")}
	}
	return &Error{Failed, r.what, fmt.Errorf("HTTP %d", status)}
}
