package stdio

import (
	"bytes"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

type kind int

const (
	request kind = iota + 1
	notification
	response
)

// message is what this package reads of a JSON-RPC message. Identifiers are in
// canonical form (RFC 8785), because a peer may spell them in another way.
type message struct {
	kind     kind
	id       string
	method   string
	failed   bool   // of a response: it is an error
	progress string // progress token: of a request's _meta, or of notifications/progress
	cancels  string // of notifications/cancelled: the id of the request
}

var errNotRPC = errors.New("not one JSON-RPC request, notification or response")

// parse reads one message strictly: one object, valid UTF-8, no name twice.
func parse(raw []byte) (message, error) {
	var m message
	var params jsontext.Value
	answered, badID := 0, false
	err := members(raw, func(name string, value jsontext.Value) {
		switch name {
		case "id":
			m.id = identifier(value)
			badID = m.id == ""
		case "method":
			m.method = text(value)
		case "params":
			params = value
		case "result", "error":
			answered++
			m.failed = name == "error"
		}
	})
	if err != nil {
		return message{}, err
	}
	switch {
	case badID:
		return message{}, errNotRPC
	case m.method != "" && answered == 0 && m.id != "":
		m.kind = request
	case m.method != "" && answered == 0:
		m.kind = notification
	case m.method == "" && answered == 1 && m.id != "":
		m.kind = response
	default:
		return message{}, errNotRPC
	}
	return m, m.readParams(params)
}

// readParams finds the identifiers in the params.
func (m *message) readParams(params jsontext.Value) error {
	if params.Kind() != '{' {
		return nil
	}
	var meta jsontext.Value
	err := members(params, func(name string, value jsontext.Value) {
		switch {
		case name == "_meta" && m.kind == request:
			meta = value
		case name == "progressToken" && m.method == "notifications/progress":
			m.progress = identifier(value)
		case name == "requestId" && m.method == "notifications/cancelled":
			m.cancels = identifier(value)
		}
	})
	if err != nil || meta.Kind() != '{' {
		return err
	}
	return members(meta, func(name string, value jsontext.Value) {
		if name == "progressToken" {
			m.progress = identifier(value)
		}
	})
}

// members calls f for each member of the one object in raw.
func members(raw []byte, f func(name string, value jsontext.Value)) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if d.PeekKind() != '{' {
		return errNotRPC
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		key := name.String() // before the decoder reuses its buffer
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		f(key, slices.Clone(value))
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	return atEnd(d)
}

func atEnd(d *jsontext.Decoder) error {
	rest := bytes.TrimLeft(d.UnreadBuffer(), " \t\r\n")
	if len(rest) > 0 {
		return errNotRPC
	}
	return nil
}

// identifier is a string or number in canonical form, or nothing.
func identifier(v jsontext.Value) string {
	if k := v.Kind(); k != '"' && k != '0' {
		return ""
	}
	c := slices.Clone(v)
	if c.Canonicalize() != nil {
		return ""
	}
	return string(c)
}

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

// oneLine takes the line breaks out of an accepted message, where they can be
// between tokens only; a line on stdin must have none, and neither may the data of an event.
func oneLine(raw []byte) []byte {
	raw = bytes.Trim(raw, " \t\r\n")
	if !bytes.ContainsAny(raw, "\r\n") {
		return raw
	}
	return bytes.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, raw)
}
