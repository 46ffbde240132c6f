package gateway_test

import (
	"strings"
	"testing"
)

// A method of any length has a short line in the audit log: none is too long to be written.
func TestDenialOfAHugeMethodIsRecorded(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	s.post(`{"jsonrpc":"2.0","id":7,"method":"tools/` + strings.Repeat("x", 300<<10) + `"}`)
	if e := w.last(); e.Reason != "unknown_method" || len(e.Action) > 200 || !strings.HasPrefix(e.Action, "tools/xxx") {
		t.Errorf("%s %s, action of %d bytes", e.Kind, e.Reason, len(e.Action))
	}
}
