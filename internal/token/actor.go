package token

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Bounds of a delegation chain.
const (
	maxActors    = 8
	maxChain     = 3 << 10 // bytes of the names in it: a token with all of them is still one that verifiers take
	maxAncestors = 2 * maxActors
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

// good reports whether the chain is within its bounds and every actor is somebody.
func (a *Actor) good() bool {
	depth, size := 0, 0
	for ; a != nil; a = a.Act {
		depth++
		size += len(a.Issuer) + len(a.Subject.String()) + len(a.ClientID.String())
		if depth > maxActors || size > maxChain || a.Subject.IsZero() && a.ClientID.IsZero() {
			return false
		}
	}
	return true
}

// ActorOf is the client as an actor: its subject is absent where its client_id is
// too long for one.
func ActorOf(issuer string, client identity.ClientID) Actor {
	sub, _ := client.Subject() // the zero Subject for one that is too long
	return Actor{Issuer: issuer, Subject: sub, ClientID: client}
}

// is reports whether both are the same party, whoever acted before.
func (a Actor) is(b Actor) bool {
	return a.Issuer == b.Issuer && a.Subject == b.Subject && a.ClientID == b.ClientID
}

// ActorsWith is Actors once a has begun to act. It is in the chain already where it was
// the last to begin, and a workload does not act for itself.
func (v Verified) ActorsWith(a *Actor) *Actor {
	actors := v.Actors()
	if a == nil || actors != nil && actors.is(*a) {
		return actors
	}
	if actors == nil && v.Workload() && a.Subject == v.c.Subject && a.ClientID == v.c.ClientID {
		return nil
	}
	return &Actor{Issuer: a.Issuer, Subject: a.Subject, ClientID: a.ClientID, Act: actors}
}

// MayBegin reports why a may not begin to act for the subject of the token: ErrMayNotAct,
// or ErrTooDeep where the chain, or the line of tokens, would become too long. Nil is
// nobody, who may be refused for the length alone.
func (v Verified) MayBegin(a *Actor) error {
	if a != nil && !v.c.MayAct.Names(*a) {
		return ErrMayNotAct
	}
	if !v.ActorsWith(a).good() || len(v.c.Ancestors) >= maxAncestors {
		return ErrTooDeep
	}
	return nil
}

// Party is who a may_act claim names (RFC 8693 §4.4): each member that is there must
// be the actor's. At least one of Subject and ClientID is.
type Party struct {
	Issuer   string            `json:"iss,omitempty"`
	Subject  identity.Subject  `json:"sub,omitzero"`
	ClientID identity.ClientID `json:"client_id,omitzero"`
}

// UnmarshalJSON takes no member that could not be enforced.
func (p *Party) UnmarshalJSON(b []byte) error {
	type plain Party
	if err := json.Unmarshal(b, (*plain)(p), json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("may_act: %w", err)
	}
	if bytes.TrimSpace(b)[0] != '{' || p.Subject.IsZero() && p.ClientID.IsZero() {
		return errors.New("may_act names nobody")
	}
	return nil
}

// Names reports whether the actor is the party. A nil Party makes no statement, and
// names everybody.
func (p *Party) Names(a Actor) bool {
	return p == nil || (p.Issuer == "" || p.Issuer == a.Issuer) &&
		(p.Subject.IsZero() || p.Subject == a.Subject) && (p.ClientID.IsZero() || p.ClientID == a.ClientID)
}
