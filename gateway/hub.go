package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/wicketgate/wicketgate/policies"
)

// maxUnheard is how many pieces of news wait for a subscriber at most. One that is
// further behind is ended, so that it knows that it has missed something.
const maxUnheard = 64

// hub spreads what a session that the gateway keeps says unasked over the subscriptions
// of its caller: the session has one such stream, and the caller may have several.
type hub struct {
	mu        sync.Mutex // guards what follows
	listeners map[*listener]bool
	stream    *hubStream     // nil: there is none
	resources map[string]int // how many subscriptions each URI has
}

// hubStream is the stream of the session, while somebody reads it.
type hubStream struct {
	cancel  context.CancelFunc
	reading sync.WaitGroup
}

func (s *hubStream) stop() {
	s.cancel()
	s.reading.Wait()
}

// listener is one subscription. Its channel is closed where it has fallen behind or the
// upstream's stream has ended.
type listener struct {
	news chan peer
	gone bool
}

func (h *hub) add(l *listener, start func() *hubStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners, h.resources = map[*listener]bool{}, map[string]int{}
	}
	h.listeners[l] = true
	if h.stream == nil {
		h.stream = start()
	}
}

func (h *hub) remove(l *listener) {
	h.mu.Lock()
	delete(h.listeners, l)
	stream := h.stream
	if len(h.listeners) > 0 || stream == nil {
		h.mu.Unlock()
		return
	}
	h.stream = nil
	h.mu.Unlock()
	stream.stop()
}

// spread hands one piece of news to everybody.
func (h *hub) spread(m peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		select {
		case l.news <- m:
		default:
			h.end(l)
		}
	}
}

// end closes a listener. The caller holds h.mu.
func (h *hub) end(l *listener) {
	if !l.gone {
		l.gone = true
		close(l.news)
	}
	delete(h.listeners, l)
}

// close ends all of them: the upstream's stream has ended. Who comes next has another one.
func (h *hub) close(ended *hubStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stream != ended {
		return
	}
	h.stream = nil
	for l := range h.listeners {
		h.end(l)
	}
}

// count adds to the subscriptions of a URI, and reports whether there are any.
func (h *hub) count(uri string, by int) (before, after bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.resources[uri]
	if h.resources[uri] = n + by; n+by == 0 {
		delete(h.resources, uri)
	}
	return n > 0, n+by > 0
}

// subscribeShared is subscriptions/listen at an upstream of the session era.
func (p *passage) subscribeShared(ctx context.Context, l leg, s subscription) (outcome, *rpcError) {
	h, me := &l.shared.hub, &listener{news: make(chan peer, maxUnheard)}
	h.add(me, func() *hubStream { return p.startHub(l) })
	defer h.remove(me)
	honoured, err := p.subscribeResources(ctx, l, s.resources)
	defer p.unsubscribeResources(l, honoured)
	if err != nil {
		return outcome{}, upstreamError(err)
	}
	s.resources = honoured
	p.announce(p.subscriptionMeta(), append([]string{""}, s.lists...)...)
	if err := p.acknowledge(s); err != nil {
		return outcome{status: "ended", answer: func() {}}, nil
	}
	return (&dialogue{p: p}).endless(p.hearNews(ctx, me, s))
}

// hearNews passes on the news until the subscription ends.
func (p *passage) hearNews(ctx context.Context, me *listener, s subscription) error {
	tick, stop := p.g.cfg.Ticks(beat)
	defer stop()
	quiet := p.g.cfg.Now()
	for {
		var err error
		select {
		case m, ok := <-me.news:
			if !ok {
				return errors.New("the upstream's stream ended, or the client is too far behind")
			}
			quiet, err = p.g.cfg.Now(), p.newsOf(m, s)
		case <-tick:
			if err = p.mayGoOn(); err == nil && p.g.cfg.Now().Sub(quiet) >= keepAlive {
				quiet, err = p.g.cfg.Now(), p.out.comment()
			}
		case <-p.stopping():
			p.ended, err = errStopping, errEnded
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// startHub opens the session's stream.
func (p *passage) startHub(l leg) *hubStream {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.r.Context()))
	q, h, s := p.aside("GET"), &l.shared.hub, &hubStream{cancel: cancel}
	s.reading.Go(func() {
		defer cancel()
		if err := q.readHub(ctx, l, h); err != nil && ctx.Err() == nil {
			q.g.cfg.Log.WarnContext(ctx, "stream of the upstream ended", "server", q.up.Name, "error", err)
			h.close(s)
		}
	})
	return s
}

// readHub reads the session's stream. An upstream that has none is no error: what the
// gateway has to tell itself is told.
func (p *passage) readHub(ctx context.Context, l leg, h *hub) error {
	call, err := p.sessionCall(ctx)
	if err != nil {
		return err
	}
	ctx, in, failure := p.borrow(ctx, call, http.MethodGet)
	if failure != nil {
		return failure
	}
	defer in.end()
	resp, err := p.g.get(ctx, p.up, call, l, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusMethodNotAllowed {
		return nil
	}
	if resp.StatusCode == http.StatusNotFound { // whoever comes next has another session
		p.up.shared.drop(l.shared)
	}
	if resp.StatusCode != http.StatusOK || mediaType(resp.Header) != "text/event-stream" {
		return statusError(resp.StatusCode)
	}
	for events := newEvents(resp.Body); ; {
		ev, err := events.next()
		if err != nil {
			return err
		}
		if len(ev.data) == 0 {
			continue
		}
		m, err := p.up.echoes.parse(ev.data)
		if err != nil {
			return err
		}
		switch {
		case m.notification():
			h.spread(m)
		case !m.answer():
			if err := p.answerHere(ctx, l, m); err != nil {
				p.g.cfg.Log.WarnContext(ctx, "answer a request of the upstream", "server", p.up.Name, "error", err)
			}
		}
	}
}

// subscribeResources subscribes to what nobody has subscribed to yet, and returns what the
// upstream agreed to.
func (p *passage) subscribeResources(ctx context.Context, l leg, uris []string) ([]string, error) {
	var honoured []string
	for _, uri := range uris {
		had, _ := l.shared.hub.count(uri, +1)
		if !had {
			ok, err := p.askResource(ctx, l, "resources/subscribe", uri)
			if err != nil || !ok {
				l.shared.hub.count(uri, -1)
			}
			if err != nil {
				return honoured, err
			}
			if !ok {
				continue
			}
		}
		honoured = append(honoured, uri)
	}
	return honoured, nil
}

func (p *passage) unsubscribeResources(l leg, uris []string) {
	ctx, cancel := p.g.lasting(p.lent.in(p.r.Context()), p.up)
	defer cancel()
	for _, uri := range uris {
		if _, left := l.shared.hub.count(uri, -1); left {
			continue
		}
		if _, err := p.askResource(ctx, l, "resources/unsubscribe", uri); err != nil {
			p.g.cfg.Log.WarnContext(ctx, "unsubscribe at the upstream", "server", p.up.Name, "error", err)
			return
		}
	}
}

// askResource reports whether the upstream did it.
func (p *passage) askResource(ctx context.Context, l leg, method, uri string) (bool, error) {
	call, err := p.sessionCall(ctx)
	if err != nil {
		return false, err
	}
	ctx, in, failure := p.borrow(ctx, call, method)
	if failure != nil {
		return false, failure
	}
	defer in.end()
	id := l.shared.next()
	resp, err := p.g.post(ctx, p.up, call, l, outgoing{body: envelope(id, method, object{}.with(member{"uri", quote(uri)})), method: method})
	if err != nil {
		return false, err
	}
	defer drain(resp)
	if resp.StatusCode == http.StatusNotFound {
		p.up.shared.drop(l.shared)
	}
	if resp.StatusCode != http.StatusOK {
		return false, statusError(resp.StatusCode)
	}
	a, err := readAnswer(resp, id, p.up.echoes)
	return err == nil && a.result != nil, err
}

// newsOf passes on one notification, if it was asked for and policy allows it.
func (p *passage) newsOf(m peer, s subscription) error {
	params, err := readObject(orEmpty(m.params))
	if err != nil {
		return err
	}
	wanted := slices.Contains(s.lists, m.method)
	if m.method == resourceUpdated {
		uri := text(params.get("uri"))
		wanted = slices.Contains(s.resources, uri) && p.mayRead(policies.Request{Resource: uri})
	}
	if !wanted {
		return nil
	}
	params, _, ok := p.mayPass(m, params)
	if !ok {
		return nil
	}
	raw := envelope(nil, m.method, params.with(member{"_meta", p.subscriptionMeta().with()}))
	if err := p.slot.spend(len(raw)); err != nil {
		return err
	}
	return p.out.event(sse{data: raw})
}
