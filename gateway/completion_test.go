package gateway_test

import (
	"strings"
	"testing"
)

// A2: a completion is decided by the name that every parser reads: another spelling beside it,
// which some take for the same member, would be that of a prompt which the caller may not
// use (CVE-2026-27896).
func TestCompletionOfTwoNames(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	s := w.session(tokenSpec{subject: "alice", scope: allScopes})
	for _, ref := range []string{`{"type":"ref/prompt","name":"summarize","Name":"exfiltrate"}`, `{"type":"ref/resource","uri":"mail://inbox/{id}","URI":"mail://drafts/{id}"}`,
		`{"type":"ref/prompt","name":"summarize","uri":"mail://drafts/{id}","Type":"ref/resource"}`} {
		r := s.post(`{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{"ref":` + ref + `,"argument":{"name":"a","value":"b"}}}`)
		if !strings.Contains(r.body, `"code":-32602`) || len(w.up.calls("completion/complete")) != 0 {
			t.Errorf("%s: %s", ref, r)
		}
	}
}
