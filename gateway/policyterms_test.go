package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
)

// demanding has what access.yaml can ask of a call.
const demanding = `
version: 1
hours:
  office: {days: [mon, tue, wed, thu, fri], from: "09:00", to: "18:00", zone: Asia/Seoul}
servers:
  mail:
    tools:
      delete_message: {acr: [acr-mfa], max_age: 15m}
      send_message: {sender_constrained: true}
roles:
  reader:
    who: {users: [alice]}
    servers:
      mail:
        tools:
          list_messages:
            arguments: {limit: {max: 10, optional: true}}
            filter: {at: /records, field: owner, claim: department}
            limits: [{calls: 3, per: 1m, by: subject}]
            redact: [email]
          delete_message:
          send_message:
          read_message: {hours: office}
`

// The whole of it, from access.yaml to what the caller sees.
func TestWhatAccessYAMLAsksOfACall(t *testing.T) {
	w := newWorld(t, policy(t, demanding))
	w.up.onResult("tools/call", `{"content":[],"structuredContent":`+records(`{"owner":"ann","mail":"ada@harbour.example"}`, bob)+`}`)
	s := w.login(nil, map[string]any{"department": "ann"})
	if r := s.call(`{"name":"list_messages","arguments":{"limit":5}}`); !strings.Contains(r.body, `"structuredContent":`+records(`{"owner":"ann","mail":"[email]"}`)) {
		t.Errorf("%s", r)
	}
	lines := w.lines()
	if intent := lines[len(lines)-2]; !strings.Contains(string(intent.Facts), `"claims":{"department":"ann"}`) || !strings.Contains(string(intent.Facts), `"arguments":{"limit":5}`) {
		t.Errorf("facts %s", intent.Facts)
	}
	if r := s.call(`{"name":"list_messages","arguments":{"limit":11}}`); !strings.Contains(r.body, "access denied by policy: argument limit") || strings.Contains(r.body, "reader") || strings.Contains(r.body, "yaml") {
		t.Errorf("%s", r)
	}
	for range 2 {
		s.call(listMessages)
	}
	w.wantOver(t, s.call(listMessages), "limit_calls")
	r := s.call(`{"name":"delete_message","arguments":{"id":"m1"}}`)
	wantChallenge(t, r, "Bearer", "insufficient_user_authentication")
	if c := r.header.Values("WWW-Authenticate")[0]; !strings.Contains(c, `acr_values="acr-mfa"`) || strings.Contains(c, "max_age") && !strings.Contains(c, `max_age="900"`) {
		t.Errorf("challenge %s", c)
	}
	if r := s.call(`{"name":"send_message","arguments":{"to":"x"}}`); !strings.Contains(r.body, "bound to a key") || w.last().Reason != "sender_constraint_required" {
		t.Errorf("%s", r)
	}
	list := s.post(`{"jsonrpc":"2.0","id":8,"method":"tools/list"}`)
	for _, tool := range []string{"list_messages", "delete_message", "send_message"} { // what only needs something is not hidden
		if !strings.Contains(list.body, tool) {
			t.Errorf("the list lacks %s: %s", tool, list)
		}
	}
}

// TestClaimOfNobodyShowsNoRecords: who has no such claim sees none, rather than all.
func TestClaimOfNobodyShowsNoRecords(t *testing.T) {
	w := newWorld(t, policy(t, demanding))
	w.up.onResult("tools/call", `{"content":[],"structuredContent":`+records(ann, bob, `{"owner":null}`, `{"owner":""}`)+`}`)
	if r := w.session(tokenSpec{subject: "alice"}).call(listMessages); !strings.Contains(r.body, `"structuredContent":`+records()) || w.last().Dropped != 4 {
		t.Errorf("%s, %+v", r, w.last())
	}
}

func TestObserveModeOfAccessYAML(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) {
		policy(t, strings.Replace(demanding, "  mail:\n    tools:", "  mail:\n    observe_until: "+c.Now().Add(time.Hour).UTC().Format(time.RFC3339)+"\n    tools:", 1))(c)
	})
	s := w.session(tokenSpec{subject: "bob"}) // in no role
	if r := s.call(`{"name":"read_message","arguments":{"id":"m1"}}`); w.last().Kind != audit.Outcome {
		t.Errorf("%s", r)
	}
	lines := w.lines()
	if e := lines[len(lines)-2]; e.Kind != audit.Intent || e.Decision != audit.Allow || e.Observed != "no_role" {
		t.Errorf("audit %+v", e)
	}
	if r := s.post(`{"jsonrpc":"2.0","id":8,"method":"tools/list"}`); strings.Count(r.body, `"name"`) != 4 {
		t.Errorf("the list shows not all that is approved: %s", r)
	}
	if r := s.call(`{"name":"send_message","arguments":{"to":"x"}}`); len(w.up.calls("tools/call")) != 1 || w.last().Reason != "sender_constraint_required" {
		t.Errorf("a constrained token is needed all the same: %s, %+v", r, w.last())
	}
	if r := s.call(`{"name":"read_message","arguments":{"id":17}}`); w.last().Reason != "schema" {
		t.Errorf("the schema holds all the same: %s", r)
	}
	w.now.Advance(time.Hour)
	if r := w.session(tokenSpec{subject: "bob"}).call(`{"name":"read_message","arguments":{"id":"m1"}}`); !strings.Contains(r.body, "Unknown tool") {
		t.Errorf("afterwards: %s", r)
	}
}
