package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/token"
)

// A8: requests of one caller with the same id and progress token, at once, in the one
// session that the gateway keeps for it: each gets its own answer and its own progress.
func TestRequestsWithTheSameIDAtOnceNeverCross(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.up.sessionsOnly()
	const n = 20
	var mu sync.Mutex // guards ids
	ids, all := map[string]bool{}, make(chan struct{})
	w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
		id, limit, token := idOf(r), memberIn(memberOf(r, ".arguments"), "limit"), memberIn(memberOf(r, "._meta"), "progressToken")
		if token != id {
			t.Errorf("request %s has the progress token %s", id, token)
		}
		say := events(rw)
		mu.Lock()
		if ids[id] = true; len(ids) == n {
			close(all)
		}
		mu.Unlock()
		<-all
		for other := range n { // those of others on this stream are not for this client
			say(event("", fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"wg-%d","progress":1,"message":"of wg-%d"}}`, other, other)))
		}
		say(event("", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+token+`,"progress":2,"message":"limit `+limit+`"}}`))
		say(event("", `{"jsonrpc":"2.0","id":`+id+`,"result":{"content":[{"type":"text","text":"answer `+limit+`"}]}}`))
	})
	bearer := w.token(tokenSpec{subject: "alice"})
	w.ask(request{bearer: bearer, method: "tools/list"})
	var wg sync.WaitGroup
	for i := 1; i <= n; i++ {
		wg.Go(func() {
			r := w.ask(request{bearer: bearer, method: "tools/call", params: fmt.Sprintf(`"name":"list_messages","arguments":{"limit":%d},`, i), meta: `"progressToken":"same",`})
			for _, want := range []string{fmt.Sprintf(`"message":"limit %d"`, i), fmt.Sprintf(`"id":7,"result":{"content":[{"type":"text","text":"answer %d"}]`, i), `"progressToken":"same"`} {
				if !strings.Contains(r.body, want) {
					t.Errorf("%d: %s", i, r)
				}
			}
			if strings.Count(r.body, `"message":"limit `) != 1 || strings.Count(r.body, `"text":"answer `) != 1 || strings.Count(r.body, `"message":"of wg-`) > 1 {
				t.Errorf("%d got what is another's: %s", i, r)
			}
		})
	}
	wg.Wait()
	if len(w.up.calls("initialize")) != 1 || len(ids) != n {
		t.Errorf("%d sessions, %d ids", len(w.up.calls("initialize")), len(ids))
	}
}

// A9: callers of the stateless era share no session at a server that keeps sessions: not
// with another subject or client, nor with another grant of a person.
func TestSessionThatTheGatewayKeepsIsOfOneCaller(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	sessions := 0
	w.up.on("initialize", func(rw http.ResponseWriter, r *http.Request) {
		sessions++
		rw.Header().Set("Mcp-Session-Id", fmt.Sprint("upstream-", sessions))
		w.up.result(rw, r, `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"mail","version":"1"}}`)
	})
	list := func(bearer, capabilities string) string {
		t.Helper()
		before := len(w.up.calls("tools/list"))
		w.ask(request{bearer: bearer, method: "tools/list", capabilities: capabilities})
		got := w.up.calls("tools/list")
		if len(got) != before+1 {
			t.Fatalf("%d lists", len(got)-before)
		}
		return got[before].header.Get("Mcp-Session-Id")
	}
	alice := w.token(tokenSpec{subject: "alice"})
	for i, tt := range []struct{ bearer, capabilities, want string }{
		{alice, "{}", "upstream-1"}, {w.token(tokenSpec{subject: "alice"}), "{}", "upstream-1"},
		{w.token(tokenSpec{subject: "bob"}), "{}", "upstream-2"},
		{w.token(tokenSpec{subject: "alice", client: identityOf("another")}), "{}", "upstream-3"},
		{alice, `{"sampling":{}}`, "upstream-4"}, // which may be asked for more
		{alice, "{}", "upstream-1"},
	} {
		if got := list(tt.bearer, tt.capabilities); got != tt.want {
			t.Errorf("%d: in the session %s, want %s", i, got, tt.want)
		}
	}
}

// A session that the server has ended is opened again: 404 says that nothing was done.
func TestSessionThatTheServerEndedIsOpenedAgain(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	bearer := w.token(tokenSpec{subject: "alice"})
	w.ask(request{bearer: bearer, method: "tools/list"})
	gone := true
	w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
		if gone {
			gone = false
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		w.up.result(rw, r, `{"content":[]}`)
	})
	if r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`}); !strings.Contains(r.body, `"result"`) || len(w.up.calls("initialize")) != 2 {
		t.Errorf("%s, %d sessions", r, len(w.up.calls("initialize")))
	}
	w.up.fail("tools/call", http.StatusNotFound)
	if r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`}); !strings.Contains(r.body, `"error"`) || len(w.up.calls("tools/call")) != 4 {
		t.Errorf("a server that ends every session: %s, %d calls", r, len(w.up.calls("tools/call")))
	}
}

// What a message says of its own era does not come to a server of the other one, and what
// the client has in _meta beside it does.
func TestMetaOfTheOtherEra(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: `"name":"list_messages","arguments":{"limit":3},"requestState":"x","inputResponses":{},`, meta: `"com.example/trace":"t1",`})
	if got := w.up.calls("tools/call"); len(got) != 0 {
		t.Errorf("a requestState that is none came through: %+v", got)
	}
	w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: `"name":"list_messages","arguments":{"limit":3},"inputResponses":{},`, meta: `"com.example/trace":"t1",`})
	got := w.up.calls("tools/call")
	if len(got) != 1 || strings.Contains(got[0].body, "io.modelcontextprotocol") || strings.Contains(got[0].body, "inputResponses") || !strings.Contains(got[0].body, `"com.example/trace":"t1"`) || !strings.Contains(got[0].body, `"arguments":{"limit":3}`) || got[0].header.Get("Mcp-Method") != "" {
		t.Errorf("a server of the session era got %+v", got)
	}

	w = newWorld(t)
	w.up.statelessOnly()
	s := w.session(tokenSpec{subject: "alice"})
	s.call(`{"name":"list_messages","arguments":{"limit":3},"_meta":{"com.example/trace":"t1","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}`)
	got = w.up.calls("tools/call")
	if len(got) != 1 || !strings.Contains(got[0].body, `"io.modelcontextprotocol/protocolVersion":"2026-07-28"`) || !strings.Contains(got[0].body, `"com.example/trace":"t1"`) ||
		!strings.Contains(got[0].body, `"io.modelcontextprotocol/clientCapabilities":{"sampling":{}}`) || got[0].header.Get("Mcp-Session-Id") != "" || got[0].header.Get("Mcp-Name") != "list_messages" {
		t.Errorf("a server of the stateless era got %+v", got)
	}
}

// A11: a client of the session era has no requestState, so none that it sends comes to a
// server of the stateless era.
func TestClientOfASessionSendsNoRequestState(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	s := w.session(tokenSpec{subject: "alice"})
	s.call(`{"name":"list_messages","requestState":"approved","inputResponses":{"ok":{"action":"accept"}}}`)
	for _, c := range w.up.calls("tools/call") {
		if strings.Contains(c.body, "approved") || strings.Contains(c.body, "accept") {
			t.Errorf("the server got %s", c.body)
		}
	}
}

func TestWhatHasNoTranslationSaysSo(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	w.up.statelessOnly()
	s := w.session(tokenSpec{subject: "alice", scope: allScopes})
	for _, body := range []string{`"method":"logging/setLevel","params":{"level":"info"}`, `"method":"resources/subscribe","params":{"uri":"mail://inbox/1"}`, `"method":"resources/unsubscribe","params":{"uri":"mail://inbox/1"}`} {
		if r := s.post(`{"jsonrpc":"2.0","id":7,` + body + `}`); !strings.Contains(r.body, `"code":-32601`) || !strings.Contains(r.body, "cannot be translated") {
			t.Errorf("%s: %s", body, r)
		}
	}
	if r := s.post(`{"jsonrpc":"2.0","id":7,"method":"ping"}`); !strings.Contains(r.body, `"result":{}`) {
		t.Errorf("ping: %s", r)
	}
	if r := s.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`); r.status != http.StatusAccepted || len(w.up.calls("notifications/initialized")) != 0 {
		t.Errorf("a notification: %s", r)
	}
	if r := s.do("DELETE", s.url, s.bearer, "", "Mcp-Session-Id", s.id); r.status != http.StatusNoContent {
		t.Errorf("DELETE: %s", r)
	}
	if r := s.post(`{"jsonrpc":"2.0","id":7,"method":"ping"}`); r.status != http.StatusNotFound || w.last().Reason != "session_ended" {
		t.Errorf("after its end: %s", r)
	}
}

// The code of an unknown resource is that of the client's era, whoever says it.
func TestUnknownResourceInEachEra(t *testing.T) {
	for _, stateless := range []bool{true, false} {
		w := newWorld(t, policy(t, wide))
		w.up.onJSON("resources/read", `{"jsonrpc":"2.0","id":7,"error":{"code":-32002,"message":"Resource not found"}}`)
		if stateless {
			w.up.statelessOnly()
		}
		spec := tokenSpec{subject: "alice", scope: allScopes}
		for _, uri := range []string{"mail://inbox/none", "mail://drafts/1"} { // unknown there, and hidden here
			if r := w.session(spec).post(`{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"` + uri + `"}}`); !strings.Contains(r.body, `"code":-32002`) {
				t.Errorf("session: %s: %s", uri, r)
			}
			if r := w.ask(request{bearer: w.token(spec), method: "resources/read", params: `"uri":"` + uri + `",`}); stateless && !strings.Contains(r.body, `"code":-32602`) {
				t.Errorf("stateless: %s: %s", uri, r)
			}
		}
	}
}

// cancels is a channel of the requests that the upstream was told to stop.
func (u *upstream) cancels() <-chan string {
	ch := make(chan string, 10)
	u.on("notifications/cancelled", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		ch <- memberOf(r, ".requestId")
	})
	return ch
}

// A client that goes away cancels its request in the stateless era, at either kind of
// server; in the session era its request goes on.
func TestClientThatGoesAway(t *testing.T) {
	for _, stateless := range []bool{true, false} {
		w := newWorld(t)
		if stateless {
			w.up.statelessOnly()
		} else {
			w.up.sessionsOnly()
		}
		cancelled := w.up.cancels()
		bearer := w.token(tokenSpec{subject: "alice"})
		w.ask(request{bearer: bearer, method: "tools/list"})
		arrived, gone := make(chan string), make(chan struct{})
		w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
			id := idOf(r)
			events(rw)(event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}`))
			arrived <- id
			<-r.Context().Done()
			close(gone)
		})
		ctx, leave := context.WithCancel(t.Context())
		resp := make(chan *http.Response)
		go func() {
			resp <- w.send(ctx, request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`})
		}()
		id := <-arrived
		until(t, lines(<-resp), "working")
		leave()
		<-gone
		if !stateless {
			if got := <-cancelled; got != id {
				t.Errorf("request %s was cancelled, want %s", got, id)
			}
		}
		w.untilOutcomes(1)
		if e := w.outcome("tools/call"); e.Status != "error" || e.Reason != "client_gone" {
			t.Errorf("audit %+v", e)
		}
	}
}

// watched is a Verifier that knows the context of the last request.
type watched struct {
	gateway.Verifier
	last atomic.Pointer[context.Context]
}

func (v *watched) ParseAccess(ctx context.Context, raw, audience string, proof token.Confirmation) (token.Access, error) {
	v.last.Store(&ctx)
	return v.Verifier.ParseAccess(ctx, raw, audience, proof)
}

func TestClientOfASessionThatGoesAwayCancelsNothing(t *testing.T) {
	var requests watched
	w := newWorld(t, func(c *gateway.Config) { requests.Verifier, c.Verifier = c.Verifier, &requests })
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	cancelled := w.up.cancels()
	arrived, finish := make(chan struct{}), make(chan struct{})
	w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
		say := events(rw)
		say(event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}`))
		close(arrived)
		select {
		case <-finish:
		case <-r.Context().Done():
			t.Error("the request was given up")
		}
		say(event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"`+strings.Repeat("still ", 1000)+`"}}`))
		say(event("", `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`))
	})
	ctx, leave := context.WithCancel(t.Context())
	req := must(http.NewRequestWithContext(ctx, "POST", w.url, strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":`+listMessages+`}`)))(t)
	set(req.Header, []string{"Content-Type", "application/json", "Authorization", "Bearer " + s.bearer, "Mcp-Session-Id", s.id})
	resp := must(http.DefaultClient.Do(req))(t)
	<-arrived
	until(t, lines(resp), "working")
	leave()
	resp.Body.Close()
	<-(*requests.last.Load()).Done() // the gateway has noticed
	close(finish)
	w.untilOutcomes(2)
	if e := w.outcome("tools/call"); e.Status != "ok" || len(cancelled) != 0 {
		t.Errorf("audit %+v, %d cancelled", e, len(cancelled))
	}
}
