package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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
	Conditions   []string // what must hold beside the conditions of the role, and what is asked of the call, in words
}

// Matrix returns the policy as a table; it is empty without one.
func (p *PDP) Matrix() (m Matrix) {
	if p == nil || p.doc == nil {
		return m
	}
	for _, r := range p.doc.roles {
		m.Roles = append(m.Roles, p.matrixRole(r))
		for _, s := range r.servers {
			for k, items := range s.lists {
				for _, i := range items {
					m.Grants = append(m.Grants, p.matrixGrant(r, s.name, k, i))
				}
			}
		}
	}
	for _, d := range p.doc.denials {
		m.Denials = append(m.Denials, p.matrixDenials(d)...)
	}
	slices.SortFunc(m.Roles, func(a, b MatrixRole) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(m.Grants, compareMatrix)
	slices.SortFunc(m.Denials, compareMatrix)
	return m
}

func compareMatrix(a, b MatrixGrant) int {
	kind := func(g MatrixGrant) int {
		return slices.IndexFunc(kinds[:], func(k kind) bool { return k.one == g.Kind })
	}
	if a.Role == "" && b.Role == "" && a.Rule != b.Rule {
		return cmp.Compare(a.Rule, b.Rule)
	}
	return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Server, b.Server), kind(a)-kind(b), cmp.Compare(a.Name, b.Name))
}

func (p *PDP) matrixRole(r role) MatrixRole {
	m := MatrixRole{Name: r.name, At: p.rules["roles."+r.name], Who: r.who.words()}
	for _, claim := range sorted(r.when) {
		m.Conditions = append(m.Conditions, whenText(claim, r.when[claim]))
	}
	m.Conditions = append(m.Conditions, r.asks.words()...)
	return m
}

func (w who) words() (out []string) {
	for _, of := range []struct {
		what  string
		names []string
	}{{"user ", w.users}, {"client ", w.clients}, {"group ", w.groups}} {
		for _, name := range of.names {
			out = append(out, of.what+name)
		}
	}
	for _, pattern := range w.patterns {
		out = append(out, "client "+pattern.String())
	}
	for _, claim := range sorted(w.claims) {
		for _, v := range w.claims[claim] {
			out = append(out, fmt.Sprintf("claim %s %s", claim, oneOf([]any{v})))
		}
	}
	slices.Sort(out)
	return out
}

func (p *PDP) matrixGrant(r role, server string, k int, i item) MatrixGrant {
	m := MatrixGrant{Role: r.name, Server: server, Kind: kinds[k].one, Name: i.name}
	m.Rule = "roles." + r.name + ".servers." + server + "." + kinds[k].list + "." + i.name
	m.At, m.Conditions = p.rules[m.Rule], i.asks.words()
	risks := []string{i.asks.riskOf(), r.risk}
	if f := p.doc.facts[server]; f != nil {
		words, risk := f.words(k, i.name)
		m.Conditions = append(m.Conditions, words...)
		risks = append([]string{risk}, append(risks, f.all.riskOf())...)
		if !f.observe.IsZero() {
			m.Conditions = append(m.Conditions, "enforced from "+f.observe.UTC().Format(time.RFC3339))
		}
	}
	m.Risk = cmp.Or(risks...)
	m.Conditions = append(m.Conditions, p.doc.risks[m.Risk].words()...)
	return m
}

func (c *conditions) riskOf() string {
	if c == nil {
		return ""
	}
	return c.risk
}

// words are what holds of an item of the server whoever grants it, and its risk there. Of
// what stands for several, those of each are told apart.
func (f *serverFacts) words(k int, name string) (out []string, risk string) {
	out = f.all.words()
	for _, i := range f.lists[k] {
		words := i.asks.words()
		if r := i.asks.riskOf(); r != "" && i.name != name {
			words = append(words, "risk "+r)
		}
		switch {
		case i.name == name:
			out, risk = append(out, words...), i.asks.riskOf()
		case strings.HasSuffix(i.name, every) || strings.HasSuffix(name, every):
			for _, w := range words {
				out = append(out, i.name+": "+w)
			}
		}
	}
	return out, risk
}

func (c *conditions) words() (out []string) {
	if c == nil {
		return nil
	}
	for _, a := range slices.Concat(c.Open, c.Call, c.Needs) {
		out = append(out, a.Text)
	}
	if c.Terms == nil {
		return out
	}
	for _, l := range c.Terms.Limits {
		if l.Concurrent > 0 {
			out = append(out, fmt.Sprintf("at most %d at once by %s", l.Concurrent, l.By))
		} else {
			out = append(out, fmt.Sprintf("at most %d in %s by %s", l.Calls, short(time.Duration(l.Per)*time.Second), l.By))
		}
	}
	for _, f := range c.Terms.Filters {
		of := "the caller's " + f.Claim
		if f.Claim == "" {
			of = oneOf(f.In)
		}
		out = append(out, fmt.Sprintf("shows records whose %s is %s", f.Field, of))
	}
	if len(c.Terms.Redact) > 0 {
		out = append(out, "redacts "+listed(c.Terms.Redact))
	}
	return out
}

func (p *PDP) matrixDenials(d denial) (out []MatrixGrant) {
	var conditions []string
	if d.who != nil {
		conditions = append(conditions, "for "+strings.Join(d.who.words(), ", "))
	}
	if d.hours != "" {
		conditions = append(conditions, fmt.Sprintf("within the hours %s (%s)", d.hours, p.doc.hours[d.hours]))
	}
	for _, s := range d.servers {
		for k, items := range s.lists {
			for _, i := range items {
				rule := "deny." + d.name
				out = append(out, MatrixGrant{Server: s.name, Kind: kinds[k].one, Name: i.name, Rule: rule, At: p.rules[rule], Conditions: conditions})
			}
		}
	}
	return out
}
