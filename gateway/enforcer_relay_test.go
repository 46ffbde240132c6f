package gateway_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
)

// TestEnforcerWithoutItsAuditLogPassesNothing, and no token is spent for it.
func TestEnforcerWithoutItsAuditLogPassesNothing(t *testing.T) {
	var down atomic.Bool
	b := newEnforcer(t, func(c *gateway.EnforcerConfig) {
		log := c.Audit
		c.Audit = recorder(func(ctx context.Context, e audit.Event) error {
			if down.Load() {
				return errors.New("disk full")
			}
			return log.Record(ctx, e)
		})
	})
	raw := b.toolToken("list_messages", limit2)
	down.Store(true)
	if r := b.send(raw, listCall); !strings.Contains(r.body, "audit_unavailable") || len(b.up.calls("tools/call")) != 0 {
		t.Errorf("%s; the server got %d calls", r, len(b.up.calls("tools/call")))
	}
	down.Store(false)
	if r := b.send(raw, listCall); !strings.Contains(r.body, "done") {
		t.Error(r)
	}
}

type recorder func(context.Context, audit.Event) error

func (f recorder) Record(ctx context.Context, e audit.Event) error { return f(ctx, e) }

// TestEnforcerHoldsTheBodyToTheTokensLife: one that comes when the token has expired is
// refused.
func TestEnforcerHoldsTheBodyToTheTokensLife(t *testing.T) {
	b := newEnforcer(t)
	req := httptest.NewRequest("POST", b.url, &late{happens: func() { b.now.Advance(2 * time.Minute) }, body: strings.NewReader(listCall)})
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+b.toolToken("list_messages", limit2))
	answer := httptest.NewRecorder()
	b.handler.ServeHTTP(answer, req)
	if answer.Code != 403 || b.last().Reason != "token_expired" {
		t.Errorf("%d %s %+v", answer.Code, answer.Body, b.last())
	}
}

// TestEnforcerPassesEventsOn as they come, and the ids by which the rest can be had.
func TestEnforcerPassesEventsOn(t *testing.T) {
	b := newEnforcer(t)
	b.up.on("tools/call", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: 1\ndata: \n\nid: 2\nretry: 500\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n"+
			"id: 3\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[]}}\n\n")
	})
	r := b.send(b.toolToken("list_messages", limit2), listCall)
	for _, want := range []string{"id: 1\n", "id: 2\nretry: 500\n", "notifications/progress", "id: 3\n", `"id":7,"result"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("no %q in %s", want, r)
		}
	}
}

// TestEnforcerRefusesAnswersToOthers, and what is no message.
func TestEnforcerRefusesAnswersToOthers(t *testing.T) {
	for name, event := range map[string]string{
		"another id":   `{"jsonrpc":"2.0","id":8,"result":{"content":[]}}`,
		"no JSON-RPC":  `{"id":7}`,
		"doubled name": `{"jsonrpc":"2.0","id":7,"result":{},"result":{"content":[]}}`,
	} {
		b := newEnforcer(t)
		b.up.onJSON("tools/call", event)
		if r := b.send(b.toolToken("list_messages", limit2), listCall); !strings.Contains(r.body, "upstream_malformed") {
			t.Errorf("%s: %s", name, r)
		}
		b.up.onSSE("tools/call", event)
		if r := b.send(b.toolToken("list_messages", limit2), listCall); !strings.Contains(r.body, "upstream_malformed") {
			t.Errorf("%s, as an event: %s", name, r)
		}
	}
}

// TestEnforcerSpeaksTheStatelessEra: the headers are held to the body, and made anew.
func TestEnforcerSpeaksTheStatelessEra(t *testing.T) {
	b := newEnforcer(t)
	if r := b.send(b.toolToken("list_messages", limit2), statelessCall, statelessHeaders...); r.status != 200 {
		t.Fatal(r)
	}
	got := b.up.calls("tools/call")[0]
	if got.body != statelessCall || got.header.Get("Mcp-Name") != "list_messages" || got.header.Get("Mcp-Method") != "tools/call" || got.header.Get("Mcp-Protocol-Version") != "2026-07-28" {
		t.Errorf("the server got %+v", got)
	}
	if list := b.up.calls("tools/list")[0]; list.header.Get("Mcp-Method") != "tools/list" || !strings.Contains(list.body, "2026-07-28") {
		t.Errorf("definitions were read by %+v", list)
	}
	if r := b.send(b.toolToken("list_messages", limit2), statelessCall, append(statelessHeaders, "Mcp-Name", "send_message")...); r.status != 400 || !strings.Contains(r.body, "-32020") {
		t.Errorf("another name in the header: %s", r)
	}
}

// TestEnforcerHidesWhatTheServerWantsOfItsCaller: a challenge of the server's would send
// the gateway for another token.
func TestEnforcerHidesWhatTheServerWantsOfItsCaller(t *testing.T) {
	b := newEnforcer(t)
	for status, want := range map[int]int{401: 403, 403: 403, 407: 403, 302: 502} {
		b.up.on("tools/list", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://evil.example"`)
			w.Header().Set("Location", "https://evil.example")
			w.WriteHeader(status)
		})
		if r := b.send(b.sessionToken(), `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`); r.status != want || r.header.Get("WWW-Authenticate")+r.header.Get("Location") != "" {
			t.Errorf("%d: %s %v", status, r, r.header)
		}
	}
}

// TestEnforcerRefusesOtherSitesAndHosts: DNS rebinding reaches no server that trusts its
// own machine.
func TestEnforcerRefusesOtherSitesAndHosts(t *testing.T) {
	b := newEnforcer(t)
	if r := b.send(b.sessionToken(), initialize, "Host", "evil.example"); r.status != 421 {
		t.Error(r)
	}
	if r := b.send(b.sessionToken(), initialize, "Origin", "https://evil.example"); r.status != 403 {
		t.Error(r)
	}
	if r := b.do("POST", b.base+"/other", b.sessionToken(), initialize); r.status != 404 {
		t.Error(r)
	}
}

// TestSpentHere forgets only what has expired.
func TestSpentHere(t *testing.T) {
	now := &clock{t: time.Now()}
	s := gateway.NewSpentHere(now.Now)
	spend := func(jti string, life time.Duration) error {
		return s.Spend(t.Context(), jti, now.Now().Add(life))
	}
	if err := spend("a", 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		now.Advance(29 * time.Second)
		if err := spend("a", time.Minute); !errors.Is(err, gateway.ErrSpent) {
			t.Errorf("again: %v", err)
		}
		_ = spend("b", time.Minute)
	}
	now.Advance(time.Second)
	if err := spend("d", 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	now.Advance(2 * time.Minute)
	if err := spend("d", 0); !errors.Is(err, gateway.ErrSpent) {
		t.Errorf("in the next generation: %v", err)
	}
	for range 2 { // it fills no memory
		now.Advance(3 * time.Minute)
		_ = spend("b", time.Minute)
	}
	if err := spend("a", time.Minute); err != nil {
		t.Errorf("long after it has expired: %v", err)
	}
	if err := spend("c", 10*time.Minute); err == nil || errors.Is(err, gateway.ErrSpent) {
		t.Errorf("one that would be forgotten too early: %v", err)
	}
}

// TestEnforcerSaysThatTheServerIsGone by the status, so that the gateway leaves it alone as
// it would without an enforcer.
func TestEnforcerSaysThatTheServerIsGone(t *testing.T) {
	b := newEnforcer(t)
	b.up.Close()
	if r := b.send(b.sessionToken(), initialize); r.status != 502 || !strings.Contains(r.body, "upstream_unreachable") {
		t.Error(r)
	}
	if r := b.send(b.toolToken("list_messages", limit2), listCall); r.status != 502 || b.last().Reason != "definitions_unavailable" {
		t.Errorf("%s %+v", r, b.last())
	}
}
