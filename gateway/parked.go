package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Bounds of the dialogues that wait for a client to come again.
const (
	parkedFor      = 10 * time.Minute // and no longer
	maxParked      = 1000
	maxParkedOwner = 100 // of one subject, or it would keep everybody else's from waiting
)

// errParked is returned where an upstream of the session era asks a client of the
// stateless era, who gets an answer that asks for input instead, and comes again.
var errParked = errors.New("the dialogue waits for the client")

// parkingLot has the dialogues that wait, in this process: their upstream does, too.
type parkingLot struct {
	mu   sync.Mutex // guards what follows
	open map[string]*dialogue
}

func (l *parkingLot) put(d *dialogue) (string, bool) {
	name := rand.Text()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[string]*dialogue{}
	}
	if len(l.open) >= maxParked || l.of(d.p.Subject()) >= maxParkedOwner {
		return "", false
	}
	l.open[name] = d
	context.AfterFunc(d.ctx, func() { // nobody came, or the call lasted too long
		if d := l.take(name); d != nil {
			d.abandon()
		}
	})
	return name, true
}

// lend gives back what a dialogue holds of its caller's budget: for the message that has
// come for it, which holds as much itself.
func (l *parkingLot) lend(name string) {
	l.mu.Lock()
	d := l.open[name]
	l.mu.Unlock() // a store may be asked to give back places
	if d != nil {
		d.slot.release()
	}
}

// of counts those of one subject. The caller holds l.mu.
func (l *parkingLot) of(who identity.Subject) (n int) {
	for _, d := range l.open {
		if d.p.Subject() == who {
			n++
		}
	}
	return n
}

// abandonAll ends those that are left.
func (l *parkingLot) abandonAll() {
	l.mu.Lock()
	left := slices.Collect(maps.Values(l.open))
	clear(l.open)
	l.mu.Unlock()
	for _, d := range left {
		d.abandon()
	}
}

func (l *parkingLot) take(name string) *dialogue {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.open[name]
	delete(l.open, name)
	return d
}

// park answers with what the upstream asks for, and keeps the upstream waiting.
func (d *dialogue) park() (outcome, *rpcError) {
	p := d.p
	if !d.release() { // the client has gone meanwhile
		d.abandon()
		return outcome{}, errUnavailable("client_gone", d.ctx.Err())
	}
	d.slot, p.slot = p.slot, nil
	d.lent, p.lent = p.lent, nil
	name, ok := p.g.parked.put(d)
	if !ok {
		d.abandon()
		return outcome{}, errUnavailable("too_many_waiting", errors.New("too many calls wait for their clients"))
	}
	out, failure := d.asks(state{owner: p.owner(parkedFor), Parked: name})
	if failure != nil && p.g.parked.take(name) != nil { // nobody will come for it
		d.cancel()
		d.abandon()
	}
	return out, failure
}

// asks is the answer that asks for what the upstream has asked, and says where it waits.
func (d *dialogue) asks(where state) (outcome, *rpcError) {
	p := d.p
	params, n, err := p.redact(orEmpty(d.pending.params)) // the Go SDK takes a question without params for a broken one
	if err != nil {
		return outcome{}, errRedaction(err)
	}
	sealed, err := p.sealState(where)
	if err != nil {
		return outcome{}, errUnavailable("state_unsealable", err)
	}
	question := object{}.with(member{"method", quote(d.pending.method)}, member{"params", params})
	raw := rpcBody(p.msg.id, object{}.with(member{"resultType", quote(inputRequired)}, member{"inputRequests", object{}.with(member{inputKey, question})}, member{"requestState", quote(sealed)}), nil)
	return outcome{status: inputRequired, resultDigest: digest(raw), redactions: n, answer: func() { p.out.final(raw) }}, nil
}

// inputKey is the name of the one thing that is asked at a time.
const inputKey = "input"

// abandon ends the upstream's request.
func (d *dialogue) abandon() {
	defer func() { d.lent.end() }()
	d.cut(nil)
	d.slot.release()
	if d.reader != nil {
		d.reader.stop()
		return
	}
	_ = d.body.Close()
}

// resumeParked goes on with a dialogue for the client that has come again.
func (p *passage) resumeParked(ctx context.Context, call token.Call, finish finisher) (outcome, *rpcError) {
	d := p.g.parked.take(p.state.Parked)
	if d == nil {
		return outcome{}, &rpcError{Code: codeInvalidParams, Message: "the call does not wait any more, or not here: send the request without requestState", reason: "not_parked"}
	}
	d.slot.release() // this message has its own
	p.lent, d.lent = d.lent, nil
	p.lease = p.lent.lease()
	d.p, d.call, d.finish, d.sent.progress = p, call, finish, p.meta.progress
	d.attach(ctx)
	responses, err := readObject(orEmpty(p.msg.params.get("inputResponses")))
	if err != nil {
		d.abandon()
		return outcome{}, &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), reason: "malformed", cause: err}
	}
	given := responses.get(inputKey)
	if given.Kind() != '{' { // what is missing is asked for again
		return d.park()
	}
	body := object{}.with(member{"jsonrpc", quote("2.0")}, member{"id", d.pending.id}, member{"result", jsontext.Value(given)})
	d.pending = nil
	if err := p.tell(d.ctx, d.leg, body); err != nil {
		d.abandon()
		return outcome{}, upstreamError(err)
	}
	return d.follow()
}
