package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/redact"
)

// redacting has the first server's e-mail addresses masked or denied.
func redacting(t *testing.T, a redact.Action) func(*gateway.Config) {
	r := must(redact.New(redact.Config{Email: a}))(t)
	return func(c *gateway.Config) { c.Upstreams[0].Redactor = r }
}

// A value must not pass in the progress of a call whose token is the gateway's.
func TestProgressInASessionThatIsKeptIsRedacted(t *testing.T) {
	w := newWorld(t, redacting(t, redact.Mask))
	w.up.sessionsOnly()
	w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
		id, say := idOf(r), events(rw)
		say(event("", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+id+`,"progress":1,"message":"asking `+leaked+`"}}`))
		say(event("", `{"jsonrpc":"2.0","id":`+id+`,"result":{"content":[]}}`))
	})
	r := w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: `"name":"list_messages",`, meta: `"progressToken":"mine",`})
	if strings.Contains(r.body, leaked) || !strings.Contains(r.body, "asking [email]") || !strings.Contains(r.body, `"progressToken":"mine"`) {
		t.Errorf("%s", r)
	}
}

// Nor in a list, because it is asked for at another URL.
func TestListOverAllServersIsRedactedAsAtTheServer(t *testing.T) {
	w := newWorld(t, policy(t, wide), redacting(t, redact.Mask), func(c *gateway.Config) { c.All = allOf(t) })
	w.up.onResult("resources/list", `{"resources":[{"uri":"mail://inbox/1","name":"from `+leaked+`"}]}`)
	for at, audience := range map[*world]string{w: resource, w.everywhere(): issuer + "/mcp"} {
		r := at.ask(request{bearer: w.token(tokenSpec{subject: "alice", scope: allScopes, audience: audience}), method: "resources/list"})
		if strings.Contains(r.body, leaked) || !strings.Contains(r.body, "from [email]") {
			t.Errorf("%s: %s", at.url, r)
		}
	}
}

// Nor in what a server asks the client.
func TestQuestionOfAServerIsRedacted(t *testing.T) {
	const question = `{"method":"elicitation/create","params":{"message":"Write to ` + leaked + `?"}}`
	midway := func(u *upstream) {
		u.on("tools/call", func(w http.ResponseWriter, r *http.Request) {
			id, say := idOf(r), events(w)
			say(event("", `{"jsonrpc":"2.0","id":"q-1",`+question[1:]))
			say(event("", `{"jsonrpc":"2.0","id":`+id+`,"result":{"content":[]}}`))
		})
	}
	for kind, set := range map[string]func(*upstream){
		"of the session era": midway,
		"of the stateless era": func(u *upstream) {
			u.statelessOnly()
			u.on("tools/call", func(w http.ResponseWriter, r *http.Request) {
				if memberOf(r, ".inputResponses") == "" {
					u.result(w, r, `{"resultType":"input_required","inputRequests":{"a":`+question+`}}`)
					return
				}
				u.result(w, r, `{"content":[]}`)
			})
		},
	} {
		for action, want := range map[redact.Action]string{redact.Mask: "Write to [email]?", redact.Deny: "the answer holds what must not leave this server"} {
			w := newWorld(t, redacting(t, action))
			set(w.up)
			s := w.eliciting(tokenSpec{subject: "alice"})
			event, rest := s.begin(want)
			if strings.Contains(event, leaked) {
				t.Errorf("a server %s: %s", kind, event)
			}
			if action == redact.Mask {
				s.post(`{"jsonrpc":"2.0","id":` + memberIn(event, "id") + `,"result":{"action":"decline"}}`)
				until(t, rest, `"id":7`)
			}
		}
	}
}

// A call whose question must not pass waits for nobody: it holds no place of its caller's.
func TestQuestionThatMustNotPassIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, redacting(t, redact.Deny), func(c *gateway.Config) { c.Upstreams[0].Budget.Calls = 1 })
	w.up.sessionsOnly()
	w.up.on("tools/call", func(w http.ResponseWriter, r *http.Request) {
		events(w)(event("", `{"jsonrpc":"2.0","id":"q-1","method":"elicitation/create","params":{"message":"Write to `+leaked+`?"}}`))
		<-r.Context().Done()
	})
	bearer := w.token(tokenSpec{subject: "alice"})
	for range 2 {
		r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`, capabilities: elicits})
		if strings.Contains(r.body, "ada") || !strings.Contains(r.body, "the answer holds what must not leave this server") {
			t.Errorf("%s", r)
		}
	}
}

// Nor in what a server says of itself, in either era.
func TestInstructionsOfAServerAreRedacted(t *testing.T) {
	w := newWorld(t, redacting(t, redact.Mask))
	w.up.sessionsOnly()
	w.up.on("initialize", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Mcp-Session-Id", "upstream-session-1")
		w.up.result(rw, r, `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"mail","version":"1"},"instructions":"ask `+leaked+`"}`)
	})
	bearer := w.token(tokenSpec{subject: "alice"})
	for era, r := range map[string]reply{"session": w.do("POST", w.url, bearer, initialize), "stateless": w.ask(request{bearer: bearer, method: "server/discover"})} {
		if strings.Contains(r.body, leaked) || !strings.Contains(r.body, "ask [email]") {
			t.Errorf("%s: %s", era, r)
		}
	}
}

// Nor in the log, where a server says why it refuses a message.
func TestWhyAServerRefusesIsLoggedWithoutSecrets(t *testing.T) {
	const secret = "ghp_0123456789abcdefABCDEF0123456789abcd"
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	w.up.on("tools/call", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no such repository for "+secret, http.StatusBadRequest)
	})
	s.call(listMessages)
	if log := w.log(); strings.Contains(log, secret) || !strings.Contains(log, "no such repository for") {
		t.Error(log)
	}
}
