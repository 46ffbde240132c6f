package vaultbridge

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// lease is what one login minted, with its life.
type lease struct {
	source *Source
	key    key
	first  credential.Request // that it was minted for
	ready  chan struct{}      // closed once it is minted, or was not
	done   chan struct{}      // closed when it begins to end

	// Set before ready is closed, and left alone then.
	err        error
	credential credential.Credential
	name       string // for the audit log
	token      vault.Token
	record     Record // with the zero ID: there was no login
	leased     bool   // Vault itself can end what was minted

	// Bridge.mu guards these.
	users   map[*user]struct{}
	live    bool      // minted, and not ending
	retired string    // why it ends with its last call; empty: it does not
	retires time.Time // when nobody new gets it
	until   time.Time // when it ends, whoever uses it
	used    time.Time
	known   time.Time // when Vault was last seen to know it
	renewal renewal
}

// begin has a lease minted, for r alone unless keep is set. b.mu is held.
func (s *Source) begin(r credential.Request, keep bool) *lease {
	b, now := s.b, s.b.cfg.Now()
	l := &lease{source: s, first: r, ready: make(chan struct{}), done: make(chan struct{}), users: map[*user]struct{}{}}
	if keep {
		l.retires = now.Add(s.server.TTL)
		l.until = l.retires.Add(s.server.Limit)
	} else {
		l.retired, l.until = "call_ended", now.Add(s.server.Limit)
		if !r.Until.IsZero() && r.Until.Before(l.until) {
			l.until = r.Until
		}
	}
	b.leases[l] = struct{}{}
	s.mints.do(func(ctx context.Context) { b.mint(ctx, l) })
	return l
}

// mint makes the lease. It does not end with the call that it is for: a request that was
// cut off would leave a Vault token behind that nobody knows. Where everybody has gone
// before it begins, it does not.
func (b *Bridge) mint(ctx context.Context, l *lease) {
	ctx, cancel := context.WithTimeout(ctx, mintWithin)
	defer cancel()
	began := time.Now()
	var m minted
	err := l.source.circuit.try(l.first.Call.Subject().String(), func() (err error) {
		if err = b.room(ctx, l); err == nil {
			m, err = b.make(ctx, l)
		}
		return err
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	l.live = true
	if l.err = failure("mint a credential", err); err == nil {
		l.last(m, b.cfg.Now())
		l.source.observe("minted", "", time.Since(began))
	}
	close(l.ready)
	switch {
	case err != nil:
		b.end(l, string(reasonOf(err)))
	case b.closed:
		b.end(l, "shutdown")
	case len(l.users) == 0:
		b.end(l, "nobody_waits")
	case !l.leased: // what was read stays as it is, and nothing more is read with the token
		b.drop(l)
	}
}

// make is the whole way: login, record, mint, record. What it leaves in l on an error is
// for end.
func (b *Bridge) make(ctx context.Context, l *lease) (minted, error) {
	s, call := l.source.server, l.first.Call
	auth, err := b.login(ctx, l)
	if err != nil {
		return minted{}, err
	}
	l.token, l.record = auth.Token, b.newRecord(l, auth)
	if err := s.suits(auth); err != nil {
		return minted{}, err
	}
	l.renewal.token = newTerm(b.cfg.Now(), auth.TTL, auth.Renewable)
	if err := b.cfg.Records.InsertLease(ctx, l.record); err != nil {
		return minted{}, &Failure{Unrecorded, "record the lease before it is minted", err}
	}
	m, err := s.mint(ctx, reading{b.cfg.Vault, auth.Token, b.cfg.Now()}, call.Subject())
	if err == nil || m.age > 0 {
		b.aged(ctx, l.source, m.age)
	}
	if err != nil {
		return minted{}, err
	}
	return m, b.name(ctx, l, m)
}

// name records what was minted.
func (b *Bridge) name(ctx context.Context, l *lease, m minted) error {
	l.credential, l.name, l.leased = m.credential, m.name, m.leaseID != ""
	l.credential.Lasts = l.source.server.Engine == KV || l.source.server.Engine == DatabaseStatic
	if l.source.server.Engine.leases() && m.leaseID == "" {
		return &Failure{NoLease, "mint a credential", nil}
	}
	if l.leased {
		l.record.Lease = m.leaseID
		if err := b.cfg.Records.NameLease(ctx, l.record.ID, m.leaseID); err != nil {
			return &Failure{Unrecorded, "record the lease", err}
		}
	}
	if err := b.cfg.Audit.Record(ctx, l.event("minted", "")); err != nil {
		return &Failure{Unaudited, "record the lease", err}
	}
	return nil
}

func (b *Bridge) newRecord(l *lease, auth vault.Auth) Record {
	s, now := l.source.server, b.cfg.Now()
	return Record{ID: rand.Text(), Holder: b.cfg.Holder, Boot: b.boot, Call: l.first.ID, Server: s.Name,
		Subject: l.first.Call.Subject().String(), Client: clientOf(l.first.Call), Accessor: auth.Accessor, Path: s.Path, Engine: string(s.Engine),
		Created: now, Expires: l.until.Add(auth.TTL), Held: now.Add(HeldFor)} // it is renewed until then at most
}

// clientOf is who asked for the call: the newest actor, or the subject itself.
func clientOf(call token.Call) string {
	if chain := call.Actor().Chain(); len(chain) > 0 {
		return chain[0]
	}
	return call.Subject().String()
}

// event is a line for the audit log, which joins those of the call that it was minted for.
func (l *lease) event(status, reason string) audit.Event {
	c := l.first.Call
	return audit.Event{Kind: audit.Lease, Call: l.first.ID, Subject: c.Subject().String(), Client: clientOf(c),
		Actors: c.Actor().Chain(), Txn: c.Txn(), CallTokenID: c.ID(), Server: l.source.server.Name, Tool: c.Details().Tool,
		Lease: l.name, Status: status, Reason: reason}
}

// calls are those that go on with it, and the one that it was minted for. b.mu is held.
func (l *lease) calls() []token.Call {
	all := []token.Call{l.first.Call}
	for _, u := range slices.Collect(maps.Keys(l.users)) {
		all = append(all, u.call)
	}
	return all
}
