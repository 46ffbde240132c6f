package gateway_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestServerThatTellsOneCallerOfAnother: what it was given for alice it says to bob, in an
// answer that has a credential and in ones that have none, while her call lasts and after.
func TestServerThatTellsOneCallerOfAnother(t *testing.T) {
	src, change := legacy(t, false)
	w := newWorld(t, change, policy(t, wide))
	alice, bob := w.session(tokenSpec{subject: "alice"}), w.session(tokenSpec{subject: "bob"})
	alice.call(`{"name":"list_messages"}`)
	d := w.up.hold(t, "tools/call")
	done := make(chan reply)
	go func() { done <- alice.call(`{"name":"list_messages"}`) }()
	<-d.arrived
	hers := src.last().secret
	tells := func(when string) {
		t.Helper()
		text := `{"content":[{"type":"text","text":"psst ` + hers + `"}]}`
		w.up.onResult("tools/call", text)
		w.up.onResult("prompts/list", `{"prompts":[],"_meta":{"psst":"`+hers+`"}}`)
		w.up.onResult("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"psst `+hers+`","version":"1"}}`)
		for _, r := range []reply{bob.call(`{"name":"list_messages"}`), bob.post(`{"jsonrpc":"2.0","id":7,"method":"prompts/list","params":{}}`), w.do("POST", w.url, bob.bearer, initialize)} {
			if strings.Contains(r.body, hers) || !strings.Contains(r.body, "psst") || !strings.Contains(r.body, "[credential]") {
				t.Errorf("%s: %s", when, r)
			}
		}
	}
	tells("while her call lasts")
	d.let()
	<-done
	src.settled()
	tells("after it")
}

// TestServerThatSaidItBefore: what is kept of what a server said when nobody knew its key yet
// is looked at again when it is told.
func TestServerThatSaidItBefore(t *testing.T) {
	src, change := legacy(t, false)
	src.secret = func(string) string { return awkward }
	w := newWorld(t, change)
	w.up.statelessOnly()
	w.up.onResult("server/discover", `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":`+quoted("the key is "+awkward)+`}`)
	bearer := w.token(tokenSpec{subject: "alice"})
	w.ask(request{bearer: bearer, method: "tools/call", params: listMessagesStateless})
	for _, r := range []reply{w.do("POST", w.url, bearer, initialize), w.ask(request{bearer: bearer, method: "server/discover"})} {
		if how := leaks(r.body, awkward); how != "" || !strings.Contains(r.body, "the key is [credential]") {
			t.Errorf("%s: %s", how, r)
		}
	}
}

// The same for what it said when a session that is kept was opened.
func TestServerThatSaidItWhenTheSessionBegan(t *testing.T) {
	src, change := legacy(t, false)
	src.secret = func(string) string { return awkward }
	w := newWorld(t, change)
	w.up.sessionsOnly()
	w.up.onResult("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"n","version":"1"},"instructions":`+quoted("the key is "+awkward)+`}`)
	bearer := w.token(tokenSpec{subject: "alice"})
	w.ask(request{bearer: bearer, method: "server/discover"}) // nobody knows yet what a key is
	w.ask(request{bearer: bearer, method: "tools/call", params: listMessagesStateless})
	if r := w.ask(request{bearer: bearer, method: "server/discover"}); leaks(r.body, awkward) != "" || !strings.Contains(r.body, "the key is [credential]") {
		t.Errorf("%s", r)
	}
}

// TestDefinitionWithACredentialIsLeftOut: masked, it would be another, which nobody approved.
func TestDefinitionWithACredentialIsLeftOut(t *testing.T) {
	src, change := legacy(t, true)
	src.secret = func(string) string { return awkward }
	w := newWorld(t, change)
	w.up.setTools(`{"name":"list_messages","description":` + quoted("try "+awkward) + `,"inputSchema":{"type":"object"}},{"name":"read_message","inputSchema":{"type":"object"}}`)
	s := w.session(tokenSpec{subject: "alice"})
	if r := s.post(`{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{}}`); strings.Contains(r.body, "list_messages") || !strings.Contains(r.body, "read_message") {
		t.Errorf("%s", r)
	}
	if r := s.call(`{"name":"list_messages"}`); !strings.Contains(r.body, "Unknown tool") {
		t.Errorf("%s", r)
	}
	if pins := must(w.store.Pins(t.Context(), "mail"))(t); len(pins) != 1 {
		t.Errorf("%d definitions are kept", len(pins))
	}
}

// TestCredentialThatIsANumber passes nowhere as one, nor as the time after which to come again;
// and no event has an id with one.
func TestCredentialThatIsANumber(t *testing.T) {
	const number = "1827364519"
	src, change := legacy(t, false)
	src.secret = func(string) string { return number }
	w := newWorld(t, change)
	w.up.onEvents("tools/call", "id: x"+number+"\nretry: "+number+"\ndata\n\n", event("", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":`+number+`}}`),
		event("", `{"jsonrpc":"2.0","id":ID,"result":{"content":[],"n":`+number+`}}`))
	r := w.session(tokenSpec{subject: "alice"}).call(`{"name":"list_messages","_meta":{"progressToken":7}}`)
	if strings.Contains(r.body, number) || strings.Contains(r.body, "id: ") || strings.Contains(r.body, "retry") || !strings.Contains(r.body, `"n":"[credential]"`) {
		t.Errorf("%s", r)
	}
}

// The audit log counts what was masked.
func TestCredentialsInAnAnswerAreCounted(t *testing.T) {
	src, change := legacy(t, false)
	src.secret = func(string) string { return awkward }
	w := newWorld(t, change)
	w.up.onResult("tools/call", `{"content":[{"type":"text","text":`+quoted(awkward+" and "+awkward)+`}]}`)
	w.session(tokenSpec{subject: "alice"}).call(`{"name":"list_messages"}`)
	if e := w.last(); e.Redactions != 2 {
		t.Errorf("%+v", e)
	}
}

// TestServerThatTellsOfAKeyThatStays, which it was given long ago and for one of many: it is as
// good as it was.
func TestServerThatTellsOfAKeyThatStays(t *testing.T) {
	users := []string{"alice", "bob"}
	for i := range 100 {
		users = append(users, fmt.Sprint("somebody-", i))
	}
	src, change := legacy(t, false)
	src.lasts, src.secret = true, func(subject string) string { return "the-key-of-" + subject }
	w := newWorld(t, change, policy(t, fmt.Sprintf(forAll, strings.Join(users, ", "))))
	w.up.statelessOnly()
	w.up.onResult("tools/call", `{"content":[{"type":"text","text":"psst the-key-of-alice"}],"structuredContent":{"text":"hello"}}`)
	call := func(subject string) reply {
		return w.ask(request{bearer: w.token(tokenSpec{subject: subject}), method: "tools/call", params: listMessagesStateless})
	}
	call("alice")
	for _, other := range users[2:] {
		call(other)
	}
	if n := len(src.all()); n != 101 {
		t.Fatalf("%d credentials", n)
	}
	if r := call("bob"); strings.Contains(r.body, "the-key-of-alice") || !strings.Contains(r.body, "psst [credential]") {
		t.Errorf("%s", r)
	}
}

const forAll = `
version: 1
roles:
  all:
    who: {users: [%s]}
    servers: {mail: {tools: [list_messages]}}
`
