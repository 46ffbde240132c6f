package schema

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

var dialects = []string{"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2019-09/schema", "http://json-schema.org/draft-07/schema", "https://json-schema.org/draft-07/schema"}

// identify reads what names a schema and what it refers to.
func (d *document) identify(n *node, v map[string]any) error {
	for _, k := range []string{"$schema", "$id", "$anchor", "$dynamicAnchor", "$ref"} {
		if x, ok := v[k]; ok {
			if _, ok := x.(string); !ok {
				return fmt.Errorf("%s is not a string", k)
			}
		}
	}
	for _, k := range []string{"$dynamicRef", "$recursiveRef"} {
		if _, ok := v[k]; ok {
			return fmt.Errorf("%s is not supported", k)
		}
	}
	if s, ok := v["$schema"].(string); ok && !slices.Contains(dialects, strings.TrimSuffix(s, "#")) {
		return errors.New("$schema is neither draft-07, 2019-09 nor 2020-12")
	}
	if err := d.name(n, v); err != nil {
		return err
	}
	if ref, ok := v["$ref"].(string); ok {
		if _, ok := v["$id"]; ok && (n.at != "" || !strings.HasPrefix(ref, "#")) {
			return errors.New("$id beside $ref, which draft-07 and 2020-12 read differently")
		}
		n.ref = ref
		d.pending = append(d.pending, n)
	}
	return nil
}

// name enters n under its URIs, and what is below it under its base.
func (d *document) name(n *node, v map[string]any) error {
	var names []string
	if id, ok := v["$id"].(string); ok {
		u, err := n.base.Parse(id)
		if err != nil {
			return errors.New("$id is not a URI reference")
		}
		if u.Fragment != "" { // draft-07 §8.2.3
			names = append(names, u.String())
		}
		if u = whole(u); u.String() != n.base.String() {
			n.base, names = u, append(names, u.String())
		}
	}
	for _, k := range []string{"$anchor", "$dynamicAnchor"} {
		if a, ok := v[k].(string); ok {
			u := *n.base
			u.Fragment = a
			names = append(names, u.String())
		}
	}
	for _, name := range names {
		if d.uris[name] != nil {
			return errors.New("its name is taken")
		}
		d.uris[name] = n
	}
	return nil
}

// whole is u without its fragment.
func whole(u *url.URL) *url.URL {
	v := *u
	v.Fragment, v.RawFragment = "", ""
	return &v
}

// resolve finds what n refers to: in this document, or not at all.
func (d *document) resolve(n *node) (*node, error) {
	u, err := n.base.Parse(n.ref)
	if err != nil {
		return nil, errors.New("$ref is not a URI reference")
	}
	pointer := ""
	if u.Fragment == "" || strings.HasPrefix(u.Fragment, "/") {
		pointer, u = u.Fragment, whole(u)
	}
	m := d.uris[u.String()]
	if m == nil {
		return nil, fmt.Errorf("$ref to another document, which is never read: %s", clip(n.ref, maxLiteral))
	}
	if pointer == "" {
		return m, nil
	}
	if m, err = d.find(m, jsontext.Pointer(pointer)); err != nil {
		return nil, fmt.Errorf("$ref: %w", err)
	}
	return m, nil
}

// find walks a JSON pointer (RFC 6901) from m. It need not lead to a place that a
// keyword makes a schema.
func (d *document) find(m *node, pointer jsontext.Pointer) (*node, error) {
	at, v := jsontext.Pointer(""), d.value
	for token := range (m.at + pointer).Tokens() {
		at = at.AppendToken(token)
		switch x := v.(type) {
		case map[string]any:
			v = x[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(x) {
				return nil, fmt.Errorf("nothing at %s", where(at))
			}
			v = x[i]
		default:
			return nil, fmt.Errorf("nothing at %s", where(at))
		}
	}
	return d.read(v, at, m.base)
}
