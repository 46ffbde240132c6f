package policies

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var errName = errors.New("use 1 to 256 bytes of printable UTF-8, with no space at either end")

// checkName takes the name of a group or claim, as an IdP may have it, with inner
// spaces but without what a reader of access.yaml would not see.
func checkName(s string) error {
	if s == "" || len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, unseen) || strings.Trim(s, " ") != s {
		return errName
	}
	return nil
}

// unseen reports whether a reader of access.yaml would not see r.
func unseen(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// when reads the conditions of a role: for each claim the values of which it must
// have one. What could not hold for anybody is a mistake.
func (p *parser) when(n *yaml.Node) map[string][]any {
	if n == nil {
		return map[string][]any{}
	}
	return p.claimValues(n, "when")
}

// claimValues reads claims and their values.
func (p *parser) claimValues(n *yaml.Node, name string) map[string][]any {
	out := map[string][]any{}
	for _, e := range p.entries(n, name, "claim") {
		if err := checkName(e.key.Value); err != nil {
			p.errorf(e.key, "claim %s: %v", shown(e.key), err)
		}
		out[e.key.Value] = p.values(e, "claim")
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.errorf(n, "%s has no condition: add CLAIM: VALUE, or remove %s", name, name)
	}
	return out
}

// values reads one value or a list of them, each of a what.
func (p *parser) values(e entry, what string) []any {
	items := []*yaml.Node{e.value}
	if e.value.Kind == yaml.SequenceNode {
		if !p.plain(e.value) {
			return nil
		}
		if items = e.value.Content; len(items) == 0 {
			p.errorf(e.value, "%s %s has no value, so nothing would do: add one", what, shown(e.key))
		}
	}
	var out []any
	seen := map[any]int{}
	for _, item := range items {
		v, ok := p.scalar(item, what)
		if !ok {
			continue
		}
		if line, ok := seen[v]; ok {
			p.errorf(item, "value %s is already on line %d: keep one", shown(item), line)
			continue
		}
		seen[v] = item.Line
		out = append(out, v)
	}
	// Their order means nothing, so it must not change the digest.
	slices.SortFunc(out, func(a, b any) int { return cmp.Compare(fmt.Sprintf("%T %v", a, a), fmt.Sprintf("%T %v", b, b)) })
	return out
}

// number is a JSON number as it is written: as a float64 two large ones may be one.
type number string

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) { return []byte(n), nil }

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// article puts one before a word.
func article(what string) string {
	if strings.ContainsRune("aeiou", rune(what[0])) {
		return "an " + what
	}
	return "a " + what
}

// scalar reads text, a number or a boolean as JSON has them: 007 and True are too
// easily meant as text.
func (p *parser) scalar(n *yaml.Node, what string) (any, bool) {
	if !p.is(n, yaml.ScalarNode, "the value of "+article(what)) {
		return nil, false
	}
	switch tag := n.ShortTag(); {
	case tag == "!!str":
		return n.Value, true
	case tag == "!!bool" && (n.Value == "true" || n.Value == "false"):
		return n.Value == "true", true
	case (tag == "!!int" || tag == "!!float") && finite(n.Value):
		return number(n.Value), true
	}
	p.errorf(n, "value %s is neither text, true, false nor a number as in JSON: put it in quotes if it is text", strings.Trim(shown(n), `"`))
	return nil, false
}
