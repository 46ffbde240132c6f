package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
)

// forgetful has the server begin sessions with names of their own, and know none of them any
// more once it is started anew.
func (u *upstream) forgetful() (anew func()) {
	var begun, first atomic.Int64
	u.on("initialize", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Mcp-Session-Id", fmt.Sprint(begun.Add(1)))
		u.result(w, r, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"n","version":"1"}}`)
	})
	for method, result := range map[string]string{"tools/list": `{"tools":[` + mailTools + `]}`, "tools/call": `{"content":[{"type":"text","text":"done"}],"structuredContent":{"text":"hello"}}`} {
		u.on(method, func(w http.ResponseWriter, r *http.Request) {
			var n int64
			if _, err := fmt.Sscan(r.Header.Get("Mcp-Session-Id"), &n); err != nil || n <= first.Load() {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			u.result(w, r, result)
		})
	}
	return func() { first.Store(begun.Load()) }
}

// TestSessionThatTheServerForgotIsOpenedAgain, whatever the gateway says in it next: a process
// ends with its credential, and a server forgets when it is started anew. Whoever goes on
// calling would never get through.
func TestSessionThatTheServerForgotIsOpenedAgain(t *testing.T) {
	for _, all := range []bool{false, true} {
		src, change := legacy(t, all)
		w := newWorld(t, change, func(c *gateway.Config) { c.All = allOf(t) })
		w.up.sessionsOnly()
		anew := w.up.forgetful()
		at := w.everywhere()
		for _, ask := range []func() reply{
			func() reply {
				return w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: listMessagesStateless})
			},
			func() reply {
				return at.ask(request{bearer: w.token(tokenSpec{subject: "alice", audience: issuer + "/mcp"}), method: "tools/list"})
			},
		} {
			for range 2 {
				if r := ask(); !strings.Contains(r.body, "done") && !strings.Contains(r.body, "mail__list_messages") {
					t.Errorf("all %v: %s", all, r)
				}
				anew()
				w.now.Advance(2 * time.Minute) // the definitions are old
			}
		}
		src.settled()
	}
}
