package policies

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
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
}

// RoleCheck is a role: who names the caller, or not, and what holds of its when.
type RoleCheck struct {
	Name, At string
	Named    bool // who names the caller
	Has      bool // and all of when holds
	When     []Check
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
}

// Explain decides q and tells what of the policy speaks for it and against.
func (p *PDP) Explain(ctx context.Context, q Request) (Explanation, error) {
	out := Explanation{Decision: p.Decide(ctx, q)}
	switch {
	case p == nil || p.engine == nil:
		return out, nil
	case p.engine.targets == nil:
		return out, errors.New("this policy is not an access.yaml: it has its own explanations")
	case q.check() != "":
		return out, nil
	}
	e, err := p.engine.explain(ctx, q)
	if err != nil {
		return out, fmt.Errorf("explain: %w", err)
	}
	out.Roles, out.Grants = p.roleChecks(e), p.grantChecks(e)
	for _, d := range p.doc.denials {
		if rule := "deny." + d.name; d.names(q, p.marks) {
			out.Denials = append(out.Denials, DenialCheck{rule, p.rules[rule], d.reason, slices.Contains(e.Denials, rule)})
		}
	}
	return out, nil
}

// explanation is the rule of access.rego of that name.
type explanation struct {
	Assigned []string            `json:"assigned"`
	Roles    []string            `json:"roles"`
	Denials  []string            `json:"denials"`
	When     map[string][]string `json:"when"` // the claims of a role that hold
	Grants   map[string]struct {
		Role       string `json:"role"`
		Holds      bool   `json:"holds"`
		Conditions []struct {
			Path  string `json:"path"`
			Text  string `json:"text"`
			Rank  int    `json:"rank"`
			Holds bool   `json:"holds"`
		} `json:"conditions"`
	} `json:"grants"`
}

func (e *engine) explain(ctx context.Context, q Request) (out explanation, err error) {
	in, err := e.inputWith(&q, needAll)
	if err != nil {
		return out, err
	}
	rs, err := rego.New(
		rego.Query("data.wicketgate.access.explanation"), rego.Compiler(e.compiler), rego.Store(inmem.NewFromASTObject(e.data)),
		rego.StrictBuiltinErrors(true), rego.ParsedInput(in),
	).Eval(ctx)
	if err != nil || len(rs) == 0 {
		return out, errors.Join(err, errors.New("no answer"))
	}
	b, err := json.Marshal(rs[0].Expressions[0].Value)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(b, &out)
}

// rankReasons are the reasons of conditions, by their rank.
var rankReasons = []Reason{"", ReasonApproval, ReasonStepUp, ReasonSenderConstraint, ReasonArgument, ReasonHours, ReasonCondition}

func (p *PDP) roleChecks(e explanation) (out []RoleCheck) {
	for _, r := range p.doc.roles {
		c := RoleCheck{Name: r.name, At: p.rules["roles."+r.name], Named: slices.Contains(e.Assigned, r.name), Has: slices.Contains(e.Roles, r.name)}
		for _, claim := range sorted(r.when) {
			path := "roles." + r.name + ".when." + claim
			text := fmt.Sprintf("claim %s must be %s", claim, oneOf(r.when[claim]))
			c.When = append(c.When, Check{text, p.rules[path], ReasonNoRole, slices.Contains(e.When[r.name], claim)})
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b RoleCheck) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (p *PDP) grantChecks(e explanation) (out []GrantCheck) {
	for _, rule := range sorted(e.Grants) {
		g := e.Grants[rule]
		has := slices.Contains(e.Roles, g.Role)
		c := GrantCheck{Role: g.Role, Rule: rule, At: p.rules[rule], Has: has, Holds: has && g.Holds}
		for _, of := range g.Conditions {
			c.Checks = append(c.Checks, Check{of.Text, p.rules[of.Path], rankReasons[of.Rank], of.Holds})
		}
		slices.SortStableFunc(c.Checks, func(a, b Check) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Text, b.Text)) })
		out = append(out, c)
	}
	return out
}

// names reports whether the denial is about what q asks.
func (d denial) names(q Request, m *marks) bool {
	for _, s := range d.servers {
		if s.name != q.Server {
			continue
		}
		for k, name := range [3]string{q.Tool, q.Resource + q.Template, q.Prompt} {
			if name == "" {
				continue
			}
			meant := []string{name, every}
			if k == resources {
				meant = m.of(name)
			}
			if slices.ContainsFunc(s.lists[k], func(i item) bool { return slices.Contains(meant, i.name) }) {
				return true
			}
		}
	}
	return false
}
