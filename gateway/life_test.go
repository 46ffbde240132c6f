package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// until reads events until one has the text, and returns it.
func until(t *testing.T, from *bufio.Scanner, want string) string {
	t.Helper()
	for from.Scan() {
		if strings.Contains(from.Text(), want) {
			return from.Text()
		}
	}
	t.Fatalf("the stream ended without %q: %v", want, from.Err())
	return ""
}

// An orderly stop ends the streams that would never end, with their completion result
// where they have one, and lets calls finish.
func TestDrainEndsLongStreamsWithGrace(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	w.up.fail("", http.StatusMethodNotAllowed)
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	get := s.listen(t.Context())
	subscription := must(w.stateless(t.Context(), s.bearer, "subscriptions/listen", `"notifications":{"toolsListChanged":true},`))(t)
	events := bufio.NewScanner(subscription.Body)
	until(t, events, "notifications/subscriptions/acknowledged")
	d := w.up.hold(t, "tools/call")
	called := make(chan reply)
	go func() { called <- s.call(listMessages) }()
	<-d.arrived
	w.gateway.Drain()
	until(t, events, `"id":7,"result":{"resultType":"complete"`)
	for _, body := range []io.Reader{subscription.Body, get.Body} {
		if rest, err := io.ReadAll(body); err != nil || strings.Contains(string(rest), "error") {
			t.Errorf("the end: %q, %v", rest, err)
		}
	}
	late := must(w.stateless(t.Context(), s.bearer, "subscriptions/listen", `"notifications":{"toolsListChanged":true},`))(t)
	if r := read(t, late); !strings.Contains(r.body, `"resultType":"complete"`) {
		t.Errorf("a subscription that comes late: %s", r)
	}
	d.let()
	if r := <-called; !strings.Contains(r.body, `"result"`) {
		t.Errorf("the call: %s", r)
	}
}

// TestCloseLeavesNothingBehind: calls that are still open end with a reason in the audit
// log, sessions that the gateway kept are ended at the server, and no goroutine stays.
func TestCloseLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	w.up.on("", func(rw http.ResponseWriter, r *http.Request) { // GET: a stream that says nothing
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	before := runtime.NumGoroutine()
	subscription := must(w.stateless(t.Context(), s.bearer, "subscriptions/listen", `"notifications":{"toolsListChanged":true},`))(t)
	until(t, bufio.NewScanner(subscription.Body), "acknowledged")
	d := w.up.hold(t, "tools/call")
	called := make(chan reply)
	go func() { called <- s.call(listMessages) }()
	<-d.arrived
	if n := w.gateway.Stats()[0].Sessions; n != 1 {
		t.Fatalf("%d sessions are kept", n)
	}
	if err := w.gateway.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if r := <-called; !strings.Contains(r.body, "the gateway is stopping") {
		t.Errorf("the call: %s", r)
	}
	ended := w.up.calls("DELETE")
	if len(ended) != 1 || ended[0].header.Get("Mcp-Session-Id") == "" || ended[0].bearer() == s.bearer {
		t.Errorf("the server was told %+v", ended)
	}
	found := false
	for _, e := range w.lines() {
		found = found || e.Kind == audit.Outcome && e.Action == "tools/call" && e.Reason == "gateway_stopping"
	}
	if !found {
		t.Error("the audit log does not say how the call ended")
	}
	if r := s.call(listMessages); r.status != http.StatusServiceUnavailable {
		t.Errorf("afterwards: %s", r)
	}
	subscription.Body.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for runtime.NumGoroutine() > before { // those of connections end by and by
		runtime.Gosched()
	}
}

// A session that the gateway keeps and nobody uses is ended at the server; one that
// somebody listens to is not.
func TestIdleSessionsAreEndedAtTheServer(t *testing.T) {
	w := newWorld(t, timeout(time.Minute))
	w.up.sessionsOnly()
	w.up.fail("", http.StatusMethodNotAllowed)
	bearer := w.token(tokenSpec{subject: "alice", lifetime: time.Hour})
	read(t, must(w.callStateless(t.Context(), bearer))(t))
	sweep := func(want int) {
		t.Helper()
		if err := w.gateway.EndIdle(t.Context()); err != nil || len(w.up.calls("DELETE")) != want {
			t.Errorf("%d sessions were ended, want %d: %v", len(w.up.calls("DELETE")), want, err)
		}
	}
	sweep(0)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	subscription := must(w.stateless(ctx, bearer, "subscriptions/listen", `"notifications":{"toolsListChanged":true},`))(t)
	until(t, bufio.NewScanner(subscription.Body), "acknowledged")
	w.now.Advance(12 * time.Minute)
	sweep(0)
	leave()
	for w.gateway.Stats()[0].Streams > 0 { // until the gateway has noticed
		runtime.Gosched()
	}
	sweep(1)
	read(t, must(w.callStateless(t.Context(), bearer))(t))
	if n := len(w.up.calls("initialize")); n != 2 || w.gateway.Stats()[0].Sessions != 1 {
		t.Errorf("the server saw %d sessions, %d are kept", n, w.gateway.Stats()[0].Sessions)
	}
}

// One that was forgotten to make room for another is ended too.
func TestForgottenSessionIsEndedAtTheServer(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	opened, kept := 0, 0
	for ; kept == opened; kept = w.gateway.Stats()[0].Sessions { // one that was answered counts as in use for a moment
		w.now.Advance(11 * time.Minute)
		client := identityOf("client-" + strconv.Itoa(opened))
		read(t, must(w.callStateless(t.Context(), w.token(tokenSpec{subject: "alice", client: client})))(t))
		opened++
	}
	w.now.Advance(-11 * time.Minute * time.Duration(opened)) // those that are left are in use
	if err := w.gateway.EndIdle(t.Context()); err != nil || len(w.up.calls("DELETE")) != opened-kept {
		t.Errorf("%d sessions were ended, want %d: %v", len(w.up.calls("DELETE")), opened-kept, err)
	}
}

// A22: one subject cannot have the gateway keep 10,000 sessions with a server.
func TestSubjectCannotKeepTenThousandSessions(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	refused := 0
	for i := range 40 {
		raw := w.token(tokenSpec{subject: "alice", client: identityOf(strings.Repeat("c", i+1))})
		if r := read(t, must(w.callStateless(t.Context(), raw))(t)); r.status == http.StatusTooManyRequests || strings.Contains(r.body, "too many sessions") {
			refused++ // the one that was idle the longest made room
		}
	}
	if err := w.gateway.EndIdle(t.Context()); err != nil {
		t.Error(err)
	}
	if n, ended := w.gateway.Stats()[0].Sessions, len(w.up.calls("DELETE")); n != 32 || refused != 0 || ended != 8 {
		t.Errorf("%d sessions are kept, %d were refused, the server was told of the end of %d", n, refused, ended)
	}
}
