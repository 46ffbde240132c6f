package gateway

import (
	"context"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/approval"
)

// approvalKey is the name of our own question in an answer that asks for input.
const approvalKey = "approval"

// approvalWait is a call that waits for somebody to decide, with its client: in the
// session era on the call's stream, in the stateless era once the client has been told and
// comes again. It waits in this process, and nothing depends on that: what counts is in
// the store.
type approvalWait struct {
	p      *passage
	ctx    context.Context
	end    func()
	until  time.Time
	quiet  time.Time // since when the client has heard nothing
	asked  string    // the request that the client was asked about
	answer question  // of the client, to the question about it
	cancel chan member
}

func (p *passage) newWait() *approvalWait {
	now := p.g.cfg.Now()
	w := &approvalWait{p: p, until: now.Add(p.up.Timeout), quiet: now}
	ctx, stop := p.g.life.within(p.r.Context())
	canceled := ""
	if !p.stateless {
		canceled = p.cancelName(p.msg.id)
		w.cancel = p.g.waiting.addAs(canceled)
	}
	w.ctx, w.end = ctx, func() {
		stop()
		p.g.waiting.remove(canceled)
		p.g.waiting.remove(w.answer.name)
	}
	return w
}

// decided waits until r is not pending any more. The refusal is for a client that does not
// wait, or for which it took too long; it says how to go on.
func (w *approvalWait) decided(r approval.Request) *rpcError {
	p := w.p
	switch {
	case p.stateless && !p.asksURLs():
		return p.errPending(r)
	case p.stateless && p.state.Approval != r.ID: // it begins, or this is another request than it knows of
		return p.errInput(r)
	case p.stateless:
		if e := p.accepts(p.inputFor(approvalKey), r); e != nil {
			return e
		}
	case !p.session.URLs:
		return p.errPending(r)
	case w.asked != r.ID:
		if e := w.ask(r); e != nil {
			return e
		}
	}
	return w.poll(r)
}

// poll looks, with every beat, whether somebody has decided, and whether it may go on.
func (w *approvalWait) poll(r approval.Request) *rpcError {
	tick, stop := w.p.g.cfg.Ticks(beat)
	defer stop()
	for {
		select {
		case m := <-w.answer.answer:
			if e := w.p.answeredWith(m, r); e != nil {
				return e
			}
		case <-w.cancel:
			return w.p.errApproval("canceled", "the client has cancelled the call", r)
		case <-w.ctx.Done():
			return errUnavailable("client_gone", context.Cause(w.ctx))
		case <-w.p.g.life.draining.Done():
			return w.tooLong(r)
		case <-tick:
			if done, e := w.look(r); done || e != nil {
				return e
			}
		}
	}
}

// look is one beat.
func (w *approvalWait) look(r approval.Request) (done bool, e *rpcError) {
	p, now := w.p, w.p.g.cfg.Now()
	if err := p.mayGoOn(); err != nil {
		return false, p.ended
	}
	if !now.Before(p.Expiry()) {
		return false, p.errApproval("token_expired", "the access token has expired while the call waited: send it again with a new one", r)
	}
	found, err := p.g.cfg.Approvals.Get(w.ctx, r.ID)
	switch {
	case err != nil:
		return false, errUnavailable("approvals_unavailable", err)
	case found.State != approval.Pending:
		return true, w.complete(r)
	case !now.Before(w.until):
		return false, w.tooLong(r)
	case now.Sub(w.quiet) >= keepAlive:
		w.quiet = now
		return false, w.gone(p.out.comment())
	}
	return false, nil
}

func (w *approvalWait) tooLong(r approval.Request) *rpcError {
	if w.p.stateless {
		return w.p.errInput(r)
	}
	return w.p.errPending(r)
}

func (w *approvalWait) gone(err error) *rpcError {
	if err != nil {
		return errUnavailable("client_gone", err)
	}
	return nil
}

// ask sends the client to the page (MCP 2025-11-25, elicitation, URL mode).
func (w *approvalWait) ask(r approval.Request) *rpcError {
	p := w.p
	p.g.waiting.remove(w.answer.name)
	name, ch := p.g.waiting.add()
	w.answer, w.asked = question{approvalKey, name, ch}, r.ID
	id, err := seal(p.g, kindAsked, asked{owner: p.owner(stateLifetime), Session: p.session.Upstream, ID: jsontext.Value("0"), Waiting: name, Optional: true})
	if err != nil {
		return errUnavailable("state_unsealable", err)
	}
	return w.gone(p.out.event(sse{data: envelope(quote(id), "elicitation/create", p.asksByURL(r, member{"elicitationId", quote(r.ID)}))}))
}

// complete tells a client of the session era that the page has done its part.
func (w *approvalWait) complete(r approval.Request) *rpcError {
	if w.asked != r.ID {
		return nil
	}
	return w.gone(w.p.out.event(sse{data: envelope(nil, "notifications/elicitation/complete", object{}.with(member{"elicitationId", quote(r.ID)}))}))
}

// errInput is the answer that asks a client of the stateless era (MCP 2026-07-28, MRTR).
// It counts as a refusal, for nothing was done.
func (p *passage) errInput(r approval.Request) *rpcError {
	e := p.errPending(r)
	lifetime := min(stateLifetime, r.Expires.Sub(p.g.cfg.Now()))
	sealed, err := p.sealState(state{owner: p.owner(lifetime), Approval: r.ID})
	if err != nil {
		return errUnavailable("state_unsealable", err)
	}
	question := object{}.with(member{"method", quote("elicitation/create")}, member{"params", p.asksByURL(r)})
	e.instead = object{}.with(member{"resultType", quote(inputRequired)}, member{"inputRequests", object{}.with(member{approvalKey, question})}, member{"requestState", quote(sealed)})
	return e
}

// inputFor is what the client brings for the question of that name; nil: nothing.
func (p *passage) inputFor(key string) jsontext.Value {
	responses, err := readObject(orEmpty(p.msg.params.get("inputResponses")))
	if err != nil {
		return nil
	}
	return responses.get(key)
}

// answeredWith is a client's answer to our request.
func (p *passage) answeredWith(m member, r approval.Request) *rpcError {
	if m.name != "result" { // it could not ask anybody
		return p.errPending(r)
	}
	return p.accepts(m.value, r)
}

// accepts reads what whoever is at the client said. To accept is no more than to have
// been told: the decision is made elsewhere, by others.
func (p *passage) accepts(answer jsontext.Value, r approval.Request) *rpcError {
	switch {
	case answer.Kind() != '{' && p.stateless: // what is missing is asked for again
		return p.errInput(r)
	case stringOf(answer, "action") == "accept":
		return nil
	}
	return p.errApproval("approval_declined", "the call was given up: whoever was told at the client that it waits for an approval did not accept that", r)
}

// asksURLs reports whether the client of this message can be sent to a page.
func (p *passage) asksURLs() bool { return offersURLs(p.meta.capabilities) }

// offersURLs reports whether capabilities have elicitation in URL mode. An empty
// elicitation is for forms alone.
func offersURLs(capabilities jsontext.Value) bool {
	o, err := readObject(orEmpty(capabilities))
	if err != nil {
		return false
	}
	modes, err := readObject(orEmpty(o.get("elicitation")))
	return err == nil && modes.get("url").Kind() == '{'
}
