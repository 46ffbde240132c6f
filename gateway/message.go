package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds the nesting of a message.
const maxDepth = 64

// Errors of parseMessage, in the words that the client is told.
var (
	errNotJSON   = errors.New("the body is not one strict JSON value: valid UTF-8, no member named twice, nothing after it")
	errBatch     = errors.New("batches are not supported: send one message a request")
	errTooDeep   = fmt.Errorf("the body is nested deeper than %d", maxDepth)
	errNotRPC    = errors.New("the body is not a JSON-RPC 2.0 request, notification or response")
	errFoldsTo   = errors.New("a member's name differs from a known one only by case")
	errBadParams = errors.New("params are not an object of the form that the method needs")
)

// message is one JSON-RPC message. It keeps the bytes that were accepted, because
// those and no others go upstream.
type message struct {
	raw      []byte
	id       jsontext.Value // a string or number; nil for a notification
	method   string         // empty for a response
	params   object         // nil when absent
	response bool
	outcome  member // of a response: its result or its error
}

// object is the members of a JSON object in their order. The values alias what was read.
type object []member

type member struct {
	name  string
	value jsontext.Value
}

// get returns the member of that name, nil if there is none.
func (o object) get(name string) jsontext.Value {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// only refuses names that some parser might take for one of the known.
func (o object) only(known ...string) error {
	for _, m := range o {
		if !slices.Contains(known, m.name) {
			if err := folds(m.name, known...); err != nil {
				return err
			}
		}
	}
	return nil
}

// readObject reads the members of the object v.
func readObject(v jsontext.Value) (object, error) {
	o := object{}
	err := members(v, func(name string, value jsontext.Value) error {
		o = append(o, member{name, value})
		return nil
	})
	return o, err
}

// with returns o as JSON, where the members of that replace those of the same name, or
// come at the end. A nil value removes.
func (o object) with(that ...member) jsontext.Value {
	out := []byte{'{'}
	add := func(m member) {
		if m.value == nil {
			return
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out, _ = jsontext.AppendQuote(out, m.name) // fails on bad UTF-8 only, which was refused
		out = append(append(out, ':'), m.value...)
	}
	for _, m := range o {
		if i := slices.IndexFunc(that, func(t member) bool { return t.name == m.name }); i >= 0 {
			m = that[i]
		}
		add(m)
	}
	for _, t := range that {
		if o.get(t.name) == nil {
			add(t)
		}
	}
	return append(out, '}')
}

// set returns o with another value of the member, which it has.
func (o object) set(name string, v jsontext.Value) object {
	out := slices.Clone(o)
	for i := range out {
		if out[i].name == name {
			out[i].value = v
		}
	}
	return out
}

// quote is s as JSON.
func quote(s string) jsontext.Value {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return jsontext.Value(`""`)
	}
	return b
}

// envelope is a request, or without id a notification, of our own making.
func envelope(id jsontext.Value, method string, params jsontext.Value) []byte {
	b := []byte(`{"jsonrpc":"2.0"`)
	if id != nil {
		b = append(append(b, `,"id":`...), id...)
	}
	b = append(append(b, `,"method":`...), quote(method)...)
	if params != nil {
		b = append(append(b, `,"params":`...), params...)
	}
	return append(b, '}')
}

// call is the params of tools/call, or of prompts/get.
type call struct {
	name      string
	arguments jsontext.Value // an object; {} when absent
}

// parseMessage reads a body the one way in which every parser reads it: names are
// case-sensitive, none comes twice, UTF-8 is valid, and a name that some parser
// might take for a known one (Name, ſerver) is refused (CVE-2026-27896).
func parseMessage(body []byte) (message, error) {
	m := message{raw: body}
	if deeperThan(body, maxDepth) {
		return m, errTooDeep
	}
	v := jsontext.Value(bytes.TrimSpace(body))
	if len(v) > 0 && v[0] == '[' {
		return m, errBatch
	}
	var version string
	err := members(v, func(name string, value jsontext.Value) error {
		switch name {
		case "jsonrpc":
			version = text(value)
		case "id":
			m.id = value
		case "method":
			if m.method = text(value); m.method == "" {
				return errNotRPC
			}
		case "params":
			if value.Kind() != '{' {
				return errBadParams
			}
			o, err := readObject(value)
			m.params = o
			return err
		case "result", "error":
			if m.response {
				return errNotRPC
			}
			m.response, m.outcome = true, member{name, value}
		default:
			return folds(name, "jsonrpc", "id", "method", "params", "result", "error")
		}
		return nil
	})
	if err != nil {
		return m, err
	}
	return m, m.check(version)
}

// withID is a response with another id.
func (m message) withID(id jsontext.Value) []byte {
	return object{}.with(member{"jsonrpc", quote("2.0")}, member{"id", id}, m.outcome)
}

func (m message) check(version string) error {
	if version != "2.0" || m.response == (m.method != "") || m.response && m.id == nil {
		return errNotRPC
	}
	if m.id != nil && m.id.Kind() != '"' && m.id.Kind() != '0' {
		return errNotRPC
	}
	return nil
}

// parseCall reads the params of tools/call and prompts/get.
func parseCall(params object) (call, error) {
	c := call{name: text(params.get("name")), arguments: params.get("arguments")}
	if c.arguments == nil {
		c.arguments = jsontext.Value("{}")
	}
	if c.name == "" || c.arguments.Kind() != '{' {
		return c, errBadParams
	}
	return c, params.only("name", "arguments", "_meta", "task", "inputResponses", "requestState")
}

// decoders saves what a decoder allocates.
var (
	decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}
	nothing  = bytes.NewReader(nil)
)

// members calls f for each member of the object v, in order. Values alias v.
func members(v jsontext.Value, f func(name string, value jsontext.Value) error) error {
	d := decoders.Get().(*jsontext.Decoder)
	d.Reset(bytes.NewBuffer(v))
	defer func() {
		d.Reset(nothing) // lets go of v
		decoders.Put(d)
	}()
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return errNotJSON
	}
	for d.PeekKind() != '}' {
		t, err := d.ReadToken()
		if err != nil {
			return fmt.Errorf("%w: %w", errNotJSON, err)
		}
		name := t.String()
		start := d.InputOffset()
		if _, err = d.ReadValue(); err != nil {
			return fmt.Errorf("%w: %w", errNotJSON, err)
		}
		if err := f(name, trimValue(v[start:d.InputOffset()])); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return fmt.Errorf("%w: %w", errNotJSON, err)
	}
	if len(bytes.TrimSpace(v[d.InputOffset():])) > 0 {
		return errNotJSON
	}
	return nil
}

// trimValue cuts the colon and white space before a member's value.
func trimValue(v jsontext.Value) jsontext.Value {
	return jsontext.Value(bytes.TrimLeft(v, ": \t\r\n"))
}

// elements calls f for each element of the array v, in order.
func elements(v jsontext.Value, f func(value jsontext.Value) error) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(v))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
		return errNotJSON
	}
	for d.PeekKind() != ']' {
		value, err := d.ReadValue()
		if err != nil {
			return fmt.Errorf("%w: %w", errNotJSON, err)
		}
		if err := f(value.Clone()); err != nil {
			return err
		}
	}
	return nil
}

// text is the string that v is, or "".
func text(v jsontext.Value) string {
	if v.Kind() != '"' {
		return ""
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return ""
	}
	return string(b)
}

func folds(name string, known ...string) error {
	for _, k := range known {
		if strings.EqualFold(name, k) {
			return errFoldsTo
		}
	}
	return nil
}

// deeperThan counts brackets outside of strings; on what is no JSON it may be
// wrong in either direction, which the decoder then finds.
func deeperThan(b []byte, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
