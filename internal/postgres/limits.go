package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/limit"
)

// releaseWithin is how long giving back a place may take; it ends by itself.
const releaseWithin = 5 * time.Second

// Limits counts calls over all replicas. It is a limit.Counter.
type Limits struct {
	store *Store
	now   func() time.Time
}

var _ limit.Counter = (*Limits)(nil)

// Limits returns the counter of this store.
func (s *Store) Limits(now func() time.Time) *Limits { return &Limits{s, now} }

// Take implements limit.Counter. Keys are locked in their order, so that no two wait for
// each other.
func (l *Limits) Take(ctx context.Context, claims []limit.Claim, hold time.Duration) (func(), error) {
	if err := limit.Check(claims, hold); err != nil {
		return nil, err
	}
	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(a, b limit.Claim) int { return strings.Compare(a.Key, b.Key) })
	now, id := l.now(), rand.Text()
	take := func(ctx context.Context) error {
		for _, c := range claims {
			if err := l.count(ctx, c, id, now, hold); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if len(claims) == 1 && claims[0].Calls > 0 { // is one statement
		err = take(ctx)
	} else {
		err = l.store.InTx(ctx, take)
	}
	if err != nil && !errors.As(err, new(*limit.Exhausted)) {
		err = fmt.Errorf("count against limits: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return l.release(ctx, id, claims), nil
}

func (l *Limits) count(ctx context.Context, c limit.Claim, id string, now time.Time, hold time.Duration) error {
	if c.Concurrent > 0 {
		return l.lease(ctx, c, id, now, now.Add(hold))
	}
	interval, full := c.Interval().Microseconds(), c.Full().Microseconds()
	n, err := l.store.exec(ctx, `INSERT INTO limit_counts AS l (key, due_at) VALUES ($1, $2::bigint + $3::bigint)
		ON CONFLICT (key) DO UPDATE SET due_at = greatest(l.due_at, $2::bigint) + $3::bigint
		WHERE greatest(l.due_at, $2::bigint) + $3::bigint - $2::bigint <= $4::bigint`, c.Key, micros(now), interval, full)
	if err != nil || n > 0 {
		return err
	}
	var due time.Time
	err = l.store.get(ctx, `SELECT due_at FROM limit_counts WHERE key = $1`, []any{c.Key}, (*instant)(&due))
	if err != nil && !errors.Is(err, authz.ErrNotFound) {
		return err
	}
	return &limit.Exhausted{Claim: c, Retry: max(due.Add(c.Interval()).Sub(now)-c.Full(), time.Microsecond).Truncate(time.Microsecond)}
}

// lease takes a place of those at once. The row of the key is locked until the transaction
// ends; only then, in a statement of its own, are the places of others all seen.
func (l *Limits) lease(ctx context.Context, c limit.Claim, id string, now, until time.Time) error {
	if _, err := l.store.exec(ctx, `INSERT INTO limit_counts AS l (key, due_at) VALUES ($1, $2)
		ON CONFLICT (key) DO UPDATE SET due_at = greatest(l.due_at, excluded.due_at)`, c.Key, micros(until)); err != nil {
		return err
	}
	n, err := l.store.exec(ctx, `INSERT INTO limit_leases (id, key, expires_at) SELECT $2::text, $1::text, $3::bigint
		WHERE (SELECT count(*) FROM limit_leases WHERE key = $1::text AND expires_at > $4::bigint) < $5::bigint`, c.Key, id, micros(until), micros(now), c.Concurrent)
	if err != nil || n > 0 {
		return err
	}
	return &limit.Exhausted{Claim: c, Retry: time.Second}
}

// release gives the places back once.
func (l *Limits) release(ctx context.Context, id string, claims []limit.Claim) func() {
	if !slices.ContainsFunc(claims, func(c limit.Claim) bool { return c.Concurrent > 0 }) {
		return func() {}
	}
	return sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
		defer cancel()
		_, _ = l.store.exec(ctx, `DELETE FROM limit_leases WHERE id = $1`, id) // else they expire
	})
}
