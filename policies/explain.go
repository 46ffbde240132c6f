package policies

import (
	"context"
	"errors"
)

// Explanation is why a question is decided as it is. It is for who keeps the policy:
// it tells what others may do.
type Explanation struct {
	Decision Decision
	Roles    []RoleCheck   // all of the policy, by name
	Grants   []GrantCheck  // all that name the tool, resource or prompt, by rule
	Denials  []DenialCheck // likewise
}

// Check is one condition, and whether it holds.
type Check struct {
	Text   string // "argument limit must be at most 100"
	At     string // "access.yaml:12"
	Reason Reason // why it is denied where it does not hold
	Holds  bool
	Reads  []Fact // of the caller and the call
}

// RoleCheck is a role: who names the caller, or not, and what holds of its when.
type RoleCheck struct {
	Name, At string
	Named    bool // who names the caller
	Has      bool // and all of when holds
	When     []Check
	Reads    []Fact // what who asks for, beside names
}

// GrantCheck is one rule that grants what is asked about, whoever has its role.
type GrantCheck struct {
	Role, Rule, At string
	Has            bool // the caller has the role
	Holds          bool // and all of Checks holds
	Checks         []Check
}

// DenialCheck is one rule of deny that names what is asked about.
type DenialCheck struct {
	Rule, At string
	Reason   string // as access.yaml has it
	Applies  bool   // to this caller, at this time
	Reads    []Fact // what who asks for, beside names
}

// Explain decides q and tells what of the policy speaks for it and against.
func (p *PDP) Explain(ctx context.Context, q Request) (Explanation, error) {
	return Explanation{Decision: p.Decide(ctx, q)}, errors.New("not yet")
}

// Matrix is who may do what, as the policy is written: nobody is asked about, nothing is
// decided.
type Matrix struct {
	Roles   []MatrixRole  // by name
	Grants  []MatrixGrant // by role, server, kind, name
	Denials []MatrixGrant // by rule; Role is empty
}

// MatrixRole is one role, and who has it.
type MatrixRole struct {
	Name, At   string
	Who        []string // "user alice", "group staff", "client dev-agent", "claim department=\"finance\""
	Conditions []string // of all that it grants
}

// MatrixGrant is one rule: a tool, resource or prompt that a role may use on a server.
type MatrixGrant struct {
	Role, Server string
	Kind         string // tool, resource or prompt
	Name         string // "*" is every approved one
	Rule, At     string
	Risk         string
	Conditions   []string // all that must hold, in words
}

// Matrix returns the policy as a table; it is empty without one.
func (p *PDP) Matrix() Matrix { return Matrix{} }
