package schema

import (
	"fmt"
	"slices"
)

// form is how a subschema is written down for the library.
type form uint8

const (
	asWritten form = iota
	open           // closed below: the value is closed by the schema that it joins
	closed
)

// below is the form of what describes the values inside.
func (f form) below() form {
	if f == asWritten {
		return asWritten
	}
	return closed
}

// beside is the form of what sees the same value: only one of them may close it,
// for each alone would refuse what the others name.
func (f form) beside() form {
	if f == asWritten {
		return asWritten
	}
	return open
}

// close refuses the properties that n and what it joins do not name, unless one
// of them says what becomes of the others (2020-12 core §10.3.2.3, §11.3).
// What names nothing, like {} or {"type":"object"}, leaves the value free; only
// the root is closed all the same.
func (w *writer) close(n *node, out map[string]any) {
	if n.one["additionalProperties"] != nil || n.one["unevaluatedProperties"] != nil {
		return
	}
	mine, joined := w.says(n)
	switch {
	case !mine.names && !joined.names && n != w.root:
	case joined != saying{}:
		out["unevaluatedProperties"] = false
	default:
		out["additionalProperties"] = false
	}
}

// saying is what a schema says of properties.
type saying struct{ names, others bool }

func (a saying) or(b saying) saying { return saying{a.names || b.names, a.others || b.others} }

// says returns what n says and what is said by those that it joins to.
func (w *writer) says(n *node) (mine, joined saying) {
	mine = saying{
		names:  len(n.named["properties"])+len(n.named["patternProperties"]) > 0,
		others: n.one["additionalProperties"] != nil || n.one["unevaluatedProperties"] != nil,
	}
	for _, m := range n.under(evaluating...) {
		joined = joined.or(w.all(m))
	}
	return mine, joined
}

func (w *writer) all(n *node) saying {
	if s, ok := w.said[n]; ok {
		return s
	}
	mine, joined := w.says(n)
	w.said[n] = mine.or(joined)
	return w.said[n]
}

// inside writes what describes the values inside. propertyNames sees strings, and
// contains counts: closing it would let pass what maxContains refuses.
func (w *writer) inside(n *node, f form, out map[string]any) {
	if m := n.one["contains"]; m != nil && w.changes(m, f.below()) {
		w.fail(fmt.Errorf("%s: contains names properties, and cannot be closed", where(m.at)))
	}
	w.put(out, n, f.below(), inside...)
	w.put(out, n, asWritten, "propertyNames", "contains")
}

// joined writes what sees the same value and must hold of it. For oneOf exactly
// one must hold as written, and that one closed as well: where closing alone
// decided between two, it would let pass what the schema refuses.
func (w *writer) joined(n *node, f form, out map[string]any) {
	w.put(out, n, f, "anyOf", "allOf", "dependentSchemas")
	one := n.list["oneOf"]
	if !slices.ContainsFunc(one, func(m *node) bool { return w.changes(m, f) }) {
		w.put(out, n, f, "oneOf")
		return
	}
	w.put(out, n, asWritten, "oneOf")
	all, _ := out["allOf"].([]any)
	out["allOf"] = append(all, map[string]any{"anyOf": w.listed(one, f)})
}

// conditional writes not and if as written, for closing them would let pass more.
// What holds of the value by if must hold closed as well.
func (w *writer) conditional(n *node, f form, out map[string]any) {
	w.put(out, n, asWritten, "not", "if")
	w.put(out, n, f, "then", "else")
	m := n.one["if"]
	if m == nil || !w.changes(m, f) {
		return
	}
	then := w.schema(m, f)
	if t, ok := out["then"]; ok {
		then = map[string]any{"allOf": []any{then, t}}
	}
	out["then"] = then
}

// changes reports whether n is another schema in this form than as written.
func (w *writer) changes(n *node, f form) bool {
	if f == asWritten {
		return false
	}
	seen := map[variant]bool{}
	var visit func(n *node, f form) bool
	visit = func(n *node, f form) bool {
		v := variant{n, f}
		if seen[v] {
			return false
		}
		seen[v] = true
		if f == closed {
			if mine, joined := w.says(n); (mine.names || joined.names) && !mine.others {
				return true
			}
		}
		return slices.ContainsFunc(n.under(evaluating...), func(m *node) bool { return visit(m, open) }) ||
			slices.ContainsFunc(n.under(inside...), func(m *node) bool { return visit(m, closed) }) ||
			slices.ContainsFunc(n.under("contains"), func(m *node) bool { return visit(m, closed) })
	}
	return visit(n, f)
}
