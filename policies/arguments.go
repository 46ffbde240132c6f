package policies

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

func (p conditionParser) arguments(n *yaml.Node) {
	if n == nil {
		return
	}
	entries := p.entries(n, "arguments", "argument")
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.errorf(n, "arguments has no condition: add NAME: {max: 100}, or remove arguments")
	}
	byName := map[string]entry{}
	for _, e := range entries {
		if err := checkArgument(e.key.Value); err != nil {
			p.errorf(e.key, "argument %s: %v", shown(e.key), err)
		}
		byName[e.key.Value] = e
	}
	for _, name := range sorted(byName) {
		p.argument(byName[name])
	}
}

// checkArgument takes a name as a schema may have it.
func checkArgument(s string) error {
	if s == "" || len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return errName
	}
	return nil
}

// argument reads the conditions on one argument: each is an atom, and all must hold.
func (p conditionParser) argument(e entry) {
	f := p.fields(e.value, "an argument", "max", "min", "enum", "pattern", "max_length", "domains", "paths", "claim", "optional")
	if f == nil {
		return
	}
	a := atom{Rank: rankArgument, Name: e.key.Value, Optional: p.optional(f["optional"])}
	given := "be given and "
	if a.Optional {
		given = ""
	}
	add := func(n *yaml.Node, is, must string) {
		a.Is, a.Path, a.Text = is, "arguments."+a.Name+"."+is, "argument "+a.Name+" must "+given+must
		p.add(&p.c.Call, n, a)
	}
	before := len(p.c.Call)
	p.numbers(f, &a, add)
	p.texts(f, &a, add)
	p.places(f, &a, add)
	if n := f["claim"]; n != nil && p.text(n, "claim") {
		if err := checkName(n.Value); err != nil {
			p.errorf(n, "claim %s: %v", shown(n), err)
		}
		a.Claim = n.Value
		add(n, "claim", "be the caller's "+n.Value)
	}
	if len(p.c.Call) == before && len(f) == len(e.value.Content)/2 && (len(f) == 0 || len(f) == 1 && f["optional"] != nil) {
		p.errorf(e.key, "argument %s has no condition: add one of max, min, enum, pattern, max_length, domains, paths and claim", shown(e.key))
	}
}

func (p *parser) optional(n *yaml.Node) bool {
	if n == nil || !p.is(n, yaml.ScalarNode, "optional") {
		return false
	}
	if n.ShortTag() != "!!bool" || n.Value != "true" {
		p.errorf(n, "optional %s: write true, or remove it", shown(n))
	}
	return true
}

// adder notes the atom that was filled in.
type adder func(n *yaml.Node, is, must string)

func (p conditionParser) numbers(f map[string]*yaml.Node, a *atom, add adder) {
	for _, b := range []struct{ is, must string }{{"max", "be at most "}, {"min", "be at least "}} {
		n := f[b.is]
		if n == nil || !p.is(n, yaml.ScalarNode, b.is) {
			continue
		}
		tag := n.ShortTag()
		if tag != "!!int" && tag != "!!float" || !finite(n.Value) {
			p.errorf(n, "%s %s is not a number as in JSON", b.is, shown(n))
			continue
		}
		a.Bound = number(n.Value)
		add(n, b.is, b.must+n.Value)
		a.Bound = nil
	}
}

// finite reports whether s is a JSON number that a computer has.
func finite(s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(s), "e")
	return err == nil && jsonNumber.MatchString(s) && !math.IsInf(f, 0) && (f != 0 || !strings.ContainsAny(mantissa, "123456789"))
}

func (p conditionParser) texts(f map[string]*yaml.Node, a *atom, add adder) {
	if n := f["enum"]; n != nil && p.is(n, yaml.SequenceNode, "enum") {
		a.Values = p.values(entry{&yaml.Node{Value: a.Name}, n}, "argument")
		if len(a.Values) > 0 {
			add(n, "enum", "be "+oneOf(a.Values))
		}
		a.Values = nil
	}
	if n := f["pattern"]; n != nil && p.text(n, "pattern") {
		a.Pattern = `\A(?:` + n.Value + `)\z`
		_, err := regexp.Compile(n.Value) // by itself: "a)|(b" would be one within parentheses
		if err == nil {
			_, err = regexp.Compile(a.Pattern) // `\Qa` quotes what is put after it
		}
		if err != nil {
			p.errorf(n, "pattern %s is no regular expression of RE2: %v", shown(n), err)
		}
		add(n, "pattern", "match "+n.Value)
		a.Pattern = ""
	}
	if n := f["max_length"]; n != nil && p.is(n, yaml.ScalarNode, "max_length") {
		length, err := strconv.ParseUint(n.Value, 10, 31)
		if n.ShortTag() != "!!int" || err != nil {
			p.errorf(n, "max_length %s: write a number of characters", shown(n))
			return
		}
		a.Bound = length
		add(n, "max_length", fmt.Sprintf("have at most %d characters", length))
		a.Bound = nil
	}
}

// places are the conditions on where an argument points to.
func (p conditionParser) places(f map[string]*yaml.Node, a *atom, add adder) {
	for _, b := range []struct {
		is, one, must string
		check         func(string) error
	}{
		{"domains", "domain", "be a URL, e-mail address or host of ", checkDomain},
		{"paths", "path", "be a plain absolute path of ", checkPath},
	} {
		n := f[b.is]
		if n == nil {
			continue
		}
		names := p.names(n, b.is, b.one, b.check)
		if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
			p.errorf(n, "%s has no %s, so no value would do: add one", b.is, b.one)
		}
		if len(names) > 0 {
			a.Among = set(names)
			add(n, b.is, b.must+oneOf(anys(sorted(a.Among))))
			a.Among = nil
		}
	}
}
