package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// entry is one way in.
type entry struct{ method, params string }

// entries are all ways to something that a server has: read, used, listed, completed,
// subscribed to, and those that nobody serves.
var entries = []entry{
	{"tools/call", `"name":"send_message","arguments":{},`},
	{"tools/call", `"name":"delete_message","arguments":{"id":"1"},"_meta2":{},`},
	{"prompts/get", `"name":"exfiltrate","arguments":{},`},
	{"resources/read", `"uri":"mail://drafts/2",`},
	{"resources/subscribe", `"uri":"mail://drafts/2",`},
	{"resources/unsubscribe", `"uri":"mail://drafts/2",`},
	{"completion/complete", `"ref":{"type":"ref/prompt","name":"exfiltrate"},"argument":{"name":"a","value":"b"},`},
	{"completion/complete", `"ref":{"type":"ref/resource","uri":"mail://drafts/{x}"},"argument":{"name":"a","value":"b"},`},
	{"tasks/get", `"taskId":"t1",`}, {"tasks/result", `"taskId":"t1",`}, {"tasks/cancel", `"taskId":"t1",`}, {"tasks/list", ``},
	{"roots/list", ``}, {"sampling/createMessage", `"messages":[],`}, {"elicitation/create", `"message":"m",`},
}

// A1: whoever may not, may not by any way in, in either era, at either kind of server, at
// its own endpoint or the one over all; neither somebody without a role nor one of another
// role. Nothing of it comes to the server, and each refusal is in the log.
func TestEveryEntryPathIsClosedToWhoeverMayNot(t *testing.T) {
	for _, kind := range []string{"stateless", "session"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, policy(t, wide), func(c *gateway.Config) { c.All = allOf(t) })
			if kind == "stateless" {
				w.up.statelessOnly()
			} else {
				w.up.sessionsOnly()
				w.up.fail("", http.StatusMethodNotAllowed)
			}
			w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/list"})
			for _, subject := range []string{"alice", "carol"} {
				for _, at := range []*world{w, w.everywhere()} {
					w.closed(t, at, subject)
				}
			}
			for _, e := range entries {
				if n := len(w.up.calls(e.method)); n != 0 {
					t.Errorf("%s came to the server %d times", e.method, n)
				}
			}
		})
	}
}

// closed tries all entries as the subject.
func (w *world) closed(t *testing.T, at *world, subject string) {
	t.Helper()
	spec := tokenSpec{subject: subject, scope: allScopes}
	names := func(e entry) entry { return e }
	if at.url != w.url {
		spec.audience = issuer + "/mcp"
		names = func(e entry) entry {
			e.params = strings.NewReplacer(`"name":"send`, `"name":"mail__send`, `"name":"del`, `"name":"mail__del`, `"name":"exf`, `"name":"mail__exf`, `"uri":"`, `"uri":"mail+`).Replace(e.params)
			return e
		}
	}
	s := at.session(spec)
	for _, e := range entries {
		e = names(e)
		before := len(w.lines())
		for era, r := range map[string]reply{
			"stateless": at.ask(request{bearer: at.token(spec), method: e.method, params: e.params}),
			"session":   s.post(`{"jsonrpc":"2.0","id":7,"method":"` + e.method + `","params":{` + strings.TrimSuffix(e.params, ",") + `}}`),
		} {
			if !strings.Contains(r.body, `"error"`) || strings.Contains(r.body, `"result"`) {
				t.Errorf("%s, %s at %s: %s %s: %s", subject, era, at.url, e.method, e.params, r)
			}
		}
		denied := 0
		for _, l := range w.lines()[before:] {
			if l.Kind == audit.Denial && l.Subject == subject && l.Reason != "" {
				denied++
			}
		}
		if denied != 2 {
			t.Errorf("%s at %s: %s: %d denials are in the log", subject, at.url, e.method, denied)
		}
	}
	batch := s.post(`[{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"send_message"}}]`)
	notification := s.post(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"send_message"}}`)
	if !strings.Contains(batch.body+notification.body, `"error"`) || strings.Contains(batch.body+notification.body, `"result"`) {
		t.Errorf("%s: batch %s, notification %s", subject, batch, notification)
	}
}

// A6: whatever the message, in either era, a server sees a token that was minted for it,
// and nothing that the client came with.
func TestNothingThatTheClientCameWithComesToTheServer(t *testing.T) {
	for _, kind := range []string{"stateless", "session"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, policy(t, wide))
			if kind == "stateless" {
				w.up.statelessOnly()
			} else {
				w.up.sessionsOnly()
				w.up.fail("", http.StatusMethodNotAllowed)
			}
			bearer := w.token(tokenSpec{subject: "alice", scope: allScopes})
			s := session{w, bearer, w.do("POST", w.url, bearer, initialize).header.Get("Mcp-Session-Id")}
			smuggled := []string{"Cookie", "smuggled=1", "X-Api-Key", "smuggled", "Proxy-Authorization", "smuggled", "X-Forwarded-For", "smuggled", "Forwarded", "for=smuggled", "DPoP", "smuggled", "Baggage", "smuggled",
				"X-Forwarded-Client-Cert", "smuggled", "Mcp-Param-X", "smuggled", "X-Mcp-Authorized", "smuggled", "User-Agent", "smuggled", "Referer", "smuggled", "Last-Event-ID", "-"}
			for _, e := range []entry{{"tools/list", ""}, {"tools/call", `"name":"list_messages",`}, {"prompts/get", `"name":"summarize",`}, {"resources/read", `"uri":"mail://inbox/1",`}, {"server/discover", ""},
				{"completion/complete", `"ref":{"type":"ref/prompt","name":"summarize"},"argument":{"name":"a","value":"b"},`}} {
				w.ask(request{bearer: bearer, method: e.method, params: e.params, headers: smuggled})
				s.post(`{"jsonrpc":"2.0","id":7,"method":"`+e.method+`","params":{`+strings.TrimSuffix(e.params, ",")+`}}`, smuggled[:len(smuggled)-2]...)
			}
			s.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, smuggled[:len(smuggled)-2]...)
			w.do("DELETE", w.url, bearer, "", append([]string{"Mcp-Session-Id", s.id}, smuggled[:len(smuggled)-2]...)...)
			v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: w.ring, Now: w.now.Now})
			w.up.mu.Lock()
			defer w.up.mu.Unlock()
			for _, got := range w.up.got {
				if _, err := v.ParseCall(t.Context(), got.bearer(), w.up.URL); err != nil || got.bearer() == bearer || len(got.header.Values("Authorization")) != 1 {
					t.Errorf("%s came with %q: %v", got.method, got.header.Values("Authorization"), err)
				}
				if all := fmt.Sprint(got.header); strings.Contains(all, "smuggled") || strings.Contains(all, s.id) {
					t.Errorf("%s came with %s", got.method, all)
				}
			}
			if len(w.up.got) < 10 {
				t.Errorf("the server got %d requests", len(w.up.got))
			}
		})
	}
}

// A19: a clock that is off makes no token live longer: one from the future is refused, by
// more than seconds, and one that has expired by the gateway's clock is, whatever that of
// the authorization server says.
func TestClockOfTheAuthorizationServerThatIsOff(t *testing.T) {
	for skew, want := range map[time.Duration]struct {
		status int
		reason string
	}{
		-4 * time.Minute: {200, ""}, -5 * time.Minute: {401, "token_expired"}, -time.Hour: {401, "token_expired"},
		4 * time.Second: {200, ""}, 7 * time.Second: {401, "token_from_the_future"}, time.Hour: {401, "token_from_the_future"},
	} {
		w := newWorld(t)
		off := token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: w.ring, Now: func() time.Time { return w.now.Now().Add(skew) }})
		raw, _, err := off.Access(token.AccessSpec{Subject: must(identity.ParseSubject("alice"))(t), ClientID: mcpClient, Audience: resource, Scope: must(token.ParseScope("mcp:tools"))(t), Lifetime: 5 * time.Minute, Txn: "grant-1"})
		if err != nil {
			t.Fatal(err)
		}
		r := w.ask(request{bearer: raw, method: "tools/list"})
		if r.status != want.status {
			t.Errorf("%v: %s", skew, r)
		}
		if want.reason != "" && w.last().Reason != want.reason {
			t.Errorf("%v: audit %+v", skew, w.last())
		}
		for _, up := range w.up.got {
			if c, err := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: w.ring, Now: w.now.Now}).ParseCall(t.Context(), up.bearer(), w.up.URL); err != nil || c.Expiry().After(w.now.Now().Add(time.Minute)) {
				t.Errorf("%v: a call token until %v, %v", skew, c.Expiry(), err)
			}
		}
	}
}

// A19: the clock of the gateway is set back while it runs, as after a leap: nothing that has
// ended begins again, but for what the clock says itself, and no view of what was revoked
// counts for longer.
func TestClockOfTheGatewayThatIsSetBack(t *testing.T) {
	r := newRevocable(t)
	s := r.session(tokenSpec{subject: "alice"})
	if reply := s.call(listMessages); !strings.Contains(reply.body, `"result"`) {
		t.Fatal(reply)
	}
	r.now.Advance(-time.Hour)
	if reply := s.call(listMessages); reply.status == 200 && strings.Contains(reply.body, `"result"`) {
		t.Errorf("a token from what is now the future: %s", reply)
	}
	r.now.Advance(time.Hour)
	if reply := s.call(listMessages); !strings.Contains(reply.body, `"result"`) {
		t.Errorf("once the clock is right again: %s", reply)
	}
}

// A28: unknown parameters at any depth, what nobody can resolve, and what is made to take
// long are refused by the gateway, before the server gets anything.
func TestSchemaIsAContractAtTheGateway(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	tool := func(name, schema string) string { return `{"name":"` + name + `","inputSchema":` + schema + `}` }
	w.up.setTools(strings.Join([]string{
		tool("list_messages", `{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"array","items":{"type":"object","properties":{"c":{"type":"string"}}}}}}}}`),
		tool("read_message", `{"type":"object","properties":{"a":{"$ref":"https://evil.test/schema"}}}`),
		tool("send_message", `{"type":"object","properties":{"a":{"type":"string","pattern":"^(a+)+$"}}}`),
		tool("delete_message", `{"type":"object","properties":{"a":{"$ref":"#/$defs/none"}}}`),
	}, ","))
	bearer := w.token(tokenSpec{subject: "root"})
	got := toolNames(t, w.ask(request{bearer: bearer, method: "tools/list"}).body)
	slices.Sort(got)
	if !slices.Equal(got, []string{"list_messages", "send_message"}) {
		t.Errorf("list %v", got)
	}
	for name, tt := range map[string]struct{ tool, arguments, want string }{
		"an unknown parameter":                {"list_messages", `{"x":1}`, "-32602"},
		"an unknown parameter below":          {"list_messages", `{"a":{"x":1}}`, "-32602"},
		"an unknown parameter far below":      {"list_messages", `{"a":{"b":[{"c":"ok"},{"x":1}]}}`, "-32602"},
		"a remote reference":                  {"read_message", `{"a":1}`, "schema_unusable"},
		"a reference to nothing":              {"delete_message", `{"a":1}`, "schema_unusable"},
		"a text that backtracking never ends": {"send_message", `{"a":"` + strings.Repeat("a", 100_000) + `!"}`, "-32602"},
		"a list that is deep":                 {"list_messages", `{"a":` + strings.Repeat(`{"a":`, 10_000) + `1` + strings.Repeat(`}`, 10_000) + `}`, "-32600"},
		"a text of 10 MB":                     {"list_messages", `{"a":"` + strings.Repeat("a", 10<<20) + `"}`, "-32600"},
	} {
		if r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"` + tt.tool + `","arguments":` + tt.arguments + `,`}); !strings.Contains(r.body, tt.want) || strings.Contains(r.body, `"result"`) {
			t.Errorf("%s: %.300s", name, r)
		}
	}
	if n := len(w.up.calls("tools/call")); n != 0 {
		t.Errorf("%d of them came to the server", n)
	}
}
