package gateway

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// Ticks gives the time, every d, until it is stopped.
type Ticks func(d time.Duration) (tick <-chan time.Time, stop func())

func realTicks(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// beat is how often a stream looks whether it may go on.
const beat = time.Second

// read is what came of reading one event.
type read struct {
	ev  sse
	err error
}

// reader reads the events of a stream, one at a time as they are asked for, until it is
// stopped: nothing is buffered, and an upstream waits for the client.
type reader struct {
	body io.Closer
	ch   chan read
	done chan struct{}
	wg   sync.WaitGroup
}

func startReader(body io.Closer, from *events) *reader {
	r := &reader{body: body, ch: make(chan read), done: make(chan struct{})}
	r.wg.Go(func() {
		for {
			ev, err := from.next()
			select {
			case r.ch <- read{ev, err}:
			case <-r.done:
				return
			}
			if err != nil {
				return
			}
		}
	})
	return r
}

func (r *reader) stop() {
	close(r.done)
	_ = r.body.Close()
	r.wg.Wait()
}

// pump hands the events of a stream to on until that says it is done, the stream ends, or
// it may not go on: see mayGoOn.
func (p *passage) pump(ctx context.Context, from *reader, on func(sse) (done bool, err error)) error {
	tick, stop := p.g.cfg.Ticks(beat)
	defer stop()
	quiet := p.g.cfg.Now()
	for {
		var err error
		finished := false
		select {
		case r := <-from.ch:
			if r.err != nil {
				return r.err
			}
			quiet = p.g.cfg.Now()
			finished, err = on(r.ev)
		case <-tick:
			if err = p.mayGoOn(); err == nil && p.g.cfg.Now().Sub(quiet) >= keepAlive {
				quiet, err = p.g.cfg.Now(), p.alive()
			}
		case <-p.stopping():
			p.ended, err = errStopping, errEnded
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil || finished {
			return err
		}
	}
}

// follow is pump for a stream that ends with it.
func (p *passage) follow(ctx context.Context, body io.ReadCloser, from *events, on func(sse) (done bool, err error)) error {
	r := startReader(body, from)
	defer r.stop()
	return p.pump(ctx, r, on)
}

// errEnded is returned where a stream may not go on; passage.ended says why.
var errEnded = errors.New("the stream was ended")

// mayGoOn ends streams with what let them begin: a revocation, a freeze, and for the long
// ones the end of the access token. A call that was allowed may outlive its token.
func (p *passage) mayGoOn() error {
	if p.ended = p.mayStill(); p.ended != nil {
		return errEnded
	}
	if p.long && !p.g.cfg.Now().Before(p.Expiry()) {
		p.ended = &rpcError{Code: codeDenied, Message: "the access token has expired: open the stream again with a new one", reason: "token_expired"}
		return errEnded
	}
	if p.beat != nil {
		return p.beat()
	}
	return nil
}

// mayStill ends what is on its way with a revocation or a freeze.
func (p *passage) mayStill() *rpcError {
	if err := p.g.cfg.Verifier.Alive(p.Verified); err != nil {
		return &rpcError{Code: codeDenied, Message: tokenProblem(err), reason: tokenReason(err), cause: err}
	}
	return p.thawed()
}

// alive keeps the client's connection from being closed for its silence, once there is an
// event stream to it.
func (p *passage) alive() error {
	if !p.out.open {
		p.out.begin()
	}
	if err := p.out.comment(); errors.Is(err, errSlow) || err != nil && (p.stateless || p.long) {
		return err
	}
	return nil
}

// later runs f beside, and has the passage wait for it at its end.
func (p *passage) later(f func()) { p.beside.Go(f) }

// Notifications of an upstream that clients may get: with the answer to a request, and
// otherwise.
var (
	withAnswer = []string{"notifications/progress", "notifications/message"}
	unasked    = []string{"notifications/progress", "notifications/message", "notifications/cancelled", "notifications/elicitation/complete",
		"notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed", "notifications/resources/updated"}
)

// notification is a notification of the upstream's as the client gets it; nil: it does not.
func (p *passage) notification(m peer, sent outgoing) []byte {
	known := unasked
	if p.stateless {
		known = withAnswer
	}
	params, err := readObject(orEmpty(m.params))
	if err != nil || !slices.Contains(known, m.method) || !p.mayHear(m.method, params) {
		p.g.cfg.Log.DebugContext(p.r.Context(), "notification not passed on", "server", p.up.Name, "method", truncate(m.method))
		return nil
	}
	ours := m.method == "notifications/progress" && sent.progress != nil
	if ours && string(params.get("progressToken")) != string(sent.id) {
		return nil // of nobody's request, or of another one of this session
	}
	if p.filtered() {
		return p.progressOnly(m.method, params, sent)
	}
	params, changed, ok := p.mayPass(m, params)
	switch {
	case !ok:
		return nil
	case ours:
		return envelope(nil, m.method, params.with(member{"progressToken", sent.progress}))
	case changed:
		return envelope(nil, m.method, params.with())
	}
	return m.raw
}

// mayPass is the params of a notification without what must not pass. It is not ok for
// one that must not pass at all.
func (p *passage) mayPass(m peer, params object) (_ object, changed, ok bool) {
	redacted, _, err := p.redact(m.params)
	if changed = err == nil && !same(redacted, m.params); changed {
		params, err = readObject(redacted)
	}
	if err != nil {
		p.g.cfg.Log.WarnContext(p.r.Context(), "notification not passed on", "server", p.up.Name, "method", m.method, "error", err)
	}
	return params, changed, err == nil
}

// mayHear holds the news of a resource to what policy says of reading it.
func (p *passage) mayHear(method string, params object) bool {
	if method != "notifications/resources/updated" {
		return true
	}
	return p.mayRead(policies.Request{Resource: text(params.get("uri"))})
}

func orEmpty(v jsontext.Value) jsontext.Value {
	if v == nil {
		return jsontext.Value("{}")
	}
	return v
}
