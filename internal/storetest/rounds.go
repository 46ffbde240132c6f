package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/approval"
)

const (
	mostRounds = 1000
	fighters   = 4 // in each round and process
	look       = 7 // in one of so many rounds everybody looks at what the winner has left
)

// errWrong is returned by who sees something else than what was won.
var errWrong = errors.New("the outcome is wrong")

// contest is a thing that exactly one may win in each round, over all replicas.
type contest struct {
	name    string
	prepare func(ctx context.Context, s Store, round int) error
	try     func(ctx context.Context, s Store, round, fighter int) error
	lost    error // what all others get
	recent  bool  // it is of what the schema before does not have
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
	{
		name:    "use of a jti",
		prepare: expireRound,
		try:     jtiRound,
		lost:    authz.ErrExists,
	},
	{
		name: "taking of a ticket",
		prepare: func(ctx context.Context, s Store, i int) error {
			return s.InsertTicket(ctx, authz.TicketRequest, roundKey(i), roundKey(i), at, ticketExpires)
		},
		try:  takeRound,
		lost: authz.ErrSpent,
	},
	{
		name: "decision about a device code",
		prepare: func(ctx context.Context, s Store, i int) error {
			return s.InsertDeviceCode(ctx, someDeviceCode(fmt.Sprint("device ", i)))
		},
		try:  decideRound,
		lost: authz.ErrSpent,
	},
	{
		name: "redemption of a device code",
		prepare: func(ctx context.Context, s Store, i int) error {
			d := someDeviceCode(fmt.Sprint("device ", i))
			d.Decided, d.Authorization = at, "a1"
			return s.InsertDeviceCode(ctx, d)
		},
		try: func(ctx context.Context, s Store, i, _ int) error {
			return s.RedeemDeviceCode(ctx, hashOf(fmt.Sprint("device ", i)), at)
		},
		lost: authz.ErrSpent,
	},
	{
		name:    "decision on an approval",
		prepare: func(ctx context.Context, s Store, i int) error { return approvalRound(ctx, s, i, false) },
		try: func(ctx context.Context, s Store, i, fighter int) error {
			_, err := s.DecideApproval(ctx, fmt.Sprint(i), approval.Approved, subjectOf(fmt.Sprint("approver-", fighter)), "", at)
			return err
		},
		lost: approval.ErrDecided,
	},
	{
		name:    "use of an approval",
		prepare: func(ctx context.Context, s Store, i int) error { return approvalRound(ctx, s, i, true) },
		try:     func(ctx context.Context, s Store, i, _ int) error { return s.UseApproval(ctx, fmt.Sprint(i), at) },
		lost:    approval.ErrSpent,
	},
	{
		name: "claim of a lease that nobody holds",
		prepare: func(ctx context.Context, s Store, i int) error {
			r := someLease(fmt.Sprint("lease ", i))
			r.Held = at.Add(time.Duration(i) * time.Second)
			return s.InsertLease(ctx, r)
		},
		try:    claimRound,
		lost:   errClaimed,
		recent: true,
	},
}

// errClaimed is returned by who came too late.
var errClaimed = errors.New("another one has it")

func claimRound(ctx context.Context, s Store, i, fighter int) error {
	now := at.Add(time.Duration(i)*time.Second + time.Microsecond)
	all, err := s.ClaimLeases(ctx, fmt.Sprint("fighter-", fighter), "boot", now, at.Add(24*time.Hour))
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return errClaimed
	case len(all) != 1 || all[0].ID != fmt.Sprint("lease ", i):
		return fmt.Errorf("claimed %+v in round %d: %w", all, i, errWrong)
	}
	return nil
}

func approvalRound(ctx context.Context, s Store, i int, approved bool) error {
	_, _, err := s.OpenApproval(ctx, someApproval(fmt.Sprint(i)), mostRounds+1)
	if err == nil && approved {
		_, err = s.DecideApproval(ctx, fmt.Sprint(i), approval.Approved, subjectOf("bob"), "", at)
	}
	return err
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
	token := hashOf(fmt.Sprint("refresh ", i))
	err := s.InTx(ctx, func(ctx context.Context) error {
		// First the successor: it must go when the rotation fails.
		if err := s.InsertRefreshToken(ctx, fmt.Sprint("a", i), someRefreshToken(successor(i, fighter))); err != nil {
			return err
		}
		return s.RotateRefreshToken(ctx, token, []byte(successor(i, fighter)), at)
	})
	if i%look == 0 && (err == nil || errors.Is(err, authz.ErrSpent)) {
		return errors.Join(err, sees(ctx, s, token, fighter, err == nil))
	}
	return err
}

// sees checks that the winner's successor is what is kept, for losers too: they are
// to answer with it.
func sees(ctx context.Context, s Store, token []byte, fighter int, won bool) error {
	got, _, err := s.RefreshToken(ctx, token)
	if err != nil {
		return fmt.Errorf("read what is left: %w", err)
	}
	_, winner, _ := strings.Cut(string(got.Successor), "-")
	if own := winner == fmt.Sprint(fighter); winner == "" || own != won {
		return fmt.Errorf("fighter %d (won: %v) sees the successor %q: %w", fighter, won, got.Successor, errWrong)
	}
	_, _, err = s.RefreshToken(ctx, hashOf(string(got.Successor)))
	if err != nil {
		return fmt.Errorf("read the successor: %w: %w", errWrong, err)
	}
	return nil
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

func roundKey(i int) []byte { return hashOf(fmt.Sprint("ticket ", i)) }

// expireRound leaves an expired ticket in every second round, taken in every
// fourth: to replace it is won once too.
func expireRound(ctx context.Context, s Store, i int) error {
	if i%2 == 0 {
		return nil
	}
	err := s.InsertTicket(ctx, authz.TicketAssertion, roundKey(i), []byte("expired"), at.Add(-time.Hour), at)
	if err == nil && i%4 == 1 {
		_, err = s.TakeTicket(ctx, authz.TicketAssertion, roundKey(i), at.Add(-time.Hour))
	}
	return err
}

func jtiRound(ctx context.Context, s Store, i, fighter int) error {
	err := s.InsertTicket(ctx, authz.TicketAssertion, roundKey(i), fmt.Append(nil, fighter), at, ticketExpires)
	if i%look != 0 || err != nil && !errors.Is(err, authz.ErrExists) {
		return err
	}
	value, missing := s.Ticket(ctx, authz.TicketAssertion, roundKey(i), at)
	if missing != nil || (string(value) == fmt.Sprint(fighter)) != (err == nil) {
		return fmt.Errorf("fighter %d (%v) sees %q, %v: %w", fighter, err, value, missing, errWrong)
	}
	return err
}

func takeRound(ctx context.Context, s Store, i, _ int) error {
	value, err := s.TakeTicket(ctx, authz.TicketRequest, roundKey(i), at)
	if err == nil && !bytes.Equal(value, roundKey(i)) {
		return fmt.Errorf("the winner got %q: %w", value, errWrong)
	}
	return err
}

// decideRound has every second fighter deny.
func decideRound(ctx context.Context, s Store, i, fighter int) error {
	decision := ""
	if fighter%2 == 1 {
		decision = fmt.Sprint("a", fighter)
	}
	hash := hashOf(fmt.Sprint("device ", i))
	err := s.DecideDeviceCode(ctx, hash, decision, at.Add(time.Duration(fighter)*time.Second))
	if i%look != 0 || err != nil && !errors.Is(err, authz.ErrSpent) {
		return err
	}
	d, missing := s.DeviceCode(ctx, hash)
	winner := int(d.Decided.Sub(at) / time.Second)
	if missing != nil || (winner == fighter) != (err == nil) || (d.Authorization == "") != (winner%2 == 0) {
		return fmt.Errorf("fighter %d (%v) sees %+v, %v: %w", fighter, err, d, missing, errWrong)
	}
	return err
}

// roundTests fight every contest at two replicas in this process.
func roundTests() (tests []test) {
	for _, c := range contests {
		tests = append(tests, test{c.name + " has one winner in each round", func(t *testing.T, s Stores) {
			if c.recent {
				needLeases(t, s)
			}
			replicas := []Store{s.Store, s.Open(t)}
			rounds := cmp.Or(s.Rounds, mostRounds)
			c.prepareAll(t, s, rounds)
			for i := range rounds {
				won, err := c.fight(t.Context(), replicas, i, 0)
				must(t, err)
				c.wantOne(t, s, i, won, fighters)
			}
		}})
	}
	return tests
}

func (c contest) prepareAll(t *testing.T, s Store, rounds int) {
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
		} else if !errors.Is(e, c.lost) || errors.Is(e, errWrong) {
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
