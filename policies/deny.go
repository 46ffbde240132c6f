package policies

import "go.yaml.in/yaml/v3"

// denial takes away what any role grants.
type denial struct {
	name    string
	line    int
	who     *who   // nil: everybody
	hours   string // only within; empty: always
	servers []server
	reason  string
}

func (p *parser) denySection(n *yaml.Node) []denial {
	if n == nil {
		return nil
	}
	var out []denial
	for _, e := range p.entries(n, "deny", "denial") {
		out = append(out, p.denial(e))
	}
	return out
}

func (p *parser) denial(e entry) denial {
	d := denial{name: e.key.Value, line: e.key.Line}
	p.checkName(e.key, "denial")
	f := p.fields(e.value, "a denial", "who", "hours", "servers", "reason")
	if f == nil {
		return d
	}
	if f["who"] != nil {
		w := p.who(f["who"])
		d.who = &w
	}
	if n := f["hours"]; n != nil && p.text(n, "name of hours") {
		d.hours = n.Value
		if _, ok := p.windows[n.Value]; !ok {
			p.errorf(n, "hours %s are not defined: add them under hours at the top", shown(n))
		}
	}
	if n := f["reason"]; n != nil && p.text(n, "reason") {
		d.reason = n.Value
	}
	if f["servers"] == nil {
		p.errorf(e.key, `denial %s denies nothing: add servers: {SERVER: {tools: [TOOL]}}, or ["*"] for every one`, shown(e.key))
		return d
	}
	for _, s := range p.entries(f["servers"], "servers", "server") {
		d.servers = append(d.servers, p.denied(s))
	}
	return d
}

func (p *parser) denied(e entry) server {
	s := server{name: e.key.Value}
	p.serverName(e.key)
	f := p.fields(e.value, "a server", "tools", "resources", "prompts")
	if f == nil {
		return s
	}
	s.lists = p.lists(f, place{bare: true})
	if !s.any() {
		p.errorf(e.key, `server %s: nothing of it is denied: add tools: [TOOL], resources: [URI] or prompts: [PROMPT], or ["*"] for every one`, shown(e.key))
	}
	return s
}
