package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
)

// asksOnce has the upstream ask for input unless a request brings some, with a state of
// its own.
func (u *upstream) asksOnce(method string) {
	u.on(method, func(w http.ResponseWriter, r *http.Request) {
		if memberOf(r, ".inputResponses") == "" {
			u.result(w, r, `{"resultType":"input_required","inputRequests":{"sure":{"method":"elicitation/create","params":{"message":"Sure?"}}},"requestState":"theirs-1"}`)
			return
		}
		u.result(w, r, `{"content":[],"contents":[],"messages":[],"state":`+memberOf(r, ".requestState")+`}`)
	})
}

// stateOf is the requestState of an answer, as JSON.
func stateOf(t *testing.T, r reply) string {
	t.Helper()
	state := memberIn(memberIn(r.body, "result"), "requestState")
	if state == "" || strings.Contains(r.body, "theirs") {
		t.Fatalf("no requestState of ours: %s", r)
	}
	return state
}

const elicits = `{"elicitation":{}}`

// given is what a retry adds.
func given(state string) string {
	return `"inputResponses":{"sure":{"action":"accept"}},"requestState":` + state + `,`
}

// A11: requestState comes back from whom it was given to, with the same request, in time.
func TestRequestStateIsForTheSameRequestOfTheSameCaller(t *testing.T) {
	w := newWorld(t, policy(t, strings.Replace(wide, "users: [bob]", "users: [bob, alice]", 1)), func(c *gateway.Config) { c.All = allOf(t) })
	w.up.statelessOnly()
	w.up.asksOnce("tools/call")
	alice := w.token(tokenSpec{subject: "alice", lifetime: 3 * time.Hour})
	const call = `"name":"list_messages","arguments":{"limit":1,"x":2},`
	w.up.setTools(strings.Replace(mailTools, `"properties":{"limit"`, `"properties":{"x":{"type":"integer"},"limit"`, 1))
	first := w.ask(request{bearer: alice, method: "tools/call", params: call, capabilities: elicits})
	state := stateOf(t, first)
	if got := w.outcome("tools/call"); got.Status != "input_required" {
		t.Errorf("audit %+v", got)
	}
	good := request{bearer: alice, method: "tools/call", params: call + given(state), capabilities: elicits}
	with := func(change func(*request)) request {
		q := good
		change(&q)
		return q
	}
	refused := func(name string, at *world, q request) {
		t.Helper()
		before := len(w.up.calls("tools/call")) + len(w.up.calls("prompts/get"))
		r := at.ask(q)
		if !strings.Contains(r.body, `"code":-32602`) || !strings.Contains(r.body, "requestState") || len(w.up.calls("tools/call"))+len(w.up.calls("prompts/get")) != before {
			t.Errorf("%s: %s", name, r)
		}
		if e := w.last(); e.Kind != audit.Denial || e.Reason != "state_not_the_callers" {
			t.Errorf("%s: audit %+v", name, e)
		}
	}
	everywhere := w.everywhere()
	all := w.token(tokenSpec{subject: "alice", audience: issuer + "/mcp"})
	session := w.session(tokenSpec{subject: "alice"}) // a handle of another kind
	middle := len(state) / 2
	other := "A"
	if state[middle] == 'A' {
		other = "B"
	}
	refused("another user", w, with(func(q *request) { q.bearer = w.token(tokenSpec{subject: "bob"}) }))
	refused("another client", w, with(func(q *request) {
		q.bearer = w.token(tokenSpec{subject: "alice", client: identityOf("another")})
	}))
	refused("tampered with", w, with(func(q *request) { q.params = call + given(state[:middle]+other+state[middle+1:]) }))
	refused("cut off", w, with(func(q *request) { q.params = call + given(state[:len(state)-3]+`"`) }))
	refused("none", w, with(func(q *request) { q.params = call + given(`""`) }))
	refused("no string", w, with(func(q *request) { q.params = call + given(`{"a":1}`) }))
	refused("the server's own", w, with(func(q *request) { q.params = call + given(`"theirs-1"`) }))
	refused("a handle of another kind", w, with(func(q *request) { q.params = call + given(`"`+session.id+`"`) }))
	refused("another tool", w, with(func(q *request) { q.params = strings.Replace(q.params, "list_messages", "send_message", 1) }))
	refused("other arguments", w, with(func(q *request) { q.params = strings.Replace(q.params, `"limit":1`, `"limit":2`, 1) }))
	refused("arguments left out", w, with(func(q *request) { q.params = strings.Replace(q.params, `"limit":1,"x":2`, ``, 1) }))
	refused("another method", w, with(func(q *request) { q.method = "prompts/get" }))
	refused("the endpoint over all servers", everywhere, with(func(q *request) {
		q.bearer, q.params = all, strings.Replace(q.params, "list_messages", "mail__list_messages", 1)
	}))
	theirs := stateOf(t, everywhere.ask(request{bearer: all, method: "tools/call", params: strings.Replace(call, "list_messages", "mail__list_messages", 1), capabilities: elicits}))
	refused("one of the endpoint over all servers", w, with(func(q *request) { q.params = call + given(theirs) }))
	if r := w.ask(good); !strings.Contains(r.body, `"state":"theirs-1"`) {
		t.Errorf("as it should be: %s", r)
	}
	if r := w.ask(with(func(q *request) { // the same to JSON
		q.params = `"arguments":{"x":2, "limit":1},"name":"list_messages",` + given(state)
	})); !strings.Contains(r.body, `"state":"theirs-1"`) {
		t.Errorf("in another order: %s", r)
	}
	if r := everywhere.ask(request{bearer: all, method: "tools/call", params: strings.Replace(call, "list_messages", "mail__list_messages", 1) + given(theirs), capabilities: elicits}); !strings.Contains(r.body, `"state":"theirs-1"`) {
		t.Errorf("over all servers: %s", r)
	}
	w.now.Advance(time.Hour)
	refused("late", w, good)
}

// A11: at the endpoint over all servers a state is for the server that gave it.
func TestRequestStateIsForTheSameServer(t *testing.T) {
	files, config := withFiles(t)
	w := newWorld(t, config, func(c *gateway.Config) { c.All = allOf(t) })
	for _, u := range []*upstream{w.up, files} {
		u.statelessOnly()
		u.asksOnce("tools/call")
	}
	at, bearer := w.everywhere(), w.token(tokenSpec{subject: "alice", audience: issuer + "/mcp"})
	state := stateOf(t, at.ask(request{bearer: bearer, method: "tools/call", params: `"name":"mail__list_messages",`, capabilities: elicits}))
	if r := at.ask(request{bearer: bearer, method: "tools/call", params: `"name":"files__list_messages",` + given(state), capabilities: elicits}); !strings.Contains(r.body, "requestState is not the one") || len(files.calls("tools/call")) != 0 {
		t.Errorf("%s", r)
	}
}

// A server asks only for what the client has offered, and only where it may ask.
func TestServerThatAsksForWhatWasNotOffered(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	w.up.statelessOnly()
	for _, method := range []string{"tools/call", "prompts/get", "resources/read"} {
		w.up.asksOnce(method)
	}
	bearer := w.token(tokenSpec{subject: "alice", scope: allScopes})
	for method, params := range map[string]string{"tools/call": `"name":"list_messages",`, "prompts/get": `"name":"summarize",`, "resources/read": `"uri":"mail://inbox/1",`} {
		if r := w.ask(request{bearer: bearer, method: method, params: params, capabilities: elicits}); !strings.Contains(r.body, "Sure?") {
			t.Errorf("%s: %s", method, r)
		}
		for _, capabilities := range []string{"{}", `{"sampling":{}}`, `{"Elicitation":{}}`} {
			if r := w.ask(request{bearer: bearer, method: method, params: params, capabilities: capabilities}); strings.Contains(r.body, "Sure?") || !strings.Contains(r.body, "upstream_malformed") {
				t.Errorf("%s for a client that offers %s: %s", method, capabilities, r)
			}
		}
	}
	for i, requests := range []string{`{"x":{"method":"tools/call"}}`, `{"x":{"method":""}}`, `[]`, `{"x":1}`, `{"a":{"method":"elicitation/create"},"x":{"method":"sampling/createMessage"}}`} {
		w.up.onResult("tools/call", fmt.Sprintf(`{"resultType":"input_required","inputRequests":%s}`, requests))
		if r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`, capabilities: elicits}); !strings.Contains(r.body, "upstream_malformed") {
			t.Errorf("%d: %s", i, r)
		}
	}
	w.up.onResult("tools/list", `{"resultType":"input_required","requestState":"x"}`)
	if r := w.ask(request{bearer: bearer, method: "tools/list", capabilities: elicits}); !strings.Contains(r.body, "upstream_malformed") {
		t.Errorf("a list: %s", r)
	}
}
