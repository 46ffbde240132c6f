package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// A call that waits for its client keeps its credential, and goes on with it: nothing is
// obtained for the message that comes for it.
func TestParkedCallKeepsItsCredential(t *testing.T) {
	src, change := legacy(t, true)
	w := newWorld(t, change)
	answers, _ := w.up.asksMidway(t)
	bearer := w.token(tokenSpec{subject: "alice"})
	if err := w.gateway.Discover(t.Context(), "mail"); err != nil {
		t.Fatal(err)
	}
	before := len(src.all())
	state := stateOf(t, w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`, capabilities: elicits}))
	m := src.last()
	if len(src.all()) != before+1 || src.open() != 1 || m.Call.Details().Tool != "list_messages" || m.Until.Before(w.now.Now().Add(10*time.Minute)) {
		t.Fatalf("%d credentials, %d in use, the last for %+v until %v", len(src.all())-before, src.open(), m.Call.Details(), m.Until)
	}
	missing := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages","requestState":` + state + `,`, capabilities: elicits})
	if src.open() != 1 { // it waits again
		t.Errorf("%d credentials are in use", src.open())
	}
	r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",` + accept + stateOf(t, missing) + `,`, capabilities: elicits})
	if !strings.Contains(r.body, `"heard":{"action":"accept"}`) || len(answers) != 0 {
		t.Errorf("%s", r)
	}
	src.settled()
	if n := len(src.all()); n != before+1 {
		t.Errorf("%d credentials for one call", n-before)
	}
	for _, got := range w.up.calls("") { // the answer to the question
		if got.header.Get("X-Db-Password") != m.secret {
			t.Errorf("%v", got.header)
		}
	}
	for _, e := range w.lines() {
		if e.Kind == audit.Outcome && e.Action == "tools/call" && e.Lease != fmt.Sprintf("database/creds/mail/%d", before+1) {
			t.Errorf("%+v", e)
		}
	}
	w.tokenless()
}

// TestParkedCallEndsWithItsCredential: also while nobody is there, a freeze, a revocation and
// the end of the credential end the call at the server, and so does the gateway's own.
func TestParkedCallEndsWithItsCredential(t *testing.T) {
	for name, happens := range map[string]func(*revocable, *source){
		"the credential ends": func(_ *revocable, src *source) { close(src.last().done) },
		"the server is frozen": func(r *revocable, _ *source) {
			e := revocation.New(revocation.Server, "mail", r.now.Now())
			e.Frozen = true
			r.revoke(e)
			r.beatOnce(1)
		},
		"the subject is revoked": func(r *revocable, _ *source) {
			r.revoke(revocation.New(revocation.Subject, "alice", r.now.Now()))
			r.beatOnce(1)
		},
		"the gateway stops": func(r *revocable, _ *source) { _ = r.gateway.Close(r.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			src, change := legacy(t, false)
			r := newRevocable(t, change)
			_, gone := r.up.asksMidway(t)
			bearer := r.token(tokenSpec{subject: "alice"})
			state := stateOf(t, r.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`, capabilities: elicits}))
			happens(r, src)
			<-gone
			src.settled()
			late := r.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",` + accept + state + `,`, capabilities: elicits})
			if strings.Contains(late.body, `"heard"`) {
				t.Errorf("%s", late)
			}
			if n := len(src.all()); n != 1 {
				t.Errorf("%d credentials", n)
			}
		})
	}
}

// TestStreamLivesByItsCredential, where every message has one, and ends it.
func TestStreamLivesByItsCredential(t *testing.T) {
	for _, ends := range []string{"the client goes", "the credential ends", "the gateway drains"} {
		for kind, open := range map[string]func(*world, session) *http.Response{
			"GET": func(_ *world, s session) *http.Response { return s.listen(s.t.Context()) },
			"subscriptions/listen": func(w *world, s session) *http.Response {
				return w.send(w.t.Context(), request{bearer: s.bearer, method: "subscriptions/listen", params: `"notifications":{"toolsListChanged":true},`})
			},
		} {
			t.Run(kind+", "+ends, func(t *testing.T) {
				src, change := legacy(t, true)
				w := newWorld(t, change)
				w.up.sessionsOnly()
				arrived := make(chan string, 10)
				w.up.on("", func(rw http.ResponseWriter, r *http.Request) {
					events(rw)
					arrived <- r.Header.Get("X-Db-Password")
					<-r.Context().Done()
				})
				s := w.session(tokenSpec{subject: "alice"})
				stream := open(w, s)
				pw := <-arrived
				i := slices.IndexFunc(src.all(), func(m *made) bool { return m.secret == pw })
				if i < 0 || src.open() == 0 {
					t.Fatalf("the stream came with %q", pw)
				}
				switch ends {
				case "the client goes":
					stream.Body.Close()
				case "the credential ends":
					close(src.all()[i].done)
				default:
					w.gateway.Drain()
				}
				for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
				}
				stream.Body.Close()
				src.settled()
				w.tokenless()
			})
		}
	}
}

// TestSessionsOfCredentialsAreNobodyElses: what a credential may be kept for is one session of
// one client of one subject, in both eras.
func TestSessionsOfCredentialsAreNobodyElses(t *testing.T) {
	src, change := legacy(t, false)
	w := newWorld(t, change)
	names := map[string]string{}
	expect := func(who string, do func() reply) {
		t.Helper()
		if r := do(); !strings.Contains(r.body, "done") {
			t.Fatalf("%s: %s", who, r)
		}
		name := src.last().Session
		for other, n := range names {
			if (n == name) != (other == who) {
				t.Errorf("%s and %s: %s, %s", who, other, name, n)
			}
		}
		if names[who] = name; strings.Contains(name, "alice") || name == "" {
			t.Errorf("%s: %q", who, name)
		}
	}
	for _, s := range []tokenSpec{{subject: "alice"}, {subject: "bob"}, {subject: "alice", client: identityOf("another")}} {
		who := s.subject + " " + s.client.String()
		one, two := w.session(s), w.session(s)
		for range 2 {
			expect(who+" one", func() reply { return one.call(`{"name":"list_messages"}`) })
			expect(who+" two", func() reply { return two.call(`{"name":"list_messages"}`) })
			expect(who+" none", func() reply {
				return w.ask(request{bearer: w.token(s), method: "tools/call", params: listMessagesStateless})
			})
		}
	}
	ended := w.session(tokenSpec{subject: "alice"})
	ended.call(`{"name":"list_messages"}`)
	name := src.last().Session
	if r := ended.do("DELETE", ended.url, ended.bearer, "", "Mcp-Session-Id", ended.id); r.status != http.StatusNoContent {
		t.Fatal(r)
	}
	if got := src.ended(); !slices.Equal(got, []string{name}) {
		t.Errorf("%q were ended, want %q", got, name)
	}
}

// What is kept for a session that the gateway keeps ends with it: when it is idle, when it is
// gone, and with the gateway.
func TestCredentialsOfSessionsThatAreKept(t *testing.T) {
	call := func(w *world) string {
		t.Helper()
		r := w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: listMessagesStateless})
		if !strings.Contains(r.body, "done") {
			t.Fatal(r)
		}
		return ""
	}
	for name, ends := range map[string]func(*world){
		"idle":              func(w *world) { w.now.Advance(11 * time.Minute); _ = w.gateway.EndIdle(t.Context()) },
		"the gateway's end": func(w *world) { _ = w.gateway.Close(t.Context()) },
		"gone, and not again": func(w *world) {
			w.up.fail("tools/call", 404)
			w.up.fail("initialize", 500)
			w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: listMessagesStateless})
			_ = w.gateway.EndIdle(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, change := legacy(t, false)
			w := newWorld(t, change)
			w.up.sessionsOnly()
			call(w)
			session := src.last().Session
			if got := src.ended(); len(got) != 0 {
				t.Fatalf("%q were ended", got)
			}
			ends(w)
			if got := src.ended(); !slices.Contains(got, session) {
				t.Errorf("%q were ended, want %q", got, session)
			}
			src.settled()
		})
	}
	src, change := legacy(t, false)
	w := newWorld(t, change)
	w.up.sessionsOnly()
	call(w)
	first := true
	w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			rw.WriteHeader(404)
			return
		}
		w.up.result(rw, r, `{"content":[{"type":"text","text":"done"}]}`)
	})
	before := len(src.all())
	call(w) // the upstream has ended its session: another one takes its place
	_ = w.gateway.EndIdle(t.Context())
	if got := src.ended(); len(got) != 0 || len(src.all()) != before+1 {
		t.Errorf("%q were ended, %d credentials for one call", got, len(src.all())-before)
	}
	tries := w.up.calls("tools/call")
	if a, b := tries[len(tries)-1].header.Get("X-Db-Password"), tries[len(tries)-2].header.Get("X-Db-Password"); a != b || a == "" {
		t.Errorf("the second try came with %q, the first with %q", a, b)
	}
}

// TestCredentialIsOfItsServer, at the endpoint over all: the next server gets none of it.
func TestCredentialIsOfItsServer(t *testing.T) {
	src, change := legacy(t, true)
	files, second := withFiles(t)
	w := newWorld(t, second, change, func(c *gateway.Config) { c.All = allOf(t) })
	all := w.everywhere()
	bearer := w.token(tokenSpec{subject: "alice", audience: issuer + "/mcp"})
	s := session{all, bearer, all.do("POST", all.url, bearer, initialize).header.Get("Mcp-Session-Id")}
	s.post(`{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{}}`)
	for _, name := range []string{"mail__list_messages", "files__list_messages"} {
		if r := s.call(`{"name":"` + name + `"}`); !strings.Contains(r.body, "done") {
			t.Errorf("%s: %s", name, r)
		}
	}
	s.do("DELETE", s.url, bearer, "", "Mcp-Session-Id", s.id)
	for _, got := range files.everything() {
		if got.header.Get("X-Db-Password") != "" || got.header.Get("X-Db-User") != "" || got.bearer() == "" {
			t.Errorf("the other server got %s with %v", got.method, got.header)
		}
	}
	if len(files.calls("tools/call")) != 1 || len(w.up.calls("tools/call")) != 1 || len(src.ended()) == 0 {
		t.Errorf("%d and %d calls; %q were ended", len(files.calls("tools/call")), len(w.up.calls("tools/call")), src.ended())
	}
	w.tokenless(bearer)
	src.settled()
}

// What several wait for goes on with the credential of the one who began it, also when that
// one has gone.
func TestSessionThatIsOpenedOutlivesItsCall(t *testing.T) {
	src, change := legacy(t, false)
	w := newWorld(t, change)
	w.up.sessionsOnly()
	s := w.session(tokenSpec{subject: "alice"})
	s.call(`{"name":"list_messages"}`) // has the definitions read
	src.settled()
	arrived, open := make(chan struct{}, 2), make(chan struct{})
	w.up.on("initialize", func(rw http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-open:
			w.up.result(rw, r, `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"n","version":"1"}}`)
		case <-r.Context().Done():
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { _, err := w.callStateless(ctx, s.bearer); gone <- err }()
	<-arrived
	leave()
	<-gone
	over := func() bool { // the call that has gone
		return slices.ContainsFunc(w.lines(), func(e audit.Event) bool { return e.Kind == audit.Outcome && e.Reason == "client_gone" })
	}
	for !over() {
		runtime.Gosched()
	}
	if n := src.open(); n != 1 {
		t.Errorf("%d credentials are in use", n)
	}
	answer := make(chan reply)
	go func() {
		answer <- w.ask(request{bearer: s.bearer, method: "tools/call", params: listMessagesStateless})
	}()
	for len(src.all()) < 3 {
		runtime.Gosched()
	}
	close(open)
	if r := <-answer; !strings.Contains(r.body, "done") || len(w.up.calls("initialize")) != 2 {
		t.Errorf("%s; %d times initialize", r, len(w.up.calls("initialize")))
	}
	src.settled()
}
