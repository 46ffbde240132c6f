package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// Wrapper is a key-encryption key, wherever it is kept. It must be safe for concurrent
// use.
type Wrapper interface {
	// Name tells it from others in what it wrapped: file, or vault:MOUNT/KEY.
	Name() string
	// Wrap encrypts and authenticates. The purpose is authenticated too.
	Wrap(ctx context.Context, plain, purpose []byte) ([]byte, error)
	// Unwrap reverses Wrap. It returns ErrWrongKEK for what was wrapped by another key,
	// for another purpose, or was changed since.
	Unwrap(ctx context.Context, wrapped, purpose []byte) ([]byte, error)
}

// ErrWrongKEK is returned when the key-encryption key does not open a stored key.
var ErrWrongKEK = errors.New("the key-encryption key does not open the stored keys: it is not the one they were wrapped with")

// fileName is what is not marked at all: what a KEK wrapped.
const fileName = "file"

// mark is what a wrapped key begins with, in the clear but authenticated. What a KEK
// wrapped when the key was made has none.
type mark struct {
	By       string `json:"by"`                 // Wrapper.Name
	Operator string `json:"operator,omitempty"` // who had it wrapped anew
}

// markBegin is what no random nonce begins with.
const markBegin = "wicketgate-wrapped "

// text is the mark with all that is around it.
func (m mark) text() ([]byte, error) {
	if m == (mark{By: fileName}) {
		return nil, nil
	}
	b, err := json.Marshal(m)
	return append(append([]byte(markBegin), b...), '\n'), err
}

// readMark cuts the mark off; text is empty where there is none.
func readMark(wrapped []byte) (m mark, text, rest []byte) {
	if !bytes.HasPrefix(wrapped, []byte(markBegin)) {
		return mark{By: fileName}, nil, wrapped
	}
	end := bytes.IndexByte(wrapped, '\n') + 1
	if json.Unmarshal(bytes.TrimPrefix(wrapped[:end], []byte(markBegin)), &m) != nil {
		return mark{By: "something unknown"}, nil, nil
	}
	return m, wrapped[:end], wrapped[end:]
}

// WrappedBy is the name of the Wrapper that wrapped the key.
func (r Record) WrappedBy() string { m, _, _ := readMark(r.Wrapped); return m.By }

// Rewrapper is who had the key wrapped anew; empty: nobody, or nobody knows.
func (r Record) Rewrapper() string { m, _, _ := readMark(r.Wrapped); return m.Operator }

// purpose is what a key is sealed for: a stored key cannot be given the id, use or
// algorithm of another.
func (r Record) purpose(mark []byte) []byte {
	return append([]byte("key "+r.KeyID+" "+string(r.Use)+" "+r.Algorithm), mark...)
}

// wrap seals what is secret of the record. The operator is who wants that; empty: nobody,
// for it is new.
func wrap(ctx context.Context, w Wrapper, r Record, plain []byte, operator string) ([]byte, error) {
	text, err := mark{By: w.Name(), Operator: operator}.text()
	if err != nil {
		return nil, err
	}
	sealed, err := w.Wrap(ctx, plain, r.purpose(text))
	if err != nil {
		return nil, fmt.Errorf("wrap key %s: %w", r.KeyID, err)
	}
	return append(text, sealed...), nil
}

// unwrap reverses wrap, by the first that can.
func unwrap(ctx context.Context, r Record, wrappers ...Wrapper) (plain []byte, by Wrapper, err error) {
	m, text, sealed := readMark(r.Wrapped)
	err = fmt.Errorf("it was wrapped by %s, and %s is configured (wicketgate keys rewrap moves keys): %w",
		shownWrapper(m.By), shownWrapper(wrappers[0].Name()), ErrWrongKEK)
	for _, w := range wrappers {
		if w == nil || w.Name() != m.By {
			continue
		}
		if plain, err = w.Unwrap(ctx, sealed, r.purpose(text)); err == nil {
			return plain, w, nil
		}
		if !errors.Is(err, ErrWrongKEK) {
			break
		}
	}
	return nil, nil, fmt.Errorf("key %s: %w", r.KeyID, err)
}

// shownWrapper is a name for people.
func shownWrapper(name string) string {
	if name == fileName {
		return "a key-encryption key in a file"
	}
	return name
}

// Name implements Wrapper.
func (KEK) Name() string { return fileName }

// Wrap implements Wrapper. It does not fail.
func (k KEK) Wrap(_ context.Context, plain, purpose []byte) ([]byte, error) {
	return newBox(k[:]).seal(plain, purpose), nil
}

// Unwrap implements Wrapper.
func (k KEK) Unwrap(_ context.Context, wrapped, purpose []byte) ([]byte, error) {
	plain, ok := newBox(k[:]).open(wrapped, purpose)
	if !ok {
		return nil, ErrWrongKEK
	}
	return plain, nil
}
