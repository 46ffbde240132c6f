package vaultbridge

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Bounds of what is kept.
const (
	idle       = 5 * time.Minute // unused, it is ended
	maxFailed  = 1000            // leases of a server that could not be ended: no more are minted for it
	maxStuck   = 100             // of one subject there: a user of a database can see to it that it cannot be dropped
	maxKept    = 16              // leases of a subject with one server: more are for one call each
	freshFor   = time.Second     // for which Vault is not asked again whether it still knows a lease
	mintWithin = 30 * time.Second
)

// key is who shares a lease: nobody but one subject, in the hands of the same actors.
// Vault's policy may look at all of it.
type key struct {
	subject string
	client  string // the gateway
	actors  string // with the caller's own client
	session string // empty where it is kept for the subject
}

// shared reports whether calls share a lease.
func (s Server) shared() bool { return s.Per == PerSession || s.Per == PerSubject }

// key is under what the lease of the call is kept; ok is false where it is for this call
// alone. Without a session there is nothing to keep it for.
func (s Server) key(r credential.Request) (k key, ok bool, err error) {
	if !s.shared() || s.Per == PerSession && r.Session == "" {
		return key{}, false, nil
	}
	actors, err := json.Marshal(r.Call.Actor()) // names alone could be two issuers'
	if err != nil {
		return key{}, false, fmt.Errorf("encode the actors: %w", err)
	}
	k = key{subject: r.Call.Subject().String(), client: r.Call.ClientID().String(), actors: string(actors)}
	if s.Per == PerSession {
		k.session = r.Session
	}
	return k, true, nil
}

// life is how long the Vault token of a call may live.
func (s Server) life() time.Duration {
	if s.shared() {
		return s.TTL + s.Limit
	}
	return s.Limit
}

// user is a call that goes on with a lease.
type user struct{ call token.Call }

// join finds the lease that the call shares, or has one minted. Whoever joins leaves.
func (s *Source) join(r credential.Request) (*lease, *user, error) {
	k, keep, err := s.server.key(r)
	if err != nil {
		return nil, nil, err
	}
	b, u := s.b, &user{r.Call}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, nil, &Failure{Stopping, "obtain a credential", nil}
	case s.failed >= maxFailed, s.stuck(r.Call.Subject().String()) >= maxStuck:
		return nil, nil, &Failure{Backlog, "obtain a credential", nil}
	}
	l := s.kept(k)
	if l == nil {
		keep = keep && s.keptFor(k.subject) < maxKept
		if l = s.begin(r, keep); keep {
			l.key = k
			s.pool[k] = l
		}
	} else {
		s.observe("shared", "", 0)
	}
	l.users[u] = struct{}{}
	return l, u, nil
}

// stuck counts what of a subject could not be ended. b.mu is held.
func (s *Source) stuck(subject string) (n int) {
	if s.failed < maxStuck {
		return 0
	}
	for e := range s.b.failed {
		if e.record.Server == s.server.Name && e.record.Subject == subject {
			n++
		}
	}
	return n
}

// kept is the lease under k, if it is good for one more call. b.mu is held.
func (s *Source) kept(k key) *lease {
	l, now := s.pool[k], s.b.cfg.Now()
	switch {
	case l == nil || !now.Before(l.retires):
	case l.live && l.renewal.over(now): // it was not swept yet
	default:
		return l
	}
	if l != nil {
		s.retire(k, l, "ttl")
	}
	return nil
}

// keptFor counts what is kept for a subject: who opens session after session would fill
// the database with users. b.mu is held.
func (s *Source) keptFor(subject string) (n int) {
	for k := range s.pool {
		if k.subject == subject {
			n++
		}
	}
	return n
}

// retire lets nobody new have the lease, and ends it with its last call. b.mu is held.
func (s *Source) retire(k key, l *lease, why string) {
	if s.pool[k] == l {
		delete(s.pool, k)
	}
	l.retired = why
	if l.live && len(l.users) == 0 {
		s.b.end(l, why)
	}
}

// leave is the end of a call, or of waiting for a credential.
func (b *Bridge) leave(l *lease, u *user) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(l.users, u)
	l.used = b.cfg.Now()
	if l.live && len(l.users) == 0 && l.retired != "" {
		b.end(l, l.retired)
	}
}
