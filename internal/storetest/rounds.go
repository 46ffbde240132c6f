package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wicketgate/wicketgate/authz"
)

const (
	rounds   = 1000
	fighters = 4 // in each round and process
)

// contest is a thing that exactly one may win in each round, over all replicas.
type contest struct {
	name    string
	prepare func(ctx context.Context, s Store, round int) error
	try     func(ctx context.Context, s Store, round, fighter int) error
	lost    error // what all others get
	// check counts what the winner has left, where that is more than its word.
	check func(ctx context.Context, s Store, round, fighters int) (int, error)
}

var contests = []contest{
	{
		name:    "redemption of a code",
		prepare: func(ctx context.Context, s Store, i int) error { return insertRound(ctx, s, i, "") },
		try: func(ctx context.Context, s Store, i, _ int) error {
			return s.RedeemCode(ctx, hashOf(fmt.Sprint("code ", i)), at)
		},
		lost: authz.ErrSpent,
	},
	{
		name: "rotation of a refresh token",
		prepare: func(ctx context.Context, s Store, i int) error {
			return insertRound(ctx, s, i, fmt.Sprint("refresh ", i))
		},
		try:   rotateRound,
		lost:  authz.ErrSpent,
		check: countSuccessors,
	},
	{
		name:    "registration of a client",
		prepare: func(context.Context, Store, int) error { return nil },
		try: func(ctx context.Context, s Store, i, _ int) error {
			return s.InsertClient(ctx, someClient(fmt.Sprint("client-", i)))
		},
		lost: authz.ErrExists,
	},
}

func insertRound(ctx context.Context, s Store, i int, refresh string) error {
	id := fmt.Sprint("a", i)
	if err := s.InsertCode(ctx, someAuthorization(id), someCode(fmt.Sprint("code ", i))); err != nil || refresh == "" {
		return err
	}
	return s.InsertRefreshToken(ctx, id, someRefreshToken(refresh))
}

func successor(i, fighter int) string { return fmt.Sprint("successor ", i, "-", fighter) }

func rotateRound(ctx context.Context, s Store, i, fighter int) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		// First the successor: it must go when the rotation fails.
		if err := s.InsertRefreshToken(ctx, fmt.Sprint("a", i), someRefreshToken(successor(i, fighter))); err != nil {
			return err
		}
		return s.RotateRefreshToken(ctx, hashOf(fmt.Sprint("refresh ", i)), at)
	})
}

func countSuccessors(ctx context.Context, s Store, i, fighters int) (n int, err error) {
	for f := range fighters {
		_, _, err := s.RefreshToken(ctx, hashOf(successor(i, f)))
		if err == nil {
			n++
		} else if !errors.Is(err, authz.ErrNotFound) {
			return 0, err
		}
	}
	return n, nil
}

// roundTests fight every contest at two replicas in this process.
func roundTests() (tests []test) {
	for _, c := range contests {
		tests = append(tests, test{c.name + " has one winner in each of 1,000 rounds", func(t *testing.T, s Stores) {
			replicas := []Store{s.Store, s.Open(t)}
			c.prepareAll(t, s)
			for i := range rounds {
				won, err := c.fight(t.Context(), replicas, i, 0)
				must(t, err)
				c.wantOne(t, s, i, won, fighters)
			}
		}})
	}
	return tests
}

func (c contest) prepareAll(t *testing.T, s Store) {
	t.Helper()
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		for i := range rounds {
			if err := c.prepare(ctx, s, i); err != nil {
				return err
			}
		}
		return nil
	}))
}

// fight lets all fighters of this process try a round at once, and returns how
// many won.
func (c contest) fight(ctx context.Context, replicas []Store, round, firstFighter int) (won int, err error) {
	all := make([]contender, fighters)
	for i := range all {
		all[i] = func(ctx context.Context) error {
			return c.try(ctx, replicas[i%len(replicas)], round, firstFighter+i)
		}
	}
	for _, e := range race(ctx, all) {
		if e == nil {
			won++
		} else if !errors.Is(e, c.lost) {
			err = fmt.Errorf("a loser got %w, want %w", e, c.lost)
		}
	}
	return won, err
}

func (c contest) wantOne(t *testing.T, s Store, round, won, fighters int) {
	t.Helper()
	if won != 1 {
		t.Errorf("round %d: %d of %d won, want exactly 1", round, won, fighters)
	}
	if c.check == nil {
		return
	}
	left, err := c.check(t.Context(), s, round, fighters)
	must(t, err)
	if left != 1 {
		t.Errorf("round %d: %d of %d left something, want exactly 1", round, left, fighters)
	}
}
