package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// begin sends a call in the session, and returns its stream once the text has come.
func (s session) begin(want string) (event string, rest *bufio.Scanner) {
	s.t.Helper()
	return s.beginWith(listMessages, want)
}

func (s session) beginWith(params, want string) (event string, rest *bufio.Scanner) {
	s.t.Helper()
	req := must(http.NewRequestWithContext(s.t.Context(), "POST", s.url, strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":`+params+`}`)))(s.t)
	set(req.Header, []string{"Content-Type", "application/json", "Authorization", "Bearer " + s.bearer, "Mcp-Session-Id", s.id})
	from := lines(must(http.DefaultClient.Do(req))(s.t))
	event = strings.TrimPrefix(until(s.t, from, want), "data: ")
	return event, from
}

const elicitingClient = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"test","version":"1"}}}`

// eliciting is a session whose client can be asked.
func (w *world) eliciting(s tokenSpec) session {
	w.t.Helper()
	bearer := w.token(s)
	r := w.do("POST", w.url, bearer, elicitingClient)
	return session{w, bearer, r.header.Get("Mcp-Session-Id")}
}

// A10: what a server has asked one client, nobody else answers: not another subject or
// client, nor in another session, nor with an id that the server or somebody made up.
func TestOnlyWhoWasAskedAnswers(t *testing.T) {
	for _, kind := range []string{"session", "stateless"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			if kind == "session" {
				w.up.asksMidway(t)
			} else {
				w.up.statelessOnly()
				w.up.asksOnce("tools/call")
			}
			alice := w.eliciting(tokenSpec{subject: "alice"})
			bob, other := w.eliciting(tokenSpec{subject: "bob"}), w.eliciting(tokenSpec{subject: "alice", client: identityOf("another")})
			question, rest := alice.begin("Sure?")
			id := memberIn(question, "id")
			if memberIn(question, "method") != `"elicitation/create"` || id == `"q-1"` || id == `"sure"` {
				t.Fatalf("asked %s", question)
			}
			answer := func(id string) string {
				return `{"jsonrpc":"2.0","id":` + id + `,"result":{"action":"accept"}}`
			}
			refused := func(name string, s session, id string) {
				t.Helper()
				if r := s.post(answer(id)); r.status != http.StatusBadRequest {
					t.Errorf("%s: %s", name, r)
				}
				if e := w.last(); e.Reason != "unexpected_response" {
					t.Errorf("%s: audit %+v", name, e)
				}
			}
			refused("another subject", bob, id)
			refused("another client", other, id)
			refused("the server's own id", alice, `"q-1"`)
			refused("a number", alice, `1`)
			refused("a changed id", alice, id[:len(id)-4]+`AAA"`)
			refused("a handle of another kind", alice, `"`+alice.id+`"`)
			thief := bob
			thief.id = alice.id
			if r := thief.post(answer(id)); r.status != http.StatusNotFound {
				t.Errorf("another subject in the session: %s", r)
			}
			if r := alice.post(answer(id)); r.status != http.StatusAccepted {
				t.Errorf("alice: %s", r)
			}
			if got := until(t, rest, `"id":7`); !strings.Contains(got, `"result"`) {
				t.Errorf("the call: %s", got)
			}
			if kind == "stateless" { // where the server has nothing to recognise a second answer by
				if r := alice.post(answer(id)); r.status == http.StatusAccepted {
					t.Errorf("a second time: %s", r)
				}
			}
		})
	}
}

// A10: an answer is for the session in which it was asked, and no other of the same caller.
func TestAnswerInAnotherSessionOfTheSameCaller(t *testing.T) {
	w := newWorld(t)
	answers, _ := w.up.asksMidway(t)
	alice := w.eliciting(tokenSpec{subject: "alice"})
	w.up.on("initialize", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Mcp-Session-Id", "upstream-session-2")
		w.up.result(rw, r, `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"mail","version":"1"}}`)
	})
	second := w.eliciting(tokenSpec{subject: "alice"})
	question, rest := alice.begin("Sure?")
	body := `{"jsonrpc":"2.0","id":` + memberIn(question, "id") + `,"result":{"action":"accept"}}`
	if r := second.post(body); r.status != http.StatusBadRequest || len(answers) > 0 || w.last().Reason != "unexpected_response" {
		t.Errorf("%s, audit %+v", r, w.last())
	}
	if r := alice.post(body); r.status != http.StatusAccepted {
		t.Errorf("%s", r)
	}
	if got := until(t, rest, `"id":7`); !strings.Contains(got, `"heard":{"action":"accept"}`) {
		t.Errorf("%s", got)
	}
}

// A request of the server that names no method that a client may be asked for does not
// come to the client.
func TestServerAsksForNothingElse(t *testing.T) {
	w := newWorld(t)
	w.up.asksMidway(t)
	for _, method := range []string{"tools/call", "elicitation/Create", "tasks/get", "initialize", "x"} {
		told := make(chan string, 1)
		w.up.on("", func(rw http.ResponseWriter, r *http.Request) {
			told <- memberOf(r, "error")
			rw.WriteHeader(http.StatusAccepted)
		})
		w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
			say := events(rw)
			say(event("", `{"jsonrpc":"2.0","id":"q-1","method":`+string(must(json.Marshal(method))(t))+`}`))
			say(event("", `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`))
		})
		r := w.eliciting(tokenSpec{subject: "alice"}).call(listMessages)
		if strings.Contains(r.body, "q-1") || strings.Contains(r.body, `"method"`) || !strings.Contains(r.body, `"result"`) {
			t.Errorf("%s: the client got %s", method, r)
		}
		if got := <-told; !strings.Contains(got, "-32601") {
			t.Errorf("%s: the server was told %s", method, got)
		}
	}
	if e := w.last(); e.Kind != audit.Outcome || e.Status != "ok" {
		t.Errorf("audit %+v", e)
	}
}

// MRTR for a client of the session era: what the server of the stateless era wants is
// asked, and the retry is another request with another call token.
func TestServerOfTheStatelessEraAsksAClientOfASession(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	w.up.asksOnce("tools/call")
	s := w.eliciting(tokenSpec{subject: "alice"})
	question, rest := s.begin("Sure?")
	if r := s.post(`{"jsonrpc":"2.0","id":` + memberIn(question, "id") + `,"result":{"action":"decline"}}`); r.status != http.StatusAccepted {
		t.Fatal(r)
	}
	if got := until(t, rest, `"id":7`); !strings.Contains(got, `"state":"theirs-1"`) || strings.Contains(got, "input_required") {
		t.Errorf("the client got %s", got)
	}
	calls := w.up.calls("tools/call")
	if len(calls) != 2 || memberIn(calls[0].body, "id") == memberIn(calls[1].body, "id") || calls[0].bearer() == calls[1].bearer() || !strings.Contains(calls[1].body, `"inputResponses":{"sure":{"action":"decline"}}`) {
		t.Errorf("the server got %+v", calls)
	}
	question, rest = s.begin("Sure?")
	if r := s.post(`{"jsonrpc":"2.0","id":` + memberIn(question, "id") + `,"error":{"code":-1,"message":"no"}}`); r.status != http.StatusAccepted {
		t.Fatal(r)
	}
	if got := until(t, rest, `"id":7`); !strings.Contains(got, "input_not_given") || len(w.up.calls("tools/call")) != 3 {
		t.Errorf("a client that answers with an error got %s", got)
	}
}

// A server that asks without end is stopped.
func TestServerThatAsksForEver(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	w.up.onResult("tools/call", `{"resultType":"input_required","requestState":"again"}`)
	r := w.eliciting(tokenSpec{subject: "alice"}).call(listMessages)
	if !strings.Contains(r.body, "upstream_malformed") || len(w.up.calls("tools/call")) != 9 {
		t.Errorf("%s after %d calls", r, len(w.up.calls("tools/call")))
	}
}

// A server that asks a thousand things at once asks none of them: one answer of it would
// cost the gateway, and the client, hundreds of times its size.
func TestServerThatAsksAThousandThings(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	s := w.eliciting(tokenSpec{subject: "alice"})
	var asks []string
	for i := range 1000 {
		asks = append(asks, fmt.Sprintf(`"%d":{"method":"elicitation/create"}`, i))
	}
	w.up.onResult("tools/call", `{"resultType":"input_required","inputRequests":{`+strings.Join(asks, ",")+`}}`)
	if r := s.call(listMessages); strings.Contains(r.body, "elicitation") || !strings.Contains(r.body, "upstream_malformed") {
		t.Errorf("%.300s", r)
	}
}
