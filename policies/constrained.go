package policies

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
	"golang.org/x/text/cases"
)

// constrained are the arguments on which access.yaml has conditions.
type constrained struct {
	names         map[string]bool
	spelled       map[string][]string // the names, by foldName
	host, pathsOf map[string]bool
}

func newConstrained(doc *document) constrained {
	c := constrained{map[string]bool{}, map[string][]string{}, map[string]bool{}, map[string]bool{}}
	for _, of := range doc.everywhere() {
		for _, a := range of.Call {
			c.names[a.Name] = true
			c.host[a.Name] = c.host[a.Name] || a.Is == "domains"
			c.pathsOf[a.Name] = c.pathsOf[a.Name] || a.Is == "paths"
		}
	}
	for _, name := range sorted(c.names) {
		c.spelled[foldName(name)] = append(c.spelled[foldName(name)], name)
	}
	return c
}

// everywhere are all conditions of the document.
func (doc *document) everywhere() (out []*conditions) {
	add := func(c *conditions) {
		if c != nil {
			out = append(out, c)
		}
	}
	lists := func(l [3][]item) {
		for _, items := range l {
			for _, i := range items {
				add(i.asks)
			}
		}
	}
	for _, c := range doc.risks {
		add(c)
	}
	for _, f := range doc.facts {
		add(f.all)
		lists(f.lists)
	}
	for _, r := range doc.roles {
		add(r.asks)
		for _, s := range r.servers {
			lists(s.lists)
		}
	}
	return out
}

// hosts is what names the host of each element of an argument, see hostMatches.
func (c constrained) hosts(q *Request) (*ast.Term, error) {
	return c.matches(q, c.host, func(s string) []string { return hostMatches(hostOf(s)) })
}

func (c constrained) paths(q *Request) (*ast.Term, error) {
	return c.matches(q, c.pathsOf, pathMatches)
}

// matches is an object of lists of lists. An argument with an element of which nobody
// knows where it points to is absent, and so is an empty list.
func (c constrained) matches(q *Request, of map[string]bool, read func(string) []string) (*ast.Term, error) {
	var out [][2]*ast.Term
	err := eachMember(q.Arguments, func(name string, v jsontext.Value) error {
		if !of[name] {
			return nil
		}
		var all []*ast.Term
		for _, element := range elementsOf(v) {
			var text string
			if element.Kind() != '"' || json.Unmarshal(element, &text) != nil {
				return nil
			}
			names := read(text)
			if len(names) == 0 {
				return nil
			}
			all = append(all, textsTerm(names))
		}
		if len(all) > 0 {
			out = append(out, [2]*ast.Term{ast.StringTerm(name), ast.ArrayTerm(all...)})
		}
		return nil
	})
	return ast.ObjectTerm(out...), err
}

// doubts are the arguments with conditions that a server may read otherwise than we do:
// one that is there in another spelling too, whether or not some tool has a condition on
// that, and a number that is not the same once it is a floating-point number (RFC 8259 §6).
func (c constrained) doubts(q *Request) (*ast.Term, error) {
	doubts := map[string]string{}
	err := eachMember(q.Arguments, func(name string, v jsontext.Value) error {
		for _, known := range c.spelled[foldName(name)] {
			if known != name {
				doubts[known] = "spelling"
			}
		}
		if c.names[name] && slices.ContainsFunc(elementsOf(v), inexact) {
			doubts[name] = "number"
		}
		return nil
	})
	var out [][2]*ast.Term
	for _, name := range sorted(doubts) {
		out = append(out, [2]*ast.Term{ast.StringTerm(name), ast.StringTerm(doubts[name])})
	}
	return ast.ObjectTerm(out...), err
}

// foldName makes one of the names that a library may take for the same argument: max_rows,
// maxRows and Max-Rows.
func foldName(name string) string { return cases.Fold().String(wordBreaks.Replace(name)) }

var wordBreaks = strings.NewReplacer("_", "", "-", "")

func inexact(v jsontext.Value) bool { return v.Kind() == '0' && !exact(string(v)) }

// exact reports whether every reader of a JSON number has the same: it is a whole number of
// 64 bits, or has no more digits than a floating-point number.
func exact(n string) bool {
	if _, err := strconv.ParseInt(n, 10, 64); err == nil {
		return true
	}
	f, err := strconv.ParseFloat(n, 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(n), "e")
	digits := strings.TrimLeft(strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, mantissa), "0")
	return err == nil && !math.IsInf(f, 0) && len(digits) <= 17 && (f != 0 || digits == "")
}

// eachMember calls f with the members of an object, or of nil.
func eachMember(object jsontext.Value, f func(name string, v jsontext.Value) error) error {
	if object == nil {
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		key := name.String()
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		if err := f(key, v); err != nil {
			return err
		}
	}
	return nil
}

// elementsOf are those of a list, or the one value that is no list.
func elementsOf(v jsontext.Value) []jsontext.Value {
	if v.Kind() != '[' {
		return []jsontext.Value{v}
	}
	var out []jsontext.Value
	d := jsontext.NewDecoder(bytes.NewReader(v))
	if _, err := d.ReadToken(); err != nil {
		return nil
	}
	for d.PeekKind() != ']' {
		element, err := d.ReadValue()
		if err != nil {
			return nil
		}
		out = append(out, element.Clone())
	}
	return out
}

func textsTerm(texts []string) *ast.Term {
	out := make([]*ast.Term, 0, len(texts))
	for _, t := range texts {
		out = append(out, ast.StringTerm(t))
	}
	return ast.ArrayTerm(out...)
}
