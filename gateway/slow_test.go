package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
)

// stuck sends a call over a connection of its own, and reads nothing of the answer.
func (s session) stuck() net.Conn {
	s.t.Helper()
	c := must(net.Dial("tcp", strings.TrimPrefix(s.base, "http://")))(s.t)
	s.t.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		s.t.Fatal(err)
	}
	body := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":` + listMessages + `}`
	_, err := fmt.Fprintf(c, "POST /mcp/mail HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nAuthorization: Bearer %s\r\nMcp-Session-Id: %s\r\nContent-Length: %d\r\n\r\n%s",
		strings.TrimPrefix(s.base, "http://"), s.bearer, s.id, len(body), body)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// A21: a client that stops reading has its own call cancelled, with a reason; the gateway
// holds no more of the answer than fits between two sockets, and nobody else waits.
func TestSlowReaderCancelsItsOwnCallOnly(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) { c.SlowClient = 100 * time.Millisecond })
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	event := `data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"` + strings.Repeat("x", 64<<10) + "\"}}\n\n"
	var wrote atomic.Int64
	begun, cut, cancelled := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
		defer close(cut)
		rw.Header().Set("Content-Type", "text/event-stream")
		close(begun)
		for r.Context().Err() == nil {
			n, err := io.WriteString(rw, event)
			if wrote.Add(int64(n)); err != nil {
				return
			}
		}
	})
	w.up.on("notifications/cancelled", func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusAccepted)
		cancelled <- "cancelled"
	})
	s.stuck()
	<-begun
	other := w.session(tokenSpec{subject: "bob"})
	if r := other.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); !strings.Contains(r.body, "list_messages") {
		t.Errorf("another caller meanwhile: %s", r)
	}
	<-cut
	<-cancelled
	if n := wrote.Load(); n > 32<<20 {
		t.Errorf("the server could write %d bytes to nobody", n)
	}
	w.untilOutcomes(2)
	if e := w.outcome("tools/call"); e.Status != "error" || e.Reason != "client_too_slow" {
		t.Errorf("audit: %+v", e)
	}
}

// outcome is the newest outcome of that action.
func (w *world) outcome(action string) (found audit.Event) {
	for _, e := range w.lines() {
		if e.Kind == audit.Outcome && e.Action == action {
			found = e
		}
	}
	return found
}

// A21: the same for an answer that is no stream.
func TestSlowReaderOfOneAnswerHoldsNothing(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) { c.SlowClient = 100 * time.Millisecond })
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	w.up.onJSON("tools/call", `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"`+strings.Repeat("x", 4<<20-200)+`"}]}}`)
	for range 4 {
		s.stuck()
	}
	w.untilOutcomes(5)
	if err := w.gateway.Close(t.Context()); err != nil { // waits for them
		t.Error(err)
	}
}
