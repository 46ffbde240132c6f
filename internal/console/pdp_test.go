package console_test

import (
	"context"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// access has alice, bob and dave approve what writers do.
func access(condition string) string {
	return `version: 1
roles:
  approver:
    who: {users: [alice, bob, dave]}
  writer:
    who: {users: [alice, dave]}
    servers:
      mail:
        tools:
          send_message: {risk: high, approval: {by: [approver], within: 15m` + condition + `}}
`
}

// pdp is a real one, which can be made to fail.
type pdp struct {
	mu    sync.Mutex // guards what follows
	real  *policies.PDP
	fails policies.Reason
	asked []policies.Request
}

func newPDP(t testing.TB) *pdp {
	t.Helper()
	p := &pdp{}
	p.ask(t, "")
	return p
}

// ask has the policy ask for more of approvers: ", max_age: 3m".
func (p *pdp) ask(t testing.TB, condition string) {
	t.Helper()
	real := must(policies.New(t.Context(), policies.Config{Access: []byte(access(condition))}))(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.real = real
}

func (p *pdp) fail(reason policies.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails = reason
}

// rule is the one that asks for the approval of alice's call.
func (p *pdp) rule(t testing.TB) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.real.Decide(t.Context(), policies.Request{Subject: subject(t, "alice"), ClientID: identity.MustClientID("agent"), Action: policies.ActionCallTool, Server: "mail", Tool: "send_message",
		Arguments: jsontext.Value("{}"), DefinitionDigest: "digest", Time: began})
	if d.Reason != policies.ReasonApproval || d.Needs.Rule == "" {
		t.Fatalf("the call is answered %+v", d)
	}
	return d.Needs.Rule
}

func (p *pdp) Decide(ctx context.Context, q policies.Request) policies.Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, q)
	if p.fails != "" {
		return policies.Decision{Reason: p.fails}
	}
	return p.real.Decide(ctx, q)
}
