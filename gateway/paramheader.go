package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const paramPrefix = "Mcp-Param-"

// maxSafe bounds the integers that may stand in a header.
const maxSafe = 1<<53 - 1

// paramHeader is an argument that a tool's definition has mirrored into a header
// (x-mcp-header; MCP 2026-07-28, streamable HTTP, custom headers).
type paramHeader struct {
	name string   // canonical
	path []string // names of properties, from the root of the arguments
}

// paramHeaders reads the annotations of an inputSchema. A definition with one that is
// not as the specification wants it is refused as a whole.
func paramHeaders(schema jsontext.Value) ([]paramHeader, error) {
	var found []paramHeader
	if err := walkAnnotations(schema, nil, true, &found); err != nil {
		return nil, err
	}
	return found, nil
}

var errAnnotation = errors.New("x-mcp-header is not a header's name, once, at a string, integer or boolean that properties lead to")

// walkAnnotations finds the annotations of v and below; reachable says that nothing but
// properties led here.
func walkAnnotations(v jsontext.Value, path []string, reachable bool, found *[]paramHeader) error {
	if v.Kind() == '[' {
		return elements(v, func(e jsontext.Value) error { return walkAnnotations(e, path, false, found) })
	}
	if v.Kind() != '{' {
		return nil
	}
	o, err := readObject(v)
	if err != nil {
		return err
	}
	for _, m := range o {
		switch m.name {
		case "x-mcp-header":
			err = annotated(o, m.value, path, reachable, found)
		case "properties":
			err = walkProperties(m.value, path, reachable, found)
		case "default", "const", "enum", "examples": // values, no schemas
		default:
			err = walkAnnotations(m.value, path, false, found)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func walkProperties(v jsontext.Value, path []string, reachable bool, found *[]paramHeader) error {
	if v.Kind() != '{' {
		return nil // the schema does not compile
	}
	return members(v, func(name string, value jsontext.Value) error {
		return walkAnnotations(value, append(slices.Clip(path), name), reachable, found)
	})
}

func annotated(o object, v jsontext.Value, path []string, reachable bool, found *[]paramHeader) error {
	name, kind := text(v), text(o.get("type"))
	header := paramHeader{textproto.CanonicalMIMEHeaderKey(paramPrefix + name), path}
	primitive := kind == "string" || kind == "integer" || kind == "boolean"
	twice := slices.ContainsFunc(*found, func(p paramHeader) bool { return p.name == header.name })
	if !reachable || len(path) == 0 || !primitive || !isToken(name) || twice {
		return fmt.Errorf("%w: %s", errAnnotation, strings.Join(path, "/"))
	}
	*found = append(*found, header)
	return nil
}

// isToken reports whether s is a token (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// argument is the one that the header repeats, nil if there is none.
func (p paramHeader) argument(arguments jsontext.Value) jsontext.Value {
	v := arguments
	for _, name := range p.path {
		if v.Kind() != '{' {
			return nil
		}
		o, err := readObject(v)
		if err != nil {
			return nil
		}
		v = o.get(name)
	}
	return v
}

// headerOf is what the header of an argument must say, and whether it must be there.
func headerOf(v jsontext.Value) (string, bool) {
	switch v.Kind() {
	case '"':
		return text(v), true
	case '0', 't', 'f':
		return string(v), true
	}
	return "", false
}

// checkParamHeaders holds the headers of a call to its arguments.
func checkParamHeaders(h http.Header, wanted []paramHeader, arguments jsontext.Value) *rpcError {
	for _, w := range wanted {
		argument := w.argument(arguments)
		want, needed := headerOf(argument)
		if !needed {
			if len(h.Values(w.name)) > 0 {
				return errHeader(w.name + " is there, and its argument is not")
			}
			continue
		}
		if argument.Kind() == '0' && sameNumber(h, w.name, want) {
			continue
		}
		if e := sameHeader(h, w.name, want); e != nil {
			return e
		}
	}
	return nil
}

// sameNumber compares integers as numbers: 42.0 is 42.
func sameNumber(h http.Header, name, want string) bool {
	values := h.Values(name)
	if len(values) != 1 || !isNumber(values[0]) {
		return false
	}
	a, errA := strconv.ParseFloat(values[0], 64)
	b, errB := strconv.ParseFloat(want, 64)
	return errA == nil && errB == nil && a == b && a >= -maxSafe && a <= maxSafe
}

// isNumber reports whether s is a number as JSON writes it: strconv knows more of them.
func isNumber(s string) bool {
	v := jsontext.Value(s)
	return v.Kind() == '0' && v.IsValid()
}

// mirror sets the headers of a call for an upstream.
func mirror(h http.Header, wanted []paramHeader, arguments jsontext.Value) {
	for _, w := range wanted {
		if v, needed := headerOf(w.argument(arguments)); needed {
			h[w.name] = []string{encodeHeader(v)}
		}
	}
}
