package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

var ticketTests = []test{
	{"a ticket is taken once, and its value comes back", takeOnce},
	{"a ticket of one kind is none of another", ticketKinds},
	{"a ticket that has not expired cannot be replaced, taken or not", replaceLiveTicket},
	{"an expired ticket is as none and can be replaced, taken or not", replaceExpiredTicket},
	{"a ticket expires at its time, to the microsecond", ticketExpiry},
	{"keys of tickets are compared byte by byte", ticketKeys},
	{"reading a ticket does not take it", readTicket},
	{"a ticket is taken once by 16 parallel requests", raceTake},
	{"a ticket is taken once by 16 parallel transactions", raceTakeInTx},
	{"one of 16 parallel tickets of one key stands, with its value", raceInsertTicket},
	{"one of 16 parallel tickets replaces an expired one", raceReplaceTicket},
	{"a taking that is rolled back has taken nothing", takeAndFail},
	{"changing a ticket's value changes nothing in the store", ownTicket},
	{"a ticket that was taken is so after the store was closed and opened", persistTicket},
}

var (
	allKinds = []authz.TicketKind{authz.TicketRequest, authz.TicketLogin, authz.TicketAnswer, authz.TicketConsent,
		authz.TicketAssertion, authz.TicketToolToken, authz.TicketProof}
	ticketExpires = at.Add(time.Minute)
)

// insertTicket adds a ticket whose value tells its kind.
func insertTicket(t *testing.T, s Store, kind authz.TicketKind, name string) {
	t.Helper()
	must(t, s.InsertTicket(t.Context(), kind, hashOf(name), []byte("value of "+kind), at, ticketExpires))
}

func wantTaken(t *testing.T, s Store, kind authz.TicketKind, name string, now time.Time, want string) {
	t.Helper()
	got, err := s.TakeTicket(t.Context(), kind, hashOf(name), now)
	must(t, err)
	wantSame(t, "value", string(got), want)
}

func takeOnce(t *testing.T, s Stores) {
	insertTicket(t, s, authz.TicketRequest, "x")
	wantTaken(t, s, authz.TicketRequest, "x", at, "value of request")
	for _, now := range []time.Time{at, at.Add(-time.Hour), ticketExpires.Add(-time.Microsecond)} {
		got, err := s.TakeTicket(t.Context(), authz.TicketRequest, hashOf("x"), now)
		wantIs(t, "TakeTicket", err, authz.ErrSpent)
		wantSame(t, "value", got, nil)
	}
	_, err := s.TakeTicket(t.Context(), authz.TicketRequest, hashOf("y"), at)
	wantIs(t, "TakeTicket of none", err, authz.ErrNotFound)
}

// ticketKinds: a login under way that counted as a pushed request, or the jti of
// an assertion as that of a token, let one be spent by means of the other
// (CVE-2026-4325).
func ticketKinds(t *testing.T, s Stores) {
	for i, kind := range allKinds {
		for _, other := range allKinds[i:] {
			_, err := s.Ticket(t.Context(), other, hashOf("x"), at)
			wantIs(t, "Ticket of "+string(other), err, authz.ErrNotFound)
			_, err = s.TakeTicket(t.Context(), other, hashOf("x"), at)
			wantIs(t, "TakeTicket of "+string(other), err, authz.ErrNotFound)
		}
		insertTicket(t, s, kind, "x")
	}
	for i, kind := range allKinds {
		wantTaken(t, s, kind, "x", at, "value of "+string(kind))
		_, err := s.TakeTicket(t.Context(), kind, hashOf("x"), at)
		wantIs(t, "TakeTicket of "+string(kind), err, authz.ErrSpent)
		for _, other := range allKinds[i+1:] {
			got, err := s.Ticket(t.Context(), other, hashOf("x"), at)
			must(t, err)
			wantSame(t, "value", string(got), "value of "+string(other))
		}
	}
	insertTicket(t, s, authz.TicketAnswer, "y")
	wantTaken(t, s, authz.TicketAnswer, "y", at, "value of answer")
	_, err := s.TakeTicket(t.Context(), authz.TicketLogin, hashOf("y"), at)
	wantIs(t, "TakeTicket of a kind that there is not, where another was taken", err, authz.ErrNotFound)
}

func replaceLiveTicket(t *testing.T, s Stores) {
	for _, taken := range []bool{false, true} {
		name := fmt.Sprint("taken ", taken)
		insertTicket(t, s, authz.TicketAssertion, name)
		if taken {
			wantTaken(t, s, authz.TicketAssertion, name, at, "value of assertion")
		}
		for _, now := range []time.Time{at, at.Add(-time.Hour), ticketExpires.Add(-time.Microsecond)} {
			err := s.InsertTicket(t.Context(), authz.TicketAssertion, hashOf(name), []byte("other"), now, at.Add(time.Hour))
			wantIs(t, "InsertTicket, "+name, err, authz.ErrExists)
		}
		got, err := s.Ticket(t.Context(), authz.TicketAssertion, hashOf(name), at)
		must(t, err)
		wantSame(t, "value", string(got), "value of assertion")
		_, err = s.Ticket(t.Context(), authz.TicketAssertion, hashOf(name), ticketExpires)
		wantIs(t, "Ticket when it has expired", err, authz.ErrNotFound)
	}
	_, err := s.TakeTicket(t.Context(), authz.TicketAssertion, hashOf("taken true"), at)
	wantIs(t, "TakeTicket", err, authz.ErrSpent)
}

func replaceExpiredTicket(t *testing.T, s Stores) {
	for _, taken := range []bool{false, true} {
		name := fmt.Sprint("taken ", taken)
		insertTicket(t, s, authz.TicketLogin, name)
		if taken {
			wantTaken(t, s, authz.TicketLogin, name, at, "value of login")
		}
		must(t, s.InsertTicket(t.Context(), authz.TicketLogin, hashOf(name), []byte("new"), ticketExpires, at.Add(time.Hour)))
		wantTaken(t, s, authz.TicketLogin, name, at.Add(time.Hour-time.Microsecond), "new")
		_, err := s.TakeTicket(t.Context(), authz.TicketLogin, hashOf(name), ticketExpires)
		wantIs(t, "TakeTicket", err, authz.ErrSpent)
	}
}

func ticketExpiry(t *testing.T, s Stores) {
	for _, taken := range []bool{false, true} {
		name := fmt.Sprint("taken ", taken)
		insertTicket(t, s, authz.TicketAnswer, name)
		_, err := s.Ticket(t.Context(), authz.TicketAnswer, hashOf(name), ticketExpires.Add(-time.Microsecond))
		must(t, err)
		if taken {
			wantTaken(t, s, authz.TicketAnswer, name, ticketExpires.Add(-time.Microsecond), "value of answer")
		}
		for _, now := range []time.Time{ticketExpires, ticketExpires.Add(time.Hour)} {
			_, err := s.Ticket(t.Context(), authz.TicketAnswer, hashOf(name), now)
			wantIs(t, "Ticket", err, authz.ErrNotFound)
			_, err = s.TakeTicket(t.Context(), authz.TicketAnswer, hashOf(name), now)
			wantIs(t, "TakeTicket", err, authz.ErrNotFound)
		}
	}
}

func ticketKeys(t *testing.T, s Stores) {
	keys := [][]byte{nil, {0}, {0, 0}, []byte("a"), []byte("A"), []byte("a "), []byte("a\x00"), []byte("ab"), hashOf("a")}
	for i, key := range keys {
		must(t, s.InsertTicket(t.Context(), authz.TicketRequest, key, fmt.Append(nil, i), at, ticketExpires))
	}
	for i, key := range keys {
		got, err := s.TakeTicket(t.Context(), authz.TicketRequest, key, at)
		must(t, err)
		wantSame(t, fmt.Sprintf("value of %q", key), string(got), fmt.Sprint(i))
	}
}

func readTicket(t *testing.T, s Stores) {
	insertTicket(t, s, authz.TicketConsent, "x")
	for range 2 {
		got, err := s.Ticket(t.Context(), authz.TicketConsent, hashOf("x"), at)
		must(t, err)
		wantSame(t, "value", string(got), "value of consent")
	}
	wantTaken(t, s, authz.TicketConsent, "x", at, "value of consent")
	_, err := s.Ticket(t.Context(), authz.TicketConsent, hashOf("x"), at)
	must(t, err)
}

func takeX(ctx context.Context, s Store, _ int) error {
	value, err := s.TakeTicket(ctx, authz.TicketRequest, hashOf("x"), at)
	if err == nil && string(value) != "value of request" {
		return fmt.Errorf("the winner got %q", value)
	}
	return err
}

func raceTake(t *testing.T, s Stores) {
	insertTicket(t, s, authz.TicketRequest, "x")
	wantOneWinner(t, race(t.Context(), spread(t, s, takeX)))
}

func raceTakeInTx(t *testing.T, s Stores) {
	insertTicket(t, s, authz.TicketRequest, "x")
	wantOneWinner(t, race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		return s.InTx(ctx, func(ctx context.Context) error { return takeX(ctx, s, i) })
	})))
}

// insertNumbered tries to add a ticket whose value is its number, and returns the
// numbers that did.
func insertNumbered(t *testing.T, s Stores) (won []string) {
	t.Helper()
	errs := race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		return s.InsertTicket(ctx, authz.TicketAssertion, hashOf("x"), fmt.Append(nil, i), ticketExpires, at.Add(time.Hour))
	}))
	for i, err := range errs {
		if err == nil {
			won = append(won, fmt.Sprint(i))
		} else if !errors.Is(err, authz.ErrExists) {
			t.Errorf("a loser got %v, want ErrExists", err)
		}
	}
	return won
}

func raceInsertTicket(t *testing.T, s Stores) {
	won := insertNumbered(t, s)
	got, err := s.Ticket(t.Context(), authz.TicketAssertion, hashOf("x"), ticketExpires)
	must(t, err)
	wantSame(t, "who won", won, []string{string(got)})
}

func raceReplaceTicket(t *testing.T, s Stores) {
	insertTicket(t, s, authz.TicketAssertion, "x")
	wantTaken(t, s, authz.TicketAssertion, "x", at, "value of assertion")
	won := insertNumbered(t, s)
	wantTaken(t, s, authz.TicketAssertion, "x", ticketExpires, fmt.Sprint(won[0]))
	wantSame(t, "winners", len(won), 1)
}

func takeAndFail(t *testing.T, s Stores) {
	insertTicket(t, s, authz.TicketRequest, "x")
	wantIs(t, "InTx", s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, takeX(ctx, s, 0))
		wantIs(t, "TakeTicket", takeX(ctx, s, 0), authz.ErrSpent)
		return errTest
	}), errTest)
	must(t, takeX(t.Context(), s, 0))
}

func ownTicket(t *testing.T, s Stores) {
	value := []byte("value")
	must(t, s.InsertTicket(t.Context(), authz.TicketConsent, hashOf("x"), value, at, ticketExpires))
	clear(value)
	for range 2 {
		got, err := s.Ticket(t.Context(), authz.TicketConsent, hashOf("x"), at)
		must(t, err)
		wantSame(t, "value", string(got), "value")
		clear(got)
	}
	must(t, s.InsertTicket(t.Context(), authz.TicketConsent, hashOf("empty"), nil, at, ticketExpires))
	wantTaken(t, s, authz.TicketConsent, "empty", at, "")
}

func persistTicket(t *testing.T, s Stores) {
	insertTicket(t, s, authz.TicketRequest, "x")
	must(t, takeX(t.Context(), s, 0))
	must(t, s.Close())
	wantIs(t, "TakeTicket", takeX(t.Context(), s.Open(t), 0), authz.ErrSpent)
}
