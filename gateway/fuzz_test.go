package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// What is taken for a message is one as every parser reads it, and is passed on as it is.
func FuzzParsePeer(f *testing.F) {
	for _, s := range []string{`{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":"m"}}`, `{"jsonrpc":"2.0","method":"m","params":{"a":1}}`,
		`{"jsonrpc":"2.0","id":1,"Result":{}}`, `{"jsonrpc":"2.0","id":1,"id":2,"result":{}}`, `[{}]`, `{"jsonrpc":"2.0","id":null,"error":{}}`, strings.Repeat(`{"a":`, 70)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parsePeer(raw)
		if err != nil {
			return
		}
		if !jsontext.Value(raw).IsValid() || !bytes.Equal(m.raw, raw) {
			t.Fatalf("%q was taken for %+v", raw, m)
		}
		kinds := 0
		for _, is := range []bool{m.result != nil, m.fault != nil, m.method != ""} {
			if is {
				kinds++
			}
		}
		if kinds != 1 || m.answer() != (m.method == "") || m.answer() && m.id == nil || m.notification() && m.answer() {
			t.Fatalf("%q is neither a request, a notification nor an answer: %+v", raw, m)
		}
		if _, err := readObject(orEmpty(m.params)); err != nil {
			t.Fatalf("%q has the params %s", raw, m.params)
		}
	})
}

// What is read of a stream is what its lines say, whatever they are, and no event of it
// becomes two for the client.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{"data: {}\n\n", "id: 1\ndata: a\ndata: b\r\n\r\n", ": c\n\nretry: 10\n\n", "data\n\n", "id: a\x00b\ndata: x\n\n", "data: a\rdata: b\n\n", "event: x\ndata: y\n\n\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		events := newEvents(bytes.NewReader(raw))
		for range len(raw) + 1 {
			ev, err := events.next()
			if err != nil {
				if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errLongEvent) {
					t.Fatal(err)
				}
				return
			}
			var out recorder
			s := &stream{w: &out, patience: time.Hour}
			if err := s.event(ev); err != nil {
				t.Fatal(err)
			}
			want := strings.FieldsFunc(string(ev.data), func(r rune) bool { return r == '\r' || r == '\n' })
			got := strings.FieldsFunc(dataAsClientsReadIt(out.body.String()), func(r rune) bool { return r == '\n' })
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("%q became %q", ev.data, out.body.String())
			}
		}
		t.Fatal("more events than bytes")
	})
}

// dataAsClientsReadIt is the data of one event, by the standard: a line ends with CRLF, CR
// or LF (HTML Living Standard §9.2.5).
func dataAsClientsReadIt(raw string) string {
	raw = strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\r", "\n")
	var data []string
	for _, line := range strings.Split(raw, "\n") {
		name, value, _ := strings.Cut(line, ":")
		if name == "data" {
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return strings.Join(data, "\n")
}

// recorder is a ResponseWriter.
type recorder struct{ body bytes.Buffer }

func (r *recorder) Header() http.Header         { return http.Header{} }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(int)             {}
func (r *recorder) FlushError() error           { return nil }

// Whatever is written as a header's value is one, and reads as what it was.
func FuzzEncodeHeader(f *testing.F) {
	for _, s := range []string{"", "plain", " a ", "é", "\r\nX: y", "=?base64?ZXU=?=", "=?base64??=", "\t", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := encodeHeader(s)
		if !plainHeader(v) || strings.Trim(v, " \t") != v {
			t.Fatalf("%q was written as %q", s, v)
		}
		if got, err := decodeHeader(v); err != nil || got != s {
			t.Fatalf("%q came back as %q, %v", s, got, err)
		}
	})
}

// FuzzDecodeHeader: nothing but one spelling is taken for a text.
func FuzzDecodeHeader(f *testing.F) {
	for _, s := range []string{"plain", "=?base64?ZXU=?=", "=?base64?ZXU?=", "=?base64?ZXV=?=", "=?base64?!?=", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		s, err := decodeHeader(v)
		if err != nil {
			return
		}
		if encoded := strings.HasPrefix(v, encodedPrefix) && strings.HasSuffix(v, encodedSuffix) && len(v) >= len(encodedPrefix+encodedSuffix); !encoded && s != v {
			t.Fatalf("%q reads as %q", v, s)
		}
	})
}

// Whatever a definition says, the headers that it sets are named Mcp-Param-… and differ.
func FuzzParamHeaders(f *testing.F) {
	for _, s := range []string{`{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}`, `{"properties":{"a":{"properties":{"b":{"type":"integer","x-mcp-header":"B-c"}}}}}`,
		`{"x-mcp-header":"A"}`, `{"properties":{"a":{"type":"string","x-mcp-header":"A\r\n"}}}`, `[]`, `{"items":[{"x-mcp-header":"A"}]}`} {
		f.Add([]byte(s), []byte(`{"a":"x"}`))
	}
	f.Fuzz(func(t *testing.T, schema, arguments []byte) {
		if !jsontext.Value(schema).IsValid() || !jsontext.Value(arguments).IsValid() || deeperThan(schema, maxDepth) {
			return
		}
		found, err := paramHeaders(schema)
		if err != nil {
			return
		}
		seen, h := map[string]bool{}, http.Header{}
		for _, p := range found {
			name, ok := strings.CutPrefix(p.name, paramPrefix)
			if !ok || !isToken(name) || seen[p.name] || len(p.path) == 0 {
				t.Fatalf("%s has the header %+v", schema, p)
			}
			seen[p.name] = true
		}
		mirror(h, found, arguments)
		for name, v := range h {
			if !seen[name] || len(v) != 1 || !plainHeader(v[0]) {
				t.Fatalf("%s and %s set %s to %q", schema, arguments, name, v)
			}
		}
		if e := checkParamHeaders(h, found, arguments); e != nil {
			t.Fatalf("what was mirrored is refused: %v, %v", h, e)
		}
	})
}

// openDoor is a Sealer that opens everything: what comes out of a seal is still held to
// its kind and form.
type openDoor struct{}

func (openDoor) Seal(b []byte) []byte         { return b }
func (openDoor) Open(b []byte) ([]byte, bool) { return b, true }

// Garbage opens nothing, and no handle is one of another kind.
func FuzzUnseal(f *testing.F) {
	g := &Gateway{cfg: Config{Sealer: openDoor{}}}
	h, err := seal(g, kindSession, session{owner: owner{Server: "mail", Expires: 1}, Version: "2025-11-25"})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{h, "", "cw", "c3t9", "cnt9", h + "=", h[:len(h)-1], strings.Repeat("A", maxHandle+1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, handle string) {
		opened := 0
		if s, ok := unseal[session](g, kindSession, handle); ok {
			if again, err := seal(g, kindSession, s); err != nil || again == "" {
				t.Fatalf("%q opens as %+v, which cannot be sealed: %v", handle, s, err)
			}
			opened++
		}
		for _, ok := range []bool{second(unseal[event](g, kindEvent, handle)), second(unseal[asked](g, kindAsked, handle)), second(unseal[state](g, kindState, handle))} {
			if ok {
				opened++
			}
		}
		if opened > 1 || opened > 0 && len(handle) > maxState {
			t.Fatalf("%.100q is %d handles", handle, opened)
		}
	})
}

func second[T any](_ T, ok bool) bool { return ok }
