// Package limit counts calls against limits: how many in a time, and how many at once.
//
// It does NOT decide which limits a call has (package policies does). Memory counts in one
// process; a store counts over all.
package limit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Claim is what one call wants of one limit.
type Claim struct {
	Key        string        // of the limit and of whose calls it counts together; at most MaxKey bytes of UTF-8 without NUL
	Calls      int           // so many at once, which come again evenly over Per; 0: Concurrent is set
	Per        time.Duration //
	Concurrent int           // at once; 0: Calls is set
}

// MaxKey bounds the key of a Claim, bytes: counters keep very many.
const MaxKey = 256

// Bounds of a Claim.
const (
	maxNumber = 1 << 30
	maxPer    = 366 * 24 * time.Hour
)

// Exhausted is the error of Counter.Take for a claim that lets nobody through just now.
type Exhausted struct {
	Claim Claim
	Retry time.Duration // after which it may
}

func (e *Exhausted) Error() string {
	if e.Claim.Concurrent > 0 {
		return fmt.Sprintf("%d calls are open at once, and no more may be", e.Claim.Concurrent)
	}
	return fmt.Sprintf("%d calls in %s were made, and no more may be", e.Claim.Calls, e.Claim.Per)
}

// ErrMalformed is returned for claims that say nothing that could be counted.
var ErrMalformed = errors.New("a claim must have a key of its own, and either calls in a time or calls at once")

// Counter counts. It is safe for concurrent use.
type Counter interface {
	// Take counts a call against all claims, or against none. While the call runs it holds
	// its places of those that are concurrent, at most until the time hold has passed: then
	// its process is taken for dead. The caller releases them at its end. An *Exhausted says
	// which claim let it not through; another error, that nobody can tell.
	Take(ctx context.Context, claims []Claim, hold time.Duration) (release func(), err error)
}

// Check returns ErrMalformed for what cannot be counted.
func Check(claims []Claim, hold time.Duration) error {
	for i, c := range claims {
		calls := c.Calls > 0 && c.Calls <= maxNumber && c.Per > 0 && c.Per <= maxPer && c.Concurrent == 0
		concurrent := c.Concurrent > 0 && c.Concurrent <= maxNumber && c.Calls == 0 && c.Per == 0 && hold > 0
		twice := slices.ContainsFunc(claims[:i], func(o Claim) bool { return o.Key == c.Key })
		if c.Key == "" || len(c.Key) > MaxKey || twice || !calls && !concurrent {
			return ErrMalformed
		}
	}
	return nil
}

// Interval is after what time one of the calls comes again, in whole microseconds, as
// stores keep time: rounded up, so that there are never more.
func (c Claim) Interval() time.Duration {
	us := (c.Per.Microseconds() + int64(c.Calls) - 1) / int64(c.Calls)
	return time.Duration(max(us, 1)) * time.Microsecond
}

// Full is how far in the future the next call may be due, for the call that is made now
// to be let through (GCRA, ITU-T I.371: the limit of the theoretical arrival time).
func (c Claim) Full() time.Duration { return time.Duration(c.Calls) * c.Interval() }
