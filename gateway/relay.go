package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
)

// finisher is step 9: it looks at a result and may replace it; nil keeps it.
type finisher func(ctx context.Context, result object) (jsontext.Value, outcome, *rpcError)

// dialogue is a request of the client on its way to an upstream, and the answer on its
// way back.
type dialogue struct {
	p      *passage
	call   token.Call
	leg    leg
	sent   outgoing
	finish finisher

	ctx     context.Context // of the request to the upstream
	cut     context.CancelCauseFunc
	release func() bool // has the message's end not end it

	reader   *reader // of the upstream's stream, once it has said something before the answer
	from     *events // the same, before
	body     io.ReadCloser
	pending  *peer // what the upstream has asked, and a parked dialogue waits for
	rounds   int   // how often the client was asked for input for it
	numbered bool  // events had ids, from which the client can resume
	slot     *slot // while it is parked: it still counts
	lent     *lent // the same: it is still in use
	gone     bool  // the client does not listen any more, and its request goes on (session era)
}

// relay sends the client's message and passes on the answer.
func (p *passage) relay(ctx context.Context, call token.Call, finish finisher) (outcome, *rpcError) {
	if p.state.Parked != "" {
		return p.resumeParked(ctx, call, finish)
	}
	d := &dialogue{p: p, call: call, finish: finish}
	if p.stateless { // only such a client is answered before its upstream is
		d.detach(ctx)
	} else {
		d.ctx, d.cut, d.release = ctx, func(error) {}, func() bool { return true }
	}
	resp, failure := d.send()
	if failure != nil {
		d.cut(nil)
		return outcome{}, failure
	}
	return d.receive(resp)
}

// detach gives the dialogue a context of its own, which ends with that of the message
// unless the dialogue is parked.
func (d *dialogue) detach(ctx context.Context) {
	limited, end := context.WithTimeout(lentOf(ctx).within(context.WithoutCancel(ctx)), d.p.up.Timeout+parkedFor)
	own, cut := context.WithCancelCause(limited)
	d.ctx, d.cut = own, func(why error) { cut(why); end() }
	d.attach(ctx)
}

func (d *dialogue) attach(ctx context.Context) {
	d.release = context.AfterFunc(ctx, func() { d.cut(context.Cause(ctx)) })
}

// send posts the message. A session that the gateway keeps and the upstream has ended is
// opened again: 404 says that nothing was done.
func (d *dialogue) send() (*http.Response, *rpcError) {
	for again := true; ; again = false {
		var failure *rpcError
		if d.leg, failure = d.p.leg(d.ctx, d.call); failure != nil {
			return nil, failure
		}
		d.sent = d.p.dress(d.leg)
		if d.rounds > 0 { // a retry is another request (MCP 2026-07-28, MRTR)
			d.sent = d.retried(d.sent)
		}
		resp, err := d.p.g.post(d.ctx, d.p.up, d.call, d.leg, d.sent)
		if err != nil {
			return nil, upstreamError(err)
		}
		if resp.StatusCode != http.StatusNotFound || d.leg.shared == nil || !again {
			return resp, nil
		}
		drain(resp)
		d.p.up.shared.drop(d.leg.shared)
		if d.p.tool == nil { // else there will be no session either
			if d.call, failure = d.p.again(d.ctx); failure != nil { // who counts tokens has spent this one
				return nil, failure
			}
		}
	}
}

func (d *dialogue) receive(resp *http.Response) (outcome, *rpcError) {
	if resp.StatusCode != http.StatusOK {
		return d.refused(resp)
	}
	if mediaType(resp.Header) == "text/event-stream" {
		return d.stream(resp)
	}
	a, err := readAnswer(resp, d.sent.id, d.p.up.echoes)
	drain(resp)
	if err != nil {
		return outcome{}, answerError(err)
	}
	return d.finished(a)
}

// refused is an answer with an HTTP error. A server of the stateless era says in its body
// what is wrong with a request; what else there is is the upstream's own trouble.
func (d *dialogue) refused(resp *http.Response) (outcome, *rpcError) {
	defer drain(resp)
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return outcome{}, statusError(resp.StatusCode)
	}
	m, err := d.p.up.echoes.parse(body)
	said := err == nil && m.fault != nil && (bytes.Equal(m.id, d.sent.id) || m.id.Kind() == 'n')
	if !said || resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusNotFound {
		if d.leg.stateless && !d.p.up.command() {
			d.p.up.era.forget()
			return outcome{}, errUnavailable("upstream_failed", fmt.Errorf("HTTP %d", resp.StatusCode))
		}
		return outcome{}, d.p.up.said(resp.StatusCode, body)
	}
	return d.fault(m)
}

// readAnswer reads the answer to the request with the id, from a JSON body or an event
// stream on which nothing else counts, without what the server must not say.
func readAnswer(resp *http.Response, id jsontext.Value, without *echoes) (peer, error) {
	switch mediaType(resp.Header) {
	case "application/json":
		raw, err := readAll(http.MaxBytesReader(nil, resp.Body, maxResponse), resp.ContentLength)
		if err != nil {
			return peer{}, err
		}
		m, err := without.parse(raw)
		if err == nil {
			err = m.to(id)
		}
		return m, err
	case "text/event-stream":
		for events := newEvents(http.MaxBytesReader(nil, resp.Body, maxResponse)); ; {
			ev, err := events.next()
			if err != nil {
				return peer{}, fmt.Errorf("%w: %w", errNoFinal, err)
			}
			if m, err := without.parse(ev.data); len(ev.data) > 0 && (err != nil || m.answer()) {
				if err == nil {
					err = m.to(id)
				}
				return m, err
			}
		}
	}
	return peer{}, fmt.Errorf("content type %q", truncate(resp.Header.Get("Content-Type")))
}

// stream reads the events of the answer. The first is waited for here: it often is the
// answer.
func (d *dialogue) stream(resp *http.Response) (outcome, *rpcError) {
	d.body, d.from = resp.Body, newEvents(resp.Body)
	ev, err := d.from.next()
	if err != nil {
		_ = resp.Body.Close()
		return d.broken(err)
	}
	a, done, err := d.event(ev)
	switch {
	case errors.Is(err, errParked):
		return d.park()
	case err == nil && done:
		d.p.later(func() { drainStream(resp) })
		return d.finished(a)
	case err == nil:
		return d.follow()
	}
	_ = resp.Body.Close()
	return d.broken(err)
}

// follow reads on until the answer.
func (d *dialogue) follow() (outcome, *rpcError) {
	if d.reader == nil {
		d.reader = startReader(d.body, d.from)
	}
	var a peer
	err := d.p.pump(d.ctx, d.reader, func(ev sse) (done bool, err error) {
		a, done, err = d.event(ev)
		return done, err
	})
	if errors.Is(err, errParked) {
		return d.park()
	}
	d.reader.stop()
	d.reader = nil
	if err != nil {
		return d.broken(err)
	}
	return d.finished(a)
}

// broken is a stream that ended before the answer.
func (d *dialogue) broken(err error) (outcome, *rpcError) {
	failure := answerError(err)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && d.numbered:
		return outcome{status: "to_be_resumed", answer: func() {}}, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return outcome{}, answerError(fmt.Errorf("%w: %w", errNoFinal, err))
	case errors.Is(err, errSlow):
		failure = &rpcError{Code: codeInternal, Message: "the client does not take its answer", reason: "client_too_slow", cause: err}
	case errors.Is(err, errEnded):
		failure = d.p.ended
	case errors.As(err, new(*rpcError)):
	case d.ctx.Err() == nil:
		return outcome{}, failure
	}
	d.cancel()
	return outcome{}, failure
}

// event takes one event of the upstream's stream.
func (d *dialogue) event(ev sse) (a peer, done bool, err error) {
	if len(ev.data) == 0 {
		if d.leg.shared != nil || d.leg.stateless {
			return a, false, nil
		}
		return a, false, d.pass(ev, nil)
	}
	m, err := d.p.up.echoes.parse(ev.data)
	switch {
	case err != nil:
		return m, false, err
	case m.answer():
		d.resumeAt(ev) // before the answer, in case it is lost
		return m, true, m.to(d.sent.id)
	case m.notification():
		raw := d.p.notification(m, d.sent)
		if raw == nil {
			return m, false, nil
		}
		return m, false, d.pass(ev, raw)
	}
	return m, false, d.asked(ev, m)
}

// resumeAt notes the id of the event with the answer.
func (d *dialogue) resumeAt(ev sse) {
	if id := d.eventID(d.p.up.echoes.event(ev)); id != "" {
		d.p.out.last = id
	}
}

// pass sends an event on to the client. One that has gone ends nothing in the session era.
func (d *dialogue) pass(ev sse, raw []byte) error {
	if d.gone {
		return nil
	}
	ev = d.p.up.echoes.event(ev)
	err := d.p.out.event(sse{id: d.eventID(ev), data: raw, retry: ev.retry, prime: raw == nil})
	if err != nil && !errors.Is(err, errSlow) && !d.p.stateless {
		d.gone = true
		return nil
	}
	return err
}

// eventID is an id of ours for an event of the upstream's.
func (d *dialogue) eventID(ev sse) string {
	unnamed := d.p.msg.method == "completion/complete" // whose late answer could not be decided again
	if ev.id == "" || d.leg.shared != nil || d.leg.stateless || unnamed {
		return ""
	}
	name, _ := d.p.msg.named()
	id, err := seal(d.p.g, kindEvent, d.p.toResume(event{owner: d.p.owner(sessionLifetime), Session: d.leg.session, Event: ev.id, Method: d.p.msg.method, Name: name, ID: d.p.msg.id}))
	if err != nil || len(id) > maxHandle { // it would not be opened again
		return ""
	}
	d.numbered = true
	return id
}

// cancel tells an upstream of the session era to stop; one of the stateless era knows by
// the end of its stream.
func (d *dialogue) cancel() {
	in := lentOf(d.ctx)
	if d.leg.stateless || d.sent.id == nil || in != nil && in.over.Err() != nil {
		return
	}
	p := d.p
	p.later(func() {
		ctx, cancel := context.WithTimeout(in.in(context.WithoutCancel(p.r.Context())), 10*time.Second)
		defer cancel()
		params := object{}.with(member{"requestId", d.sent.id}, member{"reason", quote("the client has gone")})
		if err := p.tell(ctx, d.leg, envelope(nil, "notifications/cancelled", params)); err != nil {
			p.g.cfg.Log.WarnContext(ctx, "cancel at the upstream", "server", p.up.Name, "error", err)
		}
	})
}

// tell posts what has no answer.
func (p *passage) tell(ctx context.Context, l leg, body []byte) error {
	call, err := p.sessionCall(ctx)
	if err != nil {
		return err
	}
	ctx, in, failure := p.borrow(ctx, call, "")
	if failure != nil {
		return failure
	}
	defer in.end()
	resp, err := p.g.post(ctx, p.up, call, l, outgoing{body: body})
	if err != nil {
		return err
	}
	drain(resp)
	if resp.StatusCode/100 != 2 {
		return statusError(resp.StatusCode)
	}
	return nil
}

// sessionCall is a call token for what belongs to a session, rather than to one call.
func (p *passage) sessionCall(ctx context.Context) (token.Call, error) {
	if p.tool != nil {
		return token.Call{}, errOneCall
	}
	return p.g.callToken(ctx, p.access, p.g.sessionSpec(p.up))
}

var errOneCall = errors.New("a tool token is good for one call, and for no session around it")

// Codes that one era has and the other must not see.
const (
	codeNoResource = -32002 // resource not found, session era
	codeURLNeeded  = -32042 // URL elicitation required, 2025-11-25
)
