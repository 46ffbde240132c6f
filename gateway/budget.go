package gateway

import (
	"context"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Budget bounds what one subject may have of one server at a time. A zero field bounds
// nothing.
type Budget struct {
	Calls   int   // open at once; as many notices and answers to what servers ask go beside
	Streams int   // GET and subscriptions/listen, open at once
	Bytes   int64 // a minute: of requests, answers and events
}

// maxAccounts bounds the subjects of one server whose use is known at a time.
const maxAccounts = 100_000

// budget knows what each subject uses of one server.
type budget struct {
	Budget
	now   func() time.Time
	mu    sync.Mutex // guards what follows, and the numbers of the accounts
	known map[identity.Subject]*account
	sweep int // how many may be known before the idle ones are forgotten
}

// use is a kind of message, each of which has places of its own: a client whose calls all
// wait for its answer, or hang, must be able to answer and to cancel.
type use int

const (
	useCall use = iota
	useNotice
	useStream
	uses
)

// account is what one subject uses.
type account struct {
	open  [uses]int
	bytes *rate.Limiter // nil: not bounded
}

func newBudget(b Budget, now func() time.Time) *budget {
	return &budget{Budget: b, now: now, known: map[identity.Subject]*account{}}
}

// places is how many of a kind may be open, and the refusal of more.
func (b *budget) places(of use) (int, string) {
	if of == useStream {
		return b.Streams, "budget_streams"
	}
	return b.Calls, "budget_calls"
}

// enter counts a message until the slot is released.
func (b *budget) enter(who identity.Subject, size int, of use) (*slot, *rpcError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.account(who)
	if a == nil {
		return nil, errBudget("budget_calls", time.Second)
	}
	if n, reason := b.places(of); n > 0 && a.open[of] >= n {
		return nil, errBudget(reason, time.Second)
	}
	s := &slot{budget: b, account: a, of: of}
	if err := s.spend(size); err != nil {
		return nil, err.(*rpcError)
	}
	a.open[of]++
	return s, nil
}

// account finds or makes that of a subject; nil: there are too many that are in use. The
// caller holds b.mu.
func (b *budget) account(who identity.Subject) *account {
	if a := b.known[who]; a != nil {
		return a
	}
	if len(b.known) >= max(b.sweep, 1024) || len(b.known) >= maxAccounts {
		b.forget()
	}
	if len(b.known) >= maxAccounts {
		return nil
	}
	a := &account{}
	if b.Bytes > 0 {
		a.bytes = rate.NewLimiter(rate.Limit(float64(b.Bytes)/60), int(min(b.Bytes, math.MaxInt)))
	}
	b.known[who] = a
	return a
}

// forget drops the accounts that a new one would equal. The caller holds b.mu.
func (b *budget) forget() {
	now := b.now()
	for who, a := range b.known {
		if a.open == [uses]int{} && (a.bytes == nil || a.bytes.TokensAt(now) >= float64(a.bytes.Burst())) {
			delete(b.known, who)
		}
	}
	b.sweep = 2 * len(b.known)
}

// slot is what one message holds until it has really ended: a client that has gone holds
// it as long as its call goes on. A nil slot holds nothing, and bounds nothing.
type slot struct {
	budget  *budget
	account *account
	of      use
	done    atomic.Bool
	after   func()   // may be nil
	held    []func() // places of the limits of policy, which are given back with it
}

// holds has the slot give something back at its end.
func (s *slot) holds(release func()) { s.held = append(s.held, release) }

func (s *slot) release() {
	if s == nil || s.done.Swap(true) {
		return
	}
	s.budget.mu.Lock()
	s.account.open[s.of]--
	s.budget.mu.Unlock()
	if s.after != nil {
		s.after()
	}
	for _, release := range s.held {
		release()
	}
}

// spend counts bytes. It returns an *rpcError for more than there are.
func (s *slot) spend(n int) error {
	if s == nil || s.account.bytes == nil || n == 0 {
		return nil
	}
	l, now := s.account.bytes, s.budget.now()
	if l.AllowN(now, n) {
		return nil
	}
	missing := float64(n) - l.TokensAt(now)
	return errBudget("budget_bytes", min(time.Duration(missing/float64(l.Limit())*float64(time.Second)), time.Minute))
}

func errBudget(reason string, retry time.Duration) *rpcError {
	return &rpcError{Code: codeDenied, Message: budgetMessages[reason], status: http.StatusTooManyRequests, reason: reason, retry: max(retry, time.Second)}
}

var budgetMessages = map[string]string{
	"budget_calls":      "too many calls are open at this server: wait until some have ended",
	"budget_streams":    "too many streams are open at this server: close some",
	"budget_bytes":      "too many bytes within a minute from and to this server: wait",
	"limit_calls":       "policy allows no more calls of this in its time: wait",
	"limit_concurrent":  "policy allows no more calls of this at once: wait until one has ended",
	"too_many_streams":  "too many streams are open here: try again soon",
	"too_many_sessions": "too many sessions are open at this server: end some, or wait until some are idle",
}

type slotKey struct{}

func withSlot(ctx context.Context, s *slot) context.Context {
	return context.WithValue(ctx, slotKey{}, s)
}

// slotOf is what a request to an upstream counts for; nil for what the gateway asks itself.
func slotOf(ctx context.Context) *slot {
	s, _ := ctx.Value(slotKey{}).(*slot)
	return s
}

// maxStreams bounds the streams without an end of this process, whoever has them.
const maxStreams = 10_000

func (p *passage) use() use {
	switch {
	case p.long:
		return useStream
	case p.msg.response, p.msg.id == nil:
		return useNotice
	}
	return useCall
}

// enter is where every message that was allowed begins to count.
func (p *passage) enter() (*slot, *rpcError) {
	g, up := p.g, p.up
	if s := p.held; s != nil { // it has waited
		p.held = nil
		return s, nil
	}
	if p.long && g.streams.Add(1) > g.cfg.MaxStreams {
		g.streams.Add(-1)
		return nil, errBudget("too_many_streams", time.Second)
	}
	if p.state.Parked != "" {
		g.parked.lend(p.state.Parked)
	}
	s, err := up.budget.enter(p.Subject(), len(p.msg.raw), p.use())
	switch {
	case err != nil && p.long:
		g.streams.Add(-1)
	case err == nil && p.long:
		up.streams.Add(1)
		s.after = func() { up.streams.Add(-1); g.streams.Add(-1) }
	}
	return s, err
}
