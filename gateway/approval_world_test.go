package gateway_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// asking is a real PDP, of which a test changes some answers.
type asking struct {
	gateway.PDP
	mu     sync.Mutex // guards what follows, and PDP
	digest string
	needs  func(*policies.Needs) // nil: as they are
	denies policies.Reason       // even with an approval
}

func (a *asking) Decide(ctx context.Context, q policies.Request) policies.Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.PDP.Decide(ctx, q)
	d.PolicyDigest = a.digest
	switch {
	case a.denies != "" && q.Rule != "" && d.Allowed():
		return policies.Decision{Reason: a.denies, PolicyDigest: a.digest}
	case a.needs != nil && d.Reason == policies.ReasonApproval:
		a.needs(&d.Needs)
	}
	return d
}

func (a *asking) Digest() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.digest
}

// rename has another rule ask, of a policy with the same digest.
func (a *asking) rename(t *testing.T) {
	other := must(policies.New(t.Context(), policies.Config{Access: []byte(strings.Replace(officeYAML, "operator:", "operators:", 1))}))(t)
	a.change(func(a *asking) { a.PDP = other })
}

// change changes the policy.
func (a *asking) change(how func(*asking)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	how(a)
}

const pages = issuer + "/console/approvals/"

// office is a world where bob and carol send messages when ann agrees.
type office struct {
	*revocable
	approvals *approval.Service
	policy    *asking
	cfg       *gateway.Config
	between   string // the client that has another one act for it
}

const officeYAML = `
version: 1
roles:
  operator:
    who: {users: [bob, carol]}
    servers:
      mail:
        tools:
          list_messages:
          delete_message:
          send_message: {risk: high, redact: [email], approval: {by: [approver, lead], within: 15m}}
          forward_message: {risk: high, approval: {by: [approver, lead], within: 15m}}
      files:
        tools:
          send_message: {risk: high, approval: {by: [approver, lead], within: 15m}}
  approver: {who: {users: [ann]}}
  lead: {who: {users: [lee]}}
`

func newOffice(t *testing.T, change ...func(*gateway.Config)) *office {
	t.Helper()
	o := &office{policy: &asking{digest: "policy-1"}}
	o.revocable = newRevocable(t, append([]func(*gateway.Config){policy(t, officeYAML), func(c *gateway.Config) {
		o.policy.PDP = c.PDP
		o.approvals = approval.New(approval.Config{Store: c.Pins.(approval.Store), Audit: c.Audit, Now: c.Now, Page: pages, MaxPending: 3})
		c.PDP, c.Approvals = o.policy, o.approvals
	}}, append(change, func(c *gateway.Config) { o.cfg = c })...)...)
	return o
}

// replica is another process with the same store.
func (o *office) replica() *office {
	o.t.Helper()
	w := *o.world
	w.gateway = must(gateway.New(*o.cfg))(o.t)
	w.serve(w.gateway, o.cfg.Refusals.(*audit.Refusals))
	return &office{&revocable{world: &w, view: o.view}, o.approvals, o.policy, o.cfg, ""}
}

// decide is a decision of somebody, as the page and the command line make it.
func (o *office) decide(id, by string, approve bool) error {
	_, err := o.approvals.Decide(o.t.Context(), approval.Decision{ID: id, Approve: approve, By: must(identity.ParseSubject(by))(o.t), Client: identity.MustClientID("console")})
	return err
}

func (o *office) approve(id string) {
	o.t.Helper()
	if err := o.decide(id, "ann", true); err != nil {
		o.t.Fatal(err)
	}
}

// all are the requests that were ever opened, the newest first.
func (o *office) all() []approval.Request {
	o.t.Helper()
	return must(o.approvals.List(o.t.Context(), "", 100))(o.t)
}

// waitsFor is the id of the approval that the call was told to wait for.
func (o *office) waitsFor(r reply) string {
	o.t.Helper()
	id := strings.Trim(memberIn(memberIn(memberIn(memberIn(r.body, "error"), "data"), "approval"), "id"), `"`)
	if id == "" || !strings.Contains(r.body, "this call waits for an approval") {
		o.t.Fatalf("does not wait: %s", r)
	}
	return id
}

// sent is how many messages the server was told to send.
func (o *office) sent() int { return len(o.up.calls("tools/call")) }

// approvalIn is the id of the approval in the call token that the server got last.
func (o *office) approvalIn() string {
	o.t.Helper()
	calls := o.up.calls("tools/call")
	part := strings.Split(calls[len(calls)-1].bearer(), ".")[1]
	var claims struct {
		Details []struct {
			Approval string `json:"approval"`
		} `json:"authorization_details"`
	}
	if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(part))(o.t), &claims); err != nil || len(claims.Details) != 1 {
		o.t.Fatalf("call token %+v: %v", claims, err)
	}
	return claims.Details[0].Approval
}

const (
	sendToEve  = `{"name":"send_message","arguments":{"to":"eve@example.com"}}`
	sendParams = `"name":"send_message","arguments":{"to":"eve@example.com"},`
	byURL      = `{"elicitation":{"url":{}}}`
)

// beatUntil beats until there is an answer.
func beatUntil[T any](o *office, answer <-chan T) T {
	for {
		select {
		case a := <-answer:
			return a
		default:
			o.beat()
			runtime.Gosched()
		}
	}
}

// wholeOf is what comes on a stream until it ends.
func wholeOf(from *bufio.Scanner) <-chan string {
	return later(func() string {
		var all strings.Builder
		for from.Scan() {
			all.WriteString(from.Text() + "\n")
		}
		return all.String()
	})
}

// later is an answer that is waited for elsewhere.
func later[T any](f func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return ch
}
