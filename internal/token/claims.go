// Package token owns the kinds of token that we issue and accept, all RFC 9068 JWTs
// (typ at+jwt): the access token, with which a client may ask, and the call token,
// which is good for one call. A call token that a client exchanged for itself, to
// present it to the gateway, is a tool token.
//
// The kinds are disjoint: a call token has authorization_details (RFC 9396) of our
// types, an access token has none; a tool token names the tokens that it comes from,
// and says what the gateway must know, where one for an upstream does not.
// [Verifier.ParseAccess], [Verifier.ParseTool] and [Verifier.ParseCall] refuse each
// other's. Values of type [Access], [Tool] and [Call] can only be made here, by
// verifying or by minting; who holds a Call holds the proof that a call was narrowed
// to what it says.
//
// What comes of another token never has more than that: [Minter.Delegate],
// [Minter.Tool], [Minter.Call] and [Minter.Readdress] narrow in one place, child.
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

// Types of authorization_details (RFC 9396 §2).
const (
	DetailsToolCall     = "mcp_tool_call"
	DetailsPromptGet    = "mcp_prompt_get"
	DetailsResourceRead = "mcp_resource_read"
	DetailsSession      = "mcp_session"
)

// Details says what a call token is for; see [CallScope.Fits] for which members belong
// to which type.
type Details struct {
	Type             string `json:"type"`
	Server           string `json:"server"`
	Tool             string `json:"tool,omitempty"`
	Prompt           string `json:"prompt,omitempty"`
	Resource         string `json:"resource,omitempty"`          // the URI of an MCP resource
	ArgumentsDigest  string `json:"arguments_digest,omitempty"`  // Digest of the arguments of a tool or prompt
	DefinitionDigest string `json:"definition_digest,omitempty"` // Digest of the approved tool definition
	PolicyDigest     string `json:"policy_digest,omitempty"`     // of the policy that decided
	Approval         string `json:"approval,omitempty"`          // id of the approval that was needed, of the call token of a tool
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

	Confirmation Confirmation `json:"cnf,omitzero"`        // RFC 7800 §3.1
	MayAct       *Party       `json:"may_act,omitempty"`   // RFC 8693 §4.4
	Workload     bool         `json:"workload,omitzero"`   // the subject is a client, of a token that is no longer its own
	Ancestors    []string     `json:"ancestors,omitempty"` // jti of the tokens that it comes from, the oldest first

	Attributes *attributes `json:",embed"` // of what a client presents to us only; nil costs a workload nothing

	// A claim that restricts a token and that nothing here enforces: we mint none, and a
	// token with one is refused rather than taken for an unrestricted one.
	NotBefore jsontext.Value `json:"nbf,omitzero"` // RFC 7519 §4.1.5
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

// Verified is what all kinds of tokens share, read-only. It can only be made here, by
// verifying or by minting.
type Verified struct {
	c     claims
	scope Scope
}

// Subject is on whose behalf the token is (RFC 8693 §1.1).
func (v Verified) Subject() identity.Subject { return v.c.Subject }

// ClientID is the client that the token was issued to.
func (v Verified) ClientID() identity.ClientID { return v.c.ClientID }

// Audience is the one resource that may accept it.
func (v Verified) Audience() string { return string(v.c.Audience) }

// Scope is what it may be used for.
func (v Verified) Scope() Scope { return v.scope }

// Actor is the delegation chain as the token has it; see also Actors.
func (v Verified) Actor() *Actor { return v.c.Act }

// ID is the jti.
func (v Verified) ID() string { return v.c.ID }

// Txn is the transaction of the root grant, the same in all that comes from it.
func (v Verified) Txn() string { return v.c.Txn }

// IssuedAt is iat.
func (v Verified) IssuedAt() time.Time { return time.Unix(v.c.IssuedAt, 0) }

// Expiry is exp.
func (v Verified) Expiry() time.Time { return time.Unix(v.c.Expiry, 0) }

// Confirmation is what the token is bound to; zero: whoever bears it may use it.
func (v Verified) Confirmation() Confirmation { return v.c.Confirmation }

// MayAct is who alone may become an actor by an exchange; nil: no statement.
func (v Verified) MayAct() *Party { return v.c.MayAct }

// Ancestors are the jti of the tokens that this one comes from, the oldest first.
func (v Verified) Ancestors() []string { return v.c.Ancestors }

// Workload reports whether the subject is a workload rather than a person: a client
// with a token of its own (RFC 9068 §2.2: sub is then the client_id), or what came of
// such a token.
func (v Verified) Workload() bool { return v.c.Workload || v.c.Subject.Is(v.c.ClientID) }

// AuthTime is when the person logged in; zero for a workload, and for a call token
// (RFC 9470 §3).
func (v Verified) AuthTime() time.Time {
	if v.c.AuthTime == 0 {
		return time.Time{}
	}
	return time.Unix(v.c.AuthTime, 0)
}

// Actors lists who acted for the subject, outermost first, by the rule that
// holds for every token: where it names no actor and its client is not its
// subject, the client is the first actor.
func (v Verified) Actors() *Actor {
	if v.c.Act != nil || v.c.Subject.Is(v.c.ClientID) || v.c.ClientID.IsZero() {
		return v.c.Act
	}
	a := ActorOf(v.c.Issuer, v.c.ClientID)
	return &a
}

// Access is a verified access token. The zero value names nobody and grants nothing.
type Access struct {
	Verified
	raw *string // as that of Call; nil for one that was not received
}

// SubjectToken returns the token itself, for who exchanges it at the authorization
// server that issued it (RFC 8693 §2.1). Nobody else is sent it; it must not be logged.
func (a Access) SubjectToken() string { return whole(a.raw) }

// Tool is a tool token that a client exchanged for itself, and presents to the
// gateway. It is no [Call], for what was received is never forwarded:
// [Minter.Readdress] makes one of it. The zero value is good for nothing.
type Tool struct {
	Verified
	raw *string // as that of Access
}

// SubjectToken returns the token itself, as that of an Access.
func (t Tool) SubjectToken() string { return whole(t.raw) }

func whole(raw *string) string {
	if raw == nil {
		return ""
	}
	return *raw
}

// Details says what the call is.
func (t Tool) Details() Details { return t.details() }

// Call is a verified or freshly minted call token. The zero value is good for nothing.
type Call struct {
	Verified
	raw *string // not a string: fmt prints the unexported fields of whatever holds a Call, and asks no String there
}

// Details says what the call is.
func (c Call) Details() Details { return c.details() }

func (v Verified) details() Details {
	if len(v.c.Details) != 1 {
		return Details{}
	}
	return v.c.Details[0]
}

// Bearer returns the token itself, for the Authorization header of the one
// request that it was minted for and the one answer of the token endpoint. It
// must not be logged.
func (c Call) Bearer() string { return whole(c.raw) }

// String redacts.
func (c Call) String() string { return "call token " + c.c.ID }

// GoString redacts.
func (c Call) GoString() string { return c.String() }

// LogValue redacts.
func (c Call) LogValue() slog.Value { return slog.StringValue(c.String()) }
