package authz

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// Errors that a Store returns.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrSpent    = errors.New("used already") // somebody else was first
)

// Client is a registered OAuth client (RFC 7591 §2).
type Client struct {
	ID           identity.ClientID
	Name         string
	RedirectURIs []string
	GrantTypes   []string
	AuthMethod   string   // oauth.AuthNone, AuthBasic or AuthPost
	SecretHash   []byte   // SHA-256 of a generated secret of 256 bits; empty for a public client
	Scope        []string // the most it may be granted; empty: whatever its resource has
	Static       bool     // from the configuration, not registered by itself
	Created      time.Time
}

// Confidential reports whether the client can prove who it is (RFC 6749 §2.1).
func (c Client) Confidential() bool { return c.AuthMethod != oauth.AuthNone }

// May reports whether the client registered for the grant type.
func (c Client) May(grantType string) bool { return slices.Contains(c.GrantTypes, grantType) }

// Authorization is what a person consented to. It is the root of a family: the
// code, its refresh tokens and every token minted from them carry its ID as txn,
// and die when it is revoked.
type Authorization struct {
	ID       string
	ClientID identity.ClientID
	Subject  identity.Subject
	Resource string // exactly one
	Scope    string
	AuthTime time.Time // when the person logged in
	Created  time.Time
	Expires  time.Time // absolute: no refresh goes beyond
	Revoked  time.Time // zero: not revoked
}

// Code is an authorization code at rest (RFC 6749 §4.1.2). Only the SHA-256 of
// the code is stored, so that who reads the store cannot redeem it.
type Code struct {
	Hash        []byte
	RedirectURI string
	Challenge   string // PKCE S256 code_challenge (RFC 7636 §4.2)
	Expires     time.Time
	Used        time.Time // zero: not used
}

// RefreshToken is a refresh token at rest, by the SHA-256 of the token. A rotated
// one stays until it expires, so that its reuse is seen.
type RefreshToken struct {
	Hash    []byte
	Created time.Time
	Expires time.Time
	Rotated time.Time // zero: not rotated
}

// Clients keeps clients. Values returned are the caller's own.
type Clients interface {
	// Client finds a client. It returns ErrNotFound.
	Client(ctx context.Context, id identity.ClientID) (Client, error)
	// InsertClient adds a client, durably. It returns ErrExists.
	InsertClient(ctx context.Context, c Client) error
	// PutClient adds or replaces a static client, durably. It returns ErrExists
	// when the id belongs to a client that registered itself.
	PutClient(ctx context.Context, c Client) error
}

// Codes keeps authorization codes with their authorizations.
type Codes interface {
	// InsertCode adds an authorization and its code, durably and both or none.
	InsertCode(ctx context.Context, a Authorization, c Code) error
	// Code finds a code with its authorization, used or expired as it may be. It
	// returns ErrNotFound.
	Code(ctx context.Context, hash []byte) (Code, Authorization, error)
	// RedeemCode marks the code used, exactly once over all replicas: everybody
	// but the first gets ErrSpent.
	RedeemCode(ctx context.Context, hash []byte, now time.Time) error
}

// RefreshTokens keeps refresh tokens.
type RefreshTokens interface {
	// InsertRefreshToken adds a token of an authorization, durably.
	InsertRefreshToken(ctx context.Context, authorization string, t RefreshToken) error
	// RefreshToken finds a token with its authorization, rotated, expired or
	// revoked as it may be. It returns ErrNotFound.
	RefreshToken(ctx context.Context, hash []byte) (RefreshToken, Authorization, error)
	// RotateRefreshToken marks the token rotated, exactly once over all replicas:
	// everybody but the first gets ErrSpent.
	RotateRefreshToken(ctx context.Context, hash []byte, now time.Time) error
}

// Store is all that the authorization server remembers. Implementations are safe
// for concurrent use, and a context that InTx passed on joins its transaction.
type Store interface {
	Clients
	Codes
	RefreshTokens
	// RevokeAuthorization ends a family, durably; a second time is no error.
	RevokeAuthorization(ctx context.Context, id string, now time.Time) error
	// InTx runs f in one transaction: all of it, or nothing when f fails. A store
	// that lost a race with itself may run f again.
	InTx(ctx context.Context, f func(ctx context.Context) error) error
}
