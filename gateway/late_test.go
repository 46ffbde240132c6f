package gateway_test

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// A late answer is for a token that may have it: who comes back with a narrower one, or
// may do less by now, gets what it would get in time.
func TestLateAnswerNeedsWhatItsRequestNeeded(t *testing.T) {
	for _, tt := range []struct{ method, params, late string }{
		{"resources/read", `{"uri":"mail://inbox/1"}`, `{"contents":[{"uri":"mail://inbox/1","text":"for alice"}]}`},
		{"prompts/get", `{"name":"summarize"}`, `{"messages":[{"role":"user","content":{"type":"text","text":"for alice"}}]}`},
		{"tools/call", listMessages, `{"content":[{"type":"text","text":"for alice"}]}`},
	} {
		t.Run(tt.method, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, policy(t, wide))
			s := w.session(tokenSpec{subject: "alice", scope: allScopes})
			s.call(listMessages)
			last := s.broken(tt.method, `{"jsonrpc":"2.0","id":7,"method":"`+tt.method+`","params":`+tt.params+`}`)
			w.up.goesOn(`{"jsonrpc":"2.0","id":7,"result":` + tt.late + `}`)
			narrow := s
			narrow.bearer = w.token(tokenSpec{subject: "alice", scope: "tool:read_message"})
			if r := read(t, narrow.resume(t.Context(), last)); strings.Contains(r.body, "for alice") || len(w.up.calls("")) != 0 {
				t.Errorf("with a narrower token: %s", r)
			}
			if e := w.last(); e.Kind != audit.Denial {
				t.Errorf("audit: %+v", e)
			}
			if r := read(t, s.resume(t.Context(), last)); !strings.Contains(r.body, "for alice") {
				t.Errorf("with the same: %s", r)
			}
		})
	}
}

// What a completion was for is not in the id of its events, so that nobody could tell
// whether a late one may be had.
func TestLateCompletionCannotBeHad(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	s := w.session(tokenSpec{subject: "alice", scope: allScopes})
	w.up.breaks("completion/complete")
	r := s.post(`{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"summarize"},"argument":{"name":"a","value":"b"}}}`)
	if strings.Contains(r.body, "id: ") {
		t.Errorf("%s", r)
	}
}
