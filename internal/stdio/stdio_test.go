//go:build linux

package stdio_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/stdio"
)

func TestAnswersAreTheServersBytes(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	resp := w.must("POST", s, "{\"jsonrpc\":\"2.0\",\n\r\n\"id\":7,\"method\":\"odd\"}")
	got, want := all(t, resp), "{\"result\" : {\"z\":1.0,\"a\":\"\\u0041\"}, \"id\":7,\t\"jsonrpc\":\"2.0\"}"
	if got != want || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %q as %q, want %q", got, resp.Header.Get("Content-Type"), want)
	}
}

func TestEachSessionHasItsOwnProcess(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.open(), w.open()
	const pid = `{"jsonrpc":"2.0","id":1,"method":"pid"}`
	if a == b || w.ask(a, pid) == w.ask(b, pid) {
		t.Error("two sessions share a process")
	}
	if first, second := w.ask(a, pid), w.ask(a, pid); first != second {
		t.Error("a session has changed its process")
	}
	if got := w.status("DELETE", a, ""); got != http.StatusNoContent {
		t.Errorf("DELETE: HTTP %d", got)
	}
	if got := w.status("POST", a, pid); got != http.StatusNotFound {
		t.Errorf("a call of a deleted session: HTTP %d, want 404", got)
	}
	w.ask(b, pid)
}

func TestWhatComesBeforeTheAnswerMakesAnEventStream(t *testing.T) {
	w := newWorld(t, nil)
	e := eventsOf(t, w.must("POST", w.open(), `{"jsonrpc":"2.0","id":1,"method":"notify","params":{"text":"hello"}}`))
	if got := e.next(); !strings.Contains(got, `"data":"hello"`) {
		t.Errorf("first event %s", got)
	}
	if got := e.next(); got != `{"jsonrpc":"2.0","id":1,"result":"done"}` {
		t.Errorf("second event %s", got)
	}
	if err := e.end(); err != nil {
		t.Errorf("after the answer: %v, want the end", err)
	}
}

// hold opens a request that is not answered until release.
func (w *world) hold(ctx context.Context, session, id string) (*http.Response, *events) {
	w.t.Helper()
	resp, err := w.do(ctx, "POST", session, `{"jsonrpc":"2.0","id":`+id+`,"method":"hold"}`)
	if err != nil {
		w.t.Fatal(err)
	}
	e := eventsOf(w.t, resp)
	if got := e.next(); !strings.Contains(got, "notifications/held") {
		w.t.Fatalf("hold: %s", got)
	}
	return resp, e
}

// A8: TestProgressNeverReachesAnotherRequest: an open request of the same session sees
// nothing of another one's progress, nor what belongs to neither for certain.
func TestProgressNeverReachesAnotherRequest(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	_, held := w.hold(t.Context(), s, "1")
	get := eventsOf(t, w.must("GET", s, ""))
	e := eventsOf(t, w.must("POST", s, `{"jsonrpc":"2.0","id":2,"method":"progress","params":{"_meta":{"progressToken":"p\u0041"}}}`))
	if got := e.next(); !strings.Contains(got, `"progress":1`) {
		t.Errorf("the progress went elsewhere: %s", got)
	}
	if got := w.ask(s, `{"jsonrpc":"2.0","id":3,"method":"notify","params":{"text":"whose?"}}`); !strings.HasPrefix(got, "{") {
		t.Errorf("with two requests open, one got a message that names neither: %s", got)
	}
	if got := get.next(); !strings.Contains(got, "whose?") {
		t.Errorf("the GET stream got %s", got)
	}
	w.ask(s, `{"jsonrpc":"2.0","id":4,"method":"release"}`)
	if got := held.next(); got != `{"jsonrpc":"2.0","id":1,"result":"released"}` {
		t.Errorf("the held request got %s", got)
	}
}

func TestOneGETStreamASession(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	first, err := w.do(ctx, "GET", s, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := w.status("GET", s, ""); got != http.StatusConflict {
		t.Errorf("a second stream: HTTP %d, want 409", got)
	}
	cancel()
	if err := eventsOf(t, first).end(); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone reads %v", err)
	}
	_ = first.Body.Close()
	get := eventsOf(t, w.must("GET", s, ""))
	if got := w.status("POST", s, `{"jsonrpc":"2.0","method":"notifications/announce"}`); got != http.StatusAccepted {
		t.Errorf("a notification: HTTP %d, want 202", got)
	}
	if got := get.next(); !strings.Contains(got, "list_changed") {
		t.Errorf("the GET stream got %s", got)
	}
}

func TestRequestsOfTheServer(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	get := eventsOf(t, w.must("GET", s, ""))
	w.status("POST", s, `{"jsonrpc":"2.0","method":"notifications/ask"}`)
	if got := get.next(); got != `{"jsonrpc":"2.0","id":"q1","method":"roots/list"}` {
		t.Errorf("the server asked %s", got)
	}
	if got := w.status("POST", s, `{"jsonrpc":"2.0","id":"q1","result":{"roots":[]}}`); got != http.StatusAccepted {
		t.Errorf("a response: HTTP %d, want 202", got)
	}
	if got := get.next(); !strings.Contains(got, `"result":{"roots":[]}`) {
		t.Errorf("the server was told %s", got)
	}
}

func TestARequestOfTheServerWithoutAClientIsAnswered(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	w.status("POST", s, `{"jsonrpc":"2.0","method":"notifications/ask"}`)
	w.log.wait("no stream for it")
	if got := w.ask(s, `{"jsonrpc":"2.0","id":1,"method":"what"}`); !strings.Contains(got, `"id":"q1","error":`) {
		t.Errorf("the server was told %s", got)
	}
}

// A8: TestALateAnswerReachesNobodyElse: the client of request 1 has gone. Its id stays
// taken until the server has answered, so that the answer cannot be taken for another's.
func TestALateAnswerReachesNobodyElse(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	_, held := w.hold(ctx, s, "1")
	cancel()
	if err := held.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("the client that has gone reads %v", err)
	}
	for _, id := range []string{"1", "1.0", "10e-1"} {
		if got := w.status("POST", s, `{"jsonrpc":"2.0","id":`+id+`,"method":"pid"}`); got != http.StatusBadRequest {
			t.Errorf("id %s again: HTTP %d, want 400", id, got)
		}
	}
	if got := w.ask(s, `{"jsonrpc":"2.0","id":2,"method":"release"}`); got != `{"jsonrpc":"2.0","id":2,"result":"ok"}` {
		t.Errorf("the next request got %s", got)
	}
	w.ask(s, `{"jsonrpc":"2.0","id":1,"method":"pid"}`)
}

// TestWhatACancelledRequestSaysIsNotTheNextOnes: one that was cancelled has no share
// in what comes without a name, and does not keep it from the only one left.
func TestWhatACancelledRequestSaysIsNotTheNextOnes(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	w.hold(ctx, s, "1")
	cancel()
	if got := w.ask(s, `{"jsonrpc":"2.0","id":2,"method":"notify","params":{"text":"of 1 or 2"}}`); !strings.HasPrefix(got, "{") {
		t.Errorf("a message that may be the gone request's went to another: %s", got)
	}
	w.status("POST", s, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	if got := w.ask(s, `{"jsonrpc":"2.0","id":3,"method":"notify","params":{"text":"of 3"}}`); !strings.HasPrefix(got, "event:") {
		t.Errorf("the only open request did not get its message: %s", got)
	}
}

func TestTheEnvironmentIsNotOurs(t *testing.T) {
	t.Setenv("WICKETGATE_SECRET_OF_THE_GATEWAY", "s3cret")
	w := newWorld(t, func(c *stdio.Config) { c.Env = append(c.Env, "API_KEY=given") })
	got := w.ask(w.open(), `{"jsonrpc":"2.0","id":1,"method":"env"}`)
	if strings.Contains(got, "s3cret") || strings.Contains(got, "a-call-token") || !strings.Contains(got, "API_KEY=given") || !strings.Contains(got, "HOME=/") {
		t.Errorf("environment of the server: %s", got)
	}
	if strings.Contains(got, "GOGC") {
		t.Errorf("how we start is in the environment of the server: %s", got)
	}
}

func TestTheServersOwnGCSettingIsKept(t *testing.T) {
	w := newWorld(t, func(c *stdio.Config) { c.Env = append(c.Env, "GOGC=50") })
	if got := w.ask(w.open(), `{"jsonrpc":"2.0","id":1,"method":"env"}`); !strings.Contains(got, "GOGC=50") {
		t.Errorf("environment of the server: %s", got)
	}
}

func TestJunkOfTheServerIsDropped(t *testing.T) {
	w := newWorld(t, nil)
	if got := w.ask(w.open(), `{"jsonrpc":"2.0","id":1,"method":"junk"}`); got != `{"jsonrpc":"2.0","id":1,"result":"after junk"}` {
		t.Errorf("got %s", got)
	}
	if log := w.log.String(); !strings.Contains(log, "not a message") || strings.Contains(log, "please wait") {
		t.Errorf("log: %s", log)
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	for _, c := range []struct {
		name, method, session, body string
		want                        int
	}{
		{"a call without a session", "POST", "", `{"jsonrpc":"2.0","id":1,"method":"pid"}`, 400},
		{"an unknown session", "POST", "nobody", `{"jsonrpc":"2.0","id":1,"method":"pid"}`, 404},
		{"a stream of an unknown session", "GET", "nobody", ``, 404},
		{"the end of an unknown session", "DELETE", "nobody", ``, 404},
		{"no JSON", "POST", s, `{`, 400},
		{"a batch", "POST", s, `[{"jsonrpc":"2.0","id":1,"method":"pid"}]`, 400},
		{"a name twice", "POST", s, `{"jsonrpc":"2.0","id":1,"id":2,"method":"pid"}`, 400},
		{"two messages", "POST", s, `{"jsonrpc":"2.0","id":1,"method":"pid"}{}`, 400},
		{"a null id", "POST", s, `{"jsonrpc":"2.0","id":null,"method":"pid"}`, 400},
		{"initialize again", "POST", s, initialize, 400},
		{"another HTTP method", "PUT", s, `{}`, 405},
		{"too long a body", "POST", s, strings.Repeat(" ", 4<<20+1), 413},
	} {
		if got := w.status(c.method, c.session, c.body); got != c.want {
			t.Errorf("%s: HTTP %d, want %d", c.name, got, c.want)
		}
	}
	w.ask(s, `{"jsonrpc":"2.0","id":1,"method":"pid"}`)
}

// TestAClientThatHasGoneKeepsNoSession: its request is open still.
func TestAClientThatHasGoneKeepsNoSession(t *testing.T) {
	w := newWorld(t, func(c *stdio.Config) { c.Idle = time.Minute })
	s := w.open()
	resp, _ := w.hold(t.Context(), s, "1")
	_ = resp.Body.Close()
	w.pass(time.Minute)
	if got := w.status("POST", s, `{"jsonrpc":"2.0","id":2,"method":"pid"}`); got != http.StatusNotFound {
		t.Errorf("HTTP %d, want 404", got)
	}
}

func TestLimitsOnProcesses(t *testing.T) {
	type key struct{}
	w := newWorld(t, func(c *stdio.Config) {
		c.MaxProcesses, c.MaxPerOwner = 3, 2
		c.Owner = func(ctx context.Context) string { s, _ := ctx.Value(key{}).(string); return s }
	})
	start := func(owner string) string {
		resp, err := w.do(context.WithValue(t.Context(), key{}, owner), "POST", "", initialize)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			return all(t, resp)
		}
		return resp.Header.Get("Mcp-Session-Id")
	}
	first := start("alice")
	start("alice")
	if got := start("alice"); got != "too_many_processes_of_caller" {
		t.Errorf("the third of alice: %s", got)
	}
	start("bob")
	if got := start("carol"); got != "too_many_processes" {
		t.Errorf("the fourth of all: %s", got)
	}
	w.status("DELETE", first, "")
	for { // its place is free once the process is gone, however long that takes
		if got := start("carol"); got != "too_many_processes" {
			return
		}
	}
}

func TestTimeLimits(t *testing.T) {
	w := newWorld(t, func(c *stdio.Config) { c.Idle, c.Life = 10*time.Minute, time.Hour })
	const pid = `{"jsonrpc":"2.0","id":9,"method":"pid"}`
	idle, used, waits, long := w.open(), w.open(), w.open(), w.open()
	w.hold(t.Context(), waits, "1")
	get := w.must("GET", long, "")
	w.pass(9 * time.Minute)
	w.ask(used, pid)
	w.pass(time.Minute)
	w.Sweep()
	for _, s := range []string{used, waits, long} {
		w.ask(s, pid)
	}
	if got := w.status("POST", idle, pid); got != http.StatusNotFound {
		t.Errorf("an idle session: HTTP %d, want 404", got)
	}
	w.pass(time.Hour)
	w.Sweep()
	if _, err := io.ReadAll(get.Body); err == nil {
		t.Error("the stream of a session that lived too long had a good end")
	}
	w.Wait()
	if got := w.status("POST", long, pid); got != http.StatusNotFound {
		t.Errorf("a session that lived too long: HTTP %d, want 404", got)
	}
}

func TestStandardErrorIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	w.ask(w.open(), `{"jsonrpc":"2.0","id":1,"method":"stderr"}`)
	_ = w.Close()
	if n := w.log.String(); len(n) > 120*1024 || strings.Count(n, "stderr=") != 120 || strings.Contains(n, strings.Repeat("y", 600)) {
		t.Errorf("the log has %d bytes and %d lines of it", len(n), strings.Count(n, "stderr="))
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]stdio.Config{
		"no command":         {},
		"an unknown command": {Command: []string{"wicketgate-no-such-program"}},
		"a bad variable":     {Command: []string{"/proc/self/exe"}, Env: []string{"secret-value"}},
	} {
		if _, err := stdio.New(cfg); err == nil || strings.Contains(err.Error(), "secret-value") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
