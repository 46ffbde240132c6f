package policies

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

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
func (p *PDP) Matrix() (m Matrix) {
	if p == nil || p.doc == nil {
		return m
	}
	for _, r := range p.doc.roles {
		m.Roles = append(m.Roles, MatrixRole{Name: r.name, At: p.rules["roles."+r.name], Who: r.who.words(), Conditions: r.words()})
		for _, s := range r.servers {
			m.Grants = append(m.Grants, p.matrixGrants(r, s)...)
		}
	}
	for _, d := range p.doc.denials {
		m.Denials = append(m.Denials, p.matrixDenials(d)...)
	}
	slices.SortFunc(m.Roles, func(a, b MatrixRole) int { return cmp.Compare(a.Name, b.Name) })
	for _, list := range [][]MatrixGrant{m.Grants, m.Denials} {
		slices.SortStableFunc(list, func(a, b MatrixGrant) int {
			return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Rule, b.Rule))
		})
	}
	return m
}

func (p *PDP) matrixGrants(r role, s server) (out []MatrixGrant) {
	for k, items := range s.lists {
		for _, i := range items {
			rule := "roles." + r.name + ".servers." + s.name + "." + kinds[k].list + "." + i.name
			asks, risk := p.doc.effective(r, s.name, k, i)
			out = append(out, MatrixGrant{r.name, s.name, kinds[k].one, i.name, rule, p.rules[rule], risk, words(asks)})
		}
	}
	return out
}

func (p *PDP) matrixDenials(d denial) (out []MatrixGrant) {
	rule := "deny." + d.name
	var who []string
	if d.who != nil {
		who = d.who.words()
	}
	if d.hours != "" {
		who = append(who, fmt.Sprintf("only within the hours %s (%s)", d.hours, p.doc.hours[d.hours]))
	}
	for _, s := range d.servers {
		for k, items := range s.lists {
			for _, i := range items {
				out = append(out, MatrixGrant{"", s.name, kinds[k].one, i.name, rule, p.rules[rule], "", who})
			}
		}
	}
	return out
}

// effective are the conditions of a grant, and its risk, as they are for what it names. A
// tool that "*" or a prefix grants may have further facts.
func (doc *document) effective(r role, server string, k int, i item) (*conditions, string) {
	asks, risk := r.asks.and(i.asks), r.risk
	if i.asks != nil {
		risk = cmp.Or(i.asks.risk, risk)
	}
	if f := doc.facts[server]; f != nil {
		asks = asks.and(f.all)
		if f.all != nil {
			risk = cmp.Or(risk, f.all.risk)
		}
		for _, wide := range []bool{true, false} {
			for _, of := range f.lists[k] {
				if of.asks != nil && (of.name == i.name || of.name == every) && wide == (of.name == every) {
					asks, risk = asks.and(of.asks), cmp.Or(of.asks.risk, risk)
				}
			}
		}
	}
	return asks.and(doc.risks[risk]), risk
}

// words are the conditions in words.
func words(c *conditions) (out []string) {
	if c == nil {
		return nil
	}
	for _, list := range [][]atom{c.Open, c.Call, c.Needs} {
		for _, a := range list {
			out = append(out, a.Text)
		}
	}
	if c.Terms != nil {
		out = append(out, c.Terms.words()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (t *terms) words() (out []string) {
	for _, l := range t.Limits {
		if l.Concurrent > 0 {
			out = append(out, fmt.Sprintf("at most %d at once by %s", l.Concurrent, l.By))
		} else {
			out = append(out, fmt.Sprintf("at most %d in %s by %s", l.Calls, short(time.Duration(l.Per)*time.Second), l.By))
		}
	}
	for _, f := range t.Filters {
		if f.Claim != "" {
			out = append(out, fmt.Sprintf("only records of %q whose %s is the caller's %s", f.At, f.Field, f.Claim))
		} else {
			out = append(out, fmt.Sprintf("only records of %q whose %s is %s", f.At, f.Field, oneOf(f.In)))
		}
	}
	if len(t.Redact) > 0 {
		out = append(out, "without "+listed(t.Redact))
	}
	return out
}

// words are those whom w names.
func (w who) words() (out []string) {
	for _, of := range []struct {
		what  string
		names []string
	}{{"user", w.users}, {"group", w.groups}, {"client", w.clients}} {
		for _, n := range of.names {
			out = append(out, of.what+" "+n)
		}
	}
	for _, p := range w.patterns {
		out = append(out, "client "+p.String())
	}
	for _, claim := range sorted(w.claims) {
		for _, v := range w.claims[claim] {
			if s, ok := v.(string); ok {
				v = fmt.Sprintf("%q", s)
			}
			out = append(out, fmt.Sprintf("claim %s=%v", claim, v))
		}
	}
	return out
}

// words are the conditions of a role, in words.
func (r role) words() (out []string) {
	for _, claim := range sorted(r.when) {
		out = append(out, fmt.Sprintf("claim %s must be %s", claim, oneOf(r.when[claim])))
	}
	return append(out, words(r.asks)...)
}
