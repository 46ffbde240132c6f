package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

const (
	acknowledged     = "notifications/subscriptions/acknowledged"
	resourceUpdated  = "notifications/resources/updated"
	maxSubscriptions = 256 // resources of one stream
)

// subscription is the filter of subscriptions/listen (MCP 2026-07-28, subscriptions).
type subscription struct {
	lists     []string // methods of the notifications that are wanted
	resources []string // URIs
}

// Members of the filter, and what they ask for.
var listNews = []struct{ member, method string }{
	{"toolsListChanged", newsTools}, {"promptsListChanged", newsPrompts}, {"resourcesListChanged", newsResources},
}

func parseSubscription(params object) (s subscription, err error) {
	f, err := readObject(orEmpty(params.get("notifications")))
	if err == nil {
		err = errors.Join(params.only("notifications", "_meta"), f.only("toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"))
	}
	if err != nil {
		return s, err
	}
	for _, n := range listNews {
		if string(f.get(n.member)) == "true" {
			s.lists = append(s.lists, n.method)
		}
	}
	if v := f.get("resourceSubscriptions"); v != nil {
		err = elements(v, func(uri jsontext.Value) error {
			if s.resources = append(s.resources, text(uri)); len(s.resources) > maxSubscriptions {
				return errBadParams
			}
			return nil
		})
	}
	return s, err
}

// filter is the wire form.
func (s subscription) filter() jsontext.Value {
	o := object{}
	for _, n := range listNews {
		if slices.Contains(s.lists, n.method) {
			o = append(o, member{n.member, jsontext.Value("true")})
		}
	}
	if len(s.resources) == 0 {
		return o.with()
	}
	uris := []byte{'['}
	for i, uri := range s.resources {
		if i > 0 {
			uris = append(uris, ',')
		}
		uris = append(uris, quote(uri)...)
	}
	return o.with(member{"resourceSubscriptions", append(uris, ']')})
}

// subscribe is subscriptions/listen.
func (p *passage) subscribe() *rpcError {
	s, err := parseSubscription(p.msg.params)
	if err != nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), reason: "malformed", cause: err}
	}
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	s.resources = slices.DeleteFunc(s.resources, func(uri string) bool { return !p.mayRead(policies.Request{Resource: uri}) })
	p.long = true
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		l, failure := p.leg(ctx, call)
		if failure != nil {
			return outcome{}, failure
		}
		return p.subscribed(p.subscribeTo(ctx, call, l, s))
	})
}

// subscribed ends the stream with grace where it was the gateway that ended it.
func (p *passage) subscribed(out outcome, failure *rpcError) (outcome, *rpcError) {
	if failure != nil || p.ended == nil {
		return out, failure
	}
	raw := rpcBody(p.msg.id, object{}.with(member{"resultType", quote("complete")}, member{"_meta", p.subscriptionMeta().with()}), nil)
	out.answer = func() { p.out.final(raw) }
	return out, nil
}

func (p *passage) subscriptionMeta() object { return object{{metaSubscription, p.msg.id}} }

// subscribeTo opens the upstream's stream where there is one.
func (p *passage) subscribeTo(ctx context.Context, call token.Call, l leg, s subscription) (outcome, *rpcError) {
	if !l.stateless {
		return p.subscribeShared(ctx, l, s)
	}
	if len(s.resources) > 0 && p.lent == nil { // it is what resources/subscribe is in the other era
		var failure *rpcError
		if ctx, p.lent, failure = p.borrow(ctx, call, "resources/subscribe"); failure != nil {
			return outcome{}, failure
		}
	}
	d := &dialogue{p: p, call: call, leg: l}
	p.input = object{{"notifications", s.filter()}}
	d.sent = p.dress(l)
	d.sent.lasting = true
	ctx, opened := p.g.opening(ctx, p.up)
	defer opened()
	resp, err := p.g.post(ctx, p.up, call, l, d.sent)
	if err != nil {
		return outcome{}, upstreamError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || mediaType(resp.Header) != "text/event-stream" {
		s.resources = nil
		return p.ownSubscription(ctx, s)
	}
	events := newEvents(resp.Body)
	if s, err = honoured(events, s, p.up.echoes); err != nil {
		return outcome{}, answerError(err)
	}
	opened()
	p.announce(p.subscriptionMeta(), append([]string{""}, s.lists...)...)
	if err := p.acknowledge(s); err != nil {
		return outcome{status: "ended", answer: func() {}}, nil
	}
	return d.endless(p.follow(ctx, resp.Body, events, func(ev sse) (bool, error) { return false, p.news(ctx, ev, s) }))
}

// honoured reads the upstream's acknowledgement: of the resources, those that it agreed to.
func honoured(events *events, s subscription, without *echoes) (subscription, error) {
	ev, err := events.next()
	if err != nil {
		return s, err
	}
	m, err := without.parse(ev.data)
	if err != nil || m.method != acknowledged {
		return s, errors.Join(err, errors.New("the upstream did not acknowledge the subscription first"))
	}
	params, err := readObject(orEmpty(m.params))
	if err != nil {
		return s, err
	}
	theirs, err := parseSubscription(object{{"notifications", orEmpty(params.get("notifications"))}})
	s.resources = slices.DeleteFunc(s.resources, func(uri string) bool { return !slices.Contains(theirs.resources, uri) })
	return s, err
}

func (p *passage) acknowledge(s subscription) error {
	params := object{{"_meta", p.subscriptionMeta().with()}, {"notifications", s.filter()}}
	return p.out.event(sse{data: envelope(nil, acknowledged, params.with())})
}

// ownSubscription is a stream with nothing but the gateway's own news.
func (p *passage) ownSubscription(ctx context.Context, s subscription) (outcome, *rpcError) {
	p.announce(p.subscriptionMeta(), append([]string{""}, s.lists...)...)
	if err := p.acknowledge(s); err != nil {
		return outcome{status: "ended", answer: func() {}}, nil
	}
	return p.ownNews(ctx)
}

// news passes on one event of the upstream's, if it was asked for and policy allows it.
func (p *passage) news(ctx context.Context, ev sse, s subscription) error {
	if len(ev.data) == 0 {
		return nil
	}
	m, err := p.up.echoes.parse(ev.data)
	if err != nil {
		return err
	}
	if m.answer() { // the upstream ends the subscription
		p.ended = &rpcError{Message: "the server ended the subscription", reason: "ended_by_server"}
		return errEnded
	}
	return p.newsOf(m, s)
}
