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
)

func (f Fact) String() string {
	if f.Name == "" {
		return string(f.Of)
	}
	return string(f.Of) + " " + f.Name
}

// truth is what is known of a condition.
type truth int

const (
	no truth = iota
	open
	yes
)

// Missing is what would have to be known to tell that the decision is the same kind of
// answer whatever holds of the facts that are not known; e was made without those. None:
// it is certain. It errs towards too many: what it takes for certain is.
func (e Explanation) Missing(known func(Fact) bool) []Fact {
	m := missing{known: known, roles: map[string]truth{}, of: map[string][]Fact{}}
	denied := m.denials(e.Denials)
	if denied == yes {
		return nil
	}
	m.roleChecks(e.Roles)
	granted, facts := m.grants(e.Grants)
	answer, _ := e.Decision.Answer()
	switch {
	case granted == open:
		return sortedFacts(append(facts, m.denial...))
	case granted == no && answer == WantDeny:
		return nil // whether it is denied twice is no matter
	}
	return sortedFacts(m.denial)
}

// missing goes through an explanation.
type missing struct {
	known  func(Fact) bool
	roles  map[string]truth
	of     map[string][]Fact // what is open of a role
	denial []Fact            // what is open of denials
}

func (m *missing) unknown(reads []Fact) []Fact {
	return slices.DeleteFunc(slices.Clone(reads), m.known)
}

// denials: whom who names by the facts that are known it names by more of them too.
func (m *missing) denials(denials []DenialCheck) truth {
	out := no
	for _, d := range denials {
		if d.Applies {
			return yes
		}
		if u := m.unknown(d.Reads); len(u) > 0 {
			out, m.denial = open, append(m.denial, u...)
		}
	}
	return out
}

func (m *missing) roleChecks(roles []RoleCheck) {
	for _, r := range roles {
		named, facts := yes, []Fact(nil)
		if !r.Named {
			if named, facts = no, m.unknown(r.Reads); len(facts) > 0 {
				named = open
			}
		}
		has, more := m.checks(r.When)
		m.roles[r.Name], m.of[r.Name] = min(named, has), append(facts, more...)
	}
}

// checks is whether all hold.
func (m *missing) checks(checks []Check) (truth, []Fact) {
	out, facts := yes, []Fact(nil)
	for _, c := range checks {
		switch u := m.unknown(c.Reads); {
		case len(u) > 0:
			out, facts = min(out, open), append(facts, u...)
		case !c.Holds:
			out = no
		}
	}
	return out, facts
}

// grants is whether one of them holds.
func (m *missing) grants(grants []GrantCheck) (truth, []Fact) {
	out, facts := no, []Fact(nil)
	for _, g := range grants {
		holds, of := m.checks(g.Checks)
		if holds = min(holds, m.roles[g.Role]); holds == open {
			facts = append(append(facts, of...), m.of[g.Role]...)
		}
		out = max(out, holds)
	}
	return out, facts
}

func sortedFacts(facts []Fact) []Fact {
	slices.SortFunc(facts, func(a, b Fact) int { return cmp.Or(cmp.Compare(a.Of, b.Of), cmp.Compare(a.Name, b.Name)) })
	return slices.Compact(facts)
}

// Reads is all that the explained question could have read.
func (e Explanation) Reads() []Fact {
	var out []Fact
	for _, r := range e.Roles {
		out = append(out, r.Reads...)
		for _, c := range r.When {
			out = append(out, c.Reads...)
		}
	}
	for _, g := range e.Grants {
		for _, c := range g.Checks {
			out = append(out, c.Reads...)
		}
	}
	for _, d := range e.Denials {
		out = append(out, d.Reads...)
	}
	return sortedFacts(out)
}
