package policies

import (
	"cmp"
	"slices"
)

// Fact is something of a caller or a call that a policy may read, beside what every
// question has: who, when and what about.
type Fact struct {
	Of   FactKind
	Name string // of a group, claim or argument
}

// FactKind says what a Fact is of.
type FactKind string

// The kinds of facts.
const (
	FactGroup    FactKind = "group"
	FactClaim    FactKind = "claim"
	FactArgument FactKind = "argument"
	FactACR      FactKind = "acr"
	FactAuthTime FactKind = "auth_time"
	FactBound    FactKind = "bound"
	FactAny      FactKind = "anything that a person's own Rego may read" // has no name
)

func (f Fact) String() string {
	if f.Name == "" {
		return string(f.Of)
	}
	return string(f.Of) + " " + f.Name
}

// Missing is what would have to be known to tell that the decision is the same kind of
// answer whatever holds of the facts that are not known; e was made without those. None:
// it is certain. It errs towards too many: what it takes for certain is.
func (e Explanation) Missing(known func(Fact) bool) []Fact {
	m := missing{known: known, roles: map[string]chance{}}
	if m.denials(e.Denials) {
		return nil
	}
	if e.Rego {
		m.denial = append(m.denial, m.unknown([]Fact{{Of: FactAny}})...)
	}
	for _, r := range e.Roles {
		m.roles[r.Name] = m.role(r)
	}
	all := chance{denied, denied, nil}
	var grants []chance
	for _, g := range e.Grants {
		c := m.grant(g)
		grants = append(grants, c)
		all.best, all.worst = min(all.best, c.best), min(all.worst, c.worst)
	}
	if all.best == denied {
		return nil // whether it is denied twice is no matter
	}
	for _, c := range grants {
		if c.best < all.worst {
			all.facts = append(all.facts, c.facts...)
		}
	}
	return sortedFacts(append(all.facts, m.denial...))
}

// How far from an allow an answer is, of those that a caller is told apart.
const (
	allowed = iota
	approval
	stepUp
	constraint
	denied
)

var farness = map[Reason]int{ReasonApproval: approval, ReasonStepUp: stepUp, ReasonSenderConstraint: constraint}

func farOf(r Reason) int {
	if far, ok := farness[r]; ok {
		return far
	}
	return denied
}

// chance is between which answers the facts decide that are not known.
type chance struct {
	best, worst int
	facts       []Fact
}

// missing goes through an explanation.
type missing struct {
	known  func(Fact) bool
	roles  map[string]chance
	denial []Fact // what is open of denials
}

func (m *missing) unknown(reads []Fact) []Fact {
	return slices.DeleteFunc(slices.Clone(reads), m.known)
}

// denials reports whether one applies: whom who names by the facts that are known it names
// by more of them too.
func (m *missing) denials(denials []DenialCheck) bool {
	for _, d := range denials {
		if d.Applies {
			return true
		}
		m.denial = append(m.denial, m.unknown(d.Reads)...)
	}
	return false
}

// role is whether the caller has it: that is an allow, or a denial of all that it grants.
func (m *missing) role(r RoleCheck) chance {
	c := chance{}
	if !r.Named {
		if c.facts = m.unknown(r.Reads); len(c.facts) == 0 {
			return chance{denied, denied, nil}
		}
		c.worst = denied
	}
	return m.with(c, r.When)
}

// with is c if the checks apply too: what does not hold makes it worse, what is not known
// may.
func (m *missing) with(c chance, checks []Check) chance {
	for _, check := range checks {
		far := farOf(check.Reason)
		switch u := m.unknown(check.Reads); {
		case len(u) > 0:
			c.worst, c.facts = max(c.worst, far), append(slices.Clip(c.facts), u...)
		case !check.Holds:
			c.best, c.worst = max(c.best, far), max(c.worst, far)
		}
	}
	return c
}

func (m *missing) grant(g GrantCheck) chance { return m.with(m.roles[g.Role], g.Checks) }

func sortedFacts(facts []Fact) []Fact {
	slices.SortFunc(facts, func(a, b Fact) int { return cmp.Or(cmp.Compare(a.Of, b.Of), cmp.Compare(a.Name, b.Name)) })
	return slices.Compact(facts)
}
