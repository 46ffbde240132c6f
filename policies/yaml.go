package policies

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parser reads a strict subset of YAML: mappings with plain string keys that
// occur once, lists, strings. No anchors, aliases, merge keys or tags, so that a
// reader sees what is granted where it stands, and no document grows in memory.
type parser struct {
	file string
	errs []error

	// What is defined, for what refers to it.
	windows      map[string]hours
	risks, roles map[string]bool
	templates    map[string]*template
	approvers    map[string]bool // roles that some approval names
	lines        map[string]int  // of each condition, by its path
	deferred     []func()        // checks to make once all is read
}

func newParser(file string) *parser {
	return &parser{
		file: file, windows: map[string]hours{}, risks: map[string]bool{}, roles: map[string]bool{},
		templates: map[string]*template{}, approvers: map[string]bool{}, lines: map[string]int{},
	}
}

// later makes a check once all is read.
func (p *parser) later(check func()) { p.deferred = append(p.deferred, check) }

// define notes the names of a section, whose mistakes are told when it is read.
func define(section *yaml.Node, names map[string]bool) {
	if section == nil || section.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i < len(section.Content); i += 2 {
		names[section.Content[i].Value] = true
	}
}

// errorf notes a mistake at n and returns it.
func (p *parser) errorf(n *yaml.Node, format string, args ...any) error {
	err := fmt.Errorf("%s:%d:%d: %s", p.file, n.Line, n.Column, fmt.Sprintf(format, args...))
	p.errs = append(p.errs, err)
	return err
}

type entry struct{ key, value *yaml.Node }

// entries returns the entries of a mapping with free keys; each key names a what.
func (p *parser) entries(n *yaml.Node, name, what string) []entry {
	if !p.is(n, yaml.MappingNode, name) {
		return nil
	}
	var out []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if !p.text(k, what) {
			continue
		}
		if line, ok := seen[k.Value]; ok {
			p.errorf(k, "%s %s is already on line %d: keep one", what, shown(k), line)
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, entry{k, v})
	}
	return out
}

// fields returns the values of a mapping whose keys are among allowed, and nil
// if n is no mapping.
func (p *parser) fields(n *yaml.Node, name string, allowed ...string) map[string]*yaml.Node {
	if !p.is(n, yaml.MappingNode, name) {
		return nil
	}
	out := map[string]*yaml.Node{}
	for _, e := range p.entries(n, name, "key") {
		known := false
		for _, a := range allowed {
			known = known || a == e.key.Value
		}
		if !known {
			p.errorf(e.key, "unknown key %s: %s takes %s", shown(e.key), name, listed(allowed))
			continue
		}
		out[e.key.Value] = e.value
	}
	return out
}

// listed is "a", "a and b" or "a, b and c".
func listed(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// list returns the strings of a list, each of which names a what and occurs
// once; an absent list is empty.
func (p *parser) list(n *yaml.Node, name, what string) []*yaml.Node {
	if n == nil || !p.is(n, yaml.SequenceNode, name) {
		return nil
	}
	var out []*yaml.Node
	seen := map[string]int{}
	for _, item := range n.Content {
		if !p.text(item, what) {
			continue
		}
		if line, ok := seen[item.Value]; ok {
			p.errorf(item, "%s %s is already on line %d: keep one", what, shown(item), line)
			continue
		}
		seen[item.Value] = item.Line
		out = append(out, item)
	}
	return out
}

var kindNames = map[yaml.Kind]string{
	yaml.MappingNode: "a mapping {KEY: VALUE}", yaml.SequenceNode: "a list [A, B]", yaml.ScalarNode: "a single value",
}

func (p *parser) is(n *yaml.Node, k yaml.Kind, name string) bool {
	if !p.plain(n) {
		return false
	}
	if n.ShortTag() == "!!null" {
		p.errorf(n, "%s is empty: it must be %s", name, kindNames[k])
		return false
	}
	if n.Kind != k {
		p.errorf(n, "%s must be %s, not %s", name, kindNames[k], kindNames[n.Kind])
		return false
	}
	return true
}

// text accepts strings only: YAML reads 007, true and ~ as something else, and a
// guess at what was meant would grant to the wrong name.
func (p *parser) text(n *yaml.Node, what string) bool {
	if !p.is(n, yaml.ScalarNode, "a "+what) {
		return false
	}
	if n.ShortTag() != "!!str" {
		p.errorf(n, "%s %s is not text: put it in quotes", what, strings.Trim(shown(n), `"`))
		return false
	}
	return true
}

// plain refuses what makes a value stand elsewhere or be something else than it
// looks like.
func (p *parser) plain(n *yaml.Node) bool {
	switch {
	case n.Anchor != "" || n.Kind == yaml.AliasNode:
		p.errorf(n, "anchors and aliases are not supported: write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		p.errorf(n, "tags are not supported: remove %s", n.Tag)
	case n.ShortTag() == "!!merge":
		p.errorf(n, "merge keys are not supported: write the value out")
	default:
		return true
	}
	return false
}

// shown quotes a value for an error, in ASCII so that a letter that only looks
// like another is seen, and cut to a line.
func shown(n *yaml.Node) string {
	const most = 160
	if len(n.Value) > most {
		return fmt.Sprintf("%+q…", n.Value[:most])
	}
	return fmt.Sprintf("%+q", n.Value)
}
