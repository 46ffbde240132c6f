package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// life is how the gateway ends: first the streams that have no end of their own, then
// everything.
type life struct {
	draining, closing context.Context // done from then on
	drain, close      context.CancelFunc

	mu      sync.Mutex // guards ended and the beginning of running
	ended   bool
	running sync.WaitGroup
}

func newLife() *life {
	l := &life{}
	l.draining, l.drain = context.WithCancel(context.Background())
	l.closing, l.close = context.WithCancel(context.Background())
	return l
}

// begin counts a request, unless it comes too late.
func (l *life) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.running.Add(1)
	return true
}

// alive serves as long as the gateway does.
func (g *Gateway) alive(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !g.life.begin() {
			writeRPC(w, nil, nil, errStopping)
			return
		}
		defer g.life.running.Done()
		serve(w, r)
	}
}

// wait lets no more begin, and waits for those that run.
func (l *life) wait(ctx context.Context) error {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	done := make(chan struct{})
	go func() { l.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("some calls did not end")
	}
}

// errStopping is what ends where the gateway does.
var errStopping = &rpcError{Code: codeInternal, Message: "the gateway is stopping: try again", status: http.StatusServiceUnavailable, reason: "gateway_stopping"}

// within is ctx, which ends with the gateway too.
func (l *life) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.closing, func() { cancel(errStopping) })
	return ctx, func() { stop(); cancel(nil) }
}

// stopping is done when this stream is to end because the gateway does: one that belongs
// to a call may go on until the call is answered.
func (p *passage) stopping() <-chan struct{} {
	if !p.long {
		return nil
	}
	return p.g.life.draining.Done()
}

// Drain ends, with grace, the streams that have no end of their own, those that are open
// and those that are opened from now on. Calls go on.
func (g *Gateway) Drain() { g.life.drain() }

// Close ends everything that is left: calls are cancelled and waited for, and the sessions
// that the gateway keeps with upstreams are ended there, as far as ctx allows.
func (g *Gateway) Close(ctx context.Context) error {
	g.life.drain()
	g.life.close()
	err := g.life.wait(ctx)
	g.parked.abandonAll()
	for _, up := range g.upstreams {
		g.endSessions(ctx, up, up.shared.takeAll())
	}
	return err
}
