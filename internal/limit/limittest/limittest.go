// Package limittest is the one suite for every limit.Counter.
package limittest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/limit"
)

// Clock is an injected clock. It is safe for concurrent use.
type Clock struct {
	mu sync.Mutex // guards t
	t  time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *Clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// counters is one Counter as two replicas have it, or one that both are.
type counters struct {
	*Clock
	a, b limit.Counter
}

// Run runs the suite. Each test opens two counters over the same counts.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) (a, b limit.Counter)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := counters{Clock: &Clock{t: time.Date(2026, 10, 7, 9, 30, 0, 123456000, time.UTC)}}
			c.a, c.b = open(t, c.Now)
			test(t, c)
		})
	}
}

var tests = map[string]func(*testing.T, counters){
	"calls come again evenly over their time":            evenly,
	"a limit that divides badly lets no more through":    dividesBadly,
	"places at once are given back":                      atOnce,
	"places of a process that died are given back":       died,
	"all claims, or none":                                allOrNothing,
	"keys do not count together":                         apart,
	"a claim that says nothing lets nobody through":      malformed,
	"releasing twice gives back once":                    twice,
	"no more than there are, of many at once":            race,
	"no more than there are at once, of many at once":    raceAtOnce,
	"many that claim the same keys in another order end": orders,
}

func (c counters) take(t *testing.T, by limit.Counter, claims ...limit.Claim) (func(), *limit.Exhausted) {
	t.Helper()
	release, err := by.Take(t.Context(), claims, time.Minute)
	var e *limit.Exhausted
	if err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	if (err == nil) != (release != nil) {
		t.Fatalf("release %t, %v", release != nil, err)
	}
	return release, e
}

func (c counters) passes(t *testing.T, claims ...limit.Claim) func() {
	t.Helper()
	release, e := c.take(t, c.a, claims...)
	if e != nil {
		t.Fatalf("refused: %v", e)
	}
	return release
}

func (c counters) refused(t *testing.T, key string, retry time.Duration, claims ...limit.Claim) {
	t.Helper()
	_, e := c.take(t, c.b, claims...)
	if e == nil || e.Claim.Key != key || e.Retry != retry {
		t.Fatalf("got %+v, want one of %s that may go after %s", e, key, retry)
	}
}

func calls(key string, n int, per time.Duration) limit.Claim {
	return limit.Claim{Key: key, Calls: n, Per: per}
}

func open(key string, n int) limit.Claim { return limit.Claim{Key: key, Concurrent: n} }

func evenly(t *testing.T, c counters) {
	three := calls("k", 3, time.Minute)
	for range 3 {
		c.passes(t, three)()
	}
	c.refused(t, "k", 20*time.Second, three)
	c.advance(19 * time.Second)
	c.refused(t, "k", time.Second, three)
	c.advance(time.Second)
	c.passes(t, three)
	c.refused(t, "k", 20*time.Second, three)
	c.advance(time.Hour)
	for range 3 { // and no more were saved up
		c.passes(t, three)
	}
	c.refused(t, "k", 20*time.Second, three)
}

func dividesBadly(t *testing.T, c counters) {
	for _, claim := range []limit.Claim{calls("7", 7, time.Second), calls("3000", 3000, time.Second), calls("µs", 5, time.Microsecond)} {
		n := 0
		for ; n <= claim.Calls; n++ {
			if _, e := c.take(t, c.a, claim); e != nil {
				break
			}
		}
		if n != claim.Calls {
			t.Errorf("%s: %d were let through", claim.Key, n)
		}
	}
}

func atOnce(t *testing.T, c counters) {
	first := c.passes(t, open("k", 2))
	second := c.passes(t, open("k", 2))
	c.refused(t, "k", time.Second, open("k", 2))
	first()
	third := c.passes(t, open("k", 2))
	c.refused(t, "k", time.Second, open("k", 2))
	second()
	third()
	c.passes(t, open("k", 1))
	c.refused(t, "k", time.Second, open("k", 1))
}

func died(t *testing.T, c counters) {
	release := c.passes(t, open("k", 1))
	c.advance(time.Minute - time.Microsecond)
	c.refused(t, "k", time.Second, open("k", 1))
	c.advance(time.Microsecond)
	c.passes(t, open("k", 1))
	release() // that was not dead after all takes nothing of another's
	c.refused(t, "k", time.Second, open("k", 1))
}

func allOrNothing(t *testing.T, c counters) {
	c.passes(t, open("places", 1))
	for range 3 {
		c.refused(t, "places", time.Second, calls("calls", 2, time.Minute), open("places", 1), open("more", 1))
	}
	c.passes(t, calls("calls", 2, time.Minute), open("more", 1))
	c.passes(t, calls("calls", 2, time.Minute))
	c.refused(t, "calls", 30*time.Second, open("other", 1), calls("calls", 2, time.Minute))
	c.passes(t, open("other", 1))
	c.passes(t)
}

func apart(t *testing.T, c counters) {
	c.passes(t, calls("k", 1, time.Minute))
	c.passes(t, calls("K", 1, time.Minute))
	c.passes(t, calls("k ", 1, time.Minute))
	c.refused(t, "k", time.Minute, calls("k", 1, time.Minute))
}

func malformed(t *testing.T, c counters) {
	long := fmt.Sprintf("%*d", limit.MaxKey+1, 1)
	for _, claims := range [][]limit.Claim{{{}}, {{Key: "k"}}, {calls("", 1, time.Second)}, {calls("k", 0, time.Second)}, {calls("k", 1, 0)}, {calls("k", -1, time.Second)},
		{open("k", -1)}, {calls(long, 1, time.Second)}, {calls("k", 1, -time.Second)}, {{Key: "k", Calls: 1, Per: time.Second, Concurrent: 1}},
		{calls("k", 1<<62, time.Second)}, {calls("k", 1, 1<<62)}, {open("good", 1), {}}, {calls("k", 1, time.Second), open("k", 1)}} {
		if _, err := c.a.Take(t.Context(), claims, time.Minute); !errors.Is(err, limit.ErrMalformed) {
			t.Errorf("%+v: %v", claims, err)
		}
	}
	if _, err := c.a.Take(t.Context(), []limit.Claim{open("k", 1)}, 0); !errors.Is(err, limit.ErrMalformed) {
		t.Errorf("a place for no time: %v", err)
	}
	c.passes(t, open("good", 1))
}

func twice(t *testing.T, c counters) {
	first := c.passes(t, open("k", 2))
	c.passes(t, open("k", 2))
	first()
	first()
	c.passes(t, open("k", 2))
	c.refused(t, "k", time.Second, open("k", 2))
}

// many has 16 take at once, half of them at each replica, and returns how many were let
// through.
func (c counters) many(t *testing.T, claims func(i int) []limit.Claim) (let int) {
	t.Helper()
	errs := make([]error, 16)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			by := []limit.Counter{c.a, c.b}[i%2]
			<-start
			_, errs[i] = by.Take(context.WithoutCancel(t.Context()), claims(i), time.Minute)
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			let++
		} else if !errors.As(err, new(*limit.Exhausted)) {
			t.Error(err)
		}
	}
	return let
}

func race(t *testing.T, c counters) {
	for i := range 20 {
		key := fmt.Sprint(i)
		if n := c.many(t, func(int) []limit.Claim { return []limit.Claim{calls(key, 5, time.Hour)} }); n != 5 {
			t.Errorf("%d were let through, want 5", n)
		}
	}
}

func raceAtOnce(t *testing.T, c counters) {
	for i := range 20 {
		key := fmt.Sprint(i)
		if n := c.many(t, func(int) []limit.Claim { return []limit.Claim{open(key, 3), calls("all", 1000, time.Hour)} }); n != 3 {
			t.Errorf("%d were let through, want 3", n)
		}
	}
}

func orders(t *testing.T, c counters) {
	for range 20 {
		claims := []limit.Claim{calls("x", 100000, time.Hour), open("y", 100000), calls("z", 100000, time.Hour)}
		n := c.many(t, func(i int) []limit.Claim {
			return []limit.Claim{claims[i%3], claims[(i+1)%3], claims[(i+2)%3]}
		})
		if n != 16 {
			t.Errorf("%d of 16 were let through", n)
		}
	}
}
