package audit

import (
	"context"
	"sync"
	"time"
)

const (
	other      = "other"
	maxClaimed = 256 // bytes of a value that a stranger chose
)

// Refusals writes down the refusals of callers who never authenticated, so that
// strangers cannot fill the log: the first of a source and reason in a window is
// a line at once, the others are counted, and the count is one line when the
// window is over. In a window it writes at most max lines, whatever arrives;
// sources beyond that share the source "other".
//
// The caller chooses Event.Source, which should be what a stranger cannot have
// many of: an IPv4 address, or the /64 of an IPv6 address. It is safe for
// concurrent use.
type Refusals struct {
	rec    Recorder
	window time.Duration
	now    func() time.Time
	max    int // pairs besides the shared one

	mu    sync.Mutex // guards what follows; held while recording, so that one window ends before the next begins
	since time.Time
	pairs map[pair]*Event
	order []pair // as they came
}

type pair struct{ source, reason string }

// NewRefusals makes a Refusals over rec. A max below 4 counts as 4.
func NewRefusals(rec Recorder, window time.Duration, now func() time.Time, max int) *Refusals {
	// A pair has two lines, its first and its count, and one pair is the shared one.
	r := &Refusals{rec: rec, window: window, now: now, max: maxPairs(max)}
	r.reset(now())
	return r
}

func maxPairs(lines int) int { return max(lines, 4)/2 - 1 }

func (r *Refusals) reset(now time.Time) {
	r.since, r.pairs, r.order = now, make(map[pair]*Event), nil
}

// Refuse takes the refusal e in. An error says that it, or a count that was due,
// could not be recorded; the caller refuses anyway.
func (r *Refusals) Refuse(ctx context.Context, e Event) error {
	clip(&e)
	e.Kind, e.Decision = Refusal, Deny
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.flush(ctx, false); err != nil {
		return err
	}
	key := pair{e.Source, e.Reason}
	if r.pairs[key] == nil && len(r.pairs) >= r.max {
		key, e.Source = pair{source: other}, other
	}
	if seen := r.pairs[key]; seen != nil {
		seen.Count++
		return nil
	}
	r.pairs[key], r.order = &e, append(r.order, key)
	if err := r.rec.Record(ctx, e); err != nil {
		r.pairs[key].Count++ // then its line is the one that ends the window
		return err
	}
	return nil
}

// Flush writes the counts of a window that is over, and nothing before. The
// owner calls it now and then, so that the counts of a quiet time are not late.
func (r *Refusals) Flush(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flush(ctx, false)
}

// Close writes the counts of the window that is not over yet.
func (r *Refusals) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flush(ctx, true)
}

// flush ends the window if it is over. What could not be written stays for the
// next flush. The caller holds mu.
func (r *Refusals) flush(ctx context.Context, force bool) error {
	now := r.now()
	if !force && now.Sub(r.since) < r.window {
		return nil
	}
	for len(r.order) > 0 {
		e := *r.pairs[r.order[0]]
		e.Time = now
		if e.Count > 0 {
			if err := r.rec.Record(ctx, e); err != nil {
				return err
			}
		}
		delete(r.pairs, r.order[0])
		r.order = r.order[1:]
	}
	r.reset(now)
	return nil
}

// clip shortens what the stranger chose, and drops what can be long and means
// nothing without authentication.
func clip(e *Event) {
	for _, s := range []*string{
		&e.Source, &e.RequestID, &e.Subject, &e.Client, &e.Txn, &e.TokenID, &e.CallTokenID, &e.Server,
		&e.Action, &e.Tool, &e.Resource, &e.Scope, &e.Reason, &e.Rule, &e.Status,
	} {
		*s = (*s)[:min(len(*s), maxClaimed)]
	}
	e.Arguments, e.Actors = nil, nil
}
