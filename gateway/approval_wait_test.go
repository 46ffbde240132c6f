package gateway_test

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// retry is what a client of the stateless era comes again with.
func (o *office) retry(s tokenSpec) request {
	o.t.Helper()
	q := request{bearer: o.token(s), method: "tools/call", params: sendParams, capabilities: byURL}
	q.params += `"inputResponses":{"approval":{"action":"accept"}},"requestState":` + stateOf(o.t, o.ask(q)) + `,`
	return q
}

// awaited waits until so many calls wait.
func (o *office) awaited(n int) {
	for !o.running(n) {
		runtime.Gosched()
	}
}

// A call that waits has its place in the budget, and nothing else: the server has heard
// nothing of it, and the audit log says nothing of one that is about to happen.
func TestWaitingCallHoldsItsPlaceAndNoMore(t *testing.T) {
	o := newOffice(t, budget(gateway.Budget{Calls: 1}))
	bob := o.session(tokenSpec{subject: "bob"})
	q := o.retry(tokenSpec{subject: "bob"})
	o.up.mu.Lock()
	o.up.got = nil
	o.up.mu.Unlock()
	waits := later(func() reply { return o.ask(q) })
	o.beatOnce(1)
	if r := bob.call(listMessages); r.status != http.StatusTooManyRequests {
		t.Errorf("another call: %s", r)
	}
	o.up.mu.Lock()
	got := len(o.up.got)
	o.up.mu.Unlock()
	for _, e := range o.lines() {
		if e.Kind == audit.Intent && e.Tool == "send_message" {
			t.Errorf("audit %+v", e)
		}
	}
	if got != 0 {
		t.Errorf("the server got %d messages", got)
	}
	o.approve(o.all()[0].ID)
	if r := beatUntil(o, waits); !strings.Contains(r.body, `"done"`) {
		t.Errorf("%s", r)
	}
	if r := bob.call(listMessages); !strings.Contains(r.body, `"done"`) {
		t.Errorf("after it: %s", r)
	}
	o.waitsFor(bob.call(sendToEve))
	if r := bob.call(listMessages); !strings.Contains(r.body, `"done"`) {
		t.Errorf("after one that does not wait: %s", r)
	}
}

// What would end a call ends one that waits, at once; approved or not, it is not made.
func TestWaitingCallEndsWithWhatLetItWait(t *testing.T) {
	frozen := revocation.New(revocation.Server, "mail", time.Now())
	frozen.Frozen = true
	for name, tt := range map[string]struct {
		happens func(*office)
		reason  string
	}{
		"the subject is revoked":       {func(o *office) { o.revoke(revocation.New(revocation.Subject, "bob", o.now.Now())) }, "token_revoked"},
		"the server is frozen":         {func(o *office) { o.revoke(frozen) }, "server_frozen"},
		"the access token has expired": {func(o *office) { o.advance(61 * time.Second) }, "token_expired"},
		"the policy denies it now":     {func(o *office) { o.policy.change(func(a *asking) { a.denies = "hours" }) }, "hours"},
		"the policy is another":        {func(o *office) { o.policy.change(func(a *asking) { a.digest = "policy-2" }) }, "approval_required"},
	} {
		for _, era := range []string{"stateless", "session"} {
			t.Run(name+", "+era, func(t *testing.T) {
				o := newOffice(t)
				spec := tokenSpec{subject: "bob", lifetime: time.Minute}
				var r <-chan string
				if era == "stateless" {
					q := o.retry(spec)
					r = later(func() string { return o.ask(q).body })
				} else {
					_, rest := o.urlClient(spec).beginWith(sendToEve, "elicitation/create")
					r = wholeOf(rest)
				}
				o.awaited(1)
				tt.happens(o)
				o.approve(o.all()[0].ID)
				if tt.reason == "approval_required" && era == "session" { // asked about the other request, it waits for that
					for len(o.all()) == 1 {
						o.beat()
					}
					o.advance(62 * time.Second)
					tt.reason = "token_expired"
				}
				if got := beatUntil(o, r); strings.Contains(got, `"done"`) || o.sent() != 0 || o.last().Reason != tt.reason {
					t.Errorf("%s, audit %+v", got, o.last())
				}
				if all := o.all(); !slices.ContainsFunc(all, func(r approval.Request) bool { return r.State == approval.Approved }) { // it is there for when that has passed
					t.Errorf("the approvals are %+v", all)
				}
			})
		}
	}
}

// Nobody waits on for a client that has gone, and one that cancels its call ends it.
func TestWaitingCallEndsWithItsClient(t *testing.T) {
	t.Run("gone", func(t *testing.T) {
		o := newOffice(t)
		ctx, cancel := context.WithCancel(t.Context())
		q := o.retry(tokenSpec{subject: "bob"})
		go func() {
			o.awaited(1)
			cancel()
		}()
		req := o.newRequest(ctx, q)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			t.Errorf("answered %s", resp.Status)
		}
		for !o.running(0) || o.last().Reason != "client_gone" {
			runtime.Gosched()
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		o := newOffice(t)
		bob := o.urlClient(tokenSpec{subject: "bob"})
		_, rest := bob.beginWith(sendToEve, "elicitation/create")
		other := o.urlClient(tokenSpec{subject: "bob", client: identityOf("another")})
		o.awaited(1)
		for _, s := range []session{other, bob} {
			if r := s.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`); r.status != 202 {
				t.Errorf("%s", r)
			}
			if s.id == other.id && !o.running(1) {
				t.Error("another session has cancelled it")
			}
		}
		if got := until(t, rest, `"id":7`); !strings.Contains(got, "has cancelled the call") || !slices.ContainsFunc(o.lines(), func(e audit.Event) bool { return e.Reason == "canceled" }) {
			t.Errorf("%s", got)
		}
	})
	t.Run("the gateway stops", func(t *testing.T) {
		o := newOffice(t)
		q := o.retry(tokenSpec{subject: "bob"})
		waits := later(func() reply { return o.ask(q) })
		_, rest := o.urlClient(tokenSpec{subject: "bob"}).beginWith(sendToEve, "elicitation/create")
		o.awaited(2)
		o.gateway.Drain()
		if r := <-waits; !strings.Contains(r.body, `"resultType":"input_required"`) {
			t.Errorf("%s", r)
		}
		if got := until(t, rest, `"id":7`); !strings.Contains(got, "The same call succeeds once it is approved") {
			t.Errorf("%s", got)
		}
	})
}

// What counts is in the store and in what the client has: it may come again to another
// process, with the decision made meanwhile, and so it is after a restart.
func TestApprovalOverReplicas(t *testing.T) {
	o := newOffice(t)
	q := o.retry(tokenSpec{subject: "bob"})
	id := o.all()[0].ID
	second := o.replica()
	waits := later(func() reply { return second.ask(q) })
	o.beatOnce(1)
	o.approve(id)
	if r := beatUntil(o, waits); !strings.Contains(r.body, `"done"`) || o.approvalIn() != id {
		t.Errorf("%s", r)
	}
	bob := o.session(tokenSpec{subject: "bob"})
	id = o.waitsFor(bob.call(sendToEve))
	if err := o.gateway.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.approve(id)
	bob.world = o.replica().world
	if r := bob.call(sendToEve); !strings.Contains(r.body, `"done"`) || o.approvalIn() != id {
		t.Errorf("after a restart: %s", r)
	}
}

// The answer to our question may come to another process than the call waits in.
func TestAnswerAboutAnApprovalAtAnotherReplica(t *testing.T) {
	o := newOffice(t)
	bob := o.urlClient(tokenSpec{subject: "bob"})
	question, rest := bob.beginWith(sendToEve, "elicitation/create")
	answer := `{"jsonrpc":"2.0","id":` + memberIn(question, "id") + `,"result":{"action":"accept"}}`
	second := bob
	second.world = o.replica().world
	if r := second.post(answer); r.status != 202 {
		t.Errorf("%s", r)
	}
	thief := o.urlClient(tokenSpec{subject: "carol"})
	if r := thief.post(answer); r.status != 400 {
		t.Errorf("carol answers: %s", r)
	}
	o.approve(o.all()[0].ID)
	if got := beatUntil(o, wholeOf(rest)); !strings.Contains(got, `"done"`) {
		t.Errorf("%s", got)
	}
}

// A client that has not offered it is sent to no page: an empty elicitation is for forms,
// and versions before 2025-11-25 know no other.
func TestClientIsSentToNoPageUnasked(t *testing.T) {
	for _, capabilities := range []string{`{}`, `{"elicitation":{}}`, `{"elicitation":{"form":{}}}`, `{"elicitation":{"url":true}}`, `{"elicitation":{"URL":{}}}`, `{"url":{}}`} {
		o := newOffice(t)
		bearer := o.token(tokenSpec{subject: "bob"})
		o.waitsFor(o.ask(request{bearer: bearer, method: "tools/call", params: sendParams, capabilities: capabilities}))
		opened := o.do("POST", o.url, bearer, strings.Replace(elicitingClient, `{"elicitation":{}}`, capabilities, 1))
		o.waitsFor(session{o.world, bearer, opened.header.Get("Mcp-Session-Id")}.call(sendToEve))
	}
	o := newOffice(t)
	bearer := o.token(tokenSpec{subject: "bob"})
	o.up.onResult("initialize", `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"mail","version":"1"}}`)
	older := o.do("POST", o.url, bearer, strings.NewReplacer("2025-11-25", "2025-06-18", `{"elicitation":{}}`, byURL).Replace(elicitingClient))
	o.waitsFor(session{o.world, bearer, older.header.Get("Mcp-Session-Id")}.call(sendToEve))
}

// A server may ask for input midway through a call that was approved. The client goes on
// with it under that approval, once, and with no other call.
func TestApprovedCallThatIsAskedForMoreGoesOnOnce(t *testing.T) {
	for name, asks := range map[string]func(*office) (answer string){
		"with a state": func(o *office) string {
			o.up.statelessOnly()
			o.up.asksOnce("tools/call")
			return `"inputResponses":{"sure":{"action":"accept"}},`
		},
		"without a state": func(o *office) string {
			o.up.statelessOnly()
			o.up.on("tools/call", func(w http.ResponseWriter, r *http.Request) {
				if memberOf(r, ".inputResponses") == "" {
					o.up.result(w, r, `{"resultType":"input_required","inputRequests":{"sure":{"method":"elicitation/create","params":{"message":"Sure?"}}}}`)
					return
				}
				o.up.result(w, r, `{"content":[],"state":"`+memberOf(r, ".requestState")+`"}`)
			})
			return `"inputResponses":{"sure":{"action":"accept"}},`
		},
		"parked": func(o *office) string {
			o.up.asksMidway(o.t)
			return `"inputResponses":{"input":{"action":"accept"}},`
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			answer := asks(o)
			q := request{bearer: o.token(tokenSpec{subject: "bob"}), method: "tools/call", params: sendParams, capabilities: `{"elicitation":{"form":{},"url":{}}}`}
			o.ask(q)
			id := o.all()[0].ID
			o.approve(id)
			asked := o.ask(q)
			if !strings.Contains(asked.body, "Sure?") {
				t.Fatal(asked)
			}
			q.params += answer + `"requestState":` + stateOf(t, asked) + `,`
			var wg sync.WaitGroup
			replies := make([]reply, 16)
			for i := range replies {
				wg.Go(func() { replies[i] = o.ask(q) })
			}
			wg.Wait()
			done := 0
			for _, r := range replies {
				if strings.Contains(r.body, `"content":[]`) {
					done++
				} else if !strings.Contains(r.body, "has been used") {
					t.Errorf("%s", r)
				}
			}
			if done != 1 || len(o.all()) != 1 || name != "parked" && o.sent() != 2 || name == "parked" && o.sent() != 1 {
				t.Errorf("%d done, %d sent, %d requests", done, o.sent(), len(o.all()))
			}
			for _, e := range o.lines() {
				if e.Kind == audit.Intent && e.Tool == "send_message" && e.Approval != id {
					t.Errorf("audit %+v", e)
				}
			}
			if o.approvalIn() != id {
				t.Errorf("the last call token has approval %q", o.approvalIn())
			}
		})
	}
}

// What has changed since a call was approved stops it where it is asked for more, too.
func TestApprovedCallDoesNotGoOnByAnotherPolicy(t *testing.T) {
	for name, change := range map[string]func(*office){
		"another policy":     func(o *office) { o.policy.change(func(a *asking) { a.digest = "policy-2" }) },
		"another rule":       func(o *office) { o.policy.rename(o.t) },
		"another definition": func(o *office) { o.redefine() },
		"it has expired":     func(o *office) { o.advance(15 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.up.statelessOnly()
			o.up.asksOnce("tools/call")
			q := request{bearer: o.token(tokenSpec{subject: "bob", lifetime: time.Hour}), method: "tools/call", params: sendParams, capabilities: `{"elicitation":{"form":{},"url":{}}}`}
			o.ask(q)
			o.approve(o.all()[0].ID)
			q.params += given(stateOf(t, o.ask(q)))
			change(o)
			if r := o.ask(q); strings.Contains(r.body, `"content"`) || o.sent() != 1 {
				t.Errorf("%s", r)
			}
		})
	}
}
