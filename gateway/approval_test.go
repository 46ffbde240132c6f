package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/internal/token"
)

// A client that cannot be sent to a page gets an error that names the request, the page,
// who may approve and until when; the same call succeeds once it is approved, once.
func TestCallSucceedsOnceItIsApproved(t *testing.T) {
	o := newOffice(t)
	bob := o.session(tokenSpec{subject: "bob"})
	r := bob.call(sendToEve)
	id := o.waitsFor(r)
	expires := o.now.Now().Add(15 * time.Minute).UTC().Format(time.RFC3339)
	for _, want := range []string{id, pages + id, "somebody else with the role approver or lead", expires, "The same call succeeds once it is approved", `"url":"` + pages + id + `"`, `"code":403`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("no %q in %s", want, r)
		}
	}
	if e := o.last(); e.Kind != audit.Denial || e.Reason != "approval_required" || e.Approval != id || o.sent() != 0 {
		t.Errorf("audit %+v, %d sent", e, o.sent())
	}
	if again := bob.call(sendToEve); o.waitsFor(again) != id {
		t.Errorf("another request for the same call: %s", again)
	}
	o.approve(id)
	if r := bob.call(sendToEve); !strings.Contains(r.body, `"done"`) || o.sent() != 1 {
		t.Fatalf("once it is approved: %s", r)
	}
	if got := o.approvalIn(); got != id {
		t.Errorf("the call token has approval %q, want %s", got, id)
	}
	lines := o.lines()
	for _, e := range lines[len(lines)-2:] {
		if e.Approval != id || e.Action != "tools/call" || e.Kind != audit.Intent && e.Kind != audit.Outcome {
			t.Errorf("audit %+v", e)
		}
	}
	if again := o.waitsFor(bob.call(sendToEve)); again == id || o.sent() != 1 {
		t.Errorf("used again: waits for %s, %d sent", again, o.sent())
	}
}

// What an approver sees: who, what, with what risk; and no value of the classes that the
// server or the rule redacts.
func TestApproverSeesTheCallRedacted(t *testing.T) {
	o := newOffice(t)
	o.waitsFor(o.session(tokenSpec{subject: "bob"}).call(sendToEve))
	r := o.all()[0]
	if r.Subject.String() != "bob" || r.Client.String() != "editor" || fmt.Sprint(r.Actors) != "["+issuer+" editor]" && len(r.Actors) != 1 || r.Server != "mail" || r.Tool != "send_message" || r.Risk != "high" || r.Rule != "roles.operator.servers.mail.tools.send_message" || r.PolicyDigest != "policy-1" || r.DefinitionDigest == "" {
		t.Errorf("%+v", r)
	}
	if string(r.Arguments) != `{"to":"[email]"}` {
		t.Errorf("arguments %s", r.Arguments)
	}
}

// A message to a mask cannot be judged: an operator may show approvers what callers do not
// get. What the rule redacts stays masked, and so do secrets.
func TestApproverSeesWhatIsShownToApprovers(t *testing.T) {
	shown := must(must(redact.New(redact.Config{Secrets: redact.Mask, Email: redact.Mask, Phone: redact.Mask}))(t).Without("email", "phone"))(t)
	o := newOffice(t, func(c *gateway.Config) { c.Upstreams[0].Shown = shown })
	o.waitsFor(o.session(tokenSpec{subject: "bob"}).call(`{"name":"send_message","arguments":{"to":"+1 212 555 0123 ghp_16C7e42F292c6912E7710c838347Ae178B4a eve@example.com"}}`))
	if got := string(o.all()[0].Arguments); got != `{"to":"+1 212 555 0123 [secret:github-pat] [email]"}` { // the rule says email
		t.Errorf("arguments %s", got)
	}
	if _, err := shown.Without("secrets"); err == nil {
		t.Error("secrets can be shown")
	}
}

// Whoever sees a part of the arguments approves what they do not see.
func TestArgumentsTooLargeToBeShownCannotBeApproved(t *testing.T) {
	o := newOffice(t)
	r := o.session(tokenSpec{subject: "bob"}).call(`{"name":"send_message","arguments":{"to":"` + strings.Repeat("x", 17<<10) + `"}}`)
	if !strings.Contains(r.body, "too large to be shown") || len(o.all()) != 0 {
		t.Errorf("%s, %d requests", r, len(o.all()))
	}
}

func TestDeniedCallSaysSo(t *testing.T) {
	o := newOffice(t)
	bob := o.session(tokenSpec{subject: "bob"})
	id := o.waitsFor(bob.call(sendToEve))
	if err := o.decide(id, "ann", false); err != nil {
		t.Fatal(err)
	}
	if r := bob.call(sendToEve); !strings.Contains(r.body, "an approver has denied this call") || o.sent() != 0 {
		t.Errorf("%s", r)
	}
	if e := o.last(); e.Reason != "approval_denied" || e.Approval != id || e.Kind != audit.Denial {
		t.Errorf("audit %+v", e)
	}
}

// A client of the stateless era that can be sent to a page is, and comes again; then the
// call waits with it.
func TestStatelessClientWaitsForTheDecision(t *testing.T) {
	for _, upstream := range []string{"stateless", "session"} {
		t.Run(upstream, func(t *testing.T) {
			o := newOffice(t)
			if upstream == "stateless" {
				o.up.statelessOnly()
			}
			q := request{bearer: o.token(tokenSpec{subject: "bob"}), method: "tools/call", params: sendParams, capabilities: byURL}
			first := o.ask(q)
			id := o.all()[0].ID
			state := stateOf(t, first)
			want := `"resultType":"input_required","inputRequests":{"approval":{"method":"elicitation/create","params":{"mode":"url","url":"` + pages + id + `","message":"Calling send_message at mail needs the approval of somebody else with the role approver or lead`
			if !strings.Contains(first.body, want) || strings.Contains(first.body, "elicitationId") {
				t.Errorf("%s", first)
			}
			if e := o.last(); e.Kind != audit.Denial || e.Reason != "approval_required" || e.Approval != id {
				t.Errorf("audit %+v", e)
			}
			q.params += `"inputResponses":{"approval":{"action":"accept"}},"requestState":` + state + `,`
			second := later(func() reply { return o.ask(q) })
			o.beatOnce(1)
			o.approve(id)
			if r := beatUntil(o, second); !strings.Contains(r.body, `"done"`) || o.sent() != 1 || o.approvalIn() != id {
				t.Errorf("%s", r)
			}
			if got := o.up.calls("tools/call")[0].body; strings.Contains(got, "inputResponses") || strings.Contains(got, "requestState") {
				t.Errorf("the server got %s", got)
			}
			if r := o.ask(q); !strings.Contains(r.body, "has been used") || o.sent() != 1 || len(o.all()) != 1 {
				t.Errorf("the same once more: %s", r)
			}
		})
	}
}

// A call does not wait for ever: the client is asked again, and hears of it meanwhile.
func TestStatelessClientIsAskedAgain(t *testing.T) {
	o := newOffice(t)
	q := request{bearer: o.token(tokenSpec{subject: "bob", lifetime: time.Hour}), method: "tools/call", params: sendParams, capabilities: byURL}
	state := stateOf(t, o.ask(q))
	q.params += `"inputResponses":{"approval":{"action":"accept"}},"requestState":` + state + `,`
	second := later(func() reply { return o.ask(q) })
	o.beatOnce(1)
	o.advance(16 * time.Second)
	o.beatOnce(1)
	o.advance(2 * time.Minute)
	r := beatUntil(o, second)
	if !strings.Contains(r.body, ":\n\n") || !strings.Contains(r.body, `"resultType":"input_required"`) || len(o.all()) != 1 || o.sent() != 0 {
		t.Errorf("%s", r)
	}
}

// urlClient is a session of the client that can be sent to a page.
func (o *office) urlClient(s tokenSpec) session {
	o.t.Helper()
	bearer := o.token(s)
	r := o.do("POST", o.url, bearer, strings.Replace(elicitingClient, `"elicitation":{}`, `"elicitation":{"form":{},"url":{}}`, 1))
	return session{o.world, bearer, r.header.Get("Mcp-Session-Id")}
}

// A client of the session era that can be sent to a page is asked on the call's stream,
// and the call waits.
func TestSessionClientWaitsForTheDecision(t *testing.T) {
	for _, upstream := range []string{"stateless", "session"} {
		t.Run(upstream, func(t *testing.T) {
			o := newOffice(t)
			if upstream == "stateless" {
				o.up.statelessOnly()
			}
			bob := o.urlClient(tokenSpec{subject: "bob"})
			question, rest := bob.beginWith(sendToEve, "elicitation/create")
			id := o.all()[0].ID
			if !strings.Contains(question, `"mode":"url","url":"`+pages+id+`","message":"Calling send_message`) || !strings.Contains(question, `"elicitationId":"`+id+`"`) {
				t.Errorf("asked %s", question)
			}
			if r := bob.post(`{"jsonrpc":"2.0","id":` + memberIn(question, "id") + `,"result":{"action":"accept"}}`); r.status != 202 {
				t.Errorf("accept: %s", r)
			}
			o.beatOnce(1)
			if o.sent() != 0 {
				t.Error("sent without an approval")
			}
			o.approve(id)
			got := beatUntil(o, wholeOf(rest))
			if !strings.Contains(got, `"method":"notifications/elicitation/complete","params":{"elicitationId":"`+id+`"}`) || !strings.Contains(got, `"done"`) || o.approvalIn() != id {
				t.Errorf("%s", got)
			}
		})
	}
}

// Whoever is at the client may give the call up, and an answer that is none ends it with
// the error for clients that cannot be asked.
func TestSessionClientGivesUp(t *testing.T) {
	for _, tt := range []struct{ answer, want string }{
		{`"result":{"action":"decline"}`, "was given up"},
		{`"result":{"action":"cancel"}`, "was given up"},
		{`"result":{"action":"Accept"}`, "was given up"},
		{`"result":{}`, "was given up"},
		{`"error":{"code":-1,"message":"no browser"}`, "The same call succeeds once it is approved"},
	} {
		o := newOffice(t)
		bob := o.urlClient(tokenSpec{subject: "bob"})
		question, rest := bob.beginWith(sendToEve, "elicitation/create")
		if r := bob.post(`{"jsonrpc":"2.0","id":` + memberIn(question, "id") + `,` + tt.answer + `}`); r.status != 202 {
			t.Errorf("%s: %s", tt.answer, r)
		}
		if got := until(t, rest, `"id":7`); !strings.Contains(got, tt.want) || o.sent() != 0 {
			t.Errorf("%s: %s", tt.answer, got)
		}
		if o.all()[0].State != approval.Pending {
			t.Errorf("%s: the request is %s", tt.answer, o.all()[0].State)
		}
	}
}

// The enforcer in front of the server writes down which approval the call had.
func TestEnforcerRecordsTheApproval(t *testing.T) {
	b := newEnforcer(t)
	raw := b.toolToken("list_messages", limit2, func(s *token.CallSpec) { s.Details.Approval = "AB23" })
	if r := b.send(raw, listCall); r.status != 200 {
		t.Fatal(r)
	}
	lines := b.lines()
	for _, e := range lines[len(lines)-2:] {
		if e.Approval != "AB23" || e.Kind != audit.Intent && e.Kind != audit.Outcome {
			t.Errorf("audit %+v", e)
		}
	}
}
