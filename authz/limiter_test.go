package authz

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// noon is when these tests begin.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// allowed counts how many of n events at once a limiter lets through.
func allowed(l *limiter, source string, now time.Time, n int) (ok int) {
	for range n {
		if l.allow(source, now) {
			ok++
		}
	}
	return ok
}

func TestLimiterLetsABurstThroughAndThenOneAtATime(t *testing.T) {
	l := newLimiter(time.Minute, 3)
	now := noon
	for _, step := range []struct {
		after time.Duration
		want  int
	}{
		{0, 3}, {59 * time.Second, 0}, {time.Second, 1}, {0, 0}, {2 * time.Minute, 2}, {time.Hour, 3}, {-time.Hour, 0},
	} {
		now = now.Add(step.after)
		if got := allowed(l, "192.0.2.1", now, 5); got != step.want {
			t.Errorf("after %s: %d events, want %d", step.after, got, step.want)
		}
	}
}

func TestLimiterIsBySource(t *testing.T) {
	for name, test := range map[string]struct {
		first, second string
		one           bool // source
	}{
		"an address and itself":                     {"192.0.2.1", "192.0.2.1", true},
		"an address and its neighbour":              {"192.0.2.1", "192.0.2.2", false},
		"an address and itself mapped to IPv6":      {"192.0.2.1", "::ffff:192.0.2.1", true},
		"two addresses that are mapped to IPv6":     {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		"who changes address within a network":      {"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		"two spellings of an address":               {"2001:db8::1", "2001:DB8:0:0::1", true},
		"two networks":                              {"2001:db8::1", "2001:db8:0:1::1", false},
		"one link-local address with and without %": {"fe80::1", "fe80::1%eth0", true},
		"what is no address":                        {"@", "@", true},
		"what is no address, twice":                 {"@", "pipe", false},
		"nothing":                                   {"", "192.0.2.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimiter(time.Minute, 1)
			if !l.allow(test.first, noon) {
				t.Fatal("the first event")
			}
			if got := l.allow(test.second, noon); got == test.one {
				t.Errorf("the second event: %v", got)
			}
		})
	}
}

func TestLimiterGivesBackWhatDidNotCount(t *testing.T) {
	l := newLimiter(time.Minute, 2)
	for range 5 {
		if !l.allow("192.0.2.1", noon) {
			t.Fatal("what was given back counts")
		}
		l.giveBack("192.0.2.1")
	}
	if l.giveBack("192.0.2.2"); len(l.seen) != 1 { // took nothing
		t.Errorf("%d sources are remembered", len(l.seen))
	}
	for _, source := range []string{"192.0.2.1", "192.0.2.2"} {
		if got := allowed(l, source, noon, 5); got != 2 {
			t.Errorf("%s: %d events, want 2", source, got)
		}
	}
}

// TestLimiterMemoryIsBounded: an attacker has more networks than we have memory.
func TestLimiterMemoryIsBounded(t *testing.T) {
	l := newLimiter(time.Minute, 2)
	source := func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) }
	l.allow(source(0), noon.Add(-time.Hour))
	for i := range maxSources - 1 {
		allowed(l, source(i+1), noon, 2)
	}
	l.giveBack(source(2))
	if l.allow(source(2), noon); len(l.seen) != maxSources {
		t.Fatalf("a source that is known: %d are remembered", len(l.seen))
	}
	if l.allow("192.0.2.1", noon); len(l.seen) != maxSources || l.allow(source(1), noon) {
		t.Errorf("a new one, and one has been quiet: %d are remembered, or others forgotten", len(l.seen))
	}
	if l.allow("192.0.2.2", noon); len(l.seen) != 1 {
		t.Errorf("a new one, and none has been quiet: %d are remembered", len(l.seen))
	}
}

func TestLimiterInParallelLetsNoMoreThrough(t *testing.T) {
	l := newLimiter(time.Minute, 10)
	var mu sync.Mutex // guards ok
	var ok int
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			l.allow(fmt.Sprint(i), noon)
			l.giveBack(fmt.Sprint(i))
			n := allowed(l, "192.0.2.1", noon, 10)
			mu.Lock()
			defer mu.Unlock()
			ok += n
		})
	}
	wg.Wait()
	if ok != 10 {
		t.Errorf("%d events, want 10", ok)
	}
}
