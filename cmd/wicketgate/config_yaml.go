package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// document reads wicketgate.yaml into a Config: a strict subset of YAML, by the
// types and tags of the structs. No anchors, aliases, merge keys or tags, so that
// a value is what it looks like and stands where it counts. It collects mistakes
// rather than stopping at the first.
type document struct {
	file     string
	nodes    map[string]*yaml.Node // what was written, by path: "servers[0].url"
	mistakes []mistake
	further  []string // lines about other files
}

// mistake is one thing to mend; there is at most one for a path.
type mistake struct {
	line, column int
	path, text   string
}

// mistakesError is what is wrong with a configuration, a line for each mistake.
type mistakesError struct{ lines []string }

func (e *mistakesError) Error() string { return strings.Join(e.lines, "\n") }

// read decodes b into the struct that c points to. What is wrong is in d.mistakes.
func (d *document) read(b []byte, c any) {
	d.nodes = map[string]*yaml.Node{}
	root := d.root(b)
	if root == nil {
		return
	}
	d.nodes[""] = root
	d.value(root, reflect.ValueOf(c).Elem(), "", "")
}

// err is all mistakes in the order of the file, nil if there is none.
func (d *document) err() error {
	if len(d.mistakes) == 0 && len(d.further) == 0 {
		return nil
	}
	slices.SortStableFunc(d.mistakes, func(a, b mistake) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	e := &mistakesError{}
	for _, m := range d.mistakes {
		e.lines = append(e.lines, fmt.Sprintf("%s:%d:%d: %s", d.file, m.line, m.column, m.text))
	}
	e.lines = append(e.lines, d.further...)
	return e
}

// good reports whether nothing was wrong so far at path, or around it.
func (d *document) good(path string) bool {
	return !slices.ContainsFunc(d.mistakes, func(m mistake) bool {
		rest, below := strings.CutPrefix(path, m.path)
		return below && (rest == "" || m.path != "" && strings.ContainsAny(rest[:1], ".["))
	})
}

// refuse notes a mistake of the value at path, or of what it is missing from. A
// path that has one already gets no second: it would only follow from the first.
func (d *document) refuse(path, format string, args ...any) {
	n := d.nodes[path]
	for p := path; n == nil && p != ""; n = d.nodes[p] {
		p = parentOf(p)
	}
	d.refuseAt(n, path, format, args...)
}

func (d *document) refuseAt(n *yaml.Node, path, format string, args ...any) {
	if !d.good(path) {
		return
	}
	m := mistake{1, 1, path, fmt.Sprintf(format, args...)}
	if n != nil {
		m.line, m.column = n.Line, n.Column
	}
	d.mistakes = append(d.mistakes, m)
}

// parentOf is the path without its last part.
func parentOf(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// root returns the root of the only document, nil if there is none.
func (d *document) root(b []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var root, next yaml.Node
	err := dec.Decode(&root)
	if errors.Is(err, io.EOF) || err == nil && root.Content[0].ShortTag() == "!!null" {
		d.refuse("", "nothing is configured: begin with issuer: https://HOST")
		return nil
	}
	if err == nil {
		if err = dec.Decode(&next); err == nil {
			d.refuseAt(&next, "", "a second document: keep one")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		m := yamlError.FindStringSubmatch(err.Error())
		if m == nil {
			m = []string{"", "", err.Error()}
		}
		line, _ := strconv.Atoi(m[1])
		d.refuseAt(&yaml.Node{Line: max(line, 1), Column: 1}, "", "this is no YAML: %s", m[2])
		return nil
	}
	return root.Content[0]
}

var kindNames = map[yaml.Kind]string{
	yaml.MappingNode: "a mapping {KEY: VALUE}", yaml.SequenceNode: "a list [A, B]", yaml.ScalarNode: "a single value",
}

// is reports whether n is of the kind, and plainly so.
func (d *document) is(n *yaml.Node, k yaml.Kind, path string) bool {
	switch {
	case n.Anchor != "" || n.Kind == yaml.AliasNode:
		d.refuseAt(n, path, "anchors and aliases are not supported: write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		d.refuseAt(n, path, "tags are not supported: remove %s", n.Tag)
	case n.ShortTag() == "!!merge":
		d.refuseAt(n, path, "merge keys are not supported: write the value out")
	case n.ShortTag() == "!!null":
		d.refuseAt(n, path, "%s is empty: give it %s, or remove the key", shownPath(path), kindNames[k])
	case n.Kind != k:
		d.refuseAt(n, path, "%s must be %s, not %s", shownPath(path), kindNames[k], kindNames[n.Kind])
	default:
		return true
	}
	return false
}

func shownPath(path string) string {
	if path == "" {
		return "the configuration"
	}
	return path
}

// value reads n into v by v's type; tag is that of the field that v is.
func (d *document) value(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path, tag)
	case reflect.Struct:
		setDefaults(v)
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	default:
		if d.is(n, yaml.ScalarNode, path) {
			d.scalar(n, v, path, tag)
		}
	}
}

// mapping reads the fields of a struct.
func (d *document) mapping(n *yaml.Node, v reflect.Value, path string) {
	if !d.is(n, yaml.MappingNode, path) {
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		f := slices.IndexFunc(fields, func(f field) bool { return f.name == k.Value })
		line, twice := seen[k.Value]
		switch at := join(path, k.Value); {
		case k.Kind != yaml.ScalarNode:
			d.refuseAt(k, at, "a key must be one word")
		case twice:
			d.refuseAt(k, at+" again", "key %s is already on line %d: keep one", shown(k.Value), line)
		case f < 0:
			d.refuseAt(k, at, "unknown key %s: %s", shown(k.Value), takes(path, fields, k.Value))
		default:
			seen[k.Value], d.nodes[at] = k.Line, value
			d.value(value, v.Field(fields[f].index), at, fields[f].tag)
		}
	}
	for _, f := range fields {
		if _, ok := seen[f.name]; !ok && f.tag.Get("required") != "" {
			d.refuse(join(path, f.name), "%s has no %s: add it", shownPath(path), f.name)
		}
	}
}

// takes says what keys there are, and which was probably meant.
func takes(path string, fields []field, wrong string) string {
	var names []string
	for _, f := range fields {
		if strings.EqualFold(strings.ReplaceAll(wrong, "-", "_"), f.name) {
			return "write " + f.name
		}
		names = append(names, f.name)
	}
	return shownPath(path) + " takes " + strings.Join(names, ", ")
}

func (d *document) list(n *yaml.Node, v reflect.Value, path string) {
	if !d.is(n, yaml.SequenceNode, path) {
		return
	}
	v.SetZero() // the default was for an absent list
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.nodes[at] = item
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(item, e, at, "")
		v.Set(reflect.Append(v, e))
	}
}

var wholeNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)

// scalar reads text, whole numbers, durations, and true or false. YAML reads 1.3,
// 007 and no as something else than text: what was meant is not guessed.
func (d *document) scalar(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	text, plain := n.ShortTag() == "!!str", n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0
	switch {
	case v.Type() == reflect.TypeFor[duration]():
		d.duration(n, v, path, tag)
	case v.Kind() == reflect.Bool:
		if n.ShortTag() != "!!bool" || n.Value != "true" && n.Value != "false" {
			d.refuseAt(n, path, "%s is %s: write true or false", path, shown(n.Value))
			return
		}
		v.SetBool(n.Value == "true")
	case v.Kind() == reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if !plain || err != nil || !wholeNumber.MatchString(n.Value) || i < atoi(tag.Get("min")) || i > atoi(tag.Get("max")) {
			d.refuseAt(n, path, "%s is %s: write a whole number from %s to %s", path, shown(n.Value), tag.Get("min"), tag.Get("max"))
			return
		}
		v.SetInt(int64(i))
	case !text:
		d.refuseAt(n, path, "%s is %s, which is not text: put it in quotes", path, strings.Trim(written(n, tag), `"`))
	default:
		v.SetString(n.Value)
		d.text(n, path, tag)
	}
}

// text holds a string against its enum or pattern.
func (d *document) text(n *yaml.Node, path string, tag reflect.StructTag) {
	if enum := tag.Get("enum"); enum != "" && !slices.Contains(strings.Split(enum, ","), n.Value) {
		d.refuseAt(n, path, "%s is %s: write %s", path, shown(n.Value), strings.ReplaceAll(enum, ",", " or "))
	}
	if pattern := tag.Get("pattern"); pattern != "" && !regexp.MustCompile(pattern).MatchString(n.Value) {
		d.refuseAt(n, path, "%s is %s: it must match %s", path, written(n, tag), pattern)
	}
	if strings.TrimSpace(n.Value) == "" {
		d.refuseAt(n, path, "%s is empty: give it a value, or remove the key", path)
	}
}

func (d *document) duration(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	t, ok := parseDuration(n.Value)
	if !ok || t < mustDuration(tag.Get("min")) || t > mustDuration(tag.Get("max")) {
		d.refuseAt(n, path, "%s is %s: write a duration from %s to %s, for example %s", path, shown(n.Value), tag.Get("min"), tag.Get("max"), tag.Get("default"))
		return
	}
	v.SetInt(int64(t))
}

var durationForm = regexp.MustCompile(`^([0-9]{1,6})([smhd])$`)

func parseDuration(s string) (time.Duration, bool) {
	m := durationForm.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	return time.Duration(atoi(m[1])) * unit, true
}

// mustDuration is parseDuration for tags.
func mustDuration(s string) time.Duration {
	t, ok := parseDuration(s)
	if !ok {
		panic("duration " + s)
	}
	return t
}

// atoi is for what is known to be a number.
func atoi(s string) int {
	i, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return i
}

// field is a field of a configuration struct.
type field struct {
	name  string // its key
	index int
	tag   reflect.StructTag
}

func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		out = append(out, field{f.Tag.Get("yaml"), i, f.Tag})
	}
	return out
}

// setDefaults gives v, and all below that is no pointer, the values of the
// default tags.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv, s := v.Field(f.index), f.tag.Get("default")
		switch {
		case fv.Kind() == reflect.Struct:
			setDefaults(fv)
		case s == "":
		case fv.Type() == reflect.TypeFor[duration]():
			fv.SetInt(int64(mustDuration(s)))
		case fv.Kind() == reflect.Bool:
			fv.SetBool(s == "true")
		case fv.Kind() == reflect.Int:
			fv.SetInt(int64(atoi(s)))
		case fv.Kind() == reflect.Slice:
			fv.Set(reflect.ValueOf(strings.Split(s, ",")))
		default:
			fv.SetString(s)
		}
	}
}

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// written is what was written, unless it may be a secret that somebody put in the
// wrong place.
func written(n *yaml.Node, tag reflect.StructTag) string {
	if tag.Get("secret") != "" {
		return "wrong (not shown: it may be a secret)"
	}
	return shown(n.Value)
}

// shown quotes a value for an error, in ASCII so that a letter that only looks
// like another is seen, and cut to a line.
func shown(s string) string {
	const most = 160
	if len(s) > most {
		return fmt.Sprintf("%+q…", s[:most])
	}
	return fmt.Sprintf("%+q", s)
}
