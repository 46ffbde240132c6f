package policies

import (
	"cmp"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// serverFacts is what access.yaml says of a server whoever grants it.
type serverFacts struct {
	observe time.Time // it is in observe mode until then
	line    int       // of that
	column  int
	all     *conditions
	lists   [3][]item
}

// riskKeys are the conditions of a risk. Several tools have one, so it does not know their
// arguments and records.
var riskKeys = slices.DeleteFunc(slices.Clone(conditionKeys), func(key string) bool { return key == "risk" || key == "arguments" || key == "filter" })

// risksSection reads what each risk asks for.
func (p *parser) risksSection(n *yaml.Node) map[string]*conditions {
	out := map[string]*conditions{}
	if n == nil {
		return out
	}
	for _, e := range p.entries(n, "risks", "risk") {
		p.checkName(e.key, "risk")
		if f := p.fields(e.value, "a risk", riskKeys...); f != nil {
			out[e.key.Value] = p.conditions(f, "risks."+e.key.Value)
		}
	}
	return out
}

func (p *parser) serversSection(n *yaml.Node) map[string]*serverFacts {
	out := map[string]*serverFacts{}
	if n == nil {
		return out
	}
	for _, e := range p.entries(n, "servers", "server") {
		p.serverName(e.key)
		f := p.fields(e.value, "a server", "observe_until", "all", "tools", "resources", "prompts")
		if f == nil {
			continue
		}
		s, path := &serverFacts{}, "servers."+e.key.Value
		out[e.key.Value] = s
		s.observe = p.instant(f["observe_until"])
		if f["observe_until"] != nil {
			s.line, s.column = f["observe_until"].Line, f["observe_until"].Column
			p.lines[path+".observe_until"] = s.line
		}
		if f["all"] != nil {
			if all := p.fields(f["all"], "all", conditionKeys...); all != nil {
				s.all = p.conditions(all, path+".all")
			}
		}
		s.lists = p.lists(f, place{path: path, facts: true})
	}
	return out
}

func (p *parser) instant(n *yaml.Node) time.Time {
	if n == nil || !p.is(n, yaml.ScalarNode, "observe_until") {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, n.Value)
	if err != nil {
		p.errorf(n, "observe_until %s: write a time with its zone, as 2026-12-15T00:00:00Z", shown(n))
	}
	return t
}

// effective are the conditions of a grant, and its risk, as they are for what it names. A
// tool that "*" grants may have further facts.
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
		for _, name := range []string{every, i.name} { // the closer one has the last word
			for _, of := range f.lists[k] {
				if of.name == name && of.asks != nil && !(name == every && name == i.name) {
					asks, risk = asks.and(of.asks), cmp.Or(of.asks.risk, risk)
				}
			}
		}
	}
	return asks.and(doc.risks[risk]), risk
}
