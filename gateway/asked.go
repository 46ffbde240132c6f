package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// Requests of a server that a client may get, and the capability that it must have
// offered for it.
var askable = map[string]string{"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}

// offers reports whether capabilities have what the request needs.
func offers(capabilities jsontext.Value, method string) bool {
	o, err := readObject(orEmpty(capabilities))
	need := askable[method]
	return err == nil && need != "" && o.get(need) != nil
}

// asked takes a request of the upstream's. In the session era the client gets it with an
// id of ours: only the client that was asked can answer it, in this session. In the
// stateless era the dialogue is parked until the client comes again with the answer.
func (d *dialogue) asked(ev sse, m peer) error {
	p := d.p
	switch {
	case m.method == "ping" || askable[m.method] == "" || p.filtered(): // a question may hold records
		return p.answerHere(d.ctx, d.leg, m)
	case p.stateless && d.leg.shared != nil && offers(p.meta.capabilities, m.method) && slices.Contains(mayAskForInput, p.msg.method):
		d.pending = &m
		return errParked
	case p.stateless || p.session.Translated && (d.leg.shared == nil || !offers(p.session.Capabilities, m.method)):
		return p.answerHere(d.ctx, d.leg, m)
	}
	params, _, err := p.redact(m.params)
	switch {
	case err != nil && d.sent.id == nil: // a stream that belongs to no request goes on
		p.g.cfg.Log.WarnContext(d.ctx, "question not passed on", "server", p.up.Name, "method", m.method, "error", err)
		return p.answerHere(d.ctx, d.leg, m)
	case err != nil:
		return errRedaction(err)
	case p.session.Translated:
		return d.askFor(m, params)
	}
	id, err := seal(p.g, kindAsked, asked{owner: p.owner(sessionLifetime), Session: d.leg.session, ID: m.id})
	if err != nil {
		return err
	}
	return d.pass(ev, envelope(quote(id), m.method, params))
}

// answerHere answers a request of the upstream's that no client gets.
func (p *passage) answerHere(ctx context.Context, l leg, m peer) error {
	answer := rpcBody(m.id, nil, &rpcError{Code: codeNoMethod, Message: "the client cannot be asked this"})
	if m.method == "ping" {
		answer = rpcBody(m.id, jsontext.Value("{}"), nil)
	}
	return p.tell(ctx, l, answer)
}

// askFor asks the client of a session that is kept over all servers, and tells the upstream.
func (d *dialogue) askFor(m peer, params jsontext.Value) error {
	q, err := d.ask(member{inputKey, object{}.with(member{"method", quote(m.method)}, member{"params", params})})
	if err != nil {
		return err
	}
	defer d.p.g.waiting.remove(q.name)
	answer := rpcBody(m.id, nil, &rpcError{Code: codeDenied, Message: errUnfulfilled.Error()})
	if v, err := d.await(q); err == nil {
		answer = rpcBody(m.id, v, nil)
	} else if !errors.Is(err, errUnfulfilled) {
		return err
	}
	return d.p.tell(d.ctx, d.leg, answer)
}

// answered passes on the client's answer to a request of the upstream's.
func (p *passage) answered() *rpcError {
	refused := &rpcError{Code: codeInvalidRequest, Message: "no request of the server is open with that id", status: http.StatusBadRequest, reason: "unexpected_response"}
	q, ok := unseal[asked](p.g, kindAsked, text(p.msg.id))
	if !ok || !q.of(p.endpoint, p.Verified, p.g.cfg.Now()) || q.Session != p.session.Upstream {
		return refused
	}
	if q.Waiting != "" {
		return p.performHere(func(context.Context) (outcome, *rpcError) {
			if !p.g.waiting.deliver(q.Waiting, p.msg.outcome) && !q.Optional {
				return outcome{}, refused
			}
			return outcome{status: "accepted", answer: func() { p.w.WriteHeader(http.StatusAccepted) }}, nil
		})
	}
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		return p.accepted(ctx, call, p.msg.withID(q.ID))
	})
}

// waiting are the requests of servers of the stateless era to clients of the session era
// that nobody has answered yet. They wait in this process, where their call does.
type waiting struct {
	mu   sync.Mutex // guards open
	open map[string]chan member
}

func (w *waiting) add() (string, chan member) {
	name := rand.Text()
	return name, w.addAs(name)
}

func (w *waiting) addAs(name string) chan member {
	ch := make(chan member, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[string]chan member{}
	}
	w.open[name] = ch
	return ch
}

func (w *waiting) remove(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, name)
}

// deliver hands over an answer, once.
func (w *waiting) deliver(name string, outcome member) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch, ok := w.open[name]
	if ok {
		delete(w.open, name)
		ch <- outcome
	}
	return ok
}

// Bounds of what a server may ask for, for one request: how often, and how much at once.
const (
	maxRounds    = 8
	maxQuestions = 32
)

var errUnfulfilled = errors.New("the client did not give what the server asked for")

// askClient is MRTR for a client of the session era: what the server wants goes to the
// client as requests, and the answers go back with the request, sent again.
func (d *dialogue) askClient(result object) (outcome, *rpcError) {
	p := d.p
	if !slices.Contains(mayAskForInput, p.msg.method) || d.rounds >= maxRounds {
		return outcome{}, errUnavailable("upstream_malformed", errNotAsked)
	}
	responses, failure := d.askAll(result.get("inputRequests"))
	if failure != nil {
		return outcome{}, failure
	}
	d.rounds++
	p.input = object{{"inputResponses", responses}, {"requestState", result.get("requestState")}}
	call, failure := p.again(d.ctx)
	if failure != nil {
		return outcome{}, failure
	}
	d.call = call
	resp, failure := d.send()
	if failure != nil {
		return outcome{}, failure
	}
	return d.receive(resp)
}

// retried gives a message another id.
func (d *dialogue) retried(m outgoing) outgoing {
	m.id = quote("wg-" + rand.Text())
	m.body = envelope(m.id, d.p.msg.method, d.p.msg.params.with(append(d.p.input, member{"_meta", statelessMeta(d.p.theirMeta(), d.p.session.Info, d.p.session.Capabilities)})...))
	return m
}

// question is one thing that the client was asked.
type question struct {
	key, name string
	answer    chan member
}

// askAll sends the requests, and waits for the answers.
func (d *dialogue) askAll(requests jsontext.Value) (jsontext.Value, *rpcError) {
	requests, _, err := d.p.redact(orEmpty(requests))
	if err != nil {
		return nil, errRedaction(err)
	}
	all, err := readObject(requests)
	if err == nil && len(all) > maxQuestions {
		err = errNotAsked
	}
	if err != nil {
		return nil, errUnavailable("upstream_malformed", err)
	}
	var open []question
	defer func() {
		for _, q := range open {
			d.p.g.waiting.remove(q.name)
		}
	}()
	for _, m := range all {
		q, err := d.ask(m)
		if err != nil {
			return nil, errUnavailable("input_not_offered", err)
		}
		open = append(open, q)
	}
	answers := object{}
	for _, q := range open {
		v, err := d.await(q)
		if err != nil {
			return nil, errUnavailable("input_not_given", err)
		}
		answers = append(answers, member{q.key, v})
	}
	return answers.with(), nil
}

func (d *dialogue) ask(m member) (question, error) {
	p := d.p
	request, err := readObject(m.value)
	method := text(request.get("method"))
	if err != nil || !offers(p.session.Capabilities, method) {
		return question{}, errors.Join(err, errNotAsked)
	}
	name, ch := p.g.waiting.add()
	q := question{m.name, name, ch}
	id, err := seal(p.g, kindAsked, asked{owner: p.owner(stateLifetime), ID: jsontext.Value("0"), Waiting: name})
	if err == nil {
		err = p.out.event(sse{data: envelope(quote(id), method, request.get("params"))})
	}
	if err != nil { // nobody waits
		p.g.waiting.remove(name)
	}
	return q, err
}

// await waits for one answer, as long as the call may last.
func (d *dialogue) await(q question) (jsontext.Value, error) {
	tick, stop := d.p.g.cfg.Ticks(keepAlive)
	defer stop()
	for {
		select {
		case m := <-q.answer:
			if m.name != "result" {
				return nil, errUnfulfilled
			}
			return m.value.Clone(), nil
		case <-tick:
			if err := errors.Join(d.p.mayGoOn(), d.p.out.comment()); err != nil {
				return nil, err
			}
		case <-d.ctx.Done():
			return nil, d.ctx.Err()
		}
	}
}
