package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// hop is one message on its way through an Enforcer.
type hop struct {
	*Enforcer
	w     http.ResponseWriter
	r     *http.Request
	call  token.Call
	msg   message
	meta  meta
	leg   leg
	out   *stream
	event audit.Event

	lent   *lent             // the credential that it is sent with; nil: none
	once   bool              // the token is good for this message alone
	tool   *tool             // that is called; nil: none
	mirror func(http.Header) // sets the headers that repeat arguments; may be nil

	numbered bool           // events had ids, from which the caller can resume
	beside   sync.WaitGroup // what the end of the message waits for
}

func newHop(e *Enforcer, w http.ResponseWriter, r *http.Request, call token.Call) *hop {
	h := &hop{Enforcer: e, w: w, r: r, call: call, out: &stream{w: w, patience: slowClient}, event: audit.Event{
		Subject: call.Subject().String(), Client: call.ClientID().String(), Actors: call.Actors().Chain(), Txn: call.Txn(), TokenID: call.ID(),
		Source: web.Source(r), RequestID: web.RequestID(r.Context()), Action: r.Method, Resource: e.cfg.Resource.String()}}
	h.described()
	return h
}

// post is a message.
func (h *hop) post() {
	if e := h.read(); e != nil {
		h.fail(e)
		return
	}
	if e := h.check(); e != nil {
		h.fail(e)
		return
	}
	h.perform(func(ctx context.Context) (outcome, *rpcError) {
		name, _ := h.msg.named()
		m := outgoing{body: h.msg.raw, method: h.msg.method, name: name, mirror: h.mirror} // the very bytes that were checked
		resp, err := h.send(ctx, h.call, http.MethodPost, m.body, m.header(h.leg))
		if err != nil {
			return outcome{}, errUnreached(err)
		}
		return h.receive(ctx, resp)
	})
}

// read is step 2. The token was good when the headers came, and must be when the body has.
func (h *hop) read() *rpcError {
	if t, _, err := mime.ParseMediaType(h.r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &rpcError{Code: codeInvalidRequest, Message: "Content-Type must be application/json", status: http.StatusUnsupportedMediaType, reason: "content_type"}
	}
	body, err := readAll(h.r.Body, h.r.ContentLength)
	if err != nil {
		return tooLarge(err)
	}
	if !h.cfg.Now().Before(h.call.Expiry()) {
		return &rpcError{Code: codeDenied, Message: "the call token has expired", status: http.StatusForbidden, reason: "token_expired"}
	}
	if h.msg, err = parseMessage(body); err != nil {
		return &rpcError{Code: parseCode(err), Message: plain(err), status: http.StatusBadRequest, reason: "malformed", cause: err}
	}
	if h.event.Action = truncate(h.msg.method); h.msg.response {
		h.event.Action = "response"
	}
	return h.way()
}

// perform records the intent, spends the token, does it, and records what came of it.
func (h *hop) perform(do func(ctx context.Context) (outcome, *rpcError)) {
	e := h.event
	e.Kind, e.Call, e.Decision, e.Reason = audit.Intent, rand.Text(), audit.Allow, "call_token"
	if err := h.cfg.Audit.Record(h.r.Context(), e); err != nil {
		h.out.fail(h.msg.id, withStatus(http.StatusServiceUnavailable, errUnavailable("audit_unavailable", err)))
		return
	}
	start := h.cfg.Now()
	ctx, cancel := context.WithCancel(h.r.Context()) // the caller bounds how long it waits, and cancels by going away
	defer func() { h.lent.end() }()
	defer h.beside.Wait()
	defer cancel()
	failure := h.spend(ctx)
	var out outcome
	if failure == nil {
		out, failure = h.doWith(ctx, e.Call, do)
	}
	done := audit.Event{Kind: audit.Outcome, Call: e.Call, Subject: e.Subject, Client: e.Client, Txn: e.Txn, TokenID: e.TokenID, Server: e.Server, Action: e.Action,
		Tool: e.Tool, Prompt: e.Prompt, URI: e.URI, Approval: e.Approval, Lease: h.lent.lease(), Status: out.status, ResultDigest: out.resultDigest, Redactions: out.redactions, Duration: h.cfg.Now().Sub(start)}
	if failure != nil {
		done.Status, done.Reason = "error", failure.reason
		h.cfg.Log.WarnContext(ctx, "call failed", "action", e.Action, "tool", e.Tool, "request_id", e.RequestID, "error", failure)
	}
	if err := h.cfg.Audit.Record(context.WithoutCancel(ctx), done); err != nil && failure == nil {
		failure = errUnavailable("audit_unavailable", err) // it has happened; nobody may take it for success that left no trace
	}
	if failure != nil {
		h.out.fail(h.msg.id, failure)
		return
	}
	out.answer()
}

// spend is the one use of a token that is for one message.
func (h *hop) spend(ctx context.Context) *rpcError {
	if !h.once {
		return nil
	}
	err := h.cfg.Single.Spend(ctx, h.call.ID(), h.call.Expiry().Add(spentMargin))
	if errors.Is(err, ErrSpent) {
		return &rpcError{Code: codeDenied, Message: "the call token has been used", status: http.StatusForbidden, reason: "token_spent"}
	}
	if err != nil {
		return withStatus(http.StatusServiceUnavailable, errUnavailable("single_use_unknown", err))
	}
	return nil
}

// fail records a refusal, and answers it.
func (h *hop) fail(e *rpcError) {
	ev := h.event
	ev.Kind, ev.Decision, ev.Reason = audit.Denial, audit.Deny, e.reason
	if err := h.cfg.Audit.Record(h.r.Context(), ev); err != nil {
		h.cfg.Log.ErrorContext(h.r.Context(), "record denial", "error", err)
	}
	writeRPC(h.w, h.msg.id, nil, e)
}

// errUnreached is for a server that is not there. The caller shall see that as it would
// without us.
func errUnreached(err error) *rpcError { return withStatus(http.StatusBadGateway, upstreamError(err)) }

func withStatus(status int, e *rpcError) *rpcError {
	e.status = status
	return e
}

// send sends a message to the server. It needs a call token, and sends it to nobody.
func (e *Enforcer) send(ctx context.Context, _ token.Call, method string, body []byte, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := e.cfg.Transport.RoundTrip(req) // not a client: no redirect is followed, no cookie kept
	if err != nil {
		return nil, e.echoes.err(err)
	}
	if e.echoes != nil {
		e.echoes.headers(resp.Header)
		resp.Body = wary{resp.Body, e.echoes}
	}
	return resp, nil
}

// receive passes on the server's answer.
func (h *hop) receive(ctx context.Context, resp *http.Response) (outcome, *rpcError) {
	switch {
	case h.msg.id == nil || h.msg.response:
		if resp.StatusCode/100 != 2 {
			return h.refused(resp)
		}
		drain(resp)
		return outcome{status: "accepted", answer: func() { h.w.WriteHeader(http.StatusAccepted) }}, nil
	case resp.StatusCode != http.StatusOK:
		return h.refused(resp)
	}
	if id := visibleASCII(resp.Header.Get("Mcp-Session-Id")); id != "" && h.msg.method == "initialize" {
		h.w.Header().Set("Mcp-Session-Id", id)
	}
	if mediaType(resp.Header) == "text/event-stream" {
		return h.follow(ctx, resp)
	}
	defer drain(resp)
	a, err := readAnswer(resp, h.msg.id, h.echoes)
	if err != nil {
		return outcome{}, answerError(err)
	}
	return h.finished(ctx, a)
}

// refused passes on a status, and the JSON-RPC error with it where there is one. Whom the
// server wants instead is no news for our caller.
func (h *hop) refused(resp *http.Response) (outcome, *rpcError) {
	defer drain(resp)
	status := resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	m, malformed := h.echoes.parse(body)
	failure := &rpcError{Code: codeInternal, Message: "the server refused the message", status: status, reason: "upstream_failed", cause: fmt.Errorf("HTTP %d", status)}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired:
		failure.status, failure.reason = http.StatusForbidden, "upstream_refused"
		if h.lender.refused(h.lent, status) {
			failure.cause = errWantsAll
		}
	case status < 400:
		failure.status, failure.reason = http.StatusBadGateway, "upstream_malformed"
	case err == nil && malformed == nil && m.fault != nil && (bytes.Equal(m.id, h.msg.id) || m.id.Kind() == 'n'):
		m, redactions, refused := h.clean(m)
		if refused != nil {
			return outcome{}, refused
		}
		return outcome{status: "error_from_upstream", resultDigest: digest(m.raw), redactions: redactions, answer: func() { writeBody(h.w, status, m.raw) }}, nil
	}
	return outcome{}, failure
}

// follow passes on an event stream, until the answer.
func (h *hop) follow(ctx context.Context, resp *http.Response) (outcome, *rpcError) {
	endless := h.msg.id == nil || h.msg.method == "subscriptions/listen"
	if endless {
		h.out.begin()
		_ = h.out.flush() // fails only when the caller has gone
	}
	a, err := h.events(newEvents(resp.Body))
	if err != nil {
		_ = resp.Body.Close()
		return h.broken(ctx, err, endless)
	}
	h.beside.Go(func() { drainStream(resp) })
	return h.finished(ctx, a)
}

var errCallerGone = errors.New("the caller does not take what comes")

// events passes on the events before the answer, each read strictly.
func (h *hop) events(from *events) (peer, error) {
	for {
		ev, err := from.next()
		if err != nil {
			return peer{}, err
		}
		ev = h.echoes.event(ev)
		if len(ev.data) > 0 {
			m, err := h.echoes.parse(ev.data)
			if err != nil {
				return m, err
			}
			if m.answer() && h.msg.id != nil {
				h.out.last = ev.id
				return m, m.to(h.msg.id)
			}
			m, _, failure := h.clean(m)
			if failure != nil {
				return m, failure
			}
			ev.data = m.raw
		}
		h.numbered = h.numbered || ev.id != ""
		ev.prime = ev.id != ""
		if err := h.out.event(ev); err != nil {
			return peer{}, errors.Join(errCallerGone, err)
		}
	}
}

// broken is a stream that ended without an answer.
func (h *hop) broken(ctx context.Context, err error, endless bool) (outcome, *rpcError) {
	ended := outcome{status: "ended", answer: func() {}}
	var cut *rpcError
	switch {
	case errors.As(context.Cause(ctx), &cut):
		return outcome{}, cut
	case ctx.Err() != nil || errors.Is(err, errCallerGone):
		ended.status = "caller_gone"
		return ended, nil
	case errors.Is(err, io.ErrUnexpectedEOF) && (endless || h.numbered):
		return ended, nil // the rest can be asked for
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w: %w", errNoFinal, err)
	}
	return outcome{}, answerError(err)
}

// finished is step 9: a tool's result must be what its definition says. The bytes are the
// server's.
func (h *hop) finished(ctx context.Context, a peer) (outcome, *rpcError) {
	out := outcome{status: "ok"}
	if a.fault != nil {
		out.status = "error_from_upstream"
	} else if h.tool != nil {
		result, err := readObject(a.result)
		if err != nil {
			return outcome{}, errUnavailable("upstream_malformed", err)
		}
		var failure *rpcError
		if text(result.get("resultType")) == inputRequired {
			out.status = inputRequired
		} else if _, out, failure = h.tool.finish(ctx, result); failure != nil {
			return outcome{}, failure
		}
	}
	a, n, failure := h.clean(a)
	if failure != nil {
		return outcome{}, failure
	}
	out.redactions = n
	out.resultDigest, out.answer = digest(a.raw), func() { h.out.final(a.raw) }
	return out, nil
}

// listen is GET, the stream of what a server of the session era says unasked, or the rest
// of one that broke.
func (h *hop) listen() {
	header := http.Header{"Accept": {"text/event-stream"}}
	last, e := h.one("Last-Event-ID")
	if last != "" {
		header["Last-Event-Id"] = []string{last}
	}
	h.around(e, http.MethodGet, header, func(ctx context.Context, resp *http.Response) (outcome, *rpcError) {
		if resp.StatusCode != http.StatusOK {
			return h.refused(resp)
		}
		if mediaType(resp.Header) != "text/event-stream" {
			_ = resp.Body.Close()
			return outcome{}, errUnavailable("upstream_malformed", errors.New("another content type than text/event-stream"))
		}
		return h.follow(ctx, resp)
	})
}

// end is DELETE: the caller ends its session.
func (h *hop) end() {
	h.around(nil, http.MethodDelete, http.Header{}, func(_ context.Context, resp *http.Response) (outcome, *rpcError) {
		if resp.StatusCode/100 != 2 {
			return h.refused(resp)
		}
		drain(resp)
		if h.lender != nil {
			h.lender.from.EndSession(h.sessionName())
		}
		return outcome{status: "ended", answer: func() { h.w.WriteHeader(http.StatusNoContent) }}, nil
	})
}

// around is what belongs to a session and is no message.
func (h *hop) around(e *rpcError, method string, header http.Header, do func(context.Context, *http.Response) (outcome, *rpcError)) {
	if e == nil {
		e = h.inSession()
	}
	if h.call.Details().Type != token.DetailsSession {
		e = errAnotherCall("token_for_another_call")
	}
	if e != nil {
		h.fail(e)
		return
	}
	h.leg.apply(header)
	h.perform(func(ctx context.Context) (outcome, *rpcError) {
		resp, err := h.send(ctx, h.call, method, nil, header)
		if err != nil {
			return outcome{}, errUnreached(err)
		}
		return do(ctx, resp)
	})
}
