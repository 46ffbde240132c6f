//go:build linux

package stdio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/sandbox"
	"github.com/wicketgate/wicketgate/internal/stdio"
)

func perCall(t *testing.T, change func(*stdio.Config)) *world {
	return newWorld(t, func(c *stdio.Config) {
		if c.PerCall, c.Mask = true, mask; change != nil {
			change(c)
		}
	})
}

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"7"},` +
	`"io.modelcontextprotocol/clientCapabilities":{"sampling":{},"elicitation":{},"roots":{},"extensions":{"x/y":{}}},"io.modelcontextprotocol/logLevel":"info","progressToken":"p","vendor/x":1.0}`

// tool is a call of a tool of the test's server in the stateless era.
func tool(name, text string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7.0,"method":"tools/call","params":{"name":%q,"arguments":{"text":%q, "exact":[1.0,1e2]},`+meta+`,"requestState":"s","inputResponses":{}}}`, name, text)
}

// call makes one, and returns the answer.
func (w *world) call(ctx context.Context, name, text string) string {
	w.t.Helper()
	resp, err := w.do(ctx, "POST", "", tool(name, text))
	if err != nil {
		w.t.Fatal(err)
	}
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || ct != "application/json" {
		w.t.Fatalf("%s: HTTP %d, %s: %s", name, resp.StatusCode, ct, all(w.t, resp))
	}
	return all(w.t, resp)
}

func TestDiscoverOfACommandForEachCall(t *testing.T) {
	w := perCall(t, nil)
	got := all(t, w.must("POST", "", `{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{`+meta+`}}`))
	want := `{"jsonrpc":"2.0","id":"d","result":{"resultType":"complete","supportedVersions":["2026-07-28"],"ttlMs":60000,"cacheScope":"private",` +
		`"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"t","version":"0"}},"instructions":"be kind","capabilities":{"tools":{},"resources":{}}}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.Wait()
}

func TestEachCallHasItsOwnProcess(t *testing.T) {
	w := perCall(t, nil)
	var pids []int
	for range 2 {
		var answer struct{ Result struct{ It int } }
		if err := json.Unmarshal([]byte(w.call(t.Context(), "which", "")), &answer); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, answer.Result.It)
	}
	if pids[0] == pids[1] || pids[0] == 0 {
		t.Errorf("processes %v", pids)
	}
	w.Wait()
}

// TestServerOfTheSessionEraSeesItsEra: nothing of the other one, and the arguments as they
// were accepted.
func TestServerOfTheSessionEraSeesItsEra(t *testing.T) {
	w := perCall(t, nil)
	var answer struct {
		ID     json.RawMessage
		Result struct{ ResultType, It string }
	}
	if err := json.Unmarshal([]byte(w.call(t.Context(), "seen", "hi")), &answer); err != nil {
		t.Fatal(err)
	}
	want := `{"jsonrpc":"2.0","id":"wicketgate","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"extensions":{"x/y":{}}},"clientInfo":{"name":"c","version":"7"}}}` +
		`{"jsonrpc":"2.0","id":7.0,"method":"tools/call","params":{"name":"seen","arguments":{"text":"hi", "exact":[1.0,1e2]},"_meta":{"progressToken":"p","vendor/x":1.0}}}`
	if answer.Result.It != want || answer.Result.ResultType != "complete" || string(answer.ID) != "7.0" {
		t.Errorf("id %s, resultType %s, seen\n%s\nwant\n%s", answer.ID, answer.Result.ResultType, answer.Result.It, want)
	}
}

func TestProgressOfACallIsHeardAndNothingElse(t *testing.T) {
	w := perCall(t, nil)
	e := eventsOf(t, w.must("POST", "", tool("steps", "")))
	for _, want := range []string{"notifications/progress", "notifications/message", `"id":7.0,"result":{"resultType":"complete","it":"done"}`} {
		if got := e.next(); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if err := e.end(); err != nil {
		t.Errorf("after the answer: %v", err)
	}
	w.Wait()
}

// TestServerThatAsksIsToldThatNobodyAnswers, at once: it would wait for ever.
func TestServerThatAsksIsToldThatNobodyAnswers(t *testing.T) {
	w := perCall(t, nil)
	var answer struct{ Result struct{ It []string } }
	if err := json.Unmarshal([]byte(w.call(t.Context(), "ask", "")), &answer); err != nil {
		t.Fatal(err)
	}
	told := strings.Join(answer.Result.It, "\n")
	for _, want := range []string{`"id":"p","result":{}`, `"id":"s","error":{"code":-32601`, `"id":"n","error":{"code":-32601`} {
		if !strings.Contains(told, want) {
			t.Errorf("the server was told %s, want %s", told, want)
		}
	}
}

// TestRefusedWithoutAProcess: what one process for one request cannot do.
func TestRefusedWithoutAProcess(t *testing.T) {
	w := perCall(t, func(c *stdio.Config) { c.MaxProcesses = 1 })
	for _, c := range []struct {
		name, method, body string
		want               int
		says               string
	}{
		{"a session", "POST", initialize, 404, `"id":0,"error":{"code":-32601`},
		{"a subscription", "POST", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{` + meta + `}}`, 404, "-32601"},
		{"a resource's news", "POST", `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{` + meta + `}}`, 404, "-32601"},
		{"the session era", "POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`, 400, "protocolVersion"},
		{"no params", "POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, 400, "protocolVersion"},
		{"a notification", "POST", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 400, "JSON-RPC"},
		{"a version twice", "POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"a":1,"a":2}}}`, 400, "JSON-RPC"},
		{"a stream", "GET", "", 405, ""},
		{"an end", "DELETE", "", 405, ""},
	} {
		resp := w.must(c.method, "", c.body)
		if got := all(t, resp); resp.StatusCode != c.want || !strings.Contains(got, c.says) {
			t.Errorf("%s: HTTP %d: %s", c.name, resp.StatusCode, got)
		}
	}
	if n := w.Processes(); n != 0 {
		t.Errorf("%d processes were started", n)
	}
}

func TestServerThatCannotAnswerOneCall(t *testing.T) {
	for name, change := range map[string]func(*stdio.Config){
		"an old protocol version": func(c *stdio.Config) { c.Env = append(c.Env, "VERSION=2024-11-05") },
		"no MCP":                  func(c *stdio.Config) { c.Env = []string{serverVariable + "=dumb"} },
	} {
		w := perCall(t, change)
		resp := w.must("POST", "", tool("which", ""))
		if got := all(t, resp); resp.StatusCode != http.StatusBadGateway || !strings.HasPrefix(got, "process_") {
			t.Errorf("%s: HTTP %d: %s", name, resp.StatusCode, got)
		}
		w.Wait()
	}
	w := perCall(t, nil)
	if got := w.status("POST", "", tool("exit", "")); got != http.StatusBadGateway {
		t.Errorf("it ends instead of answering: HTTP %d", got)
	}
}

// TestCallerWhoGoesAwayLeavesNoProcess, whenever: in the handshake, before the answer and in
// the middle of a stream. The server ignores what it is asked to, and has all the time.
func TestCallerWhoGoesAwayLeavesNoProcess(t *testing.T) {
	w := perCall(t, func(c *stdio.Config) { c.Grace = time.Hour })
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := w.do(ctx, "POST", "", tool("mute", ""))
	if err != nil {
		t.Fatal(err)
	}
	e := eventsOf(t, resp)
	e.next()
	cancel()
	if err := e.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("the stream ended with %v", err)
	}
	w.Wait()

	resp = w.must("POST", "", tool("mute", ""))
	eventsOf(t, resp).next()
	_ = resp.Body.Close() // and not the context
	w.Wait()

	for _, env := range []string{"never", "lines"} {
		w := perCall(t, func(c *stdio.Config) { c.Grace, c.Env = time.Hour, []string{serverVariable + "=" + env} })
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			w.log.wait("stderr=up")
			cancel()
		}()
		if _, err := w.do(ctx, "POST", "", tool("silent", "")); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", env, err)
		}
		w.Wait()
	}
}

// TestServerThatStaysAfterItsAnswerIsKilled, and its caller does not wait for that.
func TestServerThatStaysAfterItsAnswerIsKilled(t *testing.T) {
	w := perCall(t, nil)
	w.call(t.Context(), "stubbornly", "")
	w.Wait()
}

// TestSecretOfOneCallIsInNoOther: many at once, each with a credential of its own, and calls
// without one.
func TestSecretOfOneCallIsInNoOther(t *testing.T) {
	const calls = 16
	w := perCall(t, func(c *stdio.Config) {
		c.Env, c.MaxPerOwner = append(c.Env, "PASSWORD=placeholder"), calls
	})
	var answers [calls]*http.Response
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			ctx := t.Context()
			if i%4 > 0 {
				ctx = credential.With(ctx, credentialOf(fmt.Sprintf("caller-%02d", i), nil))
			}
			req, _ := http.NewRequestWithContext(ctx, "POST", "stdio://files", strings.NewReader(tool("environment", "")))
			answers[i], _ = w.RoundTrip(req)
		})
	}
	wg.Wait()
	for i, resp := range answers {
		want, secrets := passwordOf(fmt.Sprintf("caller-%02d", i)), 2
		if i%4 == 0 {
			want, secrets = "placeholder", 0
		}
		if env := all(t, resp); !strings.Contains(env, `"PASSWORD=`+want+`"`) || strings.Count(env, "hunter2") != secrets {
			t.Errorf("call %d has %s", i, env)
		}
	}
	w.Wait()
	nothingHere(t)
}

func TestCredentialThatEndsEndsItsCall(t *testing.T) {
	w := perCall(t, func(c *stdio.Config) { c.Grace = time.Hour })
	done := make(chan struct{})
	resp, err := w.do(credential.With(t.Context(), credentialOf("alice", done)), "POST", "", tool("mute", ""))
	if err != nil {
		t.Fatal(err)
	}
	e := eventsOf(t, resp)
	e.next()
	close(done)
	var reason interface{ Reason() string }
	if err := e.end(); !errors.As(err, &reason) || reason.Reason() != "credential_ended" {
		t.Errorf("the stream ended with %v", err)
	}
	w.Wait()
	resp, err = w.do(credential.With(t.Context(), credentialOf("alice", done)), "POST", "", tool("silent", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := all(t, resp); resp.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(got, "credential_ended: ") {
		t.Errorf("HTTP %d: %s", resp.StatusCode, got)
	}
	w.Wait()
}

func TestLimitsOnProcessesOfCalls(t *testing.T) {
	type key struct{}
	w := perCall(t, func(c *stdio.Config) {
		c.MaxProcesses, c.MaxPerOwner = 3, 2
		c.Owner = func(ctx context.Context) string { s, _ := ctx.Value(key{}).(string); return s }
	})
	start := func(owner string) (*http.Response, string) {
		resp, err := w.do(context.WithValue(t.Context(), key{}, owner), "POST", "", tool("mute", ""))
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK {
			return resp, "started"
		}
		return resp, all(t, resp)
	}
	first, _ := start("alice")
	start("alice")
	for _, c := range []struct{ owner, want string }{{"alice", "too_many_processes_of_caller"}, {"bob", "started"}, {"carol", "too_many_processes"}} {
		if _, got := start(c.owner); got != c.want {
			t.Errorf("%s: %s, want %s", c.owner, got, c.want)
		}
	}
	_ = first.Body.Close()
	until(t, func() bool { return w.Processes() == 2 })
	if _, got := start("carol"); got != "started" {
		t.Errorf("after an end: %s", got)
	}
}

// TestCallWaitsForTheEndOfAnother, which has been answered: its caller may go on.
func TestCallWaitsForTheEndOfAnother(t *testing.T) {
	w := perCall(t, func(c *stdio.Config) { c.MaxPerOwner = 1 })
	for range 3 {
		w.call(t.Context(), "stubbornly", "")
	}
}

func TestCloseEndsOpenCalls(t *testing.T) {
	w := perCall(t, nil)
	resp := w.must("POST", "", tool("mute", ""))
	eventsOf(t, resp).next()
	_ = w.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an open call saw a good end")
	}
	if got := w.status("POST", "", tool("which", "")); got != http.StatusServiceUnavailable {
		t.Errorf("a call after Close: HTTP %d", got)
	}
}

// BenchmarkCallWithAProcess is a call from the start of its process to the answer, of a
// server that does nothing, and of one with a credential that is in a file too.
func BenchmarkCallWithAProcess(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	box, err := sandbox.New(sandbox.Spec{}, sandbox.Probe())
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		box  *sandbox.Sandbox
		ctx  context.Context
	}{{"not confined", nil, b.Context()}, {"confined", box, b.Context()}, {"confined, with a credential", box, credential.With(b.Context(), credentialOf("alice", nil))}} {
		b.Run(c.name, func(b *testing.B) {
			t, err := stdio.New(stdio.Config{Name: "files", Command: []string{self}, Env: []string{serverVariable + "=lines"}, Sandbox: c.box, PerCall: true,
				Log: slog.New(slog.DiscardHandler), Now: time.Now})
			if err != nil {
				b.Fatal(err)
			}
			defer t.Close()
			for b.Loop() {
				req, _ := http.NewRequestWithContext(c.ctx, "POST", "stdio://files", strings.NewReader(tool("which", "")))
				resp, err := t.RoundTrip(req)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp, err)
				}
			}
		})
	}
}
