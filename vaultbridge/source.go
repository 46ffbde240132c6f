package vaultbridge

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// Source obtains the credentials of one server's calls. It is safe for concurrent use.
type Source struct {
	b       *Bridge
	server  Server
	circuit *circuit

	// Bridge.mu guards these.
	mints  crew
	crew   crew           // ends and renews
	pool   map[key]*lease // kept for a session or subject
	why    string         // the last refusal; empty since one went well
	failed int            // leases that could not be ended yet
	warned bool           // that leases end later than they might

	age       time.Duration // of the static key that was read last
	warnedAge time.Time     // when operators were told of it; zero: never
}

func newSource(b *Bridge, s Server) *Source {
	return &Source{b: b, server: s, circuit: newCircuit(b, s.Name), mints: crew{b: b, hands: minters}, crew: crew{b: b, hands: hands}, pool: map[key]*lease{}}
}

// Obtain returns a credential for a call that was decided on and recorded. Who gets one
// ends it. Where ctx ends first, what is being minted is ended. An error is a *Failure, and
// then nothing is left of what was tried, or will be soon.
func (s *Source) Obtain(ctx context.Context, r credential.Request) (*credential.Credential, error) {
	c, err := s.obtain(ctx, r)
	err = failure("obtain a credential", err)
	s.b.mu.Lock()
	if s.why = ""; err != nil {
		s.why = string(reasonOf(err))
	}
	s.b.mu.Unlock()
	if err != nil {
		s.observe("refused", string(reasonOf(err)), 0)
	}
	return c, err
}

func (s *Source) obtain(ctx context.Context, r credential.Request) (*credential.Credential, error) {
	if err := s.admit(r.Call); err != nil {
		return nil, err
	}
	for range tries {
		l, u, err := s.join(r)
		if err != nil {
			return nil, err
		}
		gone, err := s.ready(ctx, l)
		if err != nil {
			s.b.leave(l, u)
			return nil, err
		}
		if err := s.admit(r.Call); err != nil { // it may have taken a while
			s.b.leave(l, u)
			return nil, err
		}
		if !gone {
			end := sync.OnceFunc(func() { s.b.leave(l, u) })
			return l.credential.Live(l.name, l.done, end), nil
		}
		s.b.leave(l, u)
	}
	return nil, &Failure{Ended, "obtain a credential that lasts", nil}
}

// tries is how often a kept credential may have ended in the very moment it is wanted.
const tries = 3

// admit refuses a call that is not for this server, or may not go on.
func (s *Source) admit(call token.Call) error {
	if call.Subject().IsZero() || call.Details().Server != s.server.Name {
		return &Failure{NotForServer, "look at the call token", nil}
	}
	if err := s.b.cfg.Alive(call, s.server.Name); err != nil {
		return &Failure{Ended, "look whether the call may go on", err}
	}
	return nil
}

// ready waits until the lease is minted. Gone reports that it was kept, and has ended
// meanwhile: the next one may be good.
func (s *Source) ready(ctx context.Context, l *lease) (gone bool, err error) {
	select {
	case <-l.ready:
	case <-ctx.Done():
		return false, &Failure{abandoned(ctx), "wait for a credential", context.Cause(ctx)}
	case <-s.b.ctx.Done(): // it may never begin
		return false, &Failure{Stopping, "wait for a credential", nil}
	}
	if l.err != nil {
		return false, l.err
	}
	if err := ctx.Err(); err != nil {
		return false, &Failure{abandoned(ctx), "wait for a credential", context.Cause(ctx)}
	}
	if gone, err = s.confirm(ctx, l); gone && !s.server.shared() {
		return false, &Failure{Ended, "obtain a credential", nil} // Close, or a freeze
	}
	return gone, err
}

func abandoned(ctx context.Context) vault.Reason {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return vault.Timeout
	}
	return CallerGone
}

// EndSession ends what is kept for the session: at once, or with the last call that goes
// on with it.
func (s *Source) EndSession(session string) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for k, l := range s.pool {
		if s.server.Per == PerSession && k.session == session {
			s.retire(k, l, "session_ended")
		}
	}
}

func (s *Source) observe(what, reason string, took time.Duration) {
	s.b.cfg.Observe(Event{Server: s.server.Name, What: what, Reason: reason, Took: took})
}
