package gateway

import (
	"context"
	"crypto/rand"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// effect is what perform does once everything has been decided and recorded.
type effect func(ctx context.Context, call token.Call) (outcome, *rpcError)

// outcome is what came of an effect.
type outcome struct {
	status       string // for the audit log, as the next three
	resultDigest string
	callTokenID  string
	redactions   int
	dropped      int    // records that policy kept back
	answer       func() // tells the client; called once the outcome is recorded
}

// perform is steps 6 to 10: record the intent, exchange, do it, record what came
// of it. Without the first record nothing happens.
func (p *passage) perform(spec token.CallSpec, d policies.Decision, do effect) *rpcError {
	if len(d.Terms) > 0 {
		p.due, p.terms = d.Terms, nil
	}
	return p.account(audit.Event{Call: rand.Text(), Reason: string(d.Reason), Rule: d.Rule}, func(ctx context.Context) (outcome, *rpcError) {
		return p.exchangeAndDo(ctx, spec, do)
	})
}

// account does something between the records of the intent and of the outcome.
func (p *passage) account(why audit.Event, do func(ctx context.Context) (outcome, *rpcError)) *rpcError {
	var over *rpcError
	if p.slot, over = p.enter(); over != nil {
		return over
	}
	defer func() { p.slot.release() }() // by then a call that is parked has it
	defer func() { p.lent.end() }()     // and this
	if len(p.due) > 0 {
		if refused := p.accept(p.slot); refused != nil {
			return refused
		}
	}
	e := p.event
	p.id = why.Call
	e.Kind, e.Call, e.Decision, e.Reason, e.Rule = audit.Intent, why.Call, audit.Allow, why.Reason, why.Rule
	observed := p.observed // lists decide on more, meanwhile
	e.Observed, e.Facts = string(observed), p.readFacts()
	if err := p.g.cfg.Audit.Record(p.r.Context(), e); err != nil {
		return errUnavailable("audit_unavailable", err)
	}
	start := p.g.cfg.Now()
	ctx, cancel := p.context()
	defer p.beside.Wait()
	defer cancel()
	ctx, done := p.cancelable(ctx)
	defer done()
	out, failure := do(withSlot(ctx, p.slot))
	e = audit.Event{Kind: audit.Outcome, Call: e.Call, Subject: e.Subject, Client: e.Client, Txn: e.Txn, Server: e.Server, Action: e.Action, Tool: e.Tool, Prompt: e.Prompt, URI: e.URI,
		Approval: e.Approval, CallTokenID: out.callTokenID, Lease: p.lease, Status: out.status, ResultDigest: out.resultDigest, Redactions: out.redactions, Dropped: out.dropped, Duration: p.g.cfg.Now().Sub(start)}
	if failure != nil {
		e.Status, e.Reason = "error", failure.reason
		p.g.cfg.Log.WarnContext(ctx, "call failed", "server", p.up.Name, "action", e.Action, "tool", e.Tool, "request_id", p.event.RequestID, "error", failure)
	}
	p.observed = observed
	p.observe(e.Status, failure, e.Duration)
	if err := p.g.cfg.Audit.Record(ctx, e); err != nil {
		p.g.cfg.Log.ErrorContext(ctx, "record outcome", "call", e.Call, "error", err)
		if failure == nil { // it has happened; nobody may take it for success that left no trace
			failure = errUnavailable("audit_unavailable", err)
		}
	}
	if failure != nil {
		p.out.fail(p.msg.id, failure)
		return nil
	}
	out.answer()
	return nil
}

// context bounds what a message may cause. In the stateless era a client that goes away
// cancels its request; in the session era it does not (MCP 2025-11-25, transports).
func (p *passage) context() (context.Context, context.CancelFunc) {
	switch {
	case p.long:
		return p.g.life.within(p.r.Context())
	case p.stateless:
		return p.g.bounded(p.r.Context(), p.up)
	}
	return p.g.lasting(p.r.Context(), p.up)
}

func (p *passage) exchangeAndDo(ctx context.Context, spec token.CallSpec, do effect) (outcome, *rpcError) {
	spec.Audience, spec.Presenter = p.up.Audience.String(), p.g.cfg.ClientID
	spec.Details.Server, spec.Details.PolicyDigest = p.up.Name, p.event.PolicyDigest
	call, failure := p.callToken(ctx, spec)
	if failure != nil {
		return outcome{}, failure
	}
	p.again = func(ctx context.Context) (token.Call, *rpcError) {
		if p.tool != nil {
			return token.Call{}, errUnavailable("input_not_given", errOneCall)
		}
		return p.callToken(ctx, spec)
	}
	var out outcome
	if p.state.Parked == "" { // else the call has one since it began
		ctx, p.lent, failure = p.borrow(ctx, call, p.event.Action)
	}
	if failure == nil {
		out, failure = do(ctx, call)
	}
	out.callTokenID = call.ID()
	return out, p.lent.why(failure)
}

// callToken is step 7.
func (p *passage) callToken(ctx context.Context, spec token.CallSpec) (token.Call, *rpcError) {
	if p.tool != nil {
		return p.readdress(ctx)
	}
	call, err := p.g.callToken(ctx, p.access, spec)
	if err != nil {
		return token.Call{}, errExchange(err)
	}
	return call, nil
}

// fail records a refusal before perform, and answers it.
func (p *passage) fail(e *rpcError) {
	ev := p.event
	ev.Kind, ev.Decision, ev.Reason, ev.Facts = audit.Denial, "deny", e.reason, p.readFacts()
	p.observed = ""
	p.observe("", e, 0)
	if err := p.g.cfg.Audit.Record(p.r.Context(), ev); err != nil {
		p.g.cfg.Log.ErrorContext(p.r.Context(), "record denial", "error", err)
	}
	if e.scope != "" && !p.out.open {
		p.g.insufficient(p.w, p.r, p.up, e.scope)
		return
	}
	if e.login != nil && !p.out.open && p.canLogIn() {
		p.g.loginNeeded(p, *e.login)
		return
	}
	p.out.fail(p.msg.id, e)
}

// coversTool reports whether the token may ask for the tool. Over all servers tool:NAME
// would be the tool of each that has one of that name, so it does not count there.
func (p *passage) coversTool(s token.CallScope) bool {
	return p.Scope().Covers(s) && (p.endpoint != everyServer || p.Scope().Has(oauth.ScopeTools))
}

// stepUp asks for a scope that the token lacks.
func (p *passage) stepUp(scope string) *rpcError {
	if _, err := token.ParseToolScope(scope); err == nil && p.endpoint == everyServer {
		scope = oauth.ScopeTools
	}
	return &rpcError{Code: codeDenied, Message: "the access token lacks a scope that this needs", scope: scope, reason: "insufficient_scope"}
}
