package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// An approval is for the very call that an approver has seen. Whatever differs is another
// call, for which somebody is asked anew.
func TestApprovalOfAnotherCallIsNotUsed(t *testing.T) {
	files := newUpstream(t)
	withFiles := func(c *gateway.Config) {
		c.Upstreams = append(c.Upstreams, gateway.Upstream{Name: "files", Resource: must(oauth.ParseResource(issuer + "/mcp/files"))(t), URL: files.URL, Audience: c.Upstreams[0].Audience})
	}
	const other = `{"name":"send_message","arguments":{"to":"mallory@example.com"}}`
	for name, tt := range map[string]struct {
		who    tokenSpec
		call   string
		change func(*office)
	}{
		"another subject":                  {who: tokenSpec{subject: "carol"}},
		"another client":                   {who: tokenSpec{subject: "bob", client: identityOf("another")}},
		"another client of the same chain": {who: tokenSpec{subject: "bob", client: identityOf("another")}, change: func(o *office) { o.between = "editor" }},
		"other arguments":                  {call: other},
		"more arguments":                   {call: strings.Replace(sendToEve, `"to"`, `"cc":"mallory@example.com","to"`, 1)},
		"no arguments":                     {call: `{"name":"send_message"}`},
		"another tool":                     {call: strings.Replace(sendToEve, "send_message", "forward_message", 1)},
		"another definition":               {change: func(o *office) { o.redefine() }},
		"another policy":                   {change: func(o *office) { o.policy.change(func(a *asking) { a.digest = "policy-2" }) }},
		"another rule":                     {change: func(o *office) { o.policy.rename(t) }},
		"another actor":                    {change: func(o *office) { o.between = "between" }},
		"another server":                   {who: tokenSpec{subject: "bob", audience: issuer + "/mcp/files"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, withFiles)
			for _, u := range []*upstream{o.up, files} {
				u.setTools(strings.Replace(mailTools, `"to":`, `"cc":{"type":"string"},"to":`, 1) + `,{"name":"forward_message","inputSchema":{"type":"object","properties":{"to":{"type":"string"}}}}`)
			}
			id := o.waitsFor(o.session(tokenSpec{subject: "bob"}).call(sendToEve))
			o.approve(id)
			who, call := tt.who, tt.call
			if who.subject == "" {
				who.subject = "bob"
			}
			if call == "" {
				call = sendToEve
			}
			if tt.change != nil {
				tt.change(o)
			}
			at := o.world
			if who.audience != "" {
				at = o.at("files")
			}
			s := at.session(who)
			if o.between != "" {
				s.bearer = o.delegated(who)
			}
			if other := o.waitsFor(s.call(call)); other == id || o.sent() != 0 || len(files.calls("tools/call")) != 0 {
				t.Errorf("waits for %s, %d sent", other, o.sent())
			}
			if r, err := o.approvals.Get(t.Context(), id); err != nil || r.State != approval.Approved {
				t.Errorf("the approval is %s: %v", r.State, err)
			}
		})
	}
}

// redefine has the server define the tool anew, which an operator approves.
func (o *office) redefine() {
	o.t.Helper()
	o.up.setTools(strings.Replace(o.up.tools, `{"name":"send_message",`, `{"name":"send_message","description":"Send it",`, 1))
	o.now.Advance(61 * time.Second)
	o.poll()
	o.session(tokenSpec{subject: "bob"}).post(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	o.order(gateway.Approve, "send_message", o.pin("send_message").Pending.Digest)
	o.advance(3 * time.Second)
}

// delegated is a token for the subject, of a client that acts for another one.
func (o *office) delegated(s tokenSpec) string {
	o.t.Helper()
	presenter := s.client
	if presenter.IsZero() {
		presenter = mcpClient
	}
	s.client = identity.MustClientID(o.between)
	_, parent := o.access(s)
	spec := token.DelegateSpec{Child: token.Child{Audience: resource, ClientID: presenter}, Scope: parent.Scope(), Lifetime: time.Minute}
	if presenter == mcpClient {
		actor := token.ActorOf(issuer, presenter)
		spec.Actor = &actor
	}
	raw, _, err := o.minter.Delegate(parent, spec)
	if err != nil {
		o.t.Fatal(err)
	}
	return raw
}

// One approval, sixteen retries, one call. The others are told, and open nothing.
func TestSixteenRetriesOfOneApprovalMakeOneCall(t *testing.T) {
	for _, era := range []string{"session", "stateless"} {
		t.Run(era, func(t *testing.T) {
			o := newOffice(t)
			other := o.replica()
			s := o.session(tokenSpec{subject: "bob"})
			q := request{bearer: s.bearer, method: "tools/call", params: sendParams, capabilities: byURL}
			retry := func(w *world) reply { return session{w, s.bearer, s.id}.call(sendToEve) }
			if era == "stateless" {
				q.params += `"inputResponses":{"approval":{"action":"accept"}},"requestState":` + stateOf(t, o.ask(q)) + `,`
				retry = func(w *world) reply { return w.ask(q) }
			} else {
				s.call(sendToEve)
			}
			o.approve(o.all()[0].ID)
			var wg sync.WaitGroup
			replies := make([]reply, 16)
			for i := range replies {
				wg.Go(func() { replies[i] = retry([]*world{o.world, other.world}[i%2]) })
			}
			wg.Wait()
			done := 0
			for _, r := range replies {
				switch {
				case strings.Contains(r.body, `"done"`):
					done++
				case !strings.Contains(r.body, "has been used") && !strings.Contains(r.body, "waits for an approval"):
					t.Errorf("%s", r)
				}
			}
			if done != 1 || o.sent() != 1 {
				t.Errorf("%d done, %d sent", done, o.sent())
			}
			if n := len(o.all()); n > 2 || era == "stateless" && n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestExpiredApprovalIsNotUsed(t *testing.T) {
	o := newOffice(t)
	bob := o.session(tokenSpec{subject: "bob", lifetime: time.Hour})
	id := o.waitsFor(bob.call(sendToEve))
	o.approve(id)
	o.advance(15 * time.Minute)
	if other := o.waitsFor(bob.call(sendToEve)); other == id || o.sent() != 0 {
		t.Errorf("waits for %s, %d sent", other, o.sent())
	}
}

// Nobody makes up what an approval is found by: not the id of one as requestState, nor
// somebody else's state, nor one of another call.
func TestRequestStateMadeUpForAnApproval(t *testing.T) {
	o := newOffice(t)
	q := request{bearer: o.token(tokenSpec{subject: "bob"}), method: "tools/call", params: sendParams, capabilities: byURL}
	state := stateOf(t, o.ask(q))
	id := o.all()[0].ID
	o.approve(id)
	for name, tt := range map[string]struct{ bearer, params, state string }{
		"the id":         {q.bearer, q.params, `"` + id + `"`},
		"carol's":        {o.token(tokenSpec{subject: "carol"}), q.params, state},
		"another call's": {q.bearer, strings.Replace(q.params, "eve", "mallory", 1), state},
		"cut off":        {q.bearer, q.params, state[:len(state)-4] + `"`},
	} {
		r := o.ask(request{bearer: tt.bearer, method: q.method, capabilities: byURL, params: tt.params + `"inputResponses":{"approval":{"action":"accept"}},"requestState":` + tt.state + `,`})
		if !strings.Contains(r.body, "requestState is not the one of this request") || o.sent() != 0 || o.last().Reason != "state_not_the_callers" {
			t.Errorf("%s: %s", name, r)
		}
	}
}

// To accept the question is no approval, and neither is one's own, nor that of a client.
func TestOwnApprovalDoesNotCount(t *testing.T) {
	o := newOffice(t)
	bob := o.session(tokenSpec{subject: "bob"})
	id := o.waitsFor(bob.call(sendToEve))
	for _, by := range []string{"bob", "BOB", "editor"} {
		if err := o.decide(id, by, true); !errors.Is(err, approval.ErrOwn) {
			t.Errorf("%s: %v", by, err)
		}
	}
	q := request{bearer: bob.bearer, method: "tools/call", params: sendParams, capabilities: byURL}
	q.params += `"inputResponses":{"approval":{"action":"accept","content":{"approved":true}}},"requestState":` + stateOf(t, o.ask(q)) + `,`
	r := later(func() reply { return o.ask(q) })
	o.beatOnce(1)
	o.advance(2 * time.Minute)
	if got := beatUntil(o, r); !strings.Contains(got.body, "input_required") || o.sent() != 0 {
		t.Errorf("%s", got)
	}
}

// used lets something happen right after an approval was used, before its call is made.
type used struct {
	gateway.Approvals
	then func()
}

func (u *used) Use(ctx context.Context, id string) error {
	err := u.Approvals.Use(ctx, id)
	u.then()
	return err
}

// Once an approval is used the call is admitted and decided anew: whatever an operator has
// stopped or changed by then stops it.
func TestApprovedCallIsDecidedAnew(t *testing.T) {
	frozen := revocation.New(revocation.Server, "mail", time.Now())
	frozen.Frozen = true
	for name, tt := range map[string]struct {
		then func(*office)
		want string
	}{
		"the subject is revoked":    {func(o *office) { o.revoke(revocation.New(revocation.Subject, "bob", o.now.Now())) }, "token_revoked"},
		"the client is revoked":     {func(o *office) { o.revoke(revocation.New(revocation.Client, "editor", o.now.Now())) }, "token_revoked"},
		"the server is frozen":      {func(o *office) { o.revoke(frozen) }, "server_frozen"},
		"the policy denies it":      {func(o *office) { o.policy.change(func(a *asking) { a.denies = policies.ReasonHours }) }, "hours"},
		"the policy is another":     {func(o *office) { o.policy.change(func(a *asking) { a.digest = "policy-2" }) }, "approval_void"},
		"another rule asks":         {func(o *office) { o.policy.rename(t) }, "approval_required"},
		"the definition is another": {func(o *office) { o.redefine() }, "approval_void"},
		"the role is gone": {func(o *office) {
			o.policy.change(func(a *asking) { a.PDP = must(policies.New(t.Context(), policies.Config{}))(t) })
		}, "no_policy"},
	} {
		t.Run(name, func(t *testing.T) {
			hook := &used{then: func() {}}
			o := newOffice(t, func(c *gateway.Config) { hook.Approvals, c.Approvals = c.Approvals, hook })
			bob := o.session(tokenSpec{subject: "bob"})
			id := o.waitsFor(bob.call(sendToEve))
			o.approve(id)
			hook.then = func() { tt.then(o) }
			r := bob.call(sendToEve)
			if e := o.last(); strings.Contains(r.body, `"done"`) || o.sent() != 0 || e.Reason != tt.want || e.Approval != id {
				t.Errorf("%s, audit %+v", r, e)
			}
		})
	}
}

// What stops an approved call before its approval is used leaves the approval as it is:
// it can be made when that has passed.
func TestApprovalIsKeptForACallThatPolicyStops(t *testing.T) {
	o := newOffice(t)
	bob := o.session(tokenSpec{subject: "bob"})
	o.approve(o.waitsFor(bob.call(sendToEve)))
	o.policy.change(func(a *asking) { a.denies = policies.ReasonStepUp })
	if r := bob.call(sendToEve); o.sent() != 0 || o.last().Reason != "step_up_required" {
		t.Errorf("%s", r)
	}
	o.policy.change(func(a *asking) { a.denies = "" })
	if r := bob.call(sendToEve); !strings.Contains(r.body, `"done"`) {
		t.Errorf("%s", r)
	}
}

// A revoked subject has nothing of what was approved for it.
func TestRevokedSubjectUsesNoApproval(t *testing.T) {
	o := newOffice(t)
	bob := o.session(tokenSpec{subject: "bob"})
	o.approve(o.waitsFor(bob.call(sendToEve)))
	o.revoke(revocation.New(revocation.Subject, "bob", o.now.Now()))
	if r := bob.call(sendToEve); r.status != 401 || o.sent() != 0 {
		t.Errorf("%s", r)
	}
}

// One subject cannot have everybody's approvers look at its calls.
func TestFloodOfWaitingCallsIsBounded(t *testing.T) {
	o := newOffice(t)
	bob := o.session(tokenSpec{subject: "bob"})
	send := func(to int) reply {
		return bob.call(fmt.Sprintf(`{"name":"send_message","arguments":{"to":"%d"}}`, to))
	}
	for i := range 3 {
		o.waitsFor(send(i))
	}
	if r := send(3); !strings.Contains(r.body, "too many calls of yours wait") || len(o.all()) != 3 || o.last().Reason != "approvals_too_many" {
		t.Errorf("%s", r)
	}
	o.waitsFor(send(0)) // which waits already
	o.waitsFor(o.session(tokenSpec{subject: "carol"}).call(sendToEve))
}

// A tool token says that all was decided: nobody is asked for it, and it uses no approval
// that somebody gave for a call with the access token.
func TestToolTokenUsesNoApproval(t *testing.T) {
	o := newOffice(t)
	h := o.newHolder(tokenSpec{subject: "bob"})
	const arguments = `{"to":"eve@example.com"}`
	for range 2 {
		if r := h.with(h.exchanged("send_message", arguments)).call(sendToEve); !strings.Contains(r.body, "for which a tool token cannot wait") || o.sent() != 0 || o.last().Reason != "approval_required" {
			t.Errorf("%s", r)
		}
		if len(o.all()) == 0 {
			o.approve(o.waitsFor(h.call(sendToEve)))
		}
	}
}

// Nothing is allowed where nobody can approve, or nobody can tell.
func TestApprovalThatCannotBeHad(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		change func(*gateway.Config)
		policy func(*asking)
		reason string
	}{
		"no approvals":      {change: func(c *gateway.Config) { c.Approvals = nil }, reason: "approval_required"},
		"open fails":        {change: func(c *gateway.Config) { c.Approvals = failing{c.Approvals, broken, nil, nil} }, reason: "approvals_unavailable"},
		"another is opened": {change: func(c *gateway.Config) { c.Approvals = failing{c.Approvals, nil, nil, nil} }, reason: "approvals_unavailable"},
		"use fails":         {change: func(c *gateway.Config) { c.Approvals = failing{c.Approvals, nil, nil, broken} }, reason: "approvals_unavailable"},
		"nobody may give":   {policy: func(a *asking) { a.needs = func(n *policies.Needs) { n.By = nil } }, reason: "approval_required"},
		"at once over":      {policy: func(a *asking) { a.needs = func(n *policies.Needs) { n.Within = 0 } }, reason: "approval_required"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.change == nil {
				tt.change = func(*gateway.Config) {}
			}
			o := newOffice(t, tt.change)
			if tt.policy != nil {
				o.policy.change(tt.policy)
			}
			r := o.session(tokenSpec{subject: "bob"}).call(sendToEve)
			if !strings.Contains(r.body, `"error"`) || o.sent() != 0 || len(o.all()) != 0 || o.last().Reason != tt.reason || strings.Contains(r.body, "broken") {
				t.Errorf("%s, audit %+v", r, o.last())
			}
		})
	}
}

// failing fails, or gives away an approval of another call.
type failing struct {
	gateway.Approvals
	open, get, use error
}

func (f failing) Open(_ context.Context, r approval.Request) (approval.Request, error) {
	r.ID, r.State = "X", approval.Approved
	if f.use == nil {
		r.Tool = "other"
	}
	return r, f.open
}

func (f failing) Get(context.Context, string) (approval.Request, error) {
	return approval.Request{}, f.get
}

func (f failing) Use(context.Context, string) error { return f.use }

// A list shows the tool: a call of it can be had.
func TestListShowsAToolThatNeedsAnApproval(t *testing.T) {
	o := newOffice(t)
	if r := o.session(tokenSpec{subject: "bob"}).post(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`); !strings.Contains(r.body, `"send_message"`) || len(o.all()) != 0 {
		t.Errorf("%s", r)
	}
}
