package redact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// pass is one run of a Redactor over one value.
type pass struct {
	*Redactor
	found  Found
	budget int // of characters that rules may still read

	in    []byte
	out   []byte         // what is done, nil while nothing changed
	done  int            // bytes of in that are in out
	name  string         // of the member whose value comes
	names map[string]int // how often a mask has become a name
}

func (r *Redactor) walk(v jsontext.Value) (jsontext.Value, Found, error) {
	if len(v) > maxInput {
		return nil, Found{}, fmt.Errorf("%w: more than %d bytes", ErrUnchecked, maxInput)
	}
	p := &pass{Redactor: r, in: v, budget: budgetFor(len(v))}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v))
	for {
		err := p.next(dec)
		if _, n := dec.StackIndex(0); errors.Is(err, io.EOF) && n == 1 {
			break
		}
		if err != nil {
			return nil, Found{}, err
		}
	}
	if p.out == nil {
		return nil, Found{}, nil
	}
	return p.finish()
}

// finish returns what was done, and the rest.
func (p *pass) finish() (jsontext.Value, Found, error) {
	out := jsontext.Value(append(p.out, p.in[p.done:]...))
	if p.names != nil && !out.IsValid() { // a mask has the name of another member
		return nil, Found{}, fmt.Errorf("%w: two names would become one", ErrUnchecked)
	}
	return out, p.found, nil
}

// next reads one token, and redacts it.
func (p *pass) next(dec *jsontext.Decoder) error {
	kind := dec.PeekKind()
	if kind != '"' && kind != '0' {
		t, err := dec.ReadToken()
		if err == nil && t.Kind() != '[' { // what is in a list goes by the list's name
			p.name = ""
		}
		return err
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	end := int(dec.InputOffset())
	isName := false
	if in, n := dec.StackIndex(dec.StackDepth()); in == '{' {
		isName = n%2 == 1
	}
	var replaced []byte
	switch {
	case kind == '0':
		replaced, err = p.number(string(raw))
	case isName:
		replaced, err = p.memberName(raw)
	default:
		replaced, err = p.value(raw)
	}
	if err == nil && replaced != nil {
		p.out = append(append(p.out, p.in[p.done:end-len(raw)]...), replaced...)
		p.done = end
	}
	return err
}

// value redacts a string.
func (p *pass) value(raw jsontext.Value) ([]byte, error) {
	s, err := unquote(raw)
	if err != nil {
		return nil, err
	}
	if isBlob(p.name, s) {
		masked := p.mask(s, apart(p.literals.find(nil, s, view{text: s})))
		return changed(s, masked, nil)
	}
	masked, err := p.text(p.name, s)
	return changed(s, masked, err)
}

// memberName redacts a name. Names that become alike are numbered.
func (p *pass) memberName(raw jsontext.Value) ([]byte, error) {
	s, err := unquote(raw)
	if err != nil {
		return nil, err
	}
	masked, err := p.text("", s)
	p.name = s
	if err != nil || masked == s {
		return nil, err
	}
	if p.names == nil {
		p.names = map[string]int{}
	}
	p.names[masked]++
	if n := p.names[masked]; n > 1 {
		masked = strings.TrimSuffix(masked, "]") + " " + strconv.Itoa(n) + "]"
	}
	return jsontext.AppendQuote(nil, masked)
}

// number redacts a number that is a card's or phone's. The mask is a string: a client
// that wants a number there fails, rather than take a made-up one for the truth.
func (p *pass) number(raw string) ([]byte, error) {
	if known := p.literals.find(nil, raw, view{text: raw}); len(known) > 0 {
		return changed(raw, p.mask(raw, apart(known)), nil)
	}
	digits := strings.TrimPrefix(raw, "-")
	if strings.ContainsAny(digits, ".eE") { // 4.1e15 is a whole number, too
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil || f >= 1e19 {
			return nil, nil // out of range, or longer than any of them
		}
		digits = strconv.FormatFloat(f, 'f', -1, 64)
	}
	masked, err := p.text(p.name, digits)
	return changed(digits, masked, err)
}

func unquote(raw jsontext.Value) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	return string(b), err
}

// changed quotes a text, unless it is as it was.
func changed(before, after string, err error) ([]byte, error) {
	if err != nil || after == before {
		return nil, err
	}
	return jsontext.AppendQuote(nil, after)
}

// minBlob is longer than a key, so that a member that is only called so is looked at.
const minBlob = 256

// isBlob recognises base64 in the members that MCP has for it: image and audio content,
// and binary resources. By accident it holds anything, and a mask would break it.
func isBlob(name, s string) bool {
	if name != "data" && name != "blob" || len(s) < minBlob || len(s)%4 != 0 {
		return false
	}
	for i := range len(strings.TrimRight(s, "=")) {
		if c := s[i]; !isAlnum(c) && c != '+' && c != '/' {
			return false
		}
	}
	return true
}
