package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

const listMessagesStateless = `"name":"list_messages","arguments":{},`

// each does all that can be asked of the server, in both eras.
func (w *world) each() (bearer string) {
	bearer = w.token(tokenSpec{subject: "alice", scope: allScopes})
	s := session{w, bearer, w.do("POST", w.url, bearer, initialize).header.Get("Mcp-Session-Id")}
	s.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	s.call(`{"name":"list_messages","arguments":{}}`)
	for _, m := range []struct{ method, params string }{
		{"tools/list", `{}`}, {"prompts/list", `{}`}, {"resources/list", `{}`}, {"resources/templates/list", `{}`}, {"logging/setLevel", `{"level":"info"}`},
		{"resources/read", `{"uri":"mail://inbox/1"}`}, {"resources/subscribe", `{"uri":"mail://inbox/1"}`}, {"resources/unsubscribe", `{"uri":"mail://inbox/1"}`},
		{"prompts/get", `{"name":"summarize"}`}, {"completion/complete", `{"ref":{"type":"ref/prompt","name":"summarize"},"argument":{"name":"a","value":"b"}}`},
	} {
		if r := s.post(`{"jsonrpc":"2.0","id":7,"method":"` + m.method + `","params":` + m.params + `}`); !strings.Contains(r.body, `"result"`) {
			w.t.Errorf("%s: %s", m.method, r)
		}
	}
	if r := s.do("DELETE", s.url, bearer, "", "Mcp-Session-Id", s.id); r.status != http.StatusNoContent {
		w.t.Errorf("DELETE: %s", r)
	}
	for method, params := range map[string]string{"tools/call": listMessagesStateless, "tools/list": "", "resources/read": `"uri":"mail://inbox/1",`, "prompts/get": `"name":"summarize",`, "server/discover": ""} {
		if r := w.ask(request{bearer: bearer, method: method, params: params}); !strings.Contains(r.body, `"result"`) {
			w.t.Errorf("%s: %s", method, r)
		}
	}
	return bearer
}

// TestLegacyServerGetsNoToken, whatever is asked of it in whatever era, and a credential
// with what it does for somebody, or with everything.
func TestLegacyServerGetsNoToken(t *testing.T) {
	calls := []string{"tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"}
	for _, all := range []bool{false, true} {
		for _, era := range []func(*upstream){(*upstream).sessionsOnly, func(*upstream) {}} {
			src, change := legacy(t, all)
			w := newWorld(t, change, policy(t, wide))
			era(w.up)
			for method, member := range map[string]string{"prompts/list": "prompts", "resources/list": "resources", "resources/templates/list": "resourceTemplates"} {
				w.up.onResult(method, `{"`+member+`":[]}`)
			}
			if err := w.gateway.Discover(t.Context(), "mail"); err != nil {
				t.Fatal(err)
			}
			bearer := w.each()
			if err := w.gateway.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.tokenless(bearer)
			for _, got := range w.up.everything() {
				if has := got.header.Get("X-Db-Password") != ""; all && !has || slices.Contains(calls, got.method) && !has {
					t.Errorf("for all %v: %s came without a credential", all, got.method)
				} else if outside := []string{"tools/list", "prompts/list", "resources/list", "logging/setLevel", "DELETE"}; !all && has && slices.Contains(outside, got.method) {
					t.Errorf("%s came with a credential", got.method)
				}
			}
			src.settled()
		}
	}
}

// The outcome names the lease, and the request for the credential whose it is and for which
// call.
func TestCredentialIsOfTheCall(t *testing.T) {
	src, change := legacy(t, false)
	w := newWorld(t, change, timeout(time.Minute))
	before := w.now.Now()
	w.session(tokenSpec{subject: "alice"}).call(`{"name":"list_messages","arguments":{"limit":2}}`)
	m, e := src.last(), w.last()
	if e.Kind != audit.Outcome || e.Lease != "database/creds/mail/1" || e.Call != m.ID || e.CallTokenID != m.Call.ID() || e.Status != "ok" {
		t.Errorf("%+v", e)
	}
	if d := m.Call.Details(); d.Tool != "list_messages" || d.ArgumentsDigest == "" || m.Call.Subject().String() != "alice" || m.Session == "" || m.Until.Before(before.Add(time.Minute)) || m.Until.After(before.Add(2*time.Minute)) {
		t.Errorf("%+v", m.Request)
	}
	if got := w.up.calls("tools/call")[0].header; got.Get("X-Db-Password") != m.secret || got.Get("X-Db-User") != "db-alice" {
		t.Errorf("%v", got)
	}
	if n := len(src.all()); n != 1 {
		t.Errorf("%d credentials for one call", n)
	}
}

// sealed is what a CredentialSource answers where there is none to be had.
type sealed struct{}

func (sealed) Error() string  { return "vault at 10.0.0.7: sealed" }
func (sealed) Reason() string { return "vault_sealed" }
func (sealed) Advice() string { return "the vault is sealed: ask whoever runs it to unseal it" }

// TestNoCredentialNoCall: it is denied with a reason that a person can act on, recorded, and
// nothing comes to the server; nor does it count against the server.
func TestNoCredentialNoCall(t *testing.T) {
	for _, tt := range []struct {
		err          error
		reason, says string
	}{{fmt.Errorf("obtain: %w", sealed{}), "vault_sealed", "ask whoever runs it"}, {errors.New("secret cause"), "credential_unavailable", "credential_unavailable"}} {
		src, change := legacy(t, false)
		w := newWorld(t, change)
		w.session(tokenSpec{subject: "alice"}).call(`{"name":"list_messages"}`)
		src.fails = tt.err
		calls := len(w.up.calls("tools/call"))
		for _, r := range []reply{w.session(tokenSpec{subject: "alice"}).call(`{"name":"list_messages"}`), w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: listMessagesStateless})} {
			if !strings.Contains(r.body, tt.says) || strings.Contains(r.body, "10.0.0.7") || strings.Contains(r.body, "secret cause") {
				t.Errorf("%s", r)
			}
			if e := w.last(); e.Kind != audit.Outcome || e.Reason != tt.reason || e.Status != "error" || e.Lease != "" || e.CallTokenID == "" {
				t.Errorf("%+v", e)
			}
		}
		if n := len(w.up.calls("tools/call")); n != calls {
			t.Errorf("the server got %d more calls", n-calls)
		}
	}
}

// TestCredentialEndsHoweverTheCallDoes, once.
func TestCredentialEndsHoweverTheCallDoes(t *testing.T) {
	answers := map[string]func(*upstream){
		"an answer": func(*upstream) {},
		"an error": func(u *upstream) {
			u.onJSON("tools/call", `{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}`)
		},
		"HTTP 500": func(u *upstream) { u.fail("tools/call", 500) },
		"HTTP 401": func(u *upstream) { u.fail("tools/call", 401) },
		"no JSON":  func(u *upstream) { u.onJSON("tools/call", `{"jsonrpc"`) },
		"events":   func(u *upstream) { u.onSSE("tools/call", `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`) },
		"events without an end": func(u *upstream) {
			u.onSSE("tools/call", `{"jsonrpc":"2.0","method":"notifications/message","params":{}}`)
		},
		"a broken connection": func(u *upstream) {
			u.on("tools/call", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		},
		"silence": func(u *upstream) {
			u.on("tools/call", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			src, change := legacy(t, false)
			limit := time.Minute
			if name == "silence" {
				limit = 100 * time.Millisecond
			}
			w := newWorld(t, change, timeout(limit))
			s := w.session(tokenSpec{subject: "alice"})
			s.call(`{"name":"send_message"}`) // has the definitions read
			answer(w.up)
			s.call(`{"name":"list_messages"}`)
			w.ask(request{bearer: s.bearer, method: "tools/call", params: listMessagesStateless})
			src.settled()
			if n := len(src.all()); n != 2 {
				t.Errorf("%d credentials for two calls", n)
			}
		})
	}
}

// A client of the stateless era that goes away ends its call, and with it the credential; in
// the session era the call goes on, and the credential with it.
func TestCredentialOfAClientThatGoesAway(t *testing.T) {
	src, change := legacy(t, false)
	w := newWorld(t, change)
	s := w.session(tokenSpec{subject: "alice"})
	s.call(`{"name":"list_messages"}`)
	d := w.up.hold(t, "tools/call")
	leave := func(do func(ctx context.Context) error) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- do(ctx) }()
		<-d.arrived
		cancel()
		<-done
	}
	leave(func(ctx context.Context) error { _, err := w.callStateless(ctx, s.bearer); return err })
	<-d.gone
	src.settled()
	leave(func(ctx context.Context) error {
		req := must(http.NewRequestWithContext(ctx, "POST", s.url, strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_messages"}}`)))(t)
		set(req.Header, []string{"Content-Type", "application/json", "Authorization", "Bearer " + s.bearer, "Mcp-Session-Id", s.id})
		_, err := http.DefaultClient.Do(req)
		return err
	})
	if n := src.open(); n != 1 {
		t.Errorf("%d credentials are in use while the call goes on", n)
	}
	d.let()
	src.settled()
}

// TestCallIsCutWithItsCredential: when it is good no more, when the server is frozen, when the
// caller is revoked, and with the gateway; also where nothing has come from the server yet.
func TestCallIsCutWithItsCredential(t *testing.T) {
	frozen := func(r *revocable) {
		e := revocation.New(revocation.Server, "mail", r.now.Now())
		e.Frozen = true
		r.revoke(e)
	}
	for reason, happens := range map[string]func(*revocable, *source){
		"credential_ended": func(_ *revocable, src *source) { close(src.last().done) },
		"server_frozen":    func(r *revocable, _ *source) { frozen(r); r.beatOnce(1) },
		"token_revoked": func(r *revocable, _ *source) {
			r.revoke(revocation.New(revocation.Subject, "alice", r.now.Now()))
			r.beatOnce(1)
		},
		"gateway_stopping": func(r *revocable, _ *source) { _ = r.gateway.Close(r.t.Context()) },
	} {
		for _, stateless := range []bool{false, true} {
			t.Run(fmt.Sprint(reason, stateless), func(t *testing.T) {
				src, change := legacy(t, false)
				r := newRevocable(t, change)
				s := r.session(tokenSpec{subject: "alice"})
				s.call(`{"name":"list_messages"}`)
				d := r.up.hold(t, "tools/call")
				answer := make(chan reply)
				go func() {
					if stateless {
						answer <- r.ask(request{bearer: s.bearer, method: "tools/call", params: listMessagesStateless})
					} else {
						answer <- s.call(`{"name":"list_messages"}`)
					}
				}()
				<-d.arrived
				happens(r, src)
				if a := <-answer; strings.Contains(a.body, `"result"`) || !strings.Contains(a.body, `"error"`) {
					t.Errorf("%s", a)
				}
				<-d.gone
				src.settled()
				found := false
				for _, e := range r.lines() {
					found = found || e.Kind == audit.Outcome && e.Reason == reason && e.Lease == "database/creds/mail/2"
				}
				if !found {
					t.Errorf("no outcome says %s: %+v", reason, r.last())
				}
			})
		}
	}
}

// A call that waits for its client is cut, too, and says why.
func TestCallThatAsksItsClientIsCutWithItsCredential(t *testing.T) {
	src, change := legacy(t, false)
	w := newWorld(t, change)
	w.up.statelessOnly()
	w.up.asksOnce("tools/call")
	_, rest := w.eliciting(tokenSpec{subject: "alice"}).begin("Sure?")
	close(src.last().done)
	if got := until(t, rest, `"id":7`); !strings.Contains(got, "ended with its credential") {
		t.Error(got)
	}
	src.settled()
	if e := w.last(); e.Reason != "credential_ended" {
		t.Errorf("%+v", e)
	}
}

// panics is a transport with a bug.
type panics struct{ http.RoundTripper }

func (p panics) RoundTrip(r *http.Request) (*http.Response, error) {
	if b, err := r.GetBody(); err == nil {
		if all, _ := io.ReadAll(b); strings.Contains(string(all), "boom") {
			panic(http.ErrAbortHandler)
		}
	}
	return p.RoundTripper.RoundTrip(r)
}

// TestCredentialEndsWithAPanic of whatever is called with it.
func TestCredentialEndsWithAPanic(t *testing.T) {
	src, change := legacy(t, false)
	w := newWorld(t, change, func(c *gateway.Config) { c.Upstreams[0].Transport = panics{c.Upstreams[0].Transport} })
	s := w.session(tokenSpec{subject: "alice"})
	req := must(http.NewRequest("POST", s.url, strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read_message","arguments":{"id":"boom"}}}`)))(t)
	set(req.Header, []string{"Content-Type", "application/json", "Authorization", "Bearer " + s.bearer, "Mcp-Session-Id", s.id})
	if _, err := http.DefaultClient.Do(req); err == nil {
		t.Error("nothing panicked")
	}
	if len(src.all()) != 1 {
		t.Errorf("%d credentials", len(src.all()))
	}
	src.settled()
}

// TestCredentialsAreNobodyElses: of many subjects at once, in both eras, each is called with
// its own, whatever is shared on the way.
func TestCredentialsAreNobodyElses(t *testing.T) {
	for _, all := range []bool{false, true} {
		src, change := legacy(t, all)
		w := newWorld(t, change)
		w.up.sessionsOnly()
		users := []string{"alice", "bob", "root"}
		bearers := map[string]string{}
		for _, u := range users {
			bearers[u] = w.token(tokenSpec{subject: u})
		}
		for _, u := range users { // says for whom each call is
			w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
				w.up.result(rw, r, `{"content":[{"type":"text","text":"for `+r.Header.Get("X-Db-User")+`"}]}`)
			})
			_ = u
		}
		var clients sync.WaitGroup
		for i := range 16 {
			clients.Go(func() {
				u := users[i%len(users)]
				s := w.session(tokenSpec{subject: u})
				for range 10 {
					for _, r := range []reply{s.call(`{"name":"list_messages"}`), w.ask(request{bearer: bearers[u], method: "tools/call", params: listMessagesStateless})} {
						if !strings.Contains(r.body, "for db-"+u+`"`) {
							t.Errorf("%s: %s", u, r)
						}
					}
				}
			})
		}
		clients.Wait()
		src.settled()
		whose := map[string]string{}
		for _, m := range src.all() {
			whose[m.secret] = "db-" + m.Call.Subject().String()
		}
		for _, got := range w.up.everything() {
			if pw := got.header.Get("X-Db-Password"); whose[pw] != got.header.Get("X-Db-User") {
				t.Errorf("%s: %s with a password of %q", got.method, got.header.Get("X-Db-User"), whose[pw])
			}
		}
		w.tokenless()
	}
}

// A server that refuses what has no credential is said so, with what to do about it.
func TestServerThatWantsItsKeyWithEveryMessage(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		_, change := legacy(t, false)
		w := newWorld(t, change)
		guarded := func(method, result string) {
			w.up.on(method, func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Db-Password") == "" {
					rw.WriteHeader(status)
					return
				}
				w.up.result(rw, r, result)
			})
		}
		guarded("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"mail","version":"1"}}`)
		guarded("server/discover", `{}`)
		guarded("tools/list", `{"tools":[]}`)
		bearer := w.token(tokenSpec{subject: "alice"})
		if r := w.do("POST", w.url, bearer, initialize); !strings.Contains(r.body, "upstream_refused") {
			t.Errorf("%s", r)
		}
		if e := w.last(); e.Reason != "upstream_refused" {
			t.Errorf("%+v", e)
		}
		if r := w.ask(request{bearer: bearer, method: "tools/call", params: listMessagesStateless}); !strings.Contains(r.body, "upstream_refused") {
			t.Errorf("%s", r)
		}
		if log := w.log(); !strings.Contains(log, "messages: all") {
			t.Errorf("the log does not say what to do: %s", log)
		}
	}
}
