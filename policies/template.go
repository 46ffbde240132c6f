package policies

import (
	"cmp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// inherit adds to the role what its templates grant, unless the role has an entry for
// that, and the conditions of the templates, which hold for all of the role. Of risks, the
// role's own counts.
func (p *parser) inherit(n *yaml.Node, r *role) {
	own := r.risk
	for _, t := range p.templatesOf(n) {
		if t.asks != nil {
			if risk := t.asks.risk; own == "" && risk != "" && r.risk != "" && r.risk != risk {
				p.errorf(n, "the templates of role %q have the risks %q and %q: say in the role which it has", r.name, r.risk, risk)
			}
			r.asks, r.risk = r.asks.and(t.asks), cmp.Or(r.risk, t.asks.risk)
		}
		for _, s := range t.servers {
			for k := range kinds {
				for _, i := range s.lists[k] {
					i.from = t.name
					p.inheritOne(n, r.server(s.name), k, i)
				}
			}
		}
	}
	for i := range r.servers {
		p.dropOmitted(n, &r.servers[i])
	}
}

// templatesOf reads one name of a template or a list of them.
func (p *parser) templatesOf(n *yaml.Node) (out []*template) {
	if n == nil {
		return nil
	}
	names := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		names = p.list(n, "template", "template")
	} else if !p.text(n, "template") {
		return nil
	}
	for _, name := range names {
		if t := p.templates[name.Value]; t != nil {
			out = append(out, t)
		} else {
			p.errorf(name, "template %s is not defined: add it under templates at the top", shown(name))
		}
	}
	slices.SortFunc(out, func(a, b *template) int { return cmp.Compare(a.name, b.name) }) // their order means nothing
	return out
}

// server returns what the role has on the server, to add to.
func (r *role) server(name string) *server {
	i := slices.IndexFunc(r.servers, func(s server) bool { return s.name == name })
	if i < 0 {
		i = len(r.servers)
		r.servers = append(r.servers, server{name: name})
	}
	return &r.servers[i]
}

func (p *parser) inheritOne(n *yaml.Node, s *server, k int, i item) {
	at := slices.IndexFunc(s.lists[k], func(o item) bool { return o.name == i.name })
	switch {
	case at < 0:
		s.lists[k] = append(s.lists[k], i)
	case s.lists[k][at].from == "":
		s.lists[k][at].replaces = true
	default:
		p.errorf(n, "%s %q of server %q is in the templates %s and %s: keep it in one, or name it in the role", kinds[k].one, i.name, s.name, s.lists[k][at].from, i.from)
	}
}

// dropOmitted takes out what the role omits, which a template must have named: an
// omission that takes nothing away is a mistake in a name, or of who forgot a "*".
func (p *parser) dropOmitted(n *yaml.Node, s *server) {
	for k := range kinds {
		for _, i := range s.lists[k] {
			switch by := s.wider(k, i.name); {
			case i.omit && by != "":
				p.errorf(&yaml.Node{Line: i.line, Column: i.column}, "%s %q is omitted, and %q of this role grants it: deny it under deny", kinds[k].one, i.name, by)
			case i.omit && !i.replaces && n != nil:
				p.errorf(&yaml.Node{Line: i.line, Column: i.column}, "%s %q is in no template of this role, so there is nothing to omit: take it out where it is granted, or deny it under deny", kinds[k].one, i.name)
			}
		}
		s.lists[k] = slices.DeleteFunc(s.lists[k], func(i item) bool { return i.omit })
	}
}
