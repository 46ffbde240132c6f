package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

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
	params   jsontext.Value
	response bool
}

// call is the params of tools/call.
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
			m.params = value
		case "result", "error":
			m.response = true
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

func (m message) check(version string) error {
	if version != "2.0" || m.response == (m.method != "") || m.response && m.id == nil {
		return errNotRPC
	}
	if m.id != nil && m.id.Kind() != '"' && m.id.Kind() != '0' {
		return errNotRPC
	}
	if m.params != nil && m.params.Kind() != '{' {
		return errBadParams
	}
	return nil
}

// parseCall reads the params of tools/call.
func parseCall(params jsontext.Value) (call, error) {
	c := call{arguments: jsontext.Value("{}")}
	if params == nil {
		return c, errBadParams
	}
	err := members(params, func(name string, value jsontext.Value) error {
		switch name {
		case "name":
			if c.name = text(value); c.name == "" {
				return errBadParams
			}
		case "arguments":
			if value.Kind() != '{' {
				return errBadParams
			}
			c.arguments = value
		case "_meta", "task":
		default:
			return folds(name, "name", "arguments", "_meta", "task")
		}
		return nil
	})
	if err == nil && c.name == "" {
		err = errBadParams
	}
	return c, err
}

// members calls f for each member of the object v, in order. Values alias v.
func members(v jsontext.Value, f func(name string, value jsontext.Value) error) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(v))
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
