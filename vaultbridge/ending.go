package vaultbridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// Bounds of ending what was minted.
const (
	endWithin = 30 * time.Second // one attempt
	firstWait = time.Second      // after the first failure; each time twice as long
	longest   = time.Minute
)

// ending is what is left to do until nothing of a lease is.
type ending struct {
	crew   *crew
	source *Source     // nil: of a server that this process may not know
	record Record      // with which anybody can do it
	token  vault.Token // zero: another process had it
	event  audit.Event // its line
	silent bool        // nothing was minted whose end is to be told

	// What was done, of whoever has it in hand.
	unleased, stuck, untokened, told bool

	attempts int       // that failed. Bridge.mu guards it, and next
	next     time.Time // the next one
	waiting  bool
}

// end begins the end of a lease that lives: nobody gets it any more, and who goes on with
// it is told. b.mu is held.
func (b *Bridge) end(l *lease, why string) {
	if !l.live {
		return
	}
	l.live = false
	delete(b.leases, l)
	if l.source.pool[l.key] == l {
		delete(l.source.pool, l.key)
	}
	close(l.done)
	b.revokeSoon(l, why)
}

// drop ends the Vault token of what needs none any more. b.mu is held.
func (b *Bridge) drop(l *lease) {
	b.revokeSoon(l, "read")
	l.record, l.renewal = Record{}, renewal{}
}

func (b *Bridge) revokeSoon(l *lease, why string) {
	if l.record.ID == "" {
		return
	}
	e := &ending{crew: &l.source.crew, source: l.source, record: l.record, token: l.token, event: l.event("revoked", why), silent: !l.leased}
	b.start(e)
}

// start has e done until nothing is left of it. b.mu is held.
func (b *Bridge) start(e *ending) {
	b.endings[e] = struct{}{}
	e.crew.do(func(ctx context.Context) { b.attempt(ctx, e) })
}

// again is the next attempt, now. b.mu is held.
func (b *Bridge) again(e *ending) {
	if e.waiting {
		e.waiting = false
		e.crew.do(func(ctx context.Context) { b.attempt(ctx, e) })
	}
}

// retry tries again what is due.
func (b *Bridge) retry() {
	now := b.cfg.Now()
	for e := range b.failed {
		if !e.next.After(now) {
			b.again(e)
		}
	}
}

func (b *Bridge) attempt(ctx context.Context, e *ending) {
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	began := time.Now()
	err := b.revoke(ctx, e)
	if err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.forget(e)
		b.cfg.Observe(Event{Server: e.record.Server, What: "revoked", Took: time.Since(began)})
		return
	}
	first, next := b.postpone(e, err)
	if err := b.cfg.Records.FailLease(ctx, e.record.ID, string(reasonOf(err)), next); err != nil {
		b.cfg.Log.WarnContext(ctx, "record that a lease was not ended", "server", e.record.Server, "error", err)
	}
	if first {
		b.alarm(ctx, e, err)
	}
}

func (b *Bridge) postpone(e *ending, err error) (first bool, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := min(firstWait<<min(e.attempts, 10), longest)
	wait = wait/2 + rand.N(wait/2) // or all that one outage has gathered would come at once
	e.attempts++
	e.next, e.waiting = b.cfg.Now().Add(wait), true
	e.record.Failure = string(reasonOf(err))
	if first = e.attempts == 1; first {
		b.failed[e] = struct{}{}
		if s := b.sources[e.record.Server]; s != nil {
			s.failed++
		}
	}
	return first, e.next
}

// forget is for what has ended. b.mu is held.
func (b *Bridge) forget(e *ending) {
	if _, failed := b.failed[e]; failed && b.sources[e.record.Server] != nil {
		b.sources[e.record.Server].failed--
	}
	delete(b.endings, e)
	delete(b.failed, e)
}

// alarm tells operators, once for each lease.
func (b *Bridge) alarm(ctx context.Context, e *ending, err error) {
	reason := string(reasonOf(err))
	b.cfg.Observe(Event{Server: e.record.Server, What: "revoke_failed", Reason: reason})
	b.cfg.Log.ErrorContext(ctx, "what was minted for a call could not be revoked: it is tried again until Vault has ended it",
		"server", e.record.Server, "record", e.record.ID, "lease", e.event.Lease, "error", err)
	event := e.event
	event.Status, event.Reason = "revoke_failed", reason
	if err := b.cfg.Audit.Record(ctx, event); err != nil {
		b.cfg.Log.ErrorContext(ctx, "record that a lease was not ended", "server", e.record.Server, "error", err)
	}
}

// revoke ends the lease, waits for that, and ends the token with whatever else it has. It
// does what is left to do when it is called again.
func (b *Bridge) revoke(ctx context.Context, e *ending) error {
	err := errors.Join(b.revokeLease(ctx, e), b.revokeToken(ctx, e))
	if err != nil && !b.expired(ctx, e, err) {
		return err
	}
	if !e.told && !e.silent {
		if err := b.cfg.Audit.Record(ctx, e.event); err != nil {
			return &Failure{Unaudited, "record that a lease has ended", err}
		}
	}
	e.told = true
	if err := b.cfg.Records.DeleteLease(ctx, e.record.ID); err != nil {
		return &Failure{Unrecorded, "forget a lease that has ended", err}
	}
	return nil
}

// revokeLease returns once what was minted is gone. With the token alone, that would be a
// little later.
func (b *Bridge) revokeLease(ctx context.Context, e *ending) error {
	if e.unleased || e.record.Lease == "" {
		return nil
	}
	f := func(t vault.Token) error { return b.cfg.Vault.RevokeLease(ctx, t, e.record.Lease) }
	err := b.as(ctx, e, f)
	switch {
	case err == nil:
	case !e.stuck && reasonOf(err) == vault.Denied: // the token's end is the lease's
		b.warn(ctx, e, err)
	default:
		e.stuck = true
		return err
	}
	e.unleased = true
	return nil
}

// as does f with the token of the call, or else with our own.
func (b *Bridge) as(ctx context.Context, e *ending, f func(vault.Token) error) error {
	if !e.token.IsZero() && !e.untokened {
		if err := f(e.token); !invalid(err) {
			return err
		}
	}
	return b.own(ctx, f)
}

func (b *Bridge) revokeToken(ctx context.Context, e *ending) error {
	if e.untokened {
		return nil
	}
	var err error
	if !e.token.IsZero() {
		err = b.cfg.Vault.RevokeToken(ctx, e.token)
	}
	switch {
	case e.record.Accessor == "": // nobody can revoke a batch token
		err = nil
	case e.token.IsZero(), reasonOf(err) == vault.Denied:
		err = b.own(ctx, func(t vault.Token) error { return b.cfg.Vault.RevokeAccessor(ctx, t, e.record.Accessor) })
	}
	e.untokened = err == nil
	return err
}

// expired reports whether Vault itself has ended it by now, and only does not let us see
// that: then there is nothing left to do.
func (b *Bridge) expired(ctx context.Context, e *ending, err error) bool {
	switch reasonOf(err) {
	case vault.Denied, vault.LoggedOut:
	default:
		return false
	}
	if b.cfg.Now().Before(e.record.Expires) {
		return false
	}
	b.cfg.Log.WarnContext(ctx, "a lease is taken for ended, as its time is over: Vault does not let us look", "server", e.record.Server, "record", e.record.ID, "error", err)
	return true
}

// warn tells operators, once for each server.
func (b *Bridge) warn(ctx context.Context, e *ending, err error) {
	if e.source != nil {
		b.mu.Lock()
		warned := e.source.warned
		e.source.warned = true
		b.mu.Unlock()
		if warned {
			return
		}
	}
	b.cfg.Log.WarnContext(ctx, "leases end a little later than their calls: give the policy of their Vault tokens update on sys/leases/revoke", "server", e.record.Server, "error", err)
}

// invalid reports whether Vault does not know the token (any more).
func invalid(err error) bool { return errors.Is(err, vault.ErrInvalidToken) }
