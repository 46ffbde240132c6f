package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// TestCancelledCallRunsOn with its credential, or at a server of the stateless era, which is
// told by nothing but the end of the request.
func TestCancelledCallRunsOn(t *testing.T) {
	for _, translated := range []bool{false, true} {
		for _, lends := range []bool{false, true} {
			if !translated && !lends {
				continue // the server is told, and decides
			}
			t.Run(fmt.Sprintf("translated %v, credential %v", translated, lends), func(t *testing.T) {
				var w *world
				settled := func() {}
				if lends {
					src, change := legacy(t, false)
					w, settled = newWorld(t, change), src.settled
				} else {
					w = newWorld(t)
				}
				if translated {
					w.up.statelessOnly()
				}
				s := w.session(tokenSpec{subject: "alice"})
				s.call(`{"name":"list_messages"}`)
				d := w.up.hold(t, "tools/call")
				answer := make(chan reply)
				go func() {
					answer <- s.post(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_messages"}}`)
				}()
				<-d.arrived
				cancel := func(id string) {
					if r := s.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `}}`); r.status != http.StatusAccepted {
						t.Errorf("%s", r)
					}
				}
				cancel("8") // another request
				cancel("7")
				if a := <-answer; !strings.Contains(a.body, "has cancelled the call") {
					t.Errorf("%s", a)
				}
				<-d.gone
				settled()
				if !slices.ContainsFunc(w.lines(), func(e audit.Event) bool { return e.Kind == audit.Outcome && e.Reason == "canceled" }) {
					t.Errorf("no outcome says canceled: %+v", w.last())
				}
			})
		}
	}
}
