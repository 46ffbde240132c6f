package gateway_test

import (
	"context"
	"encoding/base64"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

const byGroup = `
version: 1
roles:
  reader:
    who: {groups: [staff-7f3a]}
    servers:
      mail: {tools: [list_messages, read_message]}
  sender:
    who: {groups: [staff-7f3a]}
    when: {department: [finance-91c2]}
    servers:
      mail: {tools: [send_message]}
`

// login is a session of alice with what her IdP says of her.
func (w *world) login(groups []string, claims map[string]any) session {
	w.t.Helper()
	bearer, _, err := w.minter.Access(token.AccessSpec{Subject: must(identity.ParseSubject("alice"))(w.t), ClientID: mcpClient, Audience: resource,
		Scope: must(token.ParseScope("mcp:tools"))(w.t), Lifetime: 5 * time.Minute, Txn: "grant-1", Groups: groups, Claims: claims, ACR: "acr-5d21", AuthTime: w.now.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.do("POST", w.url, bearer, initialize)
	return session{w, bearer, r.header.Get("Mcp-Session-Id")}
}

// TestTokensOfOneNameDecideByTheirOwnLogin: what alice's other token may do is
// neither shown nor done with this one.
func TestTokensOfOneNameDecideByTheirOwnLogin(t *testing.T) {
	pdp := must(policies.New(context.Background(), policies.Config{Access: []byte(byGroup)}))(t)
	w := newWorld(t, func(c *gateway.Config) { c.PDP = pdp })
	logins := []struct {
		name       string
		s          session
		read, send bool
	}{
		{"group and claim", w.login([]string{"staff-7f3a"}, map[string]any{"department": "finance-91c2"}), true, true},
		{"group", w.login([]string{"staff-7f3a"}, map[string]any{"department": "sales"}), true, false},
		{"claim", w.login(nil, map[string]any{"department": "finance-91c2"}), false, false},
		{"neither", w.login(nil, nil), false, false},
	}
	for range 2 { // the second time from the caches
		for _, l := range logins {
			list := l.s.post(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
			if strings.Contains(list.body, `"read_message"`) != l.read || strings.Contains(list.body, `"send_message"`) != l.send {
				t.Errorf("%s: list shows %s", l.name, list)
			}
			call := l.s.call(`{"name":"send_message","arguments":{"to":"bob"}}`)
			if done := call.status == 200 && strings.Contains(call.body, `"done"`); done != l.send {
				t.Errorf("%s: send_message answers %s, want it done: %v", l.name, call, l.send)
			}
		}
	}
}

// noted is a gateway.PDP that notes the last question.
type noted struct {
	gateway.PDP
	last atomic.Pointer[policies.Request]
}

func (n *noted) Decide(ctx context.Context, q policies.Request) policies.Decision {
	n.last.Store(&q)
	return n.PDP.Decide(ctx, q)
}

// TestPolicyIsToldHowThePersonLoggedIn: RFC 9470 §3.
func TestPolicyIsToldHowThePersonLoggedIn(t *testing.T) {
	var pdp noted
	w := newWorld(t, func(c *gateway.Config) { pdp.PDP, c.PDP = c.PDP, &pdp })
	at := w.now.Now()
	w.login(nil, nil).call(`{"name":"list_messages","arguments":{}}`)
	if q := pdp.last.Load(); q.Tool != "list_messages" || q.ACR != "acr-5d21" || q.AuthTime.Unix() != at.Unix() {
		t.Errorf("the PDP was asked %+v, want acr-5d21 at %v", q, at)
	}
	w.session(tokenSpec{subject: "robot", client: identityOf("robot")}).call(`{"name":"list_messages","arguments":{}}`)
	if q := pdp.last.Load(); q.Tool != "list_messages" || q.ACR != "" || !q.AuthTime.IsZero() || q.Groups != nil || q.Claims != nil {
		t.Errorf("the PDP was asked %+v, want nothing of a login", q)
	}
}

// TestUpstreamAndLogDoNotLearnTheLogin looks for the very words. The audit log has what
// policy reads of it, to decide again with, and no more.
func TestUpstreamAndLogDoNotLearnTheLogin(t *testing.T) {
	pdp := must(policies.New(context.Background(), policies.Config{Access: []byte(byGroup)}))(t)
	w := newWorld(t, func(c *gateway.Config) { c.PDP = pdp })
	s := w.login([]string{"staff-7f3a", "other-08bb"}, map[string]any{"department": "finance-91c2"})
	if r := s.call(`{"name":"read_message","arguments":{"id":"1"}}`); r.status != 200 {
		t.Fatalf("call: %s", r)
	}
	s.call(`{"name":"no_such_tool","arguments":{}}`)
	payload := must(base64.RawURLEncoding.DecodeString(strings.Split(w.up.calls("tools/call")[0].bearer(), ".")[1]))(t)
	log := must(os.ReadFile(w.audit))(t)
	for _, secret := range []string{"staff-7f3a", "other-08bb", "finance-91c2", "department", "acr-5d21", "auth_time"} {
		if strings.Contains(string(payload), secret) {
			t.Errorf("the call token says %s: %s", secret, payload)
		}
		if strings.Contains(w.logs.String(), secret) {
			t.Errorf("the log says %s", secret)
		}
	}
	if strings.Contains(string(log), "other-08bb") || !strings.Contains(string(log), `"facts":{"groups":["staff-7f3a"],"claims":{"department":"finance-91c2"}}`) {
		t.Errorf("the audit log says %s", log)
	}
}
