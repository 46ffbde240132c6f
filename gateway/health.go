package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Bounds of what waits for an upstream, where the configuration has no other ones.
const (
	callTimeout  = 2 * time.Minute
	maxFailures  = 5 // in a row, and the upstream is left alone
	circuitPause = 10 * time.Second
)

// health stops sending to an upstream that does not answer, so that it costs nobody else
// anything: after maxFailures in a row its circuit is open and refuses at once; after a
// pause, one message at a time tries again. A failure is a connection that could not be
// made or broke, a timeout, or a 5xx. What an upstream says is never one, however bad, and
// neither is a client that goes away.
type health struct {
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
}

// errNoVerdict says nothing of the upstream.
var errNoVerdict = errors.New("the upstream was not at fault")

var errFailed = errors.New("the upstream answered HTTP 5xx")

func newHealth(name string, pause time.Duration, changed func(name string, from, to gobreaker.State)) health {
	return health{gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{Name: name, MaxRequests: 1, Timeout: pause,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= maxFailures },
		IsExcluded: func(err error) bool {
			return errors.Is(err, errNoVerdict) || reasonOf(err, "") == errCredentialEnded.reason
		},
		OnStateChange: changed})}
}

// changed tells operators, once each way.
func (g *Gateway) changed(name string, from, to gobreaker.State) {
	switch to {
	case gobreaker.StateOpen:
		g.cfg.Log.Error("server does not answer: its calls are refused for a while", "server", name)
	case gobreaker.StateClosed:
		g.cfg.Log.Info("server answers again", "server", name)
	}
}

// send does one request, unless the circuit is open. lasting is for streams that say
// nothing for hours: that they are open shows nothing of how calls fare.
func (g *Gateway) send(up *upstream, req *http.Request, lasting bool) (*http.Response, error) {
	judge, err := up.health.circuit.Allow()
	if err != nil {
		return nil, errUnavailable("upstream_circuit_open", err)
	}
	up.sent.Add(max(req.ContentLength, 0))
	b := &body{ctx: req.Context(), up: up, judge: judge}
	resp, err := g.dial(up, req)
	switch {
	case err != nil:
		b.end(err)
		return nil, up.echoes.err(err)
	case up.lender.refused(lentOf(req.Context()), resp.StatusCode):
		b.end(nil)
		_ = resp.Body.Close()
		g.cfg.Log.WarnContext(req.Context(), "message refused", "server", up.Name, "error", errWantsAll)
		return nil, errUnavailable("upstream_refused", errWantsAll)
	case up.full(resp):
		b.end(errNoVerdict)
	case resp.StatusCode >= http.StatusInternalServerError:
		b.end(errFailed)
	case lasting:
		b.end(errNoVerdict)
	}
	b.ReadCloser, resp.Body = resp.Body, b
	if up.echoes.headers(resp.Header) {
		g.cfg.Log.WarnContext(req.Context(), "the server answered its credential in a header, which is left out", "server", up.Name)
	}
	return resp, nil
}

// dial sends, and tries once more where no connection could be made: then nothing was
// sent. After that nobody knows what an upstream has done, and nothing is sent twice.
func (g *Gateway) dial(up *upstream, req *http.Request) (*http.Response, error) {
	resp, err := g.transport(up).RoundTrip(req) // not a client: no redirect is followed, no cookie kept
	if err == nil || !undialled(err) || req.Context().Err() != nil {
		return resp, err
	}
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return g.transport(up).RoundTrip(again)
}

// undialled reports whether there never was a connection. One that nobody answered in
// time is not tried again.
func undialled(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" && !op.Timeout()
}

// body is what an upstream answers. It counts the bytes, and what reading it came to is
// how the upstream fares.
type body struct {
	io.ReadCloser
	ctx   context.Context // of the request
	up    *upstream
	judge func(error)
	once  sync.Once // guards judge
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.up.received.Add(int64(n))
	switch {
	case errors.Is(err, io.EOF):
		b.end(nil)
	case err != nil:
		b.end(err)
	}
	if over := slotOf(b.ctx).spend(n); over != nil {
		return 0, over
	}
	return n, b.up.echoes.err(err)
}

// Close implements io.Closer: an answer of which nobody wanted more was good.
func (b *body) Close() error {
	b.end(nil)
	return b.ReadCloser.Close()
}

// heard is called for what an upstream says before its answer: it lives, however long the
// answer takes, and perhaps it is for a person to give.
func (b *body) heard() { b.end(nil) }

func (b *body) end(err error) {
	if cause := context.Cause(b.ctx); errors.Is(cause, context.DeadlineExceeded) {
		err = cause
	} else if cause != nil {
		err = errNoVerdict
	}
	b.once.Do(func() { b.judge(err) })
}

// opening bounds how long a stream without an end may take to open; opened says that it
// has.
func (g *Gateway) opening(ctx context.Context, up *upstream) (_ context.Context, opened func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(up.Timeout, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() { t.Stop() }
}

// lasting is the context of what one caller's disconnect must not end: others wait for it
// too, or the session era says so. It ends with the timeout, with the gateway, or with its
// credential.
func (g *Gateway) lasting(ctx context.Context, up *upstream) (context.Context, context.CancelFunc) {
	return g.bounded(lentOf(ctx).within(context.WithoutCancel(ctx)), up)
}

// bounded is ctx with the upstream's timeout.
func (g *Gateway) bounded(ctx context.Context, up *upstream) (context.Context, context.CancelFunc) {
	ctx, end := g.life.within(ctx)
	ctx, cancel := context.WithTimeout(ctx, up.Timeout)
	return ctx, func() { cancel(); end() }
}
