package vaultbridge

import (
	"context"
	"errors"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// Sweep does what time brings: it ends what may be used no longer, renews what is in use,
// tries again what could not be ended, and ends what other processes left behind. It is to
// be called each second, by one goroutine.
func (b *Bridge) Sweep(ctx context.Context) error {
	if !b.sweep() {
		return nil
	}
	return errors.Join(b.hold(ctx), b.obey(ctx))
}

// sweep is false after Close.
func (b *Bridge) sweep() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	now := b.cfg.Now()
	for l := range b.leases {
		if !l.live {
			continue
		}
		if why := b.over(l, now); why != "" {
			b.end(l, why)
		} else if l.renewal.due(now, l.until) {
			l.renewal.busy = true
			l.source.crew.do(func(ctx context.Context) { b.renew(ctx, l) })
		}
	}
	b.retry()
	return true
}

// over says why the lease ends now; empty: it does not. b.mu is held.
func (b *Bridge) over(l *lease, now time.Time) string {
	for _, c := range l.calls() {
		if b.cfg.Alive(c, l.source.server.Name) != nil {
			return "no_longer_allowed"
		}
	}
	unused := len(l.users) == 0
	switch {
	case !now.Before(l.until):
		return "limit"
	case l.renewal.over(now):
		return "expired"
	case unused && !now.Before(l.retires):
		return "ttl"
	case unused && now.Sub(l.used) >= idle:
		return "idle"
	}
	return ""
}

// term is how long Vault lets something live. The zero term has no end.
type term struct {
	granted   time.Duration
	expires   time.Time
	renewable bool
}

func newTerm(now time.Time, ttl time.Duration, renewable bool) term {
	return term{ttl, now.Add(ttl), renewable}
}

func (t term) over(now time.Time) bool { return t.granted > 0 && !now.Before(t.expires) }

// due reports whether two thirds are over, and the rest is not enough.
func (t term) due(now, until time.Time) bool {
	return t.renewable && t.expires.Before(until) && !now.Before(t.expires.Add(-t.granted/3))
}

// renewed is the term after Vault granted ttl more. Where that is no longer than before,
// its end is near, and nothing moves it.
func (t term) renewed(now time.Time, ttl time.Duration) term {
	next := newTerm(now, ttl, ttl > 0)
	if !next.expires.After(t.expires.Add(time.Second)) {
		next = term{t.granted, t.expires, false}
	}
	return next
}

// renewal is the life of a lease in Vault.
type renewal struct {
	token, lease term
	busy         bool
}

func (r renewal) over(now time.Time) bool { return r.token.over(now) || r.lease.over(now) }

func (r renewal) due(now, until time.Time) bool {
	return !r.busy && (r.token.due(now, until) || r.lease.due(now, until))
}

// last sets how long what was minted lives. b.mu is held.
func (l *lease) last(m minted, now time.Time) {
	l.known, l.used = now, now
	if m.ttl > 0 {
		l.renewal.lease = newTerm(now, m.ttl, m.renewable)
	}
	l.bound()
}

// bound ends the lease with what cannot be renewed. Nobody gets what ends before their call
// may. b.mu is held.
func (l *lease) bound() {
	for _, t := range []term{l.renewal.token, l.renewal.lease} {
		if t.granted > 0 && !t.renewable && t.expires.Before(l.until) {
			l.until = t.expires
		}
	}
	if last := l.until.Add(-l.source.server.Limit); last.Before(l.retires) {
		l.retires = last
	}
}

// renew makes token and lease live on: the token first, whose end is the lease's.
func (b *Bridge) renew(ctx context.Context, l *lease) {
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	b.mu.Lock()
	r, until, now := l.renewal, l.until, b.cfg.Now()
	b.mu.Unlock()
	var err error
	if r.token.due(now, until) {
		var auth vault.Auth
		if auth, err = b.cfg.Vault.RenewToken(ctx, l.token); err == nil {
			r.token = r.token.renewed(now, auth.TTL)
		}
	}
	if err == nil && r.lease.due(now, until) {
		var ttl time.Duration
		if ttl, err = b.cfg.Vault.RenewLease(ctx, l.token, l.record.Lease, r.lease.granted); err == nil {
			r.lease = r.lease.renewed(now, ttl)
		}
	}
	b.renewed(l, r, err)
}

// renewed keeps what came of it. What Vault does not know any more has ended; any other
// failure is tried again, until the time is over.
func (b *Bridge) renewed(l *lease, r renewal, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !l.live {
		return
	}
	r.busy = false
	l.renewal = r
	l.bound()
	switch {
	case err == nil:
		l.known = b.cfg.Now()
		l.source.observe("renewed", "", 0)
	case refused(err):
		b.end(l, "ended_in_vault")
	default:
		b.cfg.Log.Warn("a lease in use was not renewed", "server", l.source.server.Name, "error", err)
	}
}

// refused reports whether Vault does not do it, and trying again would not help.
func refused(err error) bool {
	switch reasonOf(err) {
	case vault.Denied, vault.Refused, vault.NotFound:
		return true
	}
	return false
}

// confirm asks Vault whether it still knows a lease that was kept, unless it was asked a
// moment ago: an operator may have revoked it. Gone: it has ended.
func (s *Source) confirm(ctx context.Context, l *lease) (gone bool, err error) {
	s.b.mu.Lock()
	now, live := s.b.cfg.Now(), l.live
	known := !l.leased || now.Sub(l.known) < freshFor
	s.b.mu.Unlock()
	if !live || known {
		return !live, nil
	}
	err = s.circuit.try(l.first.Call.Subject().String(), func() error {
		_, err := s.b.cfg.Vault.Write(ctx, l.token, "sys/leases/lookup", map[string]any{"lease_id": l.record.Lease})
		return err
	})
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	switch {
	case err == nil:
		l.known = now
		return !l.live, nil
	case refused(err):
		s.b.end(l, "ended_in_vault")
		return true, nil
	}
	return false, err
}
