package policies

import "go.yaml.in/yaml/v3"

// every is the name in access.yaml for every approved tool, resource or prompt of a
// server. None can have it.
const every = "*"

// server is what a role may do on one server.
type server struct {
	name                      string
	tools, resources, prompts []item
}

// item is one grant: a name, a URI, a prefix of URIs or every, and where it is written.
type item struct {
	name string
	line int
}

func (p *parser) server(e entry) server {
	s := server{name: e.key.Value}
	if !validServer(s.name) {
		p.errorf(e.key, "server name %s: use 1 to 63 of a-z 0-9 -, beginning with a letter or digit", shown(e.key))
	}
	f := p.fields(e.value, "a server", "tools", "resources", "prompts")
	if f == nil {
		return s
	}
	if f["tools"] == nil && f["resources"] == nil && f["prompts"] == nil {
		p.errorf(e.key, `server %s grants nothing: add tools: [TOOL], resources: [URI] or prompts: [PROMPT], or ["*"] for every approved one`, shown(e.key))
	}
	s.tools = p.items(f["tools"], "tools", "tool", p.toolName("tool"))
	s.resources = p.items(f["resources"], "resources", "resource", p.resourceName)
	s.prompts = p.items(f["prompts"], "prompts", "prompt", p.toolName("prompt"))
	return s
}

// items reads a list of grants; check notes a mistake in one that is not every.
func (p *parser) items(n *yaml.Node, list, what string, check func(*yaml.Node)) []item {
	var out []item
	for _, i := range p.list(n, list, what) {
		if i.Value != every {
			check(i)
		}
		out = append(out, item{i.Value, i.Line})
	}
	return out
}

// toolName checks the name of a tool, or of a prompt, which is written alike.
func (p *parser) toolName(what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if !validTool(n.Value) {
			p.errorf(n, `%s name %s: use 1 to 128 of A-Z a-z 0-9 _ . - /, or "*" for every approved %s`, what, shown(n), what)
		}
	}
}

func (p *parser) resourceName(n *yaml.Node) {
	if err := checkGrantedURI(n.Value); err != nil {
		p.errorf(n, "resource %s: %v", shown(n), err)
	}
}
