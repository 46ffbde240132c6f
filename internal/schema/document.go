package schema

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// document is a schema document: read whole, each $ref resolved in it.
type document struct {
	value    any
	root     *node
	nodes    map[jsontext.Pointer]*node
	uris     map[string]*node // by URI, with an anchor or without
	pending  []*node          // with a $ref to resolve
	patterns patterns
}

func readDocument(raw jsontext.Value) (*document, error) {
	value, err := (&reader{d: new(jsontext.Decoder)}).readAll(raw)
	if err != nil {
		return nil, err
	}
	d := &document{value: value, nodes: map[jsontext.Pointer]*node{}, uris: map[string]*node{}, patterns: patterns{}}
	base := &url.URL{Scheme: "https", Host: "schema.invalid", Path: "/"}
	if d.root, err = d.read(value, "", base); err != nil {
		return nil, err
	}
	d.uris[base.String()] = d.root
	for len(d.pending) > 0 {
		n := d.pending[0]
		d.pending = d.pending[1:]
		if n.one["$ref"], err = d.resolve(n); err != nil {
			return nil, fmt.Errorf("%s: %w", where(n.at), err)
		}
	}
	return d, acyclic(d.nodes)
}

func (d *document) read(v any, at jsontext.Pointer, base *url.URL) (*node, error) {
	if n := d.nodes[at]; n != nil {
		return n, nil
	}
	n := &node{at: at, base: base, keep: map[string]any{}, one: map[string]*node{}, list: map[string][]*node{}, named: map[string][]member{}}
	if d.nodes[at] = n; len(d.nodes) > maxSubschemas {
		return nil, fmt.Errorf("more than %d subschemas", maxSubschemas)
	}
	if truth, ok := v.(bool); ok {
		n.truth = &truth
		return n, nil
	}
	keywords, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: is not a schema", where(at))
	}
	keywords, err := modern(keywords)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where(at), err)
	}
	for _, step := range []func(*node, map[string]any) error{d.identify, d.assert} {
		if err := step(n, keywords); err != nil {
			return nil, fmt.Errorf("%s: %w", where(at), err)
		}
	}
	return n, d.descend(n, keywords)
}

// assert copies the keywords that have no subschemas. The library checks their
// form; it takes a count modulo 2⁶⁴, which turned a minLength into none.
func (d *document) assert(n *node, v map[string]any) error {
	for _, k := range assertions {
		if x, ok := v[k]; ok {
			n.keep[k] = x
		}
	}
	if err := d.patterns.compileAll(v); err != nil {
		return err
	}
	for _, k := range counts {
		x, ok := v[k]
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(fmt.Sprint(x), 64)
		if err != nil || f > maxSchemaCount {
			return fmt.Errorf("%s is above %d", k, maxSchemaCount)
		}
		n.keep[k] = x
	}
	return nil
}

// descend reads the subschemas.
func (d *document) descend(n *node, v map[string]any) (err error) {
	for _, k := range ones {
		if x, ok := v[k]; ok {
			if n.one[k], err = d.read(x, n.at.AppendToken(k), n.base); err != nil {
				return err
			}
		}
	}
	for _, k := range lists {
		if err := d.descendList(n, k, v); err != nil {
			return err
		}
	}
	for _, k := range slices.Concat(nameds, shelves) {
		if err := d.descendNamed(n, k, v[k]); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) descendList(n *node, k string, v map[string]any) error {
	list, ok := v[k].([]any)
	if _, there := v[k]; there && !ok {
		return fmt.Errorf("%s: %s is not an array", where(n.at), k)
	}
	for i, x := range list {
		m, err := d.read(x, n.at.AppendToken(k).AppendToken(strconv.Itoa(i)), n.base)
		if err != nil {
			return err
		}
		n.list[k] = append(n.list[k], m)
	}
	return nil
}

func (d *document) descendNamed(n *node, k string, v any) error {
	subschemas, ok := v.(map[string]any)
	if v != nil && !ok {
		return fmt.Errorf("%s: %s is not an object", where(n.at), k)
	}
	for _, name := range sorted(subschemas) {
		m, err := d.read(subschemas[name], n.at.AppendToken(k).AppendToken(name), n.base)
		if err != nil {
			return err
		}
		if !slices.Contains(shelves, k) {
			n.named[k] = append(n.named[k], member{name, m})
		}
	}
	return nil
}

// modern says in the words of 2020-12 what draft-07 says with items, additionalItems
// and dependencies (2020-12 core, appendix G).
func modern(v map[string]any) (map[string]any, error) {
	items, tuple := v["items"].([]any)
	dependencies, depends := v["dependencies"].(map[string]any)
	if !tuple && !depends {
		return v, nil
	}
	for _, k := range []string{"prefixItems", "dependentRequired", "dependentSchemas"} {
		if _, ok := v[k]; ok {
			return nil, fmt.Errorf("%s beside draft-07 keywords", k)
		}
	}
	v = maps.Clone(v)
	if tuple {
		v["prefixItems"] = items
		delete(v, "items")
		if rest, ok := v["additionalItems"]; ok {
			v["items"] = rest
		}
	}
	required, schemas := map[string]any{}, map[string]any{}
	for name, dependency := range dependencies {
		if _, ok := dependency.([]any); ok {
			required[name] = dependency
		} else {
			schemas[name] = dependency
		}
	}
	if len(required) > 0 {
		v["dependentRequired"] = required
	}
	if len(schemas) > 0 {
		v["dependentSchemas"] = schemas
	}
	return v, nil
}

func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
