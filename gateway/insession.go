package gateway

import (
	"context"
	"net/http"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// resume opens the session that the client names (MCP 2025-11-25, transports: 400
// without one, 404 for one that is not, or no longer, the caller's).
func (p *passage) resume() *rpcError {
	handle := p.r.Header.Get("Mcp-Session-Id")
	if handle == "" {
		return &rpcError{Code: codeInvalidRequest, Message: "Mcp-Session-Id is missing: send initialize first", status: http.StatusBadRequest, reason: "session_missing"}
	}
	s, ok := p.g.openSession(handle, p.endpoint, p.Verified)
	if !ok {
		return errNoSession("session_not_the_callers")
	}
	if p.g.ended.has(handle) {
		return errNoSession("session_ended")
	}
	p.session = s
	if v := p.r.Header.Get("MCP-Protocol-Version"); v != "" && v != s.Version {
		return &rpcError{Code: codeInvalidRequest, Message: "MCP-Protocol-Version is not the one of this session", status: http.StatusBadRequest, reason: "version_mismatch"}
	}
	return nil
}

func errNoSession(reason string) *rpcError {
	return &rpcError{Code: codeInvalidRequest, Message: "Session not found: send initialize again", status: http.StatusNotFound, reason: reason}
}

// notify passes on a notification of the client.
func (p *passage) notify() *rpcError {
	switch p.msg.method {
	case "notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed":
	default:
		return p.errNoMethod()
	}
	p.canceled()
	if p.session.Translated { // the stateless era has none of them
		return p.performHere(func(context.Context) (outcome, *rpcError) {
			return outcome{status: "accepted", answer: func() { p.w.WriteHeader(http.StatusAccepted) }}, nil
		})
	}
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		return p.accepted(ctx, call, p.msg.raw)
	})
}

// accepted posts what has no answer, in the client's session.
func (p *passage) accepted(ctx context.Context, call token.Call, body []byte) (outcome, *rpcError) {
	resp, err := p.g.post(ctx, p.up, call, p.session.own(), outgoing{body: body})
	if err != nil {
		return outcome{}, upstreamError(err)
	}
	defer drain(resp)
	if resp.StatusCode/100 != 2 {
		return outcome{}, statusError(resp.StatusCode)
	}
	return outcome{status: "accepted", answer: func() { p.w.WriteHeader(http.StatusAccepted) }}, nil
}

// end is DELETE: the client ends its session.
func (p *passage) end() {
	p.event.Action = "DELETE"
	if err := p.thawed(); err != nil {
		p.fail(err)
		return
	}
	if err := p.resume(); err != nil {
		p.fail(err)
		return
	}
	if p.tool != nil {
		p.fail(p.stepUp(oauth.ScopeTools))
		return
	}
	if err := p.endSession(); err != nil {
		p.fail(err)
	}
}

func (p *passage) endSession() *rpcError {
	ended := func() (outcome, *rpcError) { // whatever the upstream made of it
		p.g.ended.add(p.r.Header.Get("Mcp-Session-Id"), p.session.Expires, p.g.cfg.Now().Unix())
		p.endLent()
		return outcome{status: "ended", answer: func() { p.w.WriteHeader(http.StatusNoContent) }}, nil
	}
	if p.session.Upstream == "" {
		return p.performHere(func(context.Context) (outcome, *rpcError) { return ended() })
	}
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		if err := p.g.deleteSession(ctx, p.up, call, p.session.own()); err != nil {
			return outcome{}, upstreamError(err)
		}
		return ended()
	})
}
