package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
)

// A client whose calls take its whole budget can answer what they wait for, or nothing
// would ever end them.
func TestBudgetOfCallsLeavesRoomForTheirAnswers(t *testing.T) {
	one := budget(gateway.Budget{Calls: 1})
	t.Run("the answer in a session", func(t *testing.T) {
		w := newWorld(t, one)
		w.up.asksMidway(t)
		s := w.eliciting(tokenSpec{subject: "alice"})
		question, rest := s.begin("Sure?")
		w.wantOver(t, s.call(listMessages), "budget_calls")
		if r := s.post(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`); r.status != http.StatusAccepted && r.status != http.StatusOK {
			t.Errorf("a notice: %s", r)
		}
		if r := s.post(`{"jsonrpc":"2.0","id":` + memberIn(question, "id") + `,"result":{"action":"accept"}}`); r.status != http.StatusAccepted {
			t.Fatalf("the answer: %s", r)
		}
		if got := until(t, rest, `"id":7`); !strings.Contains(got, `"result"`) {
			t.Error(got)
		}
	})
	t.Run("the request that comes again", func(t *testing.T) {
		w := newWorld(t, one)
		w.up.asksMidway(t)
		bearer := w.token(tokenSpec{subject: "alice"})
		state := stateOf(t, w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`, capabilities: elicits}))
		w.wantOver(t, w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`, capabilities: elicits}), "budget_calls")
		r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",` + accept + state + `,`, capabilities: elicits})
		if !strings.Contains(r.body, `"heard":{"action":"accept"}`) {
			t.Errorf("%s", r)
		}
	})
}
