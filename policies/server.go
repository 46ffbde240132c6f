package policies

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// every is the name in access.yaml for every approved tool, resource or prompt of a
// server. None can have it.
const every = "*"

// server is what a role may do on one server.
type server struct {
	name  string
	lists [3][]item // of each kind
}

// kind is one of what a server has.
type kind struct {
	list, one string
	without   []string // conditions that it cannot have
}

// The kinds, as indexes of kinds.
const (
	tools = iota
	resources
	prompts
)

var kinds = [3]kind{
	{"tools", "tool", nil},
	{"resources", "resource", []string{"arguments", "filter"}}, // a read has no arguments, and no records
	{"prompts", "prompt", []string{"filter"}},
}

// item is one grant: a name, a URI, a prefix of URIs or every, and where it is written.
type item struct {
	name         string
	line, column int
	asks         *conditions // nil for none
	omit         bool        // it takes the name out of what a template grants
	from         string      // the template that it is from; empty for what stands in a role
	replaces     bool        // a template has it too
}

// any reports whether anything of the server is named.
func (s server) any() bool {
	return len(s.lists[tools])+len(s.lists[resources])+len(s.lists[prompts]) > 0
}

// wider returns what else of the server grants what has the name, empty for nothing.
func (s server) wider(k int, name string) string {
	for _, i := range s.lists[k] {
		folder, isWide := strings.CutSuffix(i.name, every)
		if isWide && !i.omit && i.name != name && strings.HasPrefix(name, folder) {
			return i.name
		}
	}
	return ""
}

// place is where in access.yaml the items of a server are, and what may be there.
type place struct {
	path    string
	mayOmit bool // a template is above
	bare    bool // names only: a denial has no conditions of its own
	facts   bool // conditions only: nothing is granted here, so every would be another word for all
}

func (p *parser) server(e entry, at place) server {
	s := server{name: e.key.Value}
	p.serverName(e.key)
	f := p.fields(e.value, "a server", "tools", "resources", "prompts")
	if f == nil {
		return s
	}
	if len(f) == 0 {
		p.errorf(e.key, `server %s grants nothing: add tools: [TOOL], resources: [URI] or prompts: [PROMPT], or ["*"] for every approved one`, shown(e.key))
	}
	s.lists = p.lists(f, at)
	return s
}

func (p *parser) serverName(n *yaml.Node) {
	if !validServer(n.Value) {
		p.errorf(n, "server name %s: use 1 to 63 of a-z 0-9 -, beginning with a letter or digit", shown(n))
	}
}

func (p *parser) lists(f map[string]*yaml.Node, at place) (out [3][]item) {
	for i, k := range kinds {
		out[i] = p.items(f[k.list], k, at)
	}
	return out
}

// items reads a list of names, or a mapping from them to conditions.
func (p *parser) items(n *yaml.Node, k kind, at place) []item {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.MappingNode && !at.bare || at.facts {
		return p.conditionalItems(n, k, at)
	}
	var out []item
	for _, i := range p.list(n, k.list, k.one) {
		p.itemName(i, k)
		out = append(out, item{name: i.Value, line: i.Line, column: i.Column})
	}
	return out
}

func (p *parser) conditionalItems(n *yaml.Node, k kind, at place) []item {
	var out []item
	for _, e := range p.entries(n, k.list, k.one) {
		p.itemName(e.key, k)
		i := item{name: e.key.Value, line: e.key.Line, column: e.key.Column}
		switch v := e.value; {
		case v.Kind == yaml.ScalarNode && v.Value == "omit" && v.ShortTag() == "!!str" && p.plain(v):
			i.omit = true
			if !at.mayOmit {
				p.errorf(v, "omit takes %s out of what a template grants: here is no template, remove the line", shown(e.key))
			}
		case v.ShortTag() == "!!null" && p.plain(v):
		default:
			i.asks = p.itemConditions(v, k, at.path+"."+k.list+"."+i.name)
		}
		out = append(out, i)
	}
	return out
}

func (p *parser) itemConditions(n *yaml.Node, k kind, path string) *conditions {
	f := p.fields(n, "a "+k.one, slices.DeleteFunc(slices.Clone(conditionKeys), func(key string) bool { return slices.Contains(k.without, key) })...)
	if len(f) == 0 {
		return nil
	}
	return p.conditions(f, path)
}

func (p *parser) itemName(n *yaml.Node, k kind) {
	switch {
	case n.Value == every:
	case k.one == "resource":
		if err := checkGrantedURI(n.Value); err != nil {
			p.errorf(n, "resource %s: %v", shown(n), err)
		}
	case !validTool(n.Value):
		p.errorf(n, `%s name %s: use 1 to 128 of A-Z a-z 0-9 _ . - /, or "*" for every approved %s`, k.one, shown(n), k.one)
	}
}
