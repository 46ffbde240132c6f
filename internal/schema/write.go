package schema

import (
	"fmt"
	"maps"
	"strconv"
)

// writer writes the document that the library compiles: assertions only, 2020-12,
// closed, each $ref to a definition of the form that its place asks for.
type writer struct {
	root    *node
	refs    map[variant]string
	defs    map[string]any
	queue   []variant
	written int
	said    map[*node]saying
	err     error // the first; what is written after it is void
}

// variant is a subschema in one form.
type variant struct {
	*node
	form form
}

func write(root *node, f form) (any, error) {
	w := &writer{root: root, refs: map[variant]string{}, defs: map[string]any{}, said: map[*node]saying{}}
	doc := w.schema(root, f)
	for len(w.queue) > 0 && w.err == nil {
		v := w.queue[0]
		w.queue = w.queue[1:]
		w.defs[w.refs[v]] = w.schema(v.node, v.form)
	}
	if out, ok := doc.(map[string]any); ok && len(w.defs) > 0 {
		out["$defs"] = w.defs
	}
	return doc, w.err
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) schema(n *node, f form) any {
	if w.written++; w.written > maxCompiled {
		w.fail(fmt.Errorf("more than %d subschemas when closed", maxCompiled))
	}
	if w.err != nil {
		return nil
	}
	if n.truth != nil {
		return *n.truth
	}
	if f == closed && n != w.root && n.isReference() {
		return w.reference(n.one["$ref"], closed)
	}
	out := maps.Clone(n.keep)
	if target := n.one["$ref"]; target != nil {
		maps.Copy(out, w.reference(target, f.beside()))
	}
	w.inside(n, f, out)
	w.joined(n, f.beside(), out)
	w.conditional(n, f.beside(), out)
	if f == closed {
		w.close(n, out)
	}
	return out
}

func (w *writer) reference(n *node, f form) map[string]any {
	v := variant{n, f}
	name, ok := w.refs[v]
	if !ok {
		name = strconv.Itoa(len(w.refs))
		w.refs[v] = name
		w.queue = append(w.queue, v)
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

// put writes what n has under these keywords.
func (w *writer) put(out map[string]any, n *node, f form, keywords ...string) {
	for _, k := range keywords {
		if m := n.one[k]; m != nil {
			out[k] = w.schema(m, f)
		}
		if list := n.list[k]; len(list) > 0 {
			out[k] = w.listed(list, f)
		}
		if members := n.named[k]; len(members) > 0 {
			named := map[string]any{}
			for _, m := range members {
				named[m.name] = w.schema(m.node, f)
			}
			out[k] = named
		}
	}
}

func (w *writer) listed(nodes []*node, f form) []any {
	var out []any
	for _, n := range nodes {
		out = append(out, w.schema(n, f))
	}
	return out
}
