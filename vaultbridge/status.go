package vaultbridge

import (
	"cmp"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Status is how one server fares in this process.
type Status struct {
	Server string
	Engine Engine
	Per    Per
	Leases int           // that live, of calls or kept for a session or subject
	InUse  int           // calls that go on with one
	Ending int           // leases whose end has begun, and has not failed
	Failed int           // that could not be ended, and are tried again
	Oldest time.Time     // when the oldest of Failed was minted; zero: there is none
	Why    string        // the last refusal, or why the oldest of Failed has not ended; empty: all is well
	Open   bool          // the circuit: Vault is asked nothing for this server for a while
	Age    time.Duration // of the static key that was read last; 0: none was
}

// Status is how the servers fare, as they are configured. What other processes left behind
// counts for its server, if it is still there.
func (b *Bridge) Status() []Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	byName := map[string]*Status{}
	list := make([]Status, 0, len(b.cfg.Servers))
	for _, s := range b.cfg.Servers {
		src := b.sources[s.Name]
		list = append(list, Status{Server: s.Name, Engine: s.Engine, Per: cmp.Or(s.Per, PerCall), Why: src.why, Age: src.age, Open: src.circuit.State() == gobreaker.StateOpen})
		byName[s.Name] = &list[len(list)-1]
	}
	for l := range b.leases {
		if l.live {
			byName[l.source.server.Name].Leases++
		}
		byName[l.source.server.Name].InUse += len(l.users)
	}
	for e := range b.endings {
		s := byName[e.record.Server]
		if s == nil {
			continue
		}
		if _, failed := b.failed[e]; failed {
			s.failed(e)
		} else {
			s.Ending++
		}
	}
	return list
}

func (s *Status) failed(e *ending) {
	s.Failed++
	if s.Oldest.IsZero() || e.record.Created.Before(s.Oldest) {
		s.Oldest, s.Why = e.record.Created, e.record.Failure
	}
}
