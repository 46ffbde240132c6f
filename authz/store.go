package authz

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// Errors that a Store returns.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrSpent    = errors.New("used already") // somebody else was first
)

// Client is a registered OAuth client (RFC 7591 §2), or what a client ID metadata
// document said when it was fetched.
type Client struct {
	ID           identity.ClientID
	Name         string
	RedirectURIs []string
	GrantTypes   []string
	AuthMethod   string   // one of the oauth.Auth constants
	Scope        []string // the most it may be granted; empty: whatever its resource has
	Static       bool     // from the configuration, not registered by itself
	Created      time.Time
	Used         time.Time // when it was first granted something; zero: never

	// For client_secret_basic and client_secret_post: SHA-256 of generated secrets of
	// 256 bits. The old one is good until it expires, so that a rotation loses nothing.
	SecretHash, OldSecretHash       []byte
	SecretCreated, OldSecretExpires time.Time

	// For private_key_jwt, and self_signed_tls_client_auth: the client's keys, inline or
	// where it publishes them, never both.
	JWKS              []byte // RFC 7517 §5
	JWKSURI           string
	SigningAlg        string // the only alg of its assertions; empty: any that we take
	AssertionAudience string // a further aud of its assertions besides the issuer; static clients only

	// For tls_client_auth (RFC 8705 §2.1.2): the one name that its certificate must
	// have, as KIND:NAME; kinds are dn, dns, uri, ip and email.
	TLSName string

	// What its tokens must be bound to: a proof, or a certificate, is required of it then.
	DPoPBound        bool // dpop_bound_access_tokens (RFC 9449 §5.2)
	CertificateBound bool // tls_client_certificate_bound_access_tokens (RFC 8705 §3.4)

	// Until is when what proved the client this time expires: it is issued nothing that
	// lives longer. Zero: no bound. It is not stored.
	Until time.Time

	RegistrationHash []byte // SHA-256 of the registration access token (RFC 7592); empty: cannot be managed
	Digest           string // of the client ID metadata document that this is a snapshot of; else empty
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
	ACR      string    // how, as the IdP says (RFC 9470)
	Claims   []byte    // JSON of groups and claims of the person, as the IdP says
	Document string    // Digest of the client, for one known by its metadata document
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
	JKT         string // of the key that whoever redeems it must prove (RFC 9449 §10); empty: any, or none
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

	// Bound is what whoever uses it must prove: that of a public client works for whom it
	// was issued to, and no thief (RFC 9449 §5, RFC 8705 §4).
	Bound oauth.Proof

	// Successor is the one token that this one was rotated to, sealed under this one:
	// who reads the store has neither.
	Successor []byte
}

// DeviceCode is a device authorization at rest (RFC 8628), by the SHA-256 of
// both its codes.
type DeviceCode struct {
	Hash, UserHash []byte
	ClientID       identity.ClientID
	Resource       string
	Scope          string
	Document       string // as in Authorization
	Created        time.Time
	Expires        time.Time
	Polled         time.Time // zero: never
	Decided        time.Time // zero: not yet
	Authorization  string    // what it was decided to: an authorization; empty: denied
	Used           time.Time // zero: not used
}

// Document is a client ID metadata document as it was fetched.
type Document struct {
	ClientID identity.ClientID
	Digest   string
	Body     []byte
	Fetched  time.Time
	Fresh    time.Time // until when it need not be fetched again
}

// TicketKind keeps what is used once for one purpose from counting for another.
type TicketKind string

// Kinds of tickets.
const (
	TicketRequest   TicketKind = "request"   // a pushed authorization request (RFC 9126)
	TicketLogin     TicketKind = "login"     // a login under way at the IdP
	TicketSession   TicketKind = "session"   // who is logged in at a browser; read again and again
	TicketAnswer    TicketKind = "answer"    // a page that a person answered
	TicketConsent   TicketKind = "consent"   // a consent that is remembered
	TicketAssertion TicketKind = "assertion" // the jti of a client assertion
	TicketGrant     TicketKind = "grant"     // the jti of an identity assertion
	TicketToolToken TicketKind = "tooltoken" // the jti of a tool token that was presented
	TicketProof     TicketKind = "proof"     // the jti of a DPoP proof, by its key
	TicketConsole   TicketKind = "console"   // who is signed in at the console, or is no more
)

// TicketKey is the key of a ticket: SHA-256 over the parts, each with its length,
// so that no two lists of parts make one key.
func TicketKey(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// Clients keeps clients. Values returned are the caller's own.
type Clients interface {
	// Client finds a client. It returns ErrNotFound.
	Client(ctx context.Context, id identity.ClientID) (Client, error)
	// InsertClient adds a client, durably. It returns ErrExists.
	InsertClient(ctx context.Context, c Client) error
	// PutClient adds or replaces a static client, durably. It returns ErrExists
	// when the id belongs to a client that registered itself.
	// The age of a secret that stays the same stays the same.
	PutClient(ctx context.Context, c Client) error
	// ReplaceClient replaces what a client that registered itself registered, durably.
	// It returns ErrNotFound, for a static client too. Created and Used stay.
	ReplaceClient(ctx context.Context, c Client) error
	// DeleteClient removes a client that registered itself, revokes it and ends what it
	// was granted, durably. It returns ErrNotFound, for a static client too.
	DeleteClient(ctx context.Context, id identity.ClientID, now time.Time) error
	// UseClient notes that the client has been granted something; the first time counts.
	UseClient(ctx context.Context, id identity.ClientID, now time.Time) error
	// AllClients lists all clients in the order of their ids.
	AllClients(ctx context.Context) ([]Client, error)
	// UnusedClients counts clients that registered themselves and were never used.
	UnusedClients(ctx context.Context) (int, error)
	// DeleteUnusedClients removes a bounded number of those that were created before,
	// and returns how many.
	DeleteUnusedClients(ctx context.Context, before time.Time) (int64, error)
}

// Documents keeps client ID metadata documents, as long as a grant refers to them.
type Documents interface {
	// PutDocument adds a document, or renews Fetched and Fresh of the same one, durably.
	PutDocument(ctx context.Context, d Document) error
	// Document finds one by its digest, or the one fetched last if the digest is
	// empty. It returns ErrNotFound.
	Document(ctx context.Context, id identity.ClientID, digest string) (Document, error)
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
	// RotateRefreshToken marks the token rotated to a successor, exactly once over all
	// replicas: everybody but the first gets ErrSpent.
	RotateRefreshToken(ctx context.Context, hash, successor []byte, now time.Time) error
}

// Tickets keeps what counts for a while, and mostly once. An expired ticket is as none.
type Tickets interface {
	// InsertTicket adds a ticket, durably. It returns ErrExists when there is one, taken
	// or not: exactly one of many succeeds.
	InsertTicket(ctx context.Context, kind TicketKind, key, value []byte, now, expires time.Time) error
	// TakeTicket returns the value, exactly once over all replicas: everybody but the
	// first gets ErrSpent. It returns ErrNotFound.
	TakeTicket(ctx context.Context, kind TicketKind, key []byte, now time.Time) ([]byte, error)
	// Ticket returns the value, taken or not. It returns ErrNotFound.
	Ticket(ctx context.Context, kind TicketKind, key []byte, now time.Time) ([]byte, error)
}

// DeviceCodes keeps device codes. Times are not judged.
type DeviceCodes interface {
	// InsertDeviceCode adds a code, durably. It returns ErrExists when the user code is
	// that of another.
	InsertDeviceCode(ctx context.Context, d DeviceCode) error
	// DeviceCode finds a code. It returns ErrNotFound.
	DeviceCode(ctx context.Context, hash []byte) (DeviceCode, error)
	// UserCode finds a code by its user code. It returns ErrNotFound.
	UserCode(ctx context.Context, userHash []byte) (DeviceCode, error)
	// PollDeviceCode notes a poll. It returns ErrSpent when the last was after notBefore.
	PollDeviceCode(ctx context.Context, hash []byte, now, notBefore time.Time) error
	// DecideDeviceCode notes what the person decided, exactly once: everybody but the
	// first gets ErrSpent. An empty authorization is a denial.
	DecideDeviceCode(ctx context.Context, hash []byte, authorization string, now time.Time) error
	// RedeemDeviceCode marks an approved code used, exactly once: everybody but the
	// first gets ErrSpent.
	RedeemDeviceCode(ctx context.Context, hash []byte, now time.Time) error
}

// Store is all that the authorization server remembers. Implementations are safe
// for concurrent use, and a context that InTx passed on joins its transaction.
type Store interface {
	Clients
	Codes
	RefreshTokens
	Documents
	Tickets
	DeviceCodes
	// InsertAuthorization adds an authorization without a code, durably.
	InsertAuthorization(ctx context.Context, a Authorization) error
	// Authorization finds one, revoked or expired as it may be. It returns ErrNotFound.
	Authorization(ctx context.Context, id string) (Authorization, error)
	// RevokeAuthorization ends a family and revokes the grant, durably; a second time is
	// no error.
	RevokeAuthorization(ctx context.Context, id string, now time.Time) error
	// Revoke refuses tokens, as revocation.Store.
	Revoke(ctx context.Context, e revocation.Entry) error
	// InTx runs f in one transaction: all of it, or nothing when f fails. A store
	// that lost a race with itself may run f again.
	InTx(ctx context.Context, f func(ctx context.Context) error) error
}
