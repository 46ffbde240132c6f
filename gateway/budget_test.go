package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
)

func budget(b gateway.Budget) func(*gateway.Config) {
	return func(c *gateway.Config) { c.Upstreams[0].Budget = b }
}

// wantOver checks a refusal for want of budget, and its line in the audit log.
func (w *world) wantOver(t *testing.T, r reply, reason string) {
	t.Helper()
	if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" || !strings.Contains(r.body, `"error":{"code":403`) {
		t.Errorf("%s: %s, Retry-After %q", reason, r, r.header.Get("Retry-After"))
	}
	if e := w.last(); e.Kind != audit.Denial || e.Reason != reason || e.Subject != "alice" {
		t.Errorf("%s: audit %+v", reason, e)
	}
}

// A22: who sends calls and hangs up does not get more of them: in the session era they go
// on.
func TestClientThatHangsUpStillHoldsItsCalls(t *testing.T) {
	w := newWorld(t, budget(gateway.Budget{Calls: 2}))
	alice, bob := w.session(tokenSpec{subject: "alice"}), w.session(tokenSpec{subject: "bob"})
	alice.call(listMessages)
	d := w.up.hold(t, "tools/call")
	for range 2 {
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			req := must(http.NewRequestWithContext(ctx, "POST", w.url, strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":`+listMessages+`}`)))(t)
			for name, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + alice.bearer, "Mcp-Session-Id": alice.id} {
				req.Header.Set(name, v)
			}
			if resp, err := http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		<-d.arrived
		hangUp()
		<-done
	}
	w.wantOver(t, alice.call(listMessages), "budget_calls")
	if len(d.arrived) > 0 {
		t.Error("the third call came to the server")
	}
	done := make(chan reply)
	go func() { done <- bob.call(listMessages) }()
	<-d.arrived // another subject has its own
	d.let()
	if r := <-done; !strings.Contains(r.body, `"result"`) {
		t.Errorf("bob: %s", r)
	}
	w.untilOutcomes(4)
	if r := alice.call(listMessages); !strings.Contains(r.body, `"result"`) {
		t.Errorf("once they have ended: %s", r)
	}
}

// untilOutcomes waits until so many calls of tools have ended.
func (w *world) untilOutcomes(n int) {
	for {
		ended := 0
		for _, e := range w.lines() {
			if e.Kind == audit.Outcome && e.Action == "tools/call" {
				ended++
			}
		}
		if ended >= n {
			return
		}
	}
}

// A22
func TestSubjectCannotHoldEveryStream(t *testing.T) {
	for name, c := range map[string]struct {
		budget gateway.Budget
		all    int64
		reason string
	}{
		"its own":       {gateway.Budget{Streams: 2}, 0, "budget_streams"},
		"the process's": {gateway.Budget{}, 2, "too_many_streams"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, budget(c.budget), func(cfg *gateway.Config) { cfg.MaxStreams = c.all })
			w.up.fail("", http.StatusMethodNotAllowed) // GET: the gateway's own news
			s := w.session(tokenSpec{subject: "alice"})
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			for range 2 {
				if r := s.listen(ctx); r.StatusCode != 200 {
					t.Fatal(r.Status)
				}
			}
			w.wantOver(t, read(t, s.listen(ctx)), c.reason)
			if r := s.call(listMessages); !strings.Contains(r.body, `"result"`) {
				t.Errorf("a call meanwhile: %s", r)
			}
			leave()
			for w.gateway.Stats()[0].Streams > 0 { // until the gateway has noticed
				runtime.Gosched()
			}
			ctx, leave = context.WithCancel(t.Context())
			defer leave()
			if r := s.listen(ctx); r.StatusCode != 200 {
				t.Errorf("once they were closed: %s", r.Status)
			}
		})
	}
}

// What is over the budget ends with an error: nothing is cut off silently.
func TestAnswerOverTheBudgetEndsWithAnError(t *testing.T) {
	event := `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"` + strings.Repeat("x", 8<<10) + `"}}`
	for name, answer := range map[string]http.HandlerFunc{
		"events": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "data: "+event+"\n\n")
			}
		},
		"one answer": func(w http.ResponseWriter, _ *http.Request) {
			(*upstream)(nil).json(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":%q}]}}`, strings.Repeat("x", 64<<10)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, budget(gateway.Budget{Bytes: 32 << 10}))
			s := w.session(tokenSpec{subject: "alice"})
			s.call(listMessages)
			w.up.on("tools/call", answer)
			r := s.call(listMessages)
			if !strings.Contains(r.body, `"id":7,"error":{"code":403,"message":"too many bytes`) || len(r.body) > 40<<10 {
				t.Errorf("%d bytes: …%s", len(r.body), r.body[max(0, len(r.body)-200):])
			}
			if e := w.last(); e.Kind != audit.Outcome || e.Status != "error" || e.Reason != "budget_bytes" {
				t.Errorf("audit: %+v", e)
			}
			w.wantOver(t, s.call(strings.Repeat(" ", 31<<10)+listMessages), "budget_bytes")
			w.now.Advance(time.Minute)
			w.up.onJSON("tools/call", `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`)
			if r := s.call(listMessages); !strings.Contains(r.body, `"result"`) {
				t.Errorf("a minute later: %s", r)
			}
		})
	}
}

func TestNoBudgetBoundsNothing(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	d := w.up.hold(t, "tools/call")
	done := make(chan reply)
	for range 100 {
		go func() { done <- s.call(listMessages) }()
		<-d.arrived
	}
	d.let()
	for range 100 {
		if r := <-done; !strings.Contains(r.body, `"result"`) {
			t.Errorf("%s", r)
		}
	}
}
