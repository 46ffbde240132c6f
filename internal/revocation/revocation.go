// Package revocation owns what was revoked or frozen since it was issued: the entries
// that a [Store] keeps, and the [View] that a process has of them in memory and asks
// on every call.
//
// An entry of a token or a grant refuses what comes from that. One of a client or a
// subject is an epoch: what was issued to it, or by means of it, up to a time is
// refused. A freeze refuses everything that a client or subject has or asks for, or
// every call of a server, until it is lifted.
//
// The package does NOT decide who may revoke, ends no authorization (package authz and
// the stores do), and never lets anything pass because it does not know: a view that is
// too old refuses everything.
package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

// Errors that callers act on. All three of token.ErrRevoked, token.ErrStale and
// ErrFrozen refuse.
var (
	// ErrFrozen means that an operator has stopped the client, subject or server.
	ErrFrozen = fmt.Errorf("%w: frozen by an operator", token.ErrRevoked)
	// ErrNotFrozen means that there is no freeze to lift.
	ErrNotFrozen = errors.New("not frozen")
)

const (
	// MaxAge is how old a view may be that still counts.
	MaxAge = 5 * time.Second

	// Margin is how far beyond its moment an epoch reaches. A replica whose view is
	// MaxAge old may turn a revoked token into a new one just after the moment, and its
	// clock may be as far ahead as verifiers take an iat from the future (5 seconds): the
	// iat of that child is at most so much later. Without it, the child would live.
	Margin = MaxAge + 5*time.Second

	// keepGrant is how long an entry of a grant stays: as long as what it refuses could live
	// (an access token one hour, by the bounds of the configuration), and time for clocks
	// that differ. keep is for the other kinds, which may be about the access tokens of
	// another issuer, that are exchanged while they live: package federation takes a day.
	keepGrant = time.Hour + 5*time.Minute
	keep      = 24*time.Hour + 5*time.Minute
)

// Kind is what an entry is about.
type Kind string

// The kinds.
const (
	Token   Kind = "token"   // by jti: that one, and what comes from it
	Grant   Kind = "grant"   // by txn: all that comes from it, whenever it was issued
	Client  Kind = "client"  // by client_id: what it presents, or had a hand in
	Subject Kind = "subject" // by sub: what is on behalf of it, or was acted in by it
	Server  Kind = "server"  // by the name of an MCP server: frozen only
)

// Entry says what is refused. There is at most one of a kind and name. In JSON it is what
// an authorization server tells its gateways.
type Entry struct {
	Kind      Kind      `json:"kind"`
	Name      string    `json:"name"`
	NotBefore time.Time `json:"not_before,omitzero"` // of a client or subject: what was issued until then, or in that second, is refused
	Frozen    bool      `json:"frozen,omitzero"`     // refused whenever it was issued, and nothing is issued
	Lifted    bool      `json:"lifted,omitzero"`     // was frozen, until Created
	Reason    string    `json:"reason,omitempty"`    // in the operator's words
	By        string    `json:"by,omitempty"`        // the operator; empty for what an authorization server did for a client
	Created   time.Time `json:"created"`             // when it was last revoked or frozen
	Expires   time.Time `json:"expires"`             // when it may go; a freeze stays until it is lifted
	Seq       int64     `json:"seq"`                 // assigned by the Store: an entry that is committed later has a higher one
}

// New is an entry that refuses what was issued until now.
func New(kind Kind, name string, now time.Time) Entry {
	stays := keep
	if kind == Grant {
		stays = keepGrant
	}
	return Entry{Kind: kind, Name: name, NotBefore: now.Add(Margin), Created: now, Expires: now.Add(Margin + stays)}
}

// Lifted is what becomes of a freeze that ends now: an epoch. What was issued before
// stays dead, and nothing was issued meanwhile; so it ends with the second before, and
// people can go on at once. (The Store keeps the later NotBefore: that of the freeze,
// if it was just now.)
func Lifted(kind Kind, name string, now time.Time) Entry {
	e := New(kind, name, now)
	e.NotBefore, e.Lifted = now.Add(-time.Second), true
	return e
}

// Store keeps entries for all replicas. Implementations are safe for concurrent use.
type Store interface {
	// Revoke adds the entry, or replaces the one of its kind and name, durably, with the
	// next Seq. What was frozen stays frozen, and NotBefore and Expires never go back.
	Revoke(ctx context.Context, e Entry) error
	// Unfreeze ends a freeze in the same manner, exactly once. It returns ErrNotFrozen.
	Unfreeze(ctx context.Context, e Entry) error
	Reader
}

// Reader is the part of a Store that a View needs.
type Reader interface {
	// Revocations returns entries with a higher Seq than after, in that order: some, but
	// less than two only if there are no more. A reader that goes on from the last one
	// misses none.
	Revocations(ctx context.Context, after int64) ([]Entry, error)
}
