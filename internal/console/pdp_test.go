package console_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// access has bob, dave and alice approve.
const access = `version: 1
roles:
  approver:
    who: {users: [alice, bob, dave]}
    servers: {console: {tools: [decide]}}
`

// pdp asks a real one whether somebody has the role, until that knows about approvals.
type pdp struct {
	real *policies.PDP
	now  func() time.Time

	mu    sync.Mutex     // guards what follows
	needs policies.Needs // of who decides
	fails policies.Reason
	asked []policies.Request
}

func newPDP(t testing.TB, now func() time.Time) *pdp {
	t.Helper()
	return &pdp{real: must(policies.New(t.Context(), policies.Config{Access: []byte(access)}))(t), now: now}
}

func (p *pdp) set(needs policies.Needs, fails policies.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.needs, p.fails = needs, fails
}

func (p *pdp) Decide(ctx context.Context, q policies.Request) policies.Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, q)
	switch {
	case p.fails != "":
		return policies.Decision{Reason: p.fails}
	case q.Action != policies.ActionApprove || q.Server != "mail" || q.Rule != rule || !q.Time.Equal(p.now()):
		return policies.Decision{Reason: policies.ReasonNotGranted}
	}
	d := p.real.Decide(ctx, policies.Request{Subject: q.Subject, ClientID: q.ClientID, Action: policies.ActionCallTool, Server: "console", Tool: "decide", Time: q.Time})
	switch {
	case !d.Allowed():
		return d
	case len(p.needs.ACR) > 0 && !slices.Contains(p.needs.ACR, q.ACR), p.needs.MaxAge > 0 && q.Time.Sub(q.AuthTime) > p.needs.MaxAge:
		return policies.Decision{Reason: policies.ReasonStepUp, Needs: p.needs}
	}
	return d
}
