package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/limit"
	"github.com/wicketgate/wicketgate/policies"
)

func perMinute(n int, by policies.LimitBy) policies.Limit {
	return policies.Limit{ID: "l" + string(by), By: by, Calls: n, Per: time.Minute}
}

func atOnce(n int, by policies.LimitBy) policies.Limit {
	return policies.Limit{ID: "c" + string(by), By: by, Concurrent: n}
}

func limits(l ...policies.Limit) policies.Terms { return policies.Terms{Limits: l} }

func passed(r reply) bool { return strings.Contains(r.body, `"result"`) }

// TestCallsOverALimitAreRefused (acceptance A18).
func TestCallsOverALimitAreRefused(t *testing.T) {
	w := newWorld(t, asks(limits(perMinute(2, policies.BySubject))))
	s := w.session(tokenSpec{subject: "alice"})
	for range 2 {
		if r := s.call(listMessages); !passed(r) {
			t.Fatal(r)
		}
	}
	over := s.call(listMessages)
	w.wantOver(t, over, "limit_calls")
	if over.header.Get("Retry-After") != "30" || len(w.up.calls("tools/call")) != 2 {
		t.Errorf("Retry-After %q, %d calls came to the server", over.header.Get("Retry-After"), len(w.up.calls("tools/call")))
	}
	stateless := w.ask(request{bearer: s.bearer, method: "tools/call", params: `"name":"list_messages",`})
	w.wantOver(t, stateless, "limit_calls")
	w.now.Advance(30 * time.Second)
	if r := s.call(listMessages); !passed(r) {
		t.Errorf("when it says so: %s", r)
	}
}

// A limit counts whose calls it says, and nobody else's.
func TestLimitCountsWhoseCallsItSays(t *testing.T) {
	other := identityOf("another")
	tests := []struct {
		by                    policies.LimitBy
		client, subject, tool bool // who else is let through after one call of alice's
	}{
		{by: policies.BySubject, subject: true},
		{by: policies.ByClient, client: true},
		{by: policies.ByTool, tool: true},
		{by: policies.ByRole},
	}
	for _, tt := range tests {
		t.Run(string(tt.by), func(t *testing.T) {
			for what, c := range map[string]struct {
				spec tokenSpec
				call string
				want bool
			}{
				"again":           {tokenSpec{subject: "alice"}, listMessages, false},
				"another client":  {tokenSpec{subject: "alice", client: other}, listMessages, tt.client},
				"another subject": {tokenSpec{subject: "bob"}, listMessages, tt.subject},
				"another tool":    {tokenSpec{subject: "alice"}, `{"name":"read_message","arguments":{"id":"1"}}`, tt.tool},
			} {
				w := newWorld(t, asks(limits(perMinute(1, tt.by))))
				w.up.onResult("tools/call", `{"content":[],"structuredContent":{"text":"x"}}`)
				if r := w.session(tokenSpec{subject: "alice"}).call(listMessages); !passed(r) {
					t.Fatal(r)
				}
				if r := w.session(c.spec).call(c.call); passed(r) != c.want {
					t.Errorf("%s: %s", what, r)
				}
			}
		})
	}
}

// TestCallerOpensMoreAtOnceByHangingUp: a call that goes on holds its place, and gives it
// back when it has really ended. (acceptance A18)
func TestCallerOpensMoreAtOnceByHangingUp(t *testing.T) {
	w := newWorld(t, asks(limits(atOnce(1, policies.BySubject))))
	s := w.session(tokenSpec{subject: "alice"})
	d := w.up.hold(t, "tools/call")
	ctx, hangUp := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		req := must(http.NewRequestWithContext(ctx, "POST", w.url, strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":`+listMessages+`}`)))(t)
		set(req.Header, []string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream", "Authorization", "Bearer " + s.bearer, "Mcp-Session-Id", s.id})
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-d.arrived
	hangUp()
	<-done
	w.wantOver(t, s.call(listMessages), "limit_concurrent")
	d.let()
	w.untilOutcomes(1)
	for range 100_000 { // until the handler has returned
		if r := s.call(listMessages); passed(r) {
			return
		}
	}
	t.Error("the place was not given back")
}

// TestParkedCallHoldsItsPlace while its client is asked, and the client that comes again is
// not refused for it; nor does coming again count as another call.
func TestParkedCallHoldsItsPlace(t *testing.T) {
	w := newWorld(t, asks(limits(atOnce(1, policies.BySubject), perMinute(1, policies.BySubject))))
	w.up.asksMidway(t)
	bearer := w.token(tokenSpec{subject: "alice"})
	call := func(more string) reply {
		return w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",` + more, capabilities: elicits})
	}
	state := stateOf(t, call(""))
	w.wantOver(t, call(""), "limit_concurrent")
	if r := call(accept + state + `,`); !strings.Contains(r.body, `"heard":{"action":"accept"}`) {
		t.Errorf("come again: %s", r)
	}
	w.wantOver(t, call(""), "limit_calls")
	w.now.Advance(time.Minute)
	if r := call(""); !strings.Contains(r.body, "input_required") {
		t.Errorf("once it has ended: %s", r)
	}
}

// One rule that lets it through is enough, and what it shows is all that is shown.
func TestOneOfSeveralRulesLetsItThrough(t *testing.T) {
	narrow := policies.Terms{Filters: []policies.Filter{only(`"ann"`)}}
	wide := limits(perMinute(1, policies.BySubject))
	for name, order := range map[string][]policies.Terms{"the narrow one first": {narrow, wide}, "the wide one first": {wide, narrow}} {
		w := newWorld(t, asks(order...))
		w.up.onResult("tools/call", `{"content":[],"structuredContent":`+records(ann, bob)+`}`)
		s := w.session(tokenSpec{subject: "alice"})
		if r := s.call(listMessages); !strings.Contains(r.body, records(ann, bob)) {
			t.Errorf("%s: %s", name, r)
		}
		if r := s.call(listMessages); strings.Contains(r.body, "bob") || !strings.Contains(r.body, records(ann)) {
			t.Errorf("%s, once its limit is used up: %s", name, r)
		}
	}
	w := newWorld(t, asks(limits(policies.Limit{ID: "a", By: policies.BySubject, Calls: 1, Per: time.Hour}), limits(perMinute(2, policies.BySubject))))
	s := w.session(tokenSpec{subject: "alice"})
	for i := range 3 {
		if r := s.call(listMessages); !passed(r) {
			t.Errorf("call %d: %s", i, r)
		}
	}
	over := s.call(listMessages)
	if w.wantOver(t, over, "limit_calls"); over.header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After %s, want that of the rule that comes first", over.header.Get("Retry-After"))
	}
	free := newWorld(t, asks(wide, policies.Terms{}))
	s = free.session(tokenSpec{subject: "alice"})
	for range 3 {
		if r := s.call(listMessages); !passed(r) {
			t.Errorf("a rule that asks for nothing: %s", r)
		}
	}
}

// A limit that two rules share counts a call once.
func TestLimitOfTwoRulesCountsOnce(t *testing.T) {
	shared := perMinute(2, policies.BySubject)
	w := newWorld(t, asks(policies.Terms{Limits: []policies.Limit{shared}, Filters: []policies.Filter{only(`"ann"`)}}, policies.Terms{Limits: []policies.Limit{shared}, Filters: []policies.Filter{only(`"bob"`)}}))
	w.up.onResult("tools/call", `{"content":[],"structuredContent":`+records(ann, bob)+`}`)
	s := w.session(tokenSpec{subject: "alice"})
	for range 2 {
		if r := s.call(listMessages); !strings.Contains(r.body, records(ann, bob)) {
			t.Error(r)
		}
	}
	w.wantOver(t, s.call(listMessages), "limit_calls")
}

// broken is a counter that cannot tell.
type broken struct{ released atomic.Int32 }

func (b *broken) Take(_ context.Context, claims []limit.Claim, _ time.Duration) (func(), error) {
	if claims[0].Concurrent > 0 {
		return func() { b.released.Add(1) }, nil
	}
	return nil, errors.New("the database is away")
}

// TestStoreThatIsAwayLetsNobodyThrough, and a limit that says nothing does not either. (acceptance A18)
func TestStoreThatIsAwayLetsNobodyThrough(t *testing.T) {
	for name, terms := range map[string][]policies.Terms{
		"away":                {limits(perMinute(1000, policies.BySubject))},
		"whose calls":         {limits(perMinute(1000, "moon"))},
		"how many":            {limits(policies.Limit{ID: "x", By: policies.BySubject})},
		"one of two is known": {limits(atOnce(1, policies.BySubject), perMinute(1000, "moon"))},
	} {
		w := newWorld(t, asks(terms...), func(c *gateway.Config) { c.Limits = &broken{} })
		s := w.session(tokenSpec{subject: "alice"})
		if r := s.call(listMessages); passed(r) || w.last().Reason != "limits_unavailable" || w.last().Kind != audit.Denial || len(w.up.calls("tools/call")) > 0 {
			t.Errorf("%s: %s, %+v", name, r, w.last())
		}
	}
}

// A call that is refused after it was counted gives its place back.
func TestRefusedCallGivesItsPlaceBack(t *testing.T) {
	b := &broken{}
	w := newWorld(t, asks(limits(atOnce(1, policies.BySubject))), func(c *gateway.Config) {
		c.Limits = b
		c.Audit = noIntents{c.Audit}
	})
	s := w.session(tokenSpec{subject: "alice"})
	s.call(`{"name":"list_messages","arguments":{"limit":3}}`)
	if b.released.Load() != 1 {
		t.Errorf("released %d times", b.released.Load())
	}
}

// noIntents is an audit log that takes no intent of a call.
type noIntents struct{ audit.Recorder }

func (f noIntents) Record(ctx context.Context, e audit.Event) error {
	if e.Kind == audit.Intent && e.Action == "tools/call" {
		return errors.New("full")
	}
	return f.Recorder.Record(ctx, e)
}

// TestApprovalIsNotUsedUpByACallThatALimitRefuses: it is good for the next one.
func TestApprovalIsNotUsedUpByACallThatALimitRefuses(t *testing.T) {
	o := newOffice(t, answers(func(q policies.Request, d policies.Decision) policies.Decision {
		if q.Tool == "send_message" {
			d.Terms = []policies.Terms{limits(perMinute(1, policies.BySubject))}
		}
		return d
	}))
	s := o.session(tokenSpec{subject: "bob"})
	o.approve(o.waitsFor(s.call(sendToEve)))
	if r := s.call(sendToEve); !passed(r) || o.sent() != 1 {
		t.Fatalf("approved: %s", r)
	}
	id := o.waitsFor(s.call(sendToEve))
	o.approve(id)
	if r := s.call(sendToEve); r.status != http.StatusTooManyRequests || o.last().Reason != "limit_calls" {
		t.Errorf("over the limit: %s, %+v", r, o.last())
	}
	o.now.Advance(time.Minute)
	o.poll()
	if r := s.call(sendToEve); !passed(r) || o.sent() != 2 || o.approvalIn() != id {
		t.Errorf("a minute later: %s", r)
	}
}

// TestLimitIsNotEvadedByAnotherSpelling: who may read all of a folder names it as they like.
func TestLimitIsNotEvadedByAnotherSpelling(t *testing.T) {
	w := newWorld(t, policy(t, wide), func(c *gateway.Config) {
		c.PDP = changing{c.PDP, func(q policies.Request, d policies.Decision) policies.Decision {
			if q.Action == policies.ActionReadResource {
				d.Terms = []policies.Terms{limits(perMinute(1, policies.ByTool))}
			}
			return d
		}}
	})
	w.up.onResult("resources/read", `{"contents":[]}`)
	bearer := w.token(tokenSpec{subject: "alice", scope: allScopes})
	for i, uri := range []string{"mail://inbox/1", "mail://inbox/1?a", "mail://inbox/2"} {
		r := w.ask(request{bearer: bearer, method: "resources/read", params: `"uri":"` + uri + `",`})
		if passed(r) != (i == 0) {
			t.Errorf("%s: %s", uri, r)
		}
	}
}

// TestWorkloadUsesUpNoPersonsCalls whose name it has.
func TestWorkloadUsesUpNoPersonsCalls(t *testing.T) {
	const both = "version: 1\nroles: {all: {who: {users: [alice], clients: [alice]}, servers: {mail: {tools: [list_messages]}}}}\n"
	w := newWorld(t, policy(t, both), asks(limits(perMinute(1, policies.BySubject))))
	for _, spec := range []tokenSpec{{subject: "alice"}, {subject: "alice", client: identity.MustClientID("alice")}} {
		if r := w.session(spec).call(listMessages); !passed(r) {
			t.Errorf("%+v: %s", spec, r)
		}
	}
}
