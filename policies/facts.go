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

// checkLogins finds grants that no login suits, because of two of their conditions each
// takes what the other does not.
func (p *parser) checkLogins(doc *document) {
	if !doc.manyLogins() {
		return
	}
	for _, r := range doc.roles {
		for _, s := range r.servers {
			for k := range kinds {
				for _, i := range s.lists[k] {
					p.checkLogin(doc, r, s.name, k, i)
				}
			}
		}
	}
}

func (p *parser) checkLogin(doc *document, r role, server string, k int, i item) {
	names := []string{i.name}
	if f := doc.facts[server]; f != nil && i.name == every {
		for _, of := range f.lists[k] {
			names = append(names, of.name)
		}
	}
	for _, name := range names {
		of := i
		of.name = name
		if asks, _ := doc.effective(r, server, k, of); !asks.anyLogin() {
			p.errorf(&yaml.Node{Line: i.line, Column: i.column}, "%s %q of server %q: no login suits it, because its acr and that of its role, server or risk have no value in common", kinds[k].one, name, server)
		}
	}
}

// manyLogins reports whether there are two acr at all: most policies have none.
func (doc *document) manyLogins() bool {
	n := 0
	for _, c := range doc.everywhere() {
		for _, a := range c.Needs {
			if a.Is == "acr" {
				n++
			}
		}
	}
	return n > 1
}

func (c *conditions) anyLogin() bool {
	if c == nil {
		return true
	}
	var common []string
	first := true
	for _, a := range c.Needs {
		if a.Is != "acr" {
			continue
		}
		if first {
			common, first = sorted(a.Among), false
		}
		common = slices.DeleteFunc(common, func(v string) bool { return !a.Among[v] })
	}
	return first || len(common) > 0
}
