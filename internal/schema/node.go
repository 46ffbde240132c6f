package schema

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// The keywords that count. Any other is an annotation, and is left out.
var (
	assertions = []string{"type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "pattern", "uniqueItems", "required", "dependentRequired"}
	counts     = []string{"maxLength", "minLength", "maxItems", "minItems", "maxContains", "minContains", "maxProperties", "minProperties"}
	ones       = []string{"items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "propertyNames", "contains", "not", "if", "then", "else"}
	lists      = []string{"prefixItems", "allOf", "anyOf", "oneOf"}
	nameds     = []string{"properties", "patternProperties", "dependentSchemas"}
	shelves    = []string{"$defs", "definitions"}
)

// The keywords whose subschemas see the same value; those of them that say which
// of its properties have been looked at, which not does not (2020-12 core §11.1);
// and those whose subschemas see the values inside.
var (
	inPlace    = append([]string{"not"}, evaluating...)
	evaluating = []string{"$ref", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas"}
	inside     = []string{"items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "properties", "patternProperties"}
)

// node is a subschema as written, but in the words of 2020-12.
type node struct {
	at    jsontext.Pointer // in the document
	base  *url.URL
	truth *bool            // what a boolean schema says
	keep  map[string]any   // assertions, which closing does not touch
	ref   string           // as written
	one   map[string]*node // the target of $ref among them, once resolved
	list  map[string][]*node
	named map[string][]member
}

type member struct {
	name string
	*node
}

// under returns the subschemas that n has under these keywords.
func (n *node) under(keywords ...string) []*node {
	var all []*node
	for _, k := range keywords {
		if m := n.one[k]; m != nil {
			all = append(all, m)
		}
		all = append(all, n.list[k]...)
		for _, m := range n.named[k] {
			all = append(all, m.node)
		}
	}
	return all
}

// isReference reports whether n is a $ref and nothing else.
func (n *node) isReference() bool {
	return n.one["$ref"] != nil && len(n.one) == 1 && len(n.keep)+len(n.list)+len(n.named) == 0
}

// describesObject reports whether n says that the value is an object.
func (n *node) describesObject() bool {
	seen := map[*node]bool{}
	var visit func(n *node) bool
	visit = func(n *node) bool {
		if seen[n] {
			return false
		}
		seen[n] = true
		switch t := n.keep["type"].(type) {
		case string:
			return t == "object"
		case []any:
			return len(t) == 1 && t[0] == "object"
		}
		return slices.ContainsFunc(n.under("$ref", "allOf"), visit)
	}
	return visit(n)
}

// acyclic refuses schemas that apply themselves to the same value again: no value
// could be checked.
func acyclic(nodes map[jsontext.Pointer]*node) error {
	done := map[*node]bool{} // false: on the path
	var visit func(n *node) error
	visit = func(n *node) error {
		if left, seen := done[n]; seen {
			if !left {
				return fmt.Errorf("%s: refers to itself", where(n.at))
			}
			return nil
		}
		done[n] = false
		for _, m := range n.under(inPlace...) {
			if err := visit(m); err != nil {
				return err
			}
		}
		done[n] = true
		return nil
	}
	for _, at := range sorted(nodes) {
		if err := visit(nodes[at]); err != nil {
			return err
		}
	}
	return nil
}
