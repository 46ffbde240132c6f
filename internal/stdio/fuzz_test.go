//go:build linux

package stdio_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/stdio"
)

// FuzzLines: no line is longer than allowed, and none has a line break in it.
func FuzzLines(f *testing.F) {
	f.Add("{}\n{\"a\":1}\r\n\n[]")
	f.Add(strings.Repeat("x", 100) + "\n")
	f.Fuzz(func(t *testing.T, in string) {
		const limit = 64
		_ = stdio.Lines(strings.NewReader(in), limit, func(line []byte) {
			if len(line) > limit || bytes.ContainsRune(line, '\n') || len(bytes.TrimSpace(line)) == 0 {
				t.Errorf("line %q of %q", line, in)
			}
		})
	})
}

// FuzzParse: what is accepted is one JSON object, and stays the same one when its line
// breaks are taken out.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":1}}}`))
	f.Add([]byte("{\"id\":\"a\",\r\n\"result\":{}}"))
	f.Add([]byte(`{"method":"notifications/cancelled","params":{"requestId":1e0}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		id, method, err := stdio.Parse(in)
		if err != nil {
			return
		}
		one := stdio.OneLine(in)
		if !json.Valid(one) || one[0] != '{' || bytes.ContainsAny(one, "\r\n") {
			t.Errorf("%q was accepted and became %q", in, one)
		}
		if id2, method2, err := stdio.Parse(one); err != nil || id2 != id || method2 != method {
			t.Errorf("%q became %q: %q %q, %q %q, %v", in, one, id, method, id2, method2, err)
		}
	})
}
