package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// terms are what a call keeps to that is allowed.
type terms struct {
	Limits  []limit  `json:"limits"`
	Filters []filter `json:"filters"`
	Redact  []string `json:"redact"`
}

type limit struct {
	ID         string `json:"id"` // where it is written and what it says, so that its place in a list means nothing
	By         string `json:"by"`
	Calls      int    `json:"calls,omitzero"`
	Per        int64  `json:"per_s,omitzero"`
	Concurrent int    `json:"concurrent,omitzero"`
}

type filter struct {
	At    string `json:"at"`
	Field string `json:"field"`
	In    []any  `json:"in,omitzero"`
	Claim string `json:"claim,omitzero"` // instead of In: the values of this one
}

func (t *terms) and(u *terms) *terms {
	switch {
	case t == nil:
		return u
	case u == nil:
		return t
	}
	return &terms{slices.Concat(t.Limits, u.Limits), slices.Concat(t.Filters, u.Filters), slices.Concat(t.Redact, u.Redact)}
}

func (p conditionParser) terms(f map[string]*yaml.Node) {
	t := terms{Limits: []limit{}, Filters: []filter{}, Redact: []string{}}
	for _, n := range p.oneOrMore(f["filter"], "filter") {
		p.filter(n, &t)
	}
	if n := f["limits"]; n != nil && p.is(n, yaml.SequenceNode, "limits") {
		for _, item := range n.Content {
			p.limit(item, &t)
		}
	}
	if n := f["redact"]; n != nil {
		t.Redact = append(t.Redact, p.names(n, "redact", "class", checkClass)...)
	}
	if len(t.Limits)+len(t.Filters)+len(t.Redact) == 0 {
		return
	}
	slices.SortFunc(t.Limits, func(a, b limit) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(t.Filters, func(a, b filter) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	slices.Sort(t.Redact)
	p.c.Terms = &t
}

// oneOrMore are the items of a list, or the one thing that is there instead.
func (p *parser) oneOrMore(n *yaml.Node, name string) []*yaml.Node {
	switch {
	case n == nil:
		return nil
	case n.Kind != yaml.SequenceNode:
		return []*yaml.Node{n}
	case !p.plain(n):
		return nil
	case len(n.Content) == 0:
		p.errorf(n, "%s is an empty list: add one, or remove it", name)
	}
	return n.Content
}

func (p conditionParser) filter(n *yaml.Node, t *terms) {
	f := p.fields(n, "filter", "at", "field", "in", "claim")
	if f == nil {
		return
	}
	for _, name := range []string{"at", "field"} {
		if f[name] == nil {
			p.errorf(n, `filter has no %s: write {at: /records, field: owner, claim: email}, with at: "" where the result is the list`, name)
			return
		}
		if !p.text(f[name], name) {
			return
		}
	}
	if (f["in"] == nil) == (f["claim"] == nil) {
		p.errorf(n, "filter has neither in nor claim, or both: add in: [VALUE] or claim: NAME")
		return
	}
	out := filter{At: f["at"].Value, Field: f["field"].Value}
	if !jsontext.Pointer(out.At).IsValid() {
		p.errorf(f["at"], `at %s is no JSON pointer: write /records, or "" where the result is the list`, shown(f["at"]))
	}
	if err := checkArgument(out.Field); err != nil {
		p.errorf(f["field"], "field %s: %v", shown(f["field"]), err)
	}
	if c := f["claim"]; c != nil {
		if p.text(c, "claim") && checkName(c.Value) != nil {
			p.errorf(c, "claim %s: %v", shown(c), errName)
		}
		out.Claim = c.Value
	} else if p.is(f["in"], yaml.SequenceNode, "in") {
		out.In = p.values(entry{f["field"], f["in"]}, "field")
	}
	t.Filters = append(t.Filters, out)
}

func (p conditionParser) limit(n *yaml.Node, t *terms) {
	f := p.fields(n, "a limit", "calls", "per", "concurrent", "by")
	if f == nil {
		return
	}
	l := limit{Calls: p.count(f["calls"], "calls"), Concurrent: p.count(f["concurrent"], "concurrent"), Per: seconds(p.duration(f["per"], "per"))}
	if (f["calls"] == nil) == (f["concurrent"] == nil) || (f["calls"] == nil) != (f["per"] == nil) || f["by"] == nil {
		p.errorf(n, "a limit is {calls: 100, per: 1m, by: subject} or {concurrent: 2, by: client}")
		return
	}
	if p.text(f["by"], "by") {
		l.By = f["by"].Value
		if !slices.Contains(limitKinds, l.By) {
			p.errorf(f["by"], "by %s: use subject, client, role or tool", shown(f["by"]))
		}
	}
	if l.Per > maxPer {
		p.errorf(f["per"], "per %s: calls are counted over 366 days at most, write 8784h or less", shown(f["per"]))
	}
	l.ID = fmt.Sprintf("%s.limits.%d/%ds/%d by %s", p.path, l.Calls, l.Per, l.Concurrent, l.By)
	if slices.ContainsFunc(t.Limits, func(o limit) bool { return o.ID == l.ID }) {
		p.errorf(n, "this limit is here twice: keep one")
	}
	p.lines[l.ID] = n.Line
	t.Limits = append(t.Limits, l)
}

var limitKinds = []string{string(BySubject), string(ByClient), string(ByRole), string(ByTool)}

// What package limit counts: a call with another limit would be refused each time.
const (
	maxCalls = 1 << 30
	maxPer   = 366 * 24 * 3600 // seconds
)

func (p *parser) count(n *yaml.Node, name string) int {
	if n == nil || !p.is(n, yaml.ScalarNode, name) {
		return 0
	}
	i, err := strconv.ParseUint(n.Value, 10, 31)
	if n.ShortTag() != "!!int" || err != nil || i == 0 || i > maxCalls {
		p.errorf(n, "%s %s: write a number from 1 to %d", name, shown(n), maxCalls)
	}
	return int(i)
}

// classes are what a result may be redacted of, beside what the gateway always takes out.
var classes = []string{"secrets", "email", "phone", "card", "iban"}

func checkClass(s string) error {
	if !slices.Contains(classes, s) {
		return fmt.Errorf("use %s", strings.Join(classes, ", "))
	}
	return nil
}
