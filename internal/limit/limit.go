// Package limit counts calls against limits: how many in a time, and how many at once.
//
// It does NOT decide which limits a call has (package policies does). Memory counts in one
// process; a store counts over all.
package limit

import (
	"context"
	"time"
)

// Claim is what one call wants of one limit.
type Claim struct {
	Key        string        // of the limit and of whose calls it counts together
	Calls      int           // in any time of Per; 0: Concurrent is set
	Per        time.Duration //
	Concurrent int           // at once; 0: Calls is set
}

// Counter counts. It is safe for concurrent use.
type Counter interface {
	// Take counts a call against all claims, or against none. While it runs it holds its
	// places of those that are concurrent, at most until the time hold has passed: then
	// its process is taken for dead. When a claim is exhausted, ok is false and retry
	// says after what time it may be tried again; err says that nobody can tell.
	Take(ctx context.Context, claims []Claim, hold time.Duration) (release func(), retry time.Duration, ok bool, err error)
}
