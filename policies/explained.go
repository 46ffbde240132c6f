package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// explained is what explain.rego says.
type explained struct {
	Assigned []string            `json:"assigned"`
	Roles    []string            `json:"roles"`
	Applying []string            `json:"applying"`
	When     map[string][]string `json:"when"` // by role, the claims that hold
	Grants   []struct{ Rule, Role string }
	Checks   []struct {
		Rule      string
		Condition struct {
			Is    string `json:"is"`
			Rank  int    `json:"rank"`
			Path  string `json:"path"`
			Text  string `json:"text"`
			Name  string `json:"name"`
			Claim string `json:"claim"`
		} `json:"condition"`
		Holds bool `json:"holds"`
	} `json:"checks"`
}

// fill puts the places of the document to what holds.
func (p *PDP) fill(e *Explanation, q *Request, x explained) {
	e.Rego = p.ownRego
	for _, r := range p.doc.roles {
		e.Roles = append(e.Roles, p.roleCheck(r, x))
	}
	for _, g := range x.Grants {
		e.Grants = append(e.Grants, p.grantCheck(g.Role, g.Rule, x))
	}
	for _, d := range p.doc.denials {
		if !p.denies(d, q) {
			continue
		}
		c := DenialCheck{Rule: "deny." + d.name, Reason: d.reason, Applies: slices.Contains(x.Applying, "deny."+d.name)}
		if c.At = p.rules[c.Rule]; d.who != nil {
			c.Reads = d.who.facts()
		}
		e.Denials = append(e.Denials, c)
	}
	slices.SortFunc(e.Roles, func(a, b RoleCheck) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(e.Grants, func(a, b GrantCheck) int { return cmp.Compare(a.Rule, b.Rule) })
	slices.SortFunc(e.Denials, func(a, b DenialCheck) int { return cmp.Compare(a.Rule, b.Rule) })
}

func (p *PDP) roleCheck(r role, x explained) RoleCheck {
	c := RoleCheck{Name: r.name, At: p.rules["roles."+r.name], Who: r.who.words(), Named: slices.Contains(x.Assigned, r.name), Has: slices.Contains(x.Roles, r.name), Reads: r.who.facts()}
	for _, claim := range sorted(r.when) {
		c.When = append(c.When, Check{
			Text: whenText(claim, r.when[claim]), At: p.rules["roles."+r.name+".when."+claim], Reason: ReasonNoRole,
			Holds: slices.Contains(x.When[r.name], claim), Reads: []Fact{{FactClaim, claim}},
		})
	}
	return c
}

func whenText(claim string, values []any) string {
	return fmt.Sprintf("claim %s must be %s", claim, oneOf(values))
}

// ofRank are the reasons of access.rego.
var ofRank = map[int]Reason{rankApproval: ReasonApproval, rankStepUp: ReasonStepUp, rankBound: ReasonSenderConstraint, rankArgument: ReasonArgument, rankHours: ReasonHours, rankCondition: ReasonCondition}

func (p *PDP) grantCheck(role, rule string, x explained) GrantCheck {
	g := GrantCheck{Role: role, Rule: rule, At: p.rules[rule], Has: slices.Contains(x.Roles, role)}
	g.Holds = g.Has
	for _, c := range x.Checks {
		if c.Rule != rule {
			continue
		}
		g.Holds = g.Holds && c.Holds
		g.Checks = append(g.Checks, Check{Text: c.Condition.Text, At: p.rules[c.Condition.Path], Reason: ofRank[c.Condition.Rank], Holds: c.Holds,
			Reads: readsOfAtom(c.Condition.Is, c.Condition.Name, c.Condition.Claim)})
	}
	slices.SortFunc(g.Checks, func(a, b Check) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Text, b.Text)) })
	return g
}

// readsOfAtom is what a condition reads beyond names, the time and an approval.
func readsOfAtom(is, argument, claim string) (out []Fact) {
	n := ofAtom[is]
	if n&needArguments != 0 {
		out = append(out, Fact{FactArgument, argument})
	}
	if n&needClaims != 0 && claim != "sub" || is == "when" {
		out = append(out, Fact{FactClaim, claim})
	}
	for kind, need := range map[FactKind]need{FactACR: needACR, FactAuthTime: needAuthTime, FactBound: needBound} {
		if n&need != 0 {
			out = append(out, Fact{Of: kind})
		}
	}
	return out
}

func (w who) facts() (out []Fact) {
	for _, g := range w.groups {
		out = append(out, Fact{FactGroup, g})
	}
	for _, claim := range sorted(w.claims) {
		out = append(out, Fact{FactClaim, claim})
	}
	return out
}

// denies reports whether d names what q is about, whoever it is for.
func (p *PDP) denies(d denial, q *Request) bool {
	k, names := tools, []string{every, q.Tool}
	switch {
	case q.Resource+q.Template != "":
		literal, _, _ := strings.Cut(q.Template, "{") // RFC 6570 §2
		k, names = resources, newMarks(p.doc).of(q.Resource+literal)
	case q.Prompt != "":
		k, names = prompts, []string{every, q.Prompt}
	}
	for _, s := range d.servers {
		if s.name == q.Server && slices.ContainsFunc(s.lists[k], func(i item) bool { return slices.Contains(names, i.name) }) {
			return true
		}
	}
	return false
}
