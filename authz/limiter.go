package authz

import (
	"net/netip"
	"sync"
	"time"
)

// limiter is a token bucket for each source, in memory: burst events at once, and
// one more each time that every has passed. It remembers a bounded number of
// sources; when there are more, those that have been quiet for long enough, and in
// the worst case all, are forgotten.
type limiter struct {
	every time.Duration
	burst int

	mu   sync.Mutex // guards seen
	seen map[string]time.Time
}

const maxSources = 10000

func newLimiter(every time.Duration, burst int) *limiter {
	return &limiter{every: every, burst: burst, seen: map[string]time.Time{}}
}

// allow takes one event from the source's bucket, and reports whether there was one.
// The bucket is kept as the time at which it will be full.
func (l *limiter) allow(source string, now time.Time) bool {
	key := network(source)
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.seen[key]
	if full.Before(now) {
		full = now
	}
	if full = full.Add(l.every); full.Sub(now) > time.Duration(l.burst)*l.every {
		return false
	}
	if _, known := l.seen[key]; !known && len(l.seen) >= maxSources {
		l.forget(now)
	}
	l.seen[key] = full
	return true
}

// giveBack returns an event that allow took, and that turned out not to count.
func (l *limiter) giveBack(source string) {
	key := network(source)
	l.mu.Lock()
	defer l.mu.Unlock()
	if full, ok := l.seen[key]; ok {
		l.seen[key] = full.Add(-l.every)
	}
}

func (l *limiter) forget(now time.Time) {
	for key, full := range l.seen {
		if !full.After(now) {
			delete(l.seen, key)
		}
	}
	if len(l.seen) >= maxSources {
		clear(l.seen)
	}
}

// network is what one source has of addresses: an IPv6 network of 64 bits is one.
// What is no address is a source by itself.
func network(source string) string {
	a, err := netip.ParseAddr(source)
	if err != nil {
		return source
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return source
	}
	return p.String()
}
