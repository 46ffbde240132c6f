// Package token owns the two kinds of token that we issue and accept, both
// RFC 9068 JWTs (typ at+jwt): the access token, with which a client may ask, and
// the call token, which is good for one call.
//
// The kinds are disjoint: a call token has authorization_details (RFC 9396) of
// our types, an access token has none, and [Verifier.ParseAccess] and
// [Verifier.ParseCall] refuse each other's. Values of type [Access] and [Call]
// can only be made here, by verifying or by minting; who holds a Call holds the
// proof that a call was narrowed to what it says.
//
// The package holds no private keys (a [Signer] does), stores nothing and
// decides nothing about people or tools.
package token

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// MaxCallLifetime bounds every call token.
const MaxCallLifetime = 60 * time.Second

// maxActors bounds the delegation chain.
const maxActors = 8

// Types of authorization_details (RFC 9396 §2).
const (
	DetailsToolCall = "mcp_tool_call"
	DetailsSession  = "mcp_session"
)

// Actor is one link of the delegation chain, newest outermost (RFC 8693 §4.1).
type Actor struct {
	Issuer   string            `json:"iss,omitempty"`
	Subject  identity.Subject  `json:"sub,omitzero"` // absent for a client_id too long for a subject
	ClientID identity.ClientID `json:"client_id,omitzero"`
	Act      *Actor            `json:"act,omitempty"`
}

// Chain lists the actors, outermost first.
func (a *Actor) Chain() []string {
	var out []string
	for ; a != nil; a = a.Act {
		if a.Subject.IsZero() {
			out = append(out, a.ClientID.String())
		} else {
			out = append(out, a.Subject.String())
		}
	}
	return out
}

// named reports whether every actor of the chain is somebody.
func (a *Actor) named() bool {
	for ; a != nil; a = a.Act {
		if a.Subject.IsZero() && a.ClientID.IsZero() {
			return false
		}
	}
	return true
}

func (a *Actor) depth() (n int) {
	for ; a != nil; a = a.Act {
		n++
	}
	return n
}

// Details says what a call token is for.
type Details struct {
	Type             string `json:"type"`
	Server           string `json:"server"`
	Tool             string `json:"tool,omitempty"`
	ArgumentsDigest  string `json:"arguments_digest,omitempty"`  // Digest of the arguments
	DefinitionDigest string `json:"definition_digest,omitempty"` // Digest of the approved tool definition
	PolicyDigest     string `json:"policy_digest,omitempty"`     // of the policy that decided
}

// claims is the wire form of both kinds.
type claims struct {
	Issuer   string            `json:"iss"`
	Subject  identity.Subject  `json:"sub"`
	Audience audience          `json:"aud"`
	ClientID identity.ClientID `json:"client_id"`
	Scope    string            `json:"scope"`
	ID       string            `json:"jti"`
	IssuedAt int64             `json:"iat"`
	Expiry   int64             `json:"exp"`
	AuthTime int64             `json:"auth_time,omitzero"`
	Txn      string            `json:"txn,omitempty"` // the root grant; draft-ietf-oauth-transaction-tokens
	Act      *Actor            `json:"act,omitempty"`
	Details  []Details         `json:"authorization_details,omitempty"`

	Attributes *attributes `json:",embed"` // of an access token only; nil costs a workload nothing

	// Claims that restrict a token and that nothing here enforces: we mint none,
	// and a token with one is refused rather than taken for an unrestricted one.
	Confirmation jsontext.Value `json:"cnf,omitzero"`     // RFC 7800 §3.1
	MayAct       jsontext.Value `json:"may_act,omitzero"` // RFC 8693 §4.4
	NotBefore    jsontext.Value `json:"nbf,omitzero"`     // RFC 7519 §4.1.5
}

func (c claims) restricted() bool {
	return c.Confirmation != nil || c.MayAct != nil || c.NotBefore != nil
}

// audience is exactly one value; RFC 7519 §4.1.3 allows the array spelling too.
type audience string

func (a *audience) UnmarshalJSON(b []byte) error {
	var list []string
	if jsontext.Value(b).Kind() == '"' {
		list = make([]string, 1)
		if err := json.Unmarshal(b, &list[0]); err != nil {
			return fmt.Errorf("aud: %w", err)
		}
	} else if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("aud: %w", err)
	}
	if len(list) != 1 || list[0] == "" {
		return errors.New("aud must be exactly one value")
	}
	*a = audience(list[0])
	return nil
}

// verified is what both kinds share. Its fields are read-only after it was made.
type verified struct {
	c     claims
	scope Scope
}

func (v verified) Subject() identity.Subject   { return v.c.Subject }
func (v verified) ClientID() identity.ClientID { return v.c.ClientID }
func (v verified) Audience() string            { return string(v.c.Audience) }
func (v verified) Scope() Scope                { return v.scope }
func (v verified) Actor() *Actor               { return v.c.Act }
func (v verified) ID() string                  { return v.c.ID }
func (v verified) Txn() string                 { return v.c.Txn }
func (v verified) IssuedAt() time.Time         { return time.Unix(v.c.IssuedAt, 0) }
func (v verified) Expiry() time.Time           { return time.Unix(v.c.Expiry, 0) }

// Access is a verified access token. The zero value names nobody and grants nothing.
type Access struct{ verified }

// AuthTime is when the person logged in, zero for a workload (RFC 9470 §3).
func (a Access) AuthTime() time.Time {
	if a.c.AuthTime == 0 {
		return time.Time{}
	}
	return time.Unix(a.c.AuthTime, 0)
}

// Call is a verified or freshly minted call token. The zero value is good for nothing.
type Call struct {
	verified
	raw *string // not a string: fmt prints the unexported fields of whatever holds a Call, and asks no String there
}

// Details says what the call is.
func (c Call) Details() Details {
	if len(c.c.Details) != 1 {
		return Details{}
	}
	return c.c.Details[0]
}

// Bearer returns the token itself, for the Authorization header of the one
// request that it was minted for and the one answer of the token endpoint. It
// must not be logged.
func (c Call) Bearer() string {
	if c.raw == nil {
		return ""
	}
	return *c.raw
}

// String redacts.
func (c Call) String() string { return "call token " + c.c.ID }

// GoString redacts.
func (c Call) GoString() string { return c.String() }

// LogValue redacts.
func (c Call) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Actors lists who acted for the subject, outermost first, by the rule that
// holds for every token: where it names no actor and its client is not its
// subject, the client is the first actor.
func (a Access) Actors() *Actor {
	if a.c.Act != nil || a.c.Subject.Is(a.c.ClientID) || a.c.ClientID.IsZero() {
		return a.c.Act
	}
	sub, err := a.c.ClientID.Subject()
	if err != nil { // a client_id longer than a subject: keep it as the client_id alone
		return &Actor{Issuer: a.c.Issuer, ClientID: a.c.ClientID}
	}
	return &Actor{Issuer: a.c.Issuer, Subject: sub, ClientID: a.c.ClientID}
}
