package limit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxKeys bounds what a Memory knows at a time; some 20 MB.
const maxKeys = 100_000

var errFull = errors.New("so many limits are in use that no more can be counted")

// Memory is a Counter in the memory of this process.
type Memory struct {
	now  func() time.Time
	most int // keys

	mu    sync.Mutex // guards what follows
	known map[string]*counted
	sweep int    // how many may be known before the idle ones are forgotten
	last  uint64 // name of the newest lease
}

var _ Counter = (*Memory)(nil)

// counted is what is known of one key.
type counted struct {
	due  time.Time            // when the next call would be due, were they made evenly
	open map[uint64]time.Time // leases, and when each expires
}

// NewMemory makes one that has counted nothing.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, most: maxKeys, known: map[string]*counted{}}
}

// Take implements Counter.
func (m *Memory) Take(_ context.Context, claims []Claim, hold time.Duration) (func(), error) {
	if err := Check(claims, hold); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, c := range claims {
		if err := m.exhausted(c, now); err != nil {
			return nil, err
		}
	}
	if !m.room(len(claims), now) {
		return nil, errFull
	}
	m.last++
	lease := m.last
	for _, c := range claims {
		m.count(c, lease, now, now.Add(hold))
	}
	return sync.OnceFunc(func() { m.release(claims, lease) }), nil
}

// exhausted looks whether the claim lets one through. The caller holds m.mu.
func (m *Memory) exhausted(c Claim, now time.Time) error {
	k := m.known[c.Key]
	if k == nil {
		k = &counted{}
	}
	if c.Concurrent > 0 {
		for lease, until := range k.open {
			if !until.After(now) {
				delete(k.open, lease)
			}
		}
		if len(k.open) >= c.Concurrent {
			return &Exhausted{Claim: c, Retry: time.Second}
		}
		return nil
	}
	if over := later(k.due, now).Add(c.Interval()).Sub(now) - c.Full(); over > 0 {
		return &Exhausted{Claim: c, Retry: over}
	}
	return nil
}

func (m *Memory) count(c Claim, lease uint64, now, until time.Time) {
	k := m.known[c.Key]
	if k == nil {
		k = &counted{}
		m.known[c.Key] = k
	}
	if c.Calls > 0 {
		k.due = later(k.due, now).Add(c.Interval())
		return
	}
	if k.open == nil {
		k.open = map[uint64]time.Time{}
	}
	k.open[lease] = until
}

// room makes sure that n more keys can be known. The caller holds m.mu.
func (m *Memory) room(n int, now time.Time) bool {
	if len(m.known)+n <= min(max(m.sweep, 1024), m.most) {
		return true
	}
	for key, k := range m.known {
		if k.idle(now) {
			delete(m.known, key)
		}
	}
	m.sweep = 2 * len(m.known)
	return len(m.known)+n <= m.most
}

// idle reports whether a new one would equal it.
func (k *counted) idle(now time.Time) bool {
	for _, until := range k.open {
		if until.After(now) {
			return false
		}
	}
	return !k.due.After(now)
}

func (m *Memory) release(claims []Claim, lease uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range claims {
		if k := m.known[c.Key]; k != nil {
			delete(k.open, lease)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
