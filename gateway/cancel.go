package gateway

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"
)

// errCanceled is what a call comes to that its client has cancelled. It listens no more.
var errCanceled = &rpcError{Code: codeInternal, Message: "the client has cancelled the call", reason: "canceled"}

// cancelName names a call of the client's in its session, for who cancels it.
func (p *passage) cancelName(id jsontext.Value) string {
	return "cancel " + p.r.Header.Get("Mcp-Session-Id") + " " + string(id)
}

// canceled ends a call that waits, or that ends with its client's word, if it does.
func (p *passage) canceled() {
	if p.msg.method == "notifications/cancelled" {
		p.g.waiting.deliver(p.cancelName(p.msg.params.get("requestId")), member{})
	}
}

// cancelable ends ctx when the client cancels its request in the session era, where the
// server is not told by the notification alone: a server of the stateless era knows none,
// and one that is called with a credential might not have the request yet.
func (p *passage) cancelable(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.stateless || p.msg.id == nil || !p.session.Translated && p.up.lender == nil {
		return ctx, func() {}
	}
	ctx, cut := context.WithCancelCause(ctx)
	name := p.cancelName(p.msg.id)
	canceled := p.g.waiting.addAs(name)
	p.beside.Go(func() {
		select {
		case <-canceled:
			cut(errCanceled)
		case <-ctx.Done():
		}
	})
	return ctx, func() { p.g.waiting.remove(name); cut(nil) }
}
