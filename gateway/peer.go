package gateway

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// peer is one message of an upstream, read as strictly as a client's.
type peer struct {
	raw    []byte
	id     jsontext.Value // nil for a notification
	method string         // empty for an answer
	params jsontext.Value // an object, or nil
	result jsontext.Value // nil for an error
	fault  jsontext.Value // nil for a result
	masked int            // credentials that were in it
}

// Errors of readAnswer and parsePeer.
var (
	errAnother = errors.New("an answer to another request")
	errNoFinal = errors.New("the stream ended without an answer")
)

func (m peer) answer() bool       { return m.method == "" }
func (m peer) notification() bool { return m.method != "" && m.id == nil }

func parsePeer(raw []byte) (peer, error) {
	m := peer{raw: raw}
	if deeperThan(raw, maxDepth) {
		return m, errTooDeep
	}
	var version string
	err := members(jsontext.Value(bytes.TrimSpace(raw)), func(name string, value jsontext.Value) error {
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
		case "result":
			m.result = value
		case "error":
			m.fault = value
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

func (m peer) check(version string) error {
	answers := (m.result != nil) != (m.fault != nil)
	both := m.result != nil && m.fault != nil
	switch {
	case version != "2.0" || both || answers == (m.method != "") || answers && m.id == nil:
		return errNotRPC
	case m.id != nil && m.id.Kind() != '"' && m.id.Kind() != '0' && (m.id.Kind() != 'n' || m.fault == nil):
		return errNotRPC
	case m.params != nil && m.params.Kind() != '{', m.result != nil && m.result.Kind() != '{', m.fault != nil && m.fault.Kind() != '{':
		return errNotRPC
	}
	return nil
}

// to holds an answer to the request that it must be to.
func (m peer) to(id jsontext.Value) error {
	if !m.answer() {
		return errNotRPC
	}
	if !bytes.Equal(m.id, id) {
		return errAnother
	}
	return nil
}
