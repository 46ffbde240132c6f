package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// Approvals has people decide on calls. *approval.Service is one. It records what it does.
type Approvals interface {
	// Open returns the request that stands for the Binding of r, or opens one. It returns
	// approval.ErrTooMany, wrapped, when too many calls of the subject wait.
	Open(ctx context.Context, r approval.Request) (approval.Request, error)
	// Get returns a request as it is now.
	Get(ctx context.Context, id string) (approval.Request, error)
	// Use uses an approval up. It returns nil for exactly one of many calls, over all
	// replicas, and approval.ErrSpent, wrapped, for the others.
	Use(ctx context.Context, id string) error
	// URL is where somebody decides on it.
	URL(id string) string
}

// approve has a call approved, and returns it as it is allowed then. Until then nothing
// has happened: the call holds its place in the budget, and no more.
func (p *passage) approve(w wanted) (wanted, *rpcError) {
	switch {
	case p.g.cfg.Approvals == nil || len(w.d.Needs.By) == 0 || w.d.Needs.Within <= 0:
		return w, errDenied(w.d)
	case p.tool != nil:
		return w, &rpcError{Code: codeDenied, Message: "this call needs an approval, for which a tool token cannot wait: call with the access token", reason: string(w.d.Reason)}
	}
	var e *rpcError
	if p.held, e = p.enter(); e != nil {
		return w, e
	}
	if p.state.Once != "" {
		return p.goOn(w)
	}
	return p.untilApproved(w)
}

// untilApproved waits where the client is one that waits. Whatever may have changed
// meanwhile is looked at anew: another definition or policy makes it another call, which
// nobody has approved.
func (p *passage) untilApproved(w wanted) (wanted, *rpcError) {
	wait := p.newWait()
	defer wait.end()
	for known := p.state.Approval; ; {
		r, e := p.standing(w, known)
		if e != nil {
			return w, e
		}
		switch r.State {
		case approval.Approved:
			return p.useApproval(w, r)
		case approval.Denied:
			return w, p.errApproval("approval_denied", "an approver has denied this call", r)
		case approval.Pending:
		default:
			return w, errUnavailable("approval_unknown", fmt.Errorf("approval %s is %s", r.ID, r.State))
		}
		if e := wait.decided(r); e != nil {
			return w, e
		}
		known = r.ID
		if w, e = p.want(w.call, ""); e != nil || w.d.Allowed() {
			return w, e
		}
		if w.d.Reason != policies.ReasonApproval {
			return w, errDenied(w.d)
		}
	}
}

// standing is the request that stands for the call, which is opened where there is none.
// A call that has waited for the known one asks for no other when somebody else has used
// that.
func (p *passage) standing(w wanted, known string) (approval.Request, *rpcError) {
	asked, e := p.request(w)
	if e != nil {
		return asked, e
	}
	if known != "" {
		p.event.Approval = known
		switch r, err := p.g.cfg.Approvals.Get(p.r.Context(), known); {
		case err != nil && !errors.Is(err, approval.ErrNotFound):
			return r, errUnavailable("approvals_unavailable", err)
		case err == nil && r.State == approval.Used:
			return r, p.errUsed(r)
		case err == nil && r.State != approval.Expired && bytes.Equal(r.Key(), asked.Key()):
			return r, nil
		}
	}
	r, err := p.g.cfg.Approvals.Open(p.r.Context(), asked)
	switch {
	case errors.Is(err, approval.ErrTooMany):
		return r, &rpcError{Code: codeDenied, Message: "this call needs an approval, and too many calls of yours wait for one: have them decided, or wait until they expire", reason: "approvals_too_many", cause: err}
	case err == nil && !bytes.Equal(r.Key(), asked.Key()):
		err = errors.New("the approval is for another call")
	}
	if err != nil {
		return r, errUnavailable("approvals_unavailable", err)
	}
	p.event.Approval = r.ID
	return r, nil
}

// binding is all that makes it this call.
func (p *passage) binding(w wanted, rule string) approval.Binding {
	return approval.Binding{Subject: p.Subject(), Client: p.ClientID(), Actors: p.actors.Chain(), Server: p.up.Name, Tool: w.name,
		ArgumentsDigest: w.spec.Details.ArgumentsDigest, DefinitionDigest: w.spec.Details.DefinitionDigest, PolicyDigest: w.d.PolicyDigest, Rule: rule}
}

// request is what an approver is asked: of a call that policy would allow with the
// approval, or they would be asked in vain. Whoever decides must see all of the arguments,
// but for what is redacted.
func (p *passage) request(w wanted) (approval.Request, *rpcError) {
	needs := w.d.Needs
	then := p.decideFor(w.call, needs.Rule)
	if !then.Allowed() {
		return approval.Request{}, errDenied(then)
	}
	redactor, err := p.redactorOf(then)
	if err != nil {
		return approval.Request{}, errUnavailable("redaction_failed", err)
	}
	shown := redactor.Arguments(w.arguments)
	if shown == nil {
		return approval.Request{}, &rpcError{Code: codeDenied, Message: "this call needs an approval, and its arguments are too large to be shown to an approver", reason: "approval_too_large"}
	}
	return approval.Request{Binding: p.binding(w, needs.Rule), Arguments: shown, Risk: w.d.Risk, By: needs.By,
		Expires: p.g.cfg.Now().Add(min(needs.Within, approval.MaxWithin))}, nil
}

// redactorOf is the server's for approvers, with the classes that the rules of the decision add.
func (p *passage) redactorOf(d policies.Decision) (*redact.Redactor, error) {
	var classes []string
	for _, t := range d.Terms {
		classes = append(classes, t.Redact...)
	}
	return cmp.Or(p.up.Shown, p.up.Redactor).With(classes...)
}

// useApproval uses the approval up, and admits and decides anew. An approval is kept for
// a call that policy would not allow even so.
func (p *passage) useApproval(w wanted, r approval.Request) (wanted, *rpcError) {
	d := p.decideFor(w.call, r.Rule)
	if !d.Allowed() {
		return w, errDenied(d)
	}
	if p.due = d.Terms; len(p.due) > 0 { // nor for one that a limit lets not through
		if e := p.accept(p.held); e != nil {
			return w, e
		}
	}
	err := p.g.cfg.Approvals.Use(p.r.Context(), r.ID)
	switch {
	case errors.Is(err, approval.ErrSpent):
		return w, p.errUsed(r)
	case err != nil:
		return w, errUnavailable("approvals_unavailable", err)
	}
	return p.released(w, r)
}

// released is a call whose approval is used, as far as it is still what was approved, and
// may still be made.
func (p *passage) released(w wanted, r approval.Request) (wanted, *rpcError) {
	if err := p.g.cfg.Verifier.Alive(p.Verified); err != nil {
		return w, &rpcError{Code: codeDenied, Message: tokenProblem(err), reason: tokenReason(err), cause: err}
	}
	if e := p.thawed(); e != nil {
		return w, e
	}
	if e := p.approverCounts(r); e != nil {
		return w, e
	}
	w, e := p.want(w.call, r.Rule)
	switch {
	case e != nil:
		return w, e
	case !w.d.Allowed():
		return w, errDenied(w.d)
	case !bytes.Equal(p.binding(w, r.Rule).Key(), r.Key()):
		return w, p.errApproval("approval_void", "the tool or the policy has changed since this call was approved: send it again, to ask anew", r)
	}
	p.event.Approval, p.event.PolicyDigest = r.ID, w.d.PolicyDigest
	w.spec.Details.Approval = r.ID
	p.asShown()
	return w, nil
}

// approverCounts refuses what was approved by somebody who was revoked since: it may have
// been whoever had got hold of their login.
func (p *passage) approverCounts(r approval.Request) *rpcError {
	if p.g.cfg.Freezes == nil {
		return nil
	}
	err := p.g.cfg.Freezes.Person(r.DecidedBy, r.DecidedAt)
	switch {
	case errors.Is(err, token.ErrRevoked), errors.Is(err, revocation.ErrFrozen):
		return p.errApproval("approval_void", "who approved this call was revoked since: send it again, to ask anew", r)
	case err != nil:
		return errUnavailable("revocations_stale", err)
	}
	return nil
}

// asShown keeps from the server what no approver was shown, and nothing binds the approval
// to: a call is made of its name and arguments, with what the protocol itself needs.
func (p *passage) asShown() {
	unseen := func(m member) bool {
		return !slices.Contains([]string{"name", "arguments", "_meta", "inputResponses", "requestState"}, m.name)
	}
	meta := slices.DeleteFunc(p.theirMeta(), func(m member) bool {
		return !slices.Contains([]string{metaVersion, metaClient, metaCapabilities, "progressToken", "traceparent", "tracestate"}, m.name)
	})
	p.msg.params = slices.DeleteFunc(slices.Clone(p.msg.params), unseen)
	if p.msg.params.get("_meta") != nil {
		p.msg.params = p.msg.params.set("_meta", meta.with())
	}
	if p.state.Once == "" { // answers to our own question are nothing for the server
		p.input = object{{"inputResponses", nil}, {"requestState", nil}}
	}
}

// goOn is a call that was approved and begun, and whose server has asked for more: it is
// the same call once more, which comes with the state of that question, once.
func (p *passage) goOn(w wanted) (wanted, *rpcError) {
	r, err := p.g.cfg.Approvals.Get(p.r.Context(), p.state.Approval)
	if err != nil {
		return w, errUnavailable("approvals_unavailable", err)
	}
	if p.event.Approval = r.ID; r.State != approval.Used {
		return w, p.errUsed(r)
	}
	err = p.g.cfg.Single.Spend(p.r.Context(), p.state.Once, time.Unix(p.state.Expires, 0).Add(spentMargin))
	switch {
	case errors.Is(err, ErrSpent):
		return w, p.errUsed(r)
	case err != nil:
		return w, errUnavailable("single_use_unknown", err)
	}
	return p.released(w, r)
}

func (p *passage) errUsed(r approval.Request) *rpcError {
	return p.errApproval("approval_used", "the approval of this call has been used, or has expired: send the call again, without requestState, to ask for another one", r)
}

// errApproval is a refusal that names the request.
func (p *passage) errApproval(reason, message string, r approval.Request) *rpcError {
	named := object{}.with(member{"id", quote(r.ID)}, member{"url", quote(p.g.cfg.Approvals.URL(r.ID))}, member{"expires", quote(r.Expires.UTC().Format(time.RFC3339))})
	return &rpcError{Code: codeDenied, Message: message, Data: object{}.with(member{"approval", named}), reason: reason}
}

// errPending is the refusal of a call that waits for its approval, for a client that does
// not. It is no -32042 (URL elicitation required, MCP 2025-11-25): clients then wait for
// the news that it is complete, for which there is no stream.
func (p *passage) errPending(r approval.Request) *rpcError {
	return p.errApproval(string(policies.ReasonApproval), fmt.Sprintf("this call waits for an approval: request %s, until %s, by %s, at %s. The same call succeeds once it is approved.",
		r.ID, r.Expires.UTC().Format(time.RFC3339), approvers(r.By), p.g.cfg.Approvals.URL(r.ID)), r)
}

// approvers says who may approve, as the policy calls them: whoever asks must know whom
// to tell.
func approvers(by [][]string) string {
	all := make([]string, len(by))
	for i, roles := range by {
		all[i] = strings.Join(roles, " or ")
	}
	return "somebody else with the role " + strings.Join(all, ", and ")
}

// asksByURL is a question that sends whoever is at the client to the page of the request.
func (p *passage) asksByURL(r approval.Request, more ...member) jsontext.Value {
	message := fmt.Sprintf("Calling %s at %s needs the approval of %s, until %s. The page shows the request; pass its address on to an approver.",
		r.Tool, r.Server, approvers(r.By), r.Expires.UTC().Format(time.RFC3339))
	return object{}.with(append([]member{{"mode", quote("url")}, {"url", quote(p.g.cfg.Approvals.URL(r.ID))}, {"message", quote(message)}}, more...)...)
}
