package schema

import (
	"bytes"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// reader reads one JSON value into the types that the library takes, and charges
// for it before the library, which cannot be interrupted, sees it.
type reader struct {
	schema *Schema // nil: reading a schema
	d      *jsontext.Decoder
	spent  cost
}

func (r *reader) readAll(v jsontext.Value) (any, error) {
	r.d.Reset(bytes.NewBuffer(v))
	value, err := r.read(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.d.ReadToken(); err != io.EOF {
		return nil, errNotJSON
	}
	return value, nil
}

func (r *reader) read(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	if err := r.charge(depth, visits, 1); err != nil {
		return nil, err
	}
	switch r.d.PeekKind() {
	case '{':
		return r.object(depth)
	case '[':
		return r.array(depth)
	case '0':
		raw, err := r.d.ReadValue()
		if err != nil {
			return nil, errNotJSON
		}
		return r.number(raw)
	}
	t, err := r.d.ReadToken()
	if err != nil {
		return nil, errNotJSON
	}
	switch t.Kind() {
	case '"':
		s := t.String()
		return s, r.charge(depth, steps, len(s))
	case 'n':
		return nil, nil
	}
	return t.Bool(), nil
}

func (r *reader) object(depth int) (any, error) {
	if _, err := r.d.ReadToken(); err != nil {
		return nil, errNotJSON
	}
	m := map[string]any{}
	for r.d.PeekKind() != '}' {
		t, err := r.d.ReadToken()
		if err != nil {
			return nil, errNotJSON
		}
		name := t.String()
		if err := r.charge(depth, steps, len(name)); err != nil {
			return nil, err
		}
		if m[name], err = r.read(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := r.d.ReadToken()
	return m, err
}

func (r *reader) array(depth int) (any, error) {
	if _, err := r.d.ReadToken(); err != nil {
		return nil, errNotJSON
	}
	a := []any{}
	for r.d.PeekKind() != ']' {
		v, err := r.read(depth + 1)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	_, err := r.d.ReadToken()
	return a, err
}

// charge adds up what the values can cost. A schema in which every level is
// reached in two ways takes 2ⁿ visits for a value of depth n.
func (r *reader) charge(depth, what, n int) error {
	if r.schema == nil {
		return nil
	}
	r.spent[what] += uint64(n) * r.schema.costs[depth][what]
	if r.spent[visits] > maxWork || r.spent[steps] > maxMatching {
		return errTooMuch
	}
	return nil
}
