package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
)

// A subject that opens many sessions at once gets no more than one that takes its time.
func TestSubjectCannotOpenManySessionsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	come, let := make(chan bool, 100), make(chan struct{})
	w.up.on("initialize", func(rw http.ResponseWriter, r *http.Request) {
		come <- true
		<-let
		rw.Header().Set("Mcp-Session-Id", "upstream-session-1")
		w.up.result(rw, r, `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"mail","version":"1"}}`)
	})
	bearer, refusals, done := w.token(tokenSpec{subject: "alice"}), make(chan bool, 100), make(chan bool, 100)
	for i := range 40 {
		go func() {
			r := w.ask(request{bearer: bearer, method: "tools/list", capabilities: fmt.Sprintf(`{"roots":{"n":%d}}`, i)})
			if strings.Contains(r.body, "too many sessions") {
				refusals <- true
			}
			done <- true
		}()
	}
	for range 40 {
		select {
		case <-come:
		case <-done:
		}
	}
	close(let)
	for range 40 - len(refusals) {
		<-done
	}
	if n := len(w.up.calls("initialize")); n > 32 {
		t.Errorf("the server was asked for %d sessions", n)
	}
}

// A server that is put behind the gateway before it is up is not taken for one of the
// other era for ever.
func TestServerThatWasNotUpIsAskedAgainForItsEra(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"server/discover", "initialize"} {
		w.up.fail(method, http.StatusNotFound)
	}
	bearer := w.token(tokenSpec{subject: "alice"})
	if r := w.ask(request{bearer: bearer, method: "tools/list"}); !strings.Contains(r.body, `"error"`) {
		t.Fatal(r)
	}
	w.up.statelessOnly()
	if r := w.ask(request{bearer: bearer, method: "tools/list"}); !strings.Contains(r.body, "list_messages") {
		t.Errorf("a client of the stateless era: %s", r)
	}
	if r := w.do("POST", w.url, bearer, initialize); r.status != 200 || r.header.Get("Mcp-Session-Id") == "" {
		t.Errorf("a client of the session era: %s", r)
	}
}

// openEnded has the answer to initialize on a stream that the server does not end, and
// says whether somebody waited for its end.
type openEnded struct {
	http.RoundTripper
	waited bool
}

func (o *openEnded) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	if !strings.Contains(string(body), `"initialize"`) {
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		return o.RoundTripper.RoundTrip(r)
	}
	answer := event("", `{"jsonrpc":"2.0","id":`+memberIn(string(body), "id")+`,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"mail","version":"1"}}}`)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}},
		Body: io.NopCloser(io.MultiReader(strings.NewReader(answer), end{o}))}, nil
}

// end is where a stream goes on for ever.
type end struct{ of *openEnded }

func (e end) Read([]byte) (int, error) {
	e.of.waited = true
	return 0, io.EOF
}

// The end of a stream is not waited for when its answer has come: a server need not end it.
func TestHandshakeDoesNotWaitForTheEndOfItsStream(t *testing.T) {
	transport := &openEnded{RoundTripper: http.DefaultTransport}
	w := newWorld(t, func(c *gateway.Config) { c.Transport = transport })
	if r := w.do("POST", w.url, w.token(tokenSpec{subject: "alice"}), initialize); r.status != 200 || transport.waited {
		t.Errorf("waited for the end: %t; %s", transport.waited, r)
	}
}

// A session that its client has ended is over, also where the server ends none.
func TestSessionThatItsClientEndedIsOver(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	w.up.fail("DELETE", http.StatusMethodNotAllowed)
	if r := w.do("DELETE", w.url, s.bearer, "", "Mcp-Session-Id", s.id); r.status != http.StatusNoContent {
		t.Fatal(r)
	}
	if r := s.call(listMessages); r.status != http.StatusNotFound || w.last().Reason != "session_ended" {
		t.Errorf("%s, audit %+v", r, w.last())
	}
}
