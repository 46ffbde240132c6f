package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"text/template/parse"
)

// maxRendered bounds what one template makes, in bytes.
const maxRendered = 64 << 10

// text is a compiled template. Only what needs no decision is allowed in one: a name of
// the secret, and functions that write it otherwise. So it is known which names a place
// uses, every output is bounded, and an error never has a value in it.
type text []part

// part is constant, or a value of the secret through functions.
type part struct {
	constant string
	name     string
	through  []function
}

type function func(string) string

// functions write a value for where it goes.
var functions = map[string]function{
	"urlquery": func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }, // right in user:password@ too
	"base64":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"json":     jsonString,
}

// jsonString is a string of JSON, with its quotes.
func jsonString(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // no string fails
		return ""
	}
	return string(b)
}

// known has the names that a template may use, for the parser.
var known = map[string]any{"urlquery": true, "base64": true, "json": true, "index": true}

const allowedIn = `write {{.name}}, {{index . "a-name"}}, and | urlquery, | base64 or | json behind it`

// compile reads a template.
func compile(s string) (text, error) {
	if len(s) > maxRendered {
		return nil, fmt.Errorf("the template is longer than %d bytes", maxRendered)
	}
	trees, err := parse.Parse("value", s, "{{", "}}", known)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, allowedIn)
	}
	root := trees["value"]
	if len(trees) > 1 || root == nil { // {{define}}
		return nil, errors.New("no template may be defined: " + allowedIn)
	}
	var t text
	for _, n := range root.Root.Nodes {
		p, err := compileNode(n)
		if err != nil {
			return nil, err
		}
		t = append(t, p)
	}
	return t, nil
}

func compileNode(n parse.Node) (part, error) {
	switch n := n.(type) {
	case *parse.TextNode:
		return part{constant: string(n.Text)}, nil
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 {
			return compilePipe(n.Pipe)
		}
	}
	return part{}, fmt.Errorf("%.60s is not allowed: %s", n, allowedIn)
}

// compilePipe reads {{.name | f | g}}.
func compilePipe(pipe *parse.PipeNode) (part, error) {
	var p part
	for i, c := range pipe.Cmds {
		ok := false
		if i == 0 {
			p.name, ok = nameIn(c.Args)
		} else if f, is := c.Args[0].(*parse.IdentifierNode); is && len(c.Args) == 1 {
			var fn function
			if fn, ok = functions[f.Ident]; ok {
				p.through = append(p.through, fn)
			}
		}
		if !ok {
			return part{}, fmt.Errorf("{{%s}} is not allowed: %s", pipe, allowedIn)
		}
	}
	return p, nil
}

// nameIn reads .name, or index . "name" for names that are no identifiers.
func nameIn(args []parse.Node) (string, bool) {
	if f, ok := args[0].(*parse.FieldNode); ok {
		return f.Ident[0], len(args) == 1 && len(f.Ident) == 1
	}
	f, ok := args[0].(*parse.IdentifierNode)
	if !ok || f.Ident != "index" || len(args) != 3 || args[1].Type() != parse.NodeDot {
		return "", false
	}
	s, ok := args[2].(*parse.StringNode)
	if !ok {
		return "", false
	}
	return s.Text, s.Text != ""
}

// names are those that the template uses.
func (t text) names() []string {
	var names []string
	for _, p := range t {
		if p.name != "" && !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	return names
}

// render writes the text. made are the values that are secret, as they are in it.
func (t text) render(values map[string]string) (out string, made []string, err error) {
	var b strings.Builder
	for _, p := range t {
		s := p.constant
		if p.name != "" {
			if s, err = p.value(values); err != nil {
				return "", nil, err
			}
			if !public[p.name] {
				made = append(made, s)
			}
		}
		if b.Len()+len(s) > maxRendered {
			return "", nil, fmt.Errorf("it becomes longer than %d bytes", maxRendered)
		}
		b.WriteString(s)
	}
	return b.String(), made, nil
}

func (p part) value(values map[string]string) (string, error) {
	s, ok := values[p.name]
	if !ok {
		return "", fmt.Errorf("the secret has no %q, but %s", p.name, namesOf(values))
	}
	for _, f := range p.through {
		if len(s) > maxRendered { // before the next makes it longer
			return "", fmt.Errorf("%q becomes longer than %d bytes", p.name, maxRendered)
		}
		s = f(s)
	}
	return s, nil
}

// maxNames bounds what an error lists.
const maxNames = 16

// namesOf lists what there is, for whoever wrote the template.
func namesOf(values map[string]string) string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, fmt.Sprintf("%q", name))
	}
	slices.Sort(names)
	if len(names) > maxNames {
		names = append(names[:maxNames], "…")
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
