package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

// Bench measures look-ups and rotations in tables of different sizes: what one
// costs must not depend on how much is stored.
func Bench(b *testing.B, open func(b *testing.B) Store) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint("authorizations=", n), func(b *testing.B) {
			s := open(b)
			fill(b, s, n)
			b.Run("op=client", func(b *testing.B) { benchClient(b, s) })
			b.Run("op=lookup", func(b *testing.B) { benchLookup(b, s, n) })
			b.Run("op=lookup-parallel", func(b *testing.B) { benchLookupParallel(b, s, n) })
			b.Run("op=refresh", func(b *testing.B) { benchRefresh(b, s) })
		})
	}
}

// fill makes n families, each with a redeemed code and a refresh token.
func fill(b *testing.B, s Store, n int) {
	b.Helper()
	mustB(b, s.InsertClient(b.Context(), someClient("c1")))
	for i := 0; i < n; i += 10_000 {
		mustB(b, s.InTx(b.Context(), func(ctx context.Context) error {
			for j := i; j < min(n, i+10_000); j++ {
				if err := insertRound(ctx, s, j, fmt.Sprint("refresh ", j)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

func mustB(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func benchClient(b *testing.B, s Store) {
	id := someClient("c1").ID
	for b.Loop() {
		_, err := s.Client(b.Context(), id)
		mustB(b, err)
	}
}

// lookup reads the family of one of n refresh tokens; a large stride makes it
// another page of the tables each time.
func lookup(ctx context.Context, s Store, i, n int) error {
	_, _, err := s.RefreshToken(ctx, hashOf(fmt.Sprint("refresh ", i*7919%n)))
	return err
}

func benchLookup(b *testing.B, s Store, n int) {
	i := 0
	for b.Loop() {
		mustB(b, lookup(b.Context(), s, i, n))
		i++
	}
}

func benchLookupParallel(b *testing.B, s Store, n int) {
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if err := lookup(b.Context(), s, i, n); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// benchRefresh is what a refresh asks of a store: read, rotate, add the successor.
func benchRefresh(b *testing.B, s Store) {
	run := time.Now().UnixNano() // -count runs it again, over the same tables
	family := fmt.Sprint("bench ", run)
	name := func(i int) string { return fmt.Sprint(run, "-", i) }
	mustB(b, s.InsertCode(b.Context(), someAuthorization(family), someCode(family)))
	mustB(b, s.InsertRefreshToken(b.Context(), family, someRefreshToken(name(0))))
	i := 0
	for b.Loop() {
		mustB(b, s.InTx(b.Context(), func(ctx context.Context) error {
			return refreshOnce(ctx, s, family, hashOf(name(i)), someRefreshToken(name(i+1)))
		}))
		i++
	}
}

func refreshOnce(ctx context.Context, s Store, family string, hash []byte, next authz.RefreshToken) error {
	if _, _, err := s.RefreshToken(ctx, hash); err != nil {
		return err
	}
	if err := s.RotateRefreshToken(ctx, hash, hashOf("sealed"), at); err != nil {
		return err
	}
	return s.InsertRefreshToken(ctx, family, next)
}
