package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

func TestCallCarriesATokenForThisCallOnly(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	r := s.call(`{"name":"list_messages","arguments":{"limit":2}}`)
	if r.status != 200 || !strings.Contains(r.body, `"done"`) {
		t.Fatalf("call: %s", r)
	}
	calls := w.up.calls("tools/call")
	if len(calls) != 1 {
		t.Fatalf("upstream got %d calls, want 1", len(calls))
	}
	v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: w.ring, Now: w.now.Now})
	call, err := v.ParseCall(context.Background(), calls[0].bearer(), w.up.URL)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(`{"limit":2}`))
	d := call.Details()
	if got, want := []any{call.Subject().String(), call.ClientID().String(), call.Scope().String(), call.Actor().Chain(), call.Txn(), d.Type, d.Server, d.Tool, d.ArgumentsDigest},
		[]any{"alice", "gateway", "tool:list_messages", []string{"editor"}, "grant-1", "mcp_tool_call", "mail", "list_messages", base64.RawURLEncoding.EncodeToString(sum[:])}; !cmp.Equal(got, want) {
		t.Errorf("call token: %s", cmp.Diff(want, got))
	}
	if life := call.Expiry().Sub(call.IssuedAt()); life > time.Minute {
		t.Errorf("call token lives %v", life)
	}
	if d.DefinitionDigest == "" || d.PolicyDigest == "" {
		t.Errorf("digests missing: %+v", d)
	}
}

func TestWorkloadForItselfHasNoActor(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "robot", client: identityOf("robot")})
	s.call(`{"name":"list_messages"}`)
	v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: w.ring, Now: w.now.Now})
	call, err := v.ParseCall(context.Background(), w.up.calls("tools/call")[0].bearer(), w.up.URL)
	if err != nil || call.Actor() != nil || call.Subject().String() != "robot" || call.ClientID() != gatewayClient {
		t.Errorf("call token %+v, actor %v, error %v", call, call.Actor(), err)
	}
}

// A5, A6: no header of the client comes to the server, its token least of all.
func TestReceivedTokenIsNeverForwarded(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	s.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	s.post(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	s.post(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"list_messages"}}`, "Cookie", "a=b", "X-Forwarded-For", "1.2.3.4", "Mcp-Name", "delete_message")
	w.do("DELETE", w.url, s.bearer, "", "Mcp-Session-Id", s.id)
	allowed := map[string]bool{"Content-Type": true, "Accept": true, "Authorization": true, "Mcp-Session-Id": true, "Mcp-Protocol-Version": true,
		"Content-Length": true, "User-Agent": true, "Accept-Encoding": true}
	w.up.mu.Lock()
	defer w.up.mu.Unlock()
	if len(w.up.got) < 5 {
		t.Fatalf("upstream got %d requests", len(w.up.got))
	}
	for _, r := range w.up.got {
		if strings.Contains(r.header.Get("Authorization"), s.bearer) || r.bearer() == "" {
			t.Errorf("%s: Authorization is the client's or missing", r.method)
		}
		if strings.Contains(r.header.Get("Mcp-Session-Id"), s.id) {
			t.Errorf("%s: the client's own session handle went upstream", r.method)
		}
		for name := range r.header {
			if !allowed[name] {
				t.Errorf("%s: header %s went upstream", r.method, name)
			}
		}
	}
}

func TestResultPassesByteForByte(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	const odd = `{ "jsonrpc":"2.0" ,"id":7, "result":{"content":[ ],"n":1.0e2,"u":"\u00e9<>&"}}`
	w.up.onJSON("tools/call", odd)
	if r := s.call(`{"name":"list_messages"}`); r.body != odd {
		t.Errorf("got  %s\nwant %s", r.body, odd)
	}
	const body = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{ "name":"list_messages","_meta":{"progressToken":1.50},"arguments":{"limit":1e1}}}`
	s.post(body)
	calls := w.up.calls("tools/call")
	if got := calls[len(calls)-1].body; got != body {
		t.Errorf("upstream got %s\nwant %s", got, body)
	}
}

func TestEveryCallHasAnIntentAndAnOutcome(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	s.call(`{"name":"list_messages"}`) // reads the definitions first, which is recorded as well
	before := len(w.lines())
	s.call(`{"name":"list_messages","arguments":{"limit":2}}`)
	lines := w.lines()[before:]
	if len(lines) != 2 {
		t.Fatalf("got %d lines, want intent and outcome: %+v", len(lines), lines)
	}
	in, out := lines[0], lines[1]
	want := audit.Event{Kind: audit.Intent, Subject: "alice", Client: "editor", Actors: []string{"editor"}, Txn: "grant-1", Source: "127.0.0.1", Server: "mail",
		Action: "tools/call", Tool: "list_messages", Decision: "allow", Reason: "allowed"}
	got := audit.Event{Kind: in.Kind, Subject: in.Subject, Client: in.Client, Actors: in.Actors, Txn: in.Txn, Source: in.Source, Server: in.Server,
		Action: in.Action, Tool: in.Tool, Decision: in.Decision, Reason: in.Reason}
	if !cmp.Equal(got, want) {
		t.Errorf("intent: %s", cmp.Diff(want, got))
	}
	for name, v := range map[string]string{"token_id": in.TokenID, "request_id": in.RequestID, "arguments_digest": in.ArgumentsDigest, "definition_digest": in.DefinitionDigest,
		"policy_digest": in.PolicyDigest, "rule": in.Rule, "call": in.Call, "result_digest": out.ResultDigest, "call_token_id": out.CallTokenID} {
		if v == "" {
			t.Errorf("%s is empty", name)
		}
	}
	if out.Kind != audit.Outcome || out.Call != in.Call || out.Status != "ok" {
		t.Errorf("outcome: %+v", out)
	}
}

func TestListShowsOnlyWhatTheCallerMayCall(t *testing.T) {
	w := newWorld(t)
	for subject, want := range map[string][]string{
		"alice": {"list_messages", "read_message"},
		"bob":   {"list_messages", "read_message", "send_message"},
		"carol": {},
	} {
		s := w.session(tokenSpec{subject: subject})
		r := s.post(`{"jsonrpc":"2.0","id":"x","method":"tools/list"}`)
		if got := toolNames(t, r.body); !cmp.Equal(got, want) {
			t.Errorf("%s: %s", subject, cmp.Diff(want, got))
		}
		if !strings.Contains(r.body, `"cacheScope":"private"`) || !strings.Contains(r.body, `"_meta":{"x":1}`) || !strings.Contains(r.body, `"id":"x"`) {
			t.Errorf("%s: %s", subject, r.body)
		}
	}
}

func TestListWithAToolScopeShowsThatToolOnly(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "bob", scope: "tool:send_message tool:delete_message"})
	if got, want := toolNames(t, s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`).body), []string{"send_message"}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func toolNames(t *testing.T, body string) []string {
	t.Helper()
	var m struct {
		Result struct{ Tools []struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	names := []string{}
	for _, tool := range m.Result.Tools {
		names = append(names, tool.Name)
	}
	return names
}

func TestToolOutsideOfTheScopeIsASteppingUp(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "bob", scope: "tool:list_messages"})
	r := s.call(`{"name":"send_message","arguments":{}}`)
	want := `Bearer error="insufficient_scope", scope="tool:send_message", resource_metadata="https://as.test/.well-known/oauth-protected-resource/mcp/mail"`
	if r.status != http.StatusForbidden || r.header.Get("WWW-Authenticate") != want || len(w.up.calls("tools/call")) != 0 {
		t.Errorf("%s %q", r, r.header.Get("WWW-Authenticate"))
	}
	if e := w.last(); e.Kind != audit.Denial || e.Reason != "insufficient_scope" {
		t.Errorf("audit: %+v", e)
	}
}

func TestProgressComesThroughBeforeTheAnswer(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	progress := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`
	answer := `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`
	w.up.onSSE("tools/call", progress, answer)
	r := s.call(`{"name":"list_messages"}`)
	want := "event: message\ndata: " + progress + "\n\nevent: message\ndata: " + answer + "\n\n"
	if r.header.Get("Content-Type") != "text/event-stream" || r.body != want {
		t.Errorf("%s %q", r.header.Get("Content-Type"), r.body)
	}
	w.up.onSSE("tools/call", answer)
	if r := s.call(`{"name":"list_messages"}`); r.header.Get("Content-Type") != "application/json" || r.body != answer {
		t.Errorf("a lone answer: %s %q", r.header.Get("Content-Type"), r.body)
	}
}

func identityOf(client string) identity.ClientID { return identity.MustClientID(client) }

func TestUnknownParametersPassForOpenToolsOnly(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) { c.Upstreams[0].OpenTools = []string{"send_message"} })
	s := w.session(tokenSpec{subject: "root"})
	for tool, want := range map[string]string{"send_message": `"result"`, "delete_message": "is not a parameter of this tool"} {
		if r := s.call(`{"name":"` + tool + `","arguments":{"extra":1}}`); !strings.Contains(r.body, want) {
			t.Errorf("%s: %s", tool, r)
		}
	}
	if r := s.call(`{"name":"send_message","arguments":{"To":"eve"}}`); !strings.Contains(r.body, "differs from a known one only by case") || len(w.up.calls("tools/call")) != 1 {
		t.Errorf("a parameter in another spelling: %s", r)
	}
}

func TestKeptArgumentsHoldNoSecrets(t *testing.T) {
	const secret = "ghp_0123456789abcdefABCDEF0123456789abcd"
	for _, keep := range []bool{true, false} {
		w := newWorld(t, func(c *gateway.Config) { c.KeepArguments = keep })
		s := w.session(tokenSpec{subject: "root"})
		s.call(`{"name":"send_message","arguments":{"to":"token ` + secret + `"}}`)
		var got string
		for _, e := range w.lines() {
			if e.Kind == audit.Intent && e.Tool == "send_message" {
				got = string(e.Arguments)
			}
		}
		if strings.Contains(got, secret) || keep != strings.Contains(got, `"to"`) {
			t.Errorf("keep %v: %s", keep, got)
		}
	}
}
