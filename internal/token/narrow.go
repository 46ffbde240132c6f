package token

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Child is what every token that comes of another one shall be.
type Child struct {
	Audience string            // the one resource that may accept it
	ClientID identity.ClientID // who presents it

	Actor *Actor // becomes the newest of the chain, see ActorsWith; nil: nobody begins to act

	Proof Confirmation // the keys that who asks has proved to have
	Bind  Confirmation // those of them that the child is bound to, besides the parent's
	Until time.Time    // that the child may not outlive either; zero: none
}

// child narrows parent: the same subject and transaction, a chain of actors that only
// grows, an expiry that never goes beyond the parent's, and every binding that the
// parent has. It returns ErrExpired, ErrMayNotAct, ErrTooDeep or ErrUnproven. The
// scope is the caller's to narrow.
func (m *Minter) child(parent Verified, s Child, lifetime time.Duration) (claims, error) {
	now := m.cfg.Now()
	expiry := min(now.Add(lifetime).Unix(), parent.c.Expiry)
	if !s.Until.IsZero() {
		expiry = min(expiry, s.Until.Unix())
	}
	if err := parent.MayBegin(s.Actor); err != nil {
		return claims{}, err
	}
	if m.cfg.Revocations != nil { // sign asks about the child, which is younger than any epoch and need not name its parent
		if err := m.cfg.Revocations.Check(parent); err != nil {
			return claims{}, err
		}
	}
	switch {
	case expiry <= now.Unix():
		return claims{}, ErrExpired
	case !parent.c.Confirmation.ProvenBy(s.Proof), !s.Bind.ProvenBy(s.Proof):
		return claims{}, ErrUnproven
	case s.Audience == "" || s.ClientID.IsZero():
		return claims{}, errors.New("audience or presenter missing")
	}
	return claims{
		Issuer: m.cfg.Issuer, Subject: parent.c.Subject, Audience: audience(s.Audience), ClientID: s.ClientID,
		ID: rand.Text(), IssuedAt: max(now.Unix(), parent.c.IssuedAt), Expiry: expiry, AuthTime: parent.c.AuthTime, Txn: parent.c.Txn,
		Act: parent.ActorsWith(s.Actor), Confirmation: parent.c.Confirmation.And(s.Bind), MayAct: parent.c.MayAct,
		Workload: parent.Workload(), Ancestors: append(slices.Clip(parent.c.Ancestors), parent.c.ID), Attributes: parent.c.Attributes,
	}, nil
}

// DelegateSpec is what a delegated access token shall be.
type DelegateSpec struct {
	Child
	Scope    Scope
	Lifetime time.Duration
}

// Delegate makes an access token of another one, for a client that acts for the same
// subject: see child, and ErrNotCovered for a scope that the parent does not cover.
func (m *Minter) Delegate(parent Access, s DelegateSpec) (string, Access, error) {
	if s.Scope.IsZero() || !parent.Scope().CoversAll(s.Scope) {
		return "", Access{}, ErrNotCovered
	}
	c, err := m.child(parent.Verified, s.Child, s.Lifetime)
	if err != nil {
		return "", Access{}, fmt.Errorf("mint delegated access token: %w", err)
	}
	c.Scope = s.Scope.String()
	raw, err := m.sign(c)
	if err != nil {
		return "", Access{}, err
	}
	return raw, Access{Verified: Verified{c, s.Scope}}, nil
}

// ToolSpec is what a tool token of a client shall be for.
type ToolSpec struct {
	Child
	Scope   CallScope
	Details Details // Type and Tool follow from Scope, which must be a tool's
}

// Tool makes a tool token, for a client that will present it to the gateway: see
// child, and ErrNotCovered. It lives for at most 60 seconds, and says of a person what
// the access token said, because the gateway decides anew when it is presented.
func (m *Minter) Tool(parent Access, s ToolSpec) (string, Tool, error) {
	c, err := m.call(parent, s.Child, s.Scope, s.Details)
	if err == nil {
		err = checkTool(c)
	}
	if err != nil {
		return "", Tool{}, fmt.Errorf("mint tool token: %w", err)
	}
	raw, err := m.sign(c)
	if err != nil {
		return "", Tool{}, err
	}
	return raw, Tool{Verified: Verified{c, Scope{c.Scope}}}, nil
}

func (m *Minter) call(parent Access, s Child, scope CallScope, d Details) (claims, error) {
	if !parent.Scope().Covers(scope) {
		return claims{}, ErrNotCovered
	}
	c, err := m.child(parent.Verified, s, MaxCallLifetime)
	if err != nil {
		return claims{}, err
	}
	c.Scope, c.Details = scope.String(), []Details{scope.Describe(d)}
	return c, nil
}

// CallSpec is what a call token for an upstream shall be for.
type CallSpec struct {
	Audience  string            // the upstream
	Presenter identity.ClientID // the gateway
	Scope     CallScope
	Details   Details   // Type, Tool and Prompt follow from Scope
	Until     time.Time // that it may not outlive either; zero: none
}

// Call makes the call token that the gateway presents to an upstream: see child, and
// ErrNotCovered. Nobody begins to act; whoever presented the parent has proved its
// keys. See forUpstream for what an upstream is not told.
func (m *Minter) Call(parent Access, s CallSpec) (Call, error) {
	c, err := m.call(parent, Child{Audience: s.Audience, ClientID: s.Presenter, Proof: parent.c.Confirmation, Until: s.Until}, s.Scope, s.Details)
	if err != nil {
		return Call{}, fmt.Errorf("mint call token: %w", err)
	}
	return m.forUpstream(c)
}

// Readdress makes the call token for an upstream of a tool token that was presented
// to the gateway: the same scope, details, chain and transaction, and no longer life.
// It is the only exchange that takes a call token, and only the gateway may make it. Of
// the spec, scope and details do not count: the token has its own.
func (m *Minter) Readdress(t Tool, s CallSpec) (Call, error) {
	c, err := m.child(t.Verified, Child{Audience: s.Audience, ClientID: s.Presenter, Proof: t.c.Confirmation, Until: s.Until}, MaxCallLifetime)
	if err != nil {
		return Call{}, fmt.Errorf("readdress tool token: %w", err)
	}
	c.Scope, c.Details = t.c.Scope, t.c.Details
	return m.forUpstream(c)
}

// forUpstream signs what the gateway presents. An upstream need not know groups,
// claims and login of a person, nor where the token comes from; and it cannot ask for
// the client's keys, because the gateway presents: they were proved at the gateway.
func (m *Minter) forUpstream(c claims) (Call, error) {
	c.AuthTime, c.Attributes, c.Workload, c.Ancestors, c.MayAct, c.Confirmation = 0, nil, false, nil, nil, Confirmation{}
	if err := checkCall(c); err != nil {
		return Call{}, fmt.Errorf("mint call token: %w", err)
	}
	raw, err := m.sign(c)
	if err != nil {
		return Call{}, err
	}
	return Call{Verified{c, Scope{c.Scope}}, &raw}, nil
}

// Foreign is what another issuer's access token says, which has been verified.
type Foreign struct {
	Issuer           string
	ID               string            // its jti there
	Subject          identity.Subject  // by the name that we know it by
	ClientID         identity.ClientID // of the client there
	Scope            Scope
	IssuedAt, Expiry time.Time
	Act              *Actor // each with its issuer
	MayAct           *Party
	Confirmation     Confirmation // the keys that its presenter has proved to have

	Groups   []string
	Claims   map[string]any
	ACR      string
	AuthTime time.Time
}

// Adopt takes the access token of another issuer for one of ours, as the parent of an
// exchange. It begins a transaction, is signed by nobody and cannot be presented.
func (m *Minter) Adopt(f Foreign) (Access, error) {
	attributes, err := newAttributes(f.Groups, f.Claims, f.ACR)
	if err != nil {
		return Access{}, fmt.Errorf("adopt token: %w", err)
	}
	c := claims{Issuer: f.Issuer, ID: f.ID, Subject: f.Subject, ClientID: f.ClientID, Scope: f.Scope.String(), IssuedAt: f.IssuedAt.Unix(), Expiry: f.Expiry.Unix(),
		Txn: rand.Text(), Act: f.Act, MayAct: f.MayAct, Confirmation: f.Confirmation, Attributes: attributes}
	if !f.AuthTime.IsZero() {
		c.AuthTime = f.AuthTime.Unix()
	}
	if f.Issuer == m.cfg.Issuer || f.Subject.IsZero() || f.ClientID.IsZero() || f.ID == "" || !c.Act.good() {
		return Access{}, errors.New("adopt token: a claim is missing or out of range, or it is one of ours")
	}
	return Access{Verified: Verified{c, f.Scope}}, nil
}
