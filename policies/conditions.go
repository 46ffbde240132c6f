package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// conditionKeys are the conditions of access.yaml, which stand at a tool, a role, a
// template, a server or a risk. All that apply must hold.
var conditionKeys = []string{"when", "hours", "acr", "max_age", "sender_constrained", "risk", "arguments", "filter", "approval", "limits", "redact"}

// conditions are those of one place, in the form in which access.rego reads them.
type conditions struct {
	Open  []atom `json:"open"`  // whether it is there for the caller now: a list leaves out what does not hold
	Call  []atom `json:"call"`  // on the arguments of a call
	Needs []atom `json:"needs"` // what the caller can still get: a login, a key, an approval
	Terms *terms `json:"terms,omitzero"`

	risk string
}

// atom is one condition.
type atom struct {
	Is   string `json:"is"`
	Rank int    `json:"rank"` // how far away the caller is who lacks it
	Path string `json:"path"` // in access.yaml
	Text string `json:"text"` // what must hold, for people

	Name     string          `json:"name,omitempty"` // of the argument, or the hours
	Claim    string          `json:"claim,omitempty"`
	Values   []any           `json:"values,omitempty"`
	Among    map[string]bool `json:"among,omitempty"`
	Bound    any             `json:"bound,omitempty"` // a number
	Pattern  string          `json:"pattern,omitempty"`
	Optional bool            `json:"optional,omitzero"`
	By       []string        `json:"by,omitempty"`
	Within   int64           `json:"within_s,omitzero"`
	MaxAge   int64           `json:"max_age_s,omitzero"`
}

// The ranks of atoms: of two grants that do not hold the one whose worst is lower is
// closer. access.rego has the reasons.
const (
	rankApproval = iota + 1
	rankStepUp
	rankBound
	rankArgument
	rankHours
	rankCondition
)

// empty reports whether nothing is asked.
func (c *conditions) empty() bool {
	return c == nil || len(c.Open)+len(c.Call)+len(c.Needs) == 0 && c.Terms == nil
}

// and is what asks for both.
func (c *conditions) and(d *conditions) *conditions {
	switch {
	case c.empty():
		return d
	case d.empty():
		return c
	}
	return &conditions{
		Open: slices.Concat(c.Open, d.Open), Call: slices.Concat(c.Call, d.Call), Needs: slices.Concat(c.Needs, d.Needs),
		Terms: c.Terms.and(d.Terms),
	}
}

// conditionParser reads the conditions of one place.
type conditionParser struct {
	*parser
	path string
	c    *conditions
}

// conditions reads those keys of f that are conditions; the place at path has no others.
func (p *parser) conditions(f map[string]*yaml.Node, path string) *conditions {
	c := &conditions{Open: []atom{}, Call: []atom{}, Needs: []atom{}}
	cp := conditionParser{p, path, c}
	cp.claims(f["when"])
	cp.hours(f["hours"])
	cp.acr(f["acr"])
	cp.maxAge(f["max_age"])
	cp.bound(f["sender_constrained"])
	cp.risk(f["risk"])
	cp.arguments(f["arguments"])
	cp.approval(f["approval"])
	cp.terms(f)
	return c
}

// add notes an atom of the key, written at n.
func (p conditionParser) add(list *[]atom, n *yaml.Node, a atom) {
	a.Path = p.path + "." + a.Path
	p.lines[a.Path] = n.Line
	*list = append(*list, a)
}

func (p conditionParser) claims(n *yaml.Node) {
	when := p.when(n)
	for _, claim := range sorted(when) {
		p.add(&p.c.Open, n, atom{
			Is: "when", Rank: rankCondition, Path: "when." + claim, Claim: claim, Values: when[claim],
			Text: fmt.Sprintf("claim %s must be %s", claim, oneOf(when[claim])),
		})
	}
}

func (p conditionParser) hours(n *yaml.Node) {
	if n == nil || !p.text(n, "name of hours") {
		return
	}
	h, ok := p.windows[n.Value]
	if !ok {
		p.errorf(n, "hours %s are not defined: add them under hours at the top, as hours: {%s: {days: [mon, tue, wed, thu, fri], from: \"09:00\", to: \"18:00\", zone: Europe/Berlin}}", shown(n), n.Value)
		return
	}
	p.add(&p.c.Open, n, atom{Is: "hours", Rank: rankHours, Path: "hours", Name: n.Value, Text: fmt.Sprintf("it must be within the hours %s (%s)", n.Value, h)})
}

func (p conditionParser) acr(n *yaml.Node) {
	names := p.acrValues(n)
	if len(names) == 0 {
		return
	}
	p.add(&p.c.Needs, n, atom{Is: "acr", Rank: rankStepUp, Path: "acr", Among: set(names), Text: "the login must be of " + oneOf(anys(names))})
}

// acrValues reads a list of ways to log in (RFC 9470 §3).
func (p *parser) acrValues(n *yaml.Node) []string {
	if n == nil {
		return nil
	}
	names := p.names(n, "acr", "acr value", checkACR)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.errorf(n, "acr has no value, so no login would do: add one, or remove acr")
	}
	slices.Sort(names) // their order means nothing
	return names
}

// checkACR: the values are sent in acr_values, separated by spaces.
func checkACR(s string) error {
	if err := checkName(s); err != nil || strings.Contains(s, " ") {
		return fmt.Errorf("use 1 to %d bytes of printable UTF-8 without a space", maxName)
	}
	return nil
}

func (p conditionParser) maxAge(n *yaml.Node) {
	if d := p.duration(n, "max_age"); d > 0 {
		p.add(&p.c.Needs, n, atom{Is: "max_age", Rank: rankStepUp, Path: "max_age", MaxAge: seconds(d), Text: "the login must be at most " + short(d) + " ago"})
	}
}

func (p conditionParser) bound(n *yaml.Node) {
	if n == nil || !p.is(n, yaml.ScalarNode, "sender_constrained") {
		return
	}
	if n.ShortTag() != "!!bool" || n.Value != "true" {
		p.errorf(n, "sender_constrained %s: write true, or remove it", shown(n))
		return
	}
	p.add(&p.c.Needs, n, atom{Is: "bound", Rank: rankBound, Path: "sender_constrained", Text: "the token must be sender-constrained (DPoP or mTLS)"})
}

// ownRisks need not be defined, and then ask for nothing.
var ownRisks = []string{"low", "medium", "high", "critical"}

func (p conditionParser) risk(n *yaml.Node) {
	if n == nil || !p.text(n, "risk") {
		return
	}
	if !p.risks[n.Value] && !slices.Contains(ownRisks, n.Value) {
		p.errorf(n, "risk %s is not defined: use %s, or add it under risks at the top", shown(n), listed(ownRisks))
	}
	p.c.risk = n.Value
	p.lines[p.path+".risk"] = n.Line
}

const (
	defaultWithin = 15 * time.Minute
	maxWithin     = 7 * 24 * time.Hour // what package approval takes
)

func (p conditionParser) approval(n *yaml.Node) {
	if n == nil {
		return
	}
	f := p.fields(n, "approval", "by", "within", "acr", "max_age")
	if f == nil {
		return
	}
	by := p.list(f["by"], "by", "role")
	if len(by) == 0 {
		p.errorf(n, "approval by nobody: add by: [ROLE]")
	}
	within := p.duration(f["within"], "within")
	if within > maxWithin {
		p.errorf(f["within"], "within %s: an approval waits for 7 days at most, write 168h or less", shown(f["within"]))
	}
	a := atom{Is: "approval", Rank: rankApproval, Path: "approval", Within: seconds(cmp.Or(within, defaultWithin)), MaxAge: seconds(p.duration(f["max_age"], "max_age"))}
	if acr := p.acrValues(f["acr"]); len(acr) > 0 {
		a.Among = set(acr)
	}
	for _, role := range by {
		a.By = append(a.By, role.Value)
		p.approvers[role.Value] = true
		p.later(func() {
			if !p.roles[role.Value] {
				p.errorf(role, "approver %s is no role: add it under roles, as %s: {who: {users: [NAME]}}", shown(role), role.Value)
			}
		})
	}
	slices.Sort(a.By)
	a.Text = "it must be approved by " + oneOf(anys(a.By))
	p.add(&p.c.Needs, n, a)
}

// duration reads a time like 15m, of whole seconds; 0 if there is none.
func (p *parser) duration(n *yaml.Node, name string) time.Duration {
	if n == nil || !p.is(n, yaml.ScalarNode, name) {
		return 0
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || d < time.Second || d%time.Second != 0 || d > 10*365*24*time.Hour {
		p.errorf(n, "%s %s: write whole seconds, minutes or hours, as 30s, 15m or 8h", name, shown(n))
		return 0
	}
	return d
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// short is d without the parts that are nothing: 15m, not 15m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// oneOf shows values for people, not more than they read.
func oneOf(values []any) string {
	const most = 10
	var out []string
	for _, v := range values[:min(len(values), most)] {
		if s, ok := v.(string); ok {
			v = fmt.Sprintf("%q", s)
		}
		out = append(out, fmt.Sprint(v))
	}
	if len(values) > most {
		out = append(out, fmt.Sprintf("%d more", len(values)-most))
	}
	last := len(out) - 1
	if last < 1 {
		return strings.Join(out, "")
	}
	return strings.Join(out[:last], ", ") + " or " + out[last]
}

func anys(names []string) []any {
	var out []any
	for _, n := range names {
		out = append(out, n)
	}
	return out
}

func set(names []string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}
