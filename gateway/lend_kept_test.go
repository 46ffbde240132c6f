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

// TestSessionsThatAreKeptLiveByOneCredential: at the endpoint over all servers a client may have
// several sessions, each with credentials of its own. A process of the server's has one.
func TestSessionsThatAreKeptLiveByOneCredential(t *testing.T) {
	src, change := legacy(t, true)
	w := newWorld(t, change, func(c *gateway.Config) { c.All = allOf(t) })
	w.up.sessionsOnly()
	w.up.forgetful()
	at, bearer := w.everywhere(), w.token(tokenSpec{subject: "alice", audience: issuer + "/mcp"})
	var both []session
	for range 2 {
		both = append(both, session{at, bearer, at.do("POST", at.url, bearer, initialize).header.Get("Mcp-Session-Id")})
	}
	for range 2 {
		for _, s := range both {
			if r := s.call(`{"name":"mail__list_messages"}`); !strings.Contains(r.body, "done") {
				t.Fatal(r)
			}
		}
	}
	calls := w.up.calls("tools/call")
	sent := func(i int) string { return calls[i].header.Get("Mcp-Session-Id") }
	if sent(0) == sent(1) || sent(0) != sent(2) || sent(1) != sent(3) {
		t.Errorf("the calls came in sessions %s, %s, %s, %s", sent(0), sent(1), sent(2), sent(3))
	}
	both[0].do("DELETE", at.url, bearer, "", "Mcp-Session-Id", both[0].id)
	if err := w.gateway.EndIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ended := w.up.calls("DELETE"); len(ended) != 1 || ended[0].header.Get("Mcp-Session-Id") != sent(0) {
		t.Errorf("%d sessions were ended: %+v, want %s", len(ended), ended, sent(0))
	}
	src.settled()
}
