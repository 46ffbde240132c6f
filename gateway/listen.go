package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// listen is GET in the session era: the stream of what the server says unasked, or the
// rest of a stream that broke (MCP 2025-11-25, transports).
func (p *passage) listen() {
	p.event.Action, p.long = "GET", true
	if p.r.Header.Get("Mcp-Session-Id") == "" { // the stateless era has no such stream
		notAllowed(p.w)
		return
	}
	if err := p.mayListen(); err != nil {
		p.fail(err)
		return
	}
	from, err := p.lastEvent()
	if err == nil {
		err = p.open(from)
	}
	if err != nil {
		p.fail(err)
	}
}

func (p *passage) open(from event) *rpcError {
	finish, failure := p.resumed(from)
	if failure != nil {
		return failure
	}
	if p.session.Translated {
		p.announce(object{})
		return p.performHere(p.ownNews)
	}
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		return p.hear(ctx, call, from, finish)
	})
}

func (p *passage) mayListen() *rpcError {
	if err := p.thawed(); err != nil {
		return err
	}
	if err := p.resume(); err != nil {
		return err
	}
	if p.tool != nil || !p.Scope().Covers(token.SessionScope()) {
		return p.stepUp(oauth.ScopeTools)
	}
	return nil
}

// lastEvent is where the stream that broke goes on; the zero event: a new stream.
func (p *passage) lastEvent() (event, *rpcError) {
	handle := p.r.Header.Get("Last-Event-ID")
	if handle == "" {
		return event{}, nil
	}
	e, ok := unseal[event](p.g, kindEvent, handle)
	if !ok || !e.of(p.endpoint, p.Verified, p.g.cfg.Now()) || e.Session != p.session.Upstream || p.session.Translated {
		return event{}, &rpcError{Code: codeInvalidRequest, Message: "Last-Event-ID is not one of this session", status: http.StatusBadRequest, reason: "event_not_the_callers"}
	}
	return e, nil
}

// hear opens the upstream's stream and passes on what comes. An upstream that has none
// leaves the news of the gateway itself.
func (p *passage) hear(ctx context.Context, call token.Call, from event, finish finisher) (outcome, *rpcError) {
	if finish != nil { // the rest of a call takes no longer than a call, and may outlive its token
		p.long = false
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.up.Timeout)
		defer cancel()
	}
	resp, err := p.g.get(ctx, p.up, call, p.session.own(), from.Event)
	if err != nil {
		return outcome{}, upstreamError(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusMethodNotAllowed && from.Event == "":
		p.announce(object{})
		return p.ownNews(ctx)
	case resp.StatusCode == http.StatusMethodNotAllowed:
		return outcome{}, &rpcError{Code: codeInvalidRequest, Message: "the server resumes no streams", status: http.StatusMethodNotAllowed, reason: "not_resumable"}
	case resp.StatusCode != http.StatusOK:
		return outcome{}, statusError(resp.StatusCode)
	case mediaType(resp.Header) != "text/event-stream":
		return outcome{}, errUnavailable("upstream_malformed", fmt.Errorf("content type %q", truncate(resp.Header.Get("Content-Type"))))
	}
	d := &dialogue{p: p, ctx: ctx, cut: func(error) {}, call: call, leg: p.session.own(), sent: outgoing{id: from.ID, method: from.Method, name: from.Name}, finish: finish}
	p.announce(object{})
	p.out.begin()
	if err := p.out.flush(); err != nil {
		return outcome{status: "ended", answer: func() {}}, nil
	}
	return d.endless(p.follow(ctx, resp.Body, newEvents(resp.Body), func(ev sse) (bool, error) { return d.heard(ev) }))
}

// resumed makes ready for the answer that may come: it is decided and looked at as it
// would have been, with the token that is there now. Nil: the stream belongs to no request.
func (p *passage) resumed(from event) (finisher, *rpcError) {
	if from.Method == "" {
		return nil, nil
	}
	p.msg = message{id: from.ID, method: from.Method, params: object{{"name", quote(from.Name)}, {"uri", quote(from.Name)}}}
	if l, lists := listings[from.Method]; lists {
		return func(ctx context.Context, result object) (jsontext.Value, outcome, *rpcError) {
			return p.filter(ctx, l, result)
		}, nil
	}
	switch from.Method {
	case "tools/call":
		t, failure := p.visible(call{name: from.Name})
		if failure == nil {
			failure = p.resumeTerms(from)
		}
		if failure != nil {
			return nil, failure
		}
		return t.finish, nil
	case "prompts/get":
		if !p.mayGet(from.Name) {
			return nil, errUnknownPrompt("no_longer_allowed")
		}
	case "resources/read":
		if !p.mayRead(policies.Request{Resource: from.Name}) {
			return nil, p.errUnknownResource("no_longer_allowed")
		}
	}
	return p.private, nil
}

// heard takes one event of such a stream.
func (d *dialogue) heard(ev sse) (done bool, err error) {
	if len(ev.data) > 0 {
		if m, err := d.p.up.echoes.parse(ev.data); err == nil && m.answer() {
			return d.late(ev, m)
		}
	}
	_, _, err = d.event(ev)
	return false, err
}

// late is the answer to the request whose stream was resumed, and to no other.
func (d *dialogue) late(ev sse, m peer) (done bool, err error) {
	if d.finish == nil {
		return false, errAnother
	}
	if err := m.to(d.sent.id); err != nil {
		return false, err
	}
	d.resumeAt(ev)
	out, failure := d.finished(m)
	if failure != nil {
		return true, failure
	}
	out.answer()
	return true, nil
}

// endless is the outcome of a stream that has no natural end.
func (d *dialogue) endless(err error) (outcome, *rpcError) {
	done := outcome{status: "ended", answer: func() {}}
	var failure *rpcError
	switch {
	case errors.As(err, &failure):
		return outcome{}, failure
	case errors.Is(err, errSlow):
		done.status = "client_too_slow"
	case d.p.ended != nil:
		done.status = d.p.ended.reason
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, context.Canceled) && !d.gone:
		d.p.g.cfg.Log.WarnContext(d.p.r.Context(), "stream ended", "server", d.p.up.Name, "error", err)
		done.status = "broken"
	}
	return done, nil
}

// get opens a stream of an upstream of the session era.
func (g *Gateway) get(ctx context.Context, up *upstream, call token.Call, l leg, last string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, up.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Accept": {"text/event-stream"}}
	if err := up.authorize(req, call, http.MethodGet); err != nil {
		return nil, err
	}
	if last != "" {
		req.Header["Last-Event-Id"] = []string{last}
	}
	l.apply(req.Header)
	ctx, opened := g.opening(ctx, up)
	defer opened()
	return g.send(up, req.WithContext(ctx), true)
}

// Kinds of news that the gateway has itself.
const (
	newsTools     = "notifications/tools/list_changed"
	newsPrompts   = "notifications/prompts/list_changed"
	newsResources = "notifications/resources/list_changed"
)

// announce has the stream tell of what changes here from now on: another policy changes
// every list, and so do its hours when some open or close; an approval that of the tools.
// meta is that of the notifications.
func (p *passage) announce(meta object, only ...string) {
	policy, approved := p.g.policy(), p.version()
	say := func(methods ...string) error {
		for _, m := range methods {
			if !wants(only, m) {
				continue
			}
			params := jsontext.Value(nil)
			if len(meta) > 0 {
				params = object{}.with(member{"_meta", meta.with()})
			}
			if err := p.out.event(sse{data: envelope(nil, m, params)}); err != nil {
				return err
			}
		}
		return nil
	}
	p.beat = func() error {
		if now := p.g.policy(); now != policy {
			policy, approved = now, p.version()
			return say(newsTools, newsPrompts, newsResources)
		}
		if now := p.version(); now != approved {
			approved = now
			return say(newsTools)
		}
		return nil
	}
}

// policy changes when every list may: with another policy, and when hours open or close.
func (g *Gateway) policy() string {
	digest := g.cfg.PDP.Digest()
	if p, ok := g.cfg.PDP.(interface{ Open(now time.Time) string }); ok {
		return digest + " " + p.Open(g.cfg.Now())
	}
	return digest
}

func wants(only []string, method string) bool {
	if only == nil {
		return true
	}
	for _, o := range only {
		if o == method {
			return true
		}
	}
	return false
}

// ownNews is a stream with nothing but the gateway's own news, which were announced.
func (p *passage) ownNews(ctx context.Context) (outcome, *rpcError) {
	p.out.begin()
	if err := p.out.flush(); err != nil {
		return outcome{status: "ended", answer: func() {}}, nil
	}
	silence, never := io.Pipe()
	defer never.Close()
	d := &dialogue{p: p}
	return d.endless(p.follow(ctx, silence, newEvents(silence), func(sse) (bool, error) { return false, nil }))
}
