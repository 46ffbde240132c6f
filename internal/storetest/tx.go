package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wicketgate/wicketgate/authz"
)

var txTests = []test{
	{"a refresh that fails keeps the old refresh token alive", failedRefresh},
	{"a panic inside a transaction changes nothing and frees the store", panicInTx},
	{"reads inside a transaction see its writes, others do not", readsInTx},
	{"every method joins the transaction of its context", joinTx},
	{"a transaction inside a transaction is a part of it", nestedTx},
	{"a part that fails leaves the rest of the transaction whole", failedPart},
	{"a write that fails leaves the rest of the transaction whole", failedWrite},
	{"a transaction that sees an unused code is the one that redeems it", checkThenRedeem},
	{"the transaction of one store is not that of another", twoStores},
	{"a cancelled context changes nothing", cancelled},
	{"a context cancelled inside a transaction rolls it back", cancelledInTx},
}

func redeemInTx(ctx context.Context, s Store, _ int) error {
	return s.InTx(ctx, func(ctx context.Context) error { return s.RedeemCode(ctx, hashOf("code"), at) })
}

func rotateInTx(ctx context.Context, s Store, i int) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		// First the successor: it must go when the rotation fails.
		if err := s.InsertRefreshToken(ctx, "a1", someRefreshToken(fmt.Sprint("successor ", i))); err != nil {
			return err
		}
		return s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at)
	})
}

func wantSuccessors(t *testing.T, s Store, want int) {
	t.Helper()
	n := 0
	for i := range 16 {
		_, _, err := s.RefreshToken(t.Context(), hashOf(fmt.Sprint("successor ", i)))
		if err == nil {
			n++
		} else if !errors.Is(err, authz.ErrNotFound) {
			t.Error(err)
		}
	}
	if n != want {
		t.Errorf("%d successors, want %d", n, want)
	}
}

// refreshThen rotates "refresh" to "successor 0" in a transaction that ends with f.
func refreshThen(ctx context.Context, s Store, f func() error) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at); err != nil {
			return err
		}
		if err := s.InsertRefreshToken(ctx, "a1", someRefreshToken("successor 0")); err != nil {
			return err
		}
		return f()
	})
}

func failedRefresh(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	wantIs(t, "InTx", refreshThen(t.Context(), s, func() error { return errTest }), errTest)
	wantSuccessors(t, s, 0)
	got, _, err := s.RefreshToken(t.Context(), hashOf("refresh"))
	must(t, err)
	wantSame(t, "refresh token", got, someRefreshToken("refresh"))
	must(t, refreshThen(t.Context(), s, func() error { return nil }))
	wantSuccessors(t, s, 1)
}

func panicInTx(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = refreshThen(t.Context(), s, func() error { panic("on purpose") })
	}()
	wantSuccessors(t, s, 0)
	must(t, s.RotateRefreshToken(t.Context(), hashOf("refresh"), hashOf("sealed"), at))
}

func readsInTx(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at))
		inside, _, err := s.RefreshToken(ctx, hashOf("refresh"))
		must(t, err)
		wantSame(t, "Rotated inside", inside.Rotated, at)
		outside, _, err := s.RefreshToken(t.Context(), hashOf("refresh"))
		must(t, err)
		if !outside.Rotated.IsZero() {
			t.Error("a write was seen before its transaction committed")
		}
		return nil
	}))
	after, _, err := s.RefreshToken(t.Context(), hashOf("refresh"))
	must(t, err)
	wantSame(t, "Rotated after", after.Rotated, at)
}

func joinTx(t *testing.T, s Stores) {
	wantIs(t, "InTx", s.InTx(t.Context(), func(ctx context.Context) error {
		writeAll(t, ctx, s)
		if n := countAll(t, t.Context(), s); n != 0 {
			t.Errorf("%d rows are there before the transaction committed", n)
		}
		return errTest
	}), errTest)
	if n := countAll(t, t.Context(), s); n != 0 {
		t.Errorf("%d rows are there after the transaction failed", n)
	}
	must(t, s.InTx(t.Context(), func(ctx context.Context) error { writeAll(t, ctx, s); return nil }))
	if n := countAll(t, t.Context(), s); n != allRows {
		t.Errorf("%d of %d rows are there after the transaction", n, allRows)
	}
}

func nestedTx(t *testing.T, s Stores) {
	wantIs(t, "InTx", s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.InTx(ctx, func(ctx context.Context) error { writeAll(t, ctx, s); return nil }))
		return errTest
	}), errTest)
	if n := countAll(t, t.Context(), s); n != 0 {
		t.Errorf("%d rows of the inner transaction outlive the outer one", n)
	}
}

func failedPart(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.InsertRefreshToken(ctx, "a1", someRefreshToken("successor 0")))
		part, cancel := context.WithCancel(ctx) // may end before the whole does
		wantIs(t, "inner InTx", s.InTx(part, func(ctx context.Context) error {
			must(t, s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at))
			cancel()
			return errTest
		}), errTest)
		return nil
	}))
	wantSuccessors(t, s, 1)
	must(t, s.RotateRefreshToken(t.Context(), hashOf("refresh"), hashOf("sealed"), at))
}

func failedWrite(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("c1")))
	insertDevice(t, s, "d1")
	insertFamily(t, s, "a1", "refresh")
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at))
		wantIs(t, "InsertClient", s.InsertClient(ctx, someClient("c1")), authz.ErrExists)
		wantIs(t, "RotateRefreshToken", s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at), authz.ErrSpent)
		wantIs(t, "InsertDeviceCode", s.InsertDeviceCode(ctx, someDeviceCode("d1")), authz.ErrExists)
		_, err := s.TakeTicket(ctx, authz.TicketLogin, hashOf("none"), at)
		wantIs(t, "TakeTicket", err, authz.ErrNotFound)
		if err := s.InsertCode(ctx, someAuthorization("a2"), someCode("code of a1")); err == nil {
			t.Error("InsertCode of a known code = nil, want an error")
		}
		return s.InsertRefreshToken(ctx, "a1", someRefreshToken("successor 0"))
	}))
	wantSuccessors(t, s, 1)
	wantIs(t, "RotateRefreshToken", s.RotateRefreshToken(t.Context(), hashOf("refresh"), hashOf("sealed"), at), authz.ErrSpent)
	if err := s.InsertRefreshToken(t.Context(), "a2", someRefreshToken("orphan")); err == nil {
		t.Error("the authorization of a code that failed is there")
	}
}

func checkThenRedeem(t *testing.T, s Stores) {
	must(t, s.InsertCode(t.Context(), someAuthorization("a1"), someCode("code")))
	wantOneWinner(t, race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
		return s.InTx(ctx, func(ctx context.Context) error {
			if _, _, err := s.Code(ctx, hashOf("code")); err != nil {
				return err
			}
			return s.RedeemCode(ctx, hashOf("code"), at)
		})
	})))
}

func twoStores(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("c1")))
	other := s.Open(t)
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.InsertClient(ctx, someClient("c2")))
		_, err := other.Client(ctx, someClient("c2").ID)
		wantIs(t, "Client at the other store", err, authz.ErrNotFound)
		_, err = other.Client(ctx, someClient("c1").ID)
		return err
	}))
}

func cancelled(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	insertTicket(t, s, authz.TicketRequest, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, "RotateRefreshToken", s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at), context.Canceled)
	wantIs(t, "InsertClient", s.InsertClient(ctx, someClient("c1")), context.Canceled)
	wantIs(t, "TakeTicket", takeX(ctx, s, 0), context.Canceled)
	_, err := s.Client(ctx, someClient("c1").ID)
	wantIs(t, "Client", err, context.Canceled)
	_, err = s.Keys(ctx)
	wantIs(t, "Keys", err, context.Canceled)
	err = s.InTx(ctx, func(context.Context) error { t.Error("f ran"); return nil })
	wantIs(t, "InTx", err, context.Canceled)
	_, err = s.Client(t.Context(), someClient("c1").ID)
	wantIs(t, "Client", err, authz.ErrNotFound)
	must(t, s.RotateRefreshToken(t.Context(), hashOf("refresh"), hashOf("sealed"), at))
	must(t, takeX(t.Context(), s, 0))
}

func cancelledInTx(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := refreshThen(ctx, s, func() error { cancel(); return nil }); err == nil {
		t.Error("InTx = nil after its context was cancelled, want an error")
	}
	wantSuccessors(t, s, 0)
	must(t, s.RotateRefreshToken(t.Context(), hashOf("refresh"), hashOf("sealed"), at))
}
