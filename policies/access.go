package policies

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// document is a checked access.yaml.
type document struct {
	hours   map[string]hours
	risks   map[string]*conditions
	facts   map[string]*serverFacts
	roles   []role
	denials []denial
	lines   map[string]int // of each condition, by its path
}

// whose are all callers that the document names.
func (doc *document) whose() (out []who) {
	for _, r := range doc.roles {
		out = append(out, r.who)
	}
	for _, d := range doc.denials {
		if d.who != nil {
			out = append(out, *d.who)
		}
	}
	return out
}

// parseAccess reads access.yaml; file is its name in errors. An empty document
// is nil. The error has a line for each mistake.
func parseAccess(file string, b []byte) (*document, error) {
	p := newParser(file)
	root, err := p.decode(b)
	if err != nil || root == nil {
		return nil, err
	}
	doc := p.document(root)
	for i := 0; i < len(p.deferred); i++ {
		p.deferred[i]()
	}
	if len(p.errs) == 0 {
		p.checkLogins(doc)
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return doc, nil
}

// decode returns the root of the only document, nil for an empty one.
func (p *parser) decode(b []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	var root, next yaml.Node
	switch err := d.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, p.syntax(err)
	}
	switch err := d.Decode(&next); {
	case err == nil:
		return nil, p.errorf(&next, "a second document: keep one per file")
	case !errors.Is(err, io.EOF):
		return nil, p.syntax(err)
	}
	if n := root.Content[0]; n.ShortTag() != "!!null" {
		return n, nil
	}
	return nil, nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntax places an error of the YAML library, which knows lines only.
func (p *parser) syntax(err error) error {
	line, text := 1, err.Error()
	if m := yamlError.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		text = m[2]
	}
	if text == "did not find expected alphabetic or numeric character" {
		text = `"*" must be in quotes`
	}
	return fmt.Errorf("%s:%d:1: not valid YAML: %s", p.file, line, text)
}

// document reads what is referred to before what refers to it, wherever they stand.
func (p *parser) document(n *yaml.Node) *document {
	f := p.fields(n, "access.yaml", "version", "hours", "risks", "servers", "templates", "roles", "deny")
	if f == nil {
		return nil
	}
	p.version(n, f["version"])
	p.hoursSection(f["hours"])
	define(f["risks"], p.risks)
	define(f["roles"], p.roles)
	doc := &document{hours: p.windows, risks: p.risksSection(f["risks"]), facts: p.serversSection(f["servers"])}
	p.templatesSection(f["templates"])
	if f["roles"] != nil {
		for _, e := range p.entries(f["roles"], "roles", "role") {
			doc.roles = append(doc.roles, p.role(e))
		}
	}
	doc.denials = p.denySection(f["deny"])
	doc.lines = p.lines
	return doc
}

func (p *parser) version(root, n *yaml.Node) {
	switch {
	case n == nil:
		p.errorf(root, "no version: begin with version: 1")
	case !p.plain(n):
	case n.ShortTag() != "!!int" || n.Value != "1":
		p.errorf(n, "unknown version: write version: 1, without quotes")
	}
}

func (p *parser) names(n *yaml.Node, list, what string, check func(string) error) []string {
	var out []string
	for _, item := range p.list(n, list, what) {
		if err := check(item.Value); err != nil {
			p.errorf(item, "%s %s: %v", what, shown(item), err)
		}
		out = append(out, item.Value)
	}
	return out
}
