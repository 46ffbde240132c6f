package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/wicketgate/wicketgate/authz"
)

func BenchmarkClient(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "wicketgate.db"))
	c := insertClient(b, s, "c1")
	look := func(b *testing.B, ctx context.Context) {
		if _, err := s.Client(ctx, c.ID); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("background", func(b *testing.B) {
		for b.Loop() {
			look(b, context.Background())
		}
	})
	b.Run("request", func(b *testing.B) { // the context of a request can be cancelled
		for b.Loop() {
			look(b, b.Context())
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				look(b, b.Context())
			}
		})
	})
}

func BenchmarkRefresh(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "wicketgate.db"))
	insertCode(b, s, "a1")
	hash := func(i int) []byte { return fmt.Appendf(nil, "%-32d", i) }
	insert := func(ctx context.Context, i int) error {
		return s.InsertRefreshToken(ctx, "a1", authz.RefreshToken{Hash: hash(i), Created: at, Expires: at})
	}
	if err := insert(b.Context(), 0); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		err := s.InTx(b.Context(), func(ctx context.Context) error {
			if _, _, err := s.RefreshToken(ctx, hash(i)); err != nil {
				return err
			}
			if err := s.RotateRefreshToken(ctx, hash(i), hash(i+1), at); err != nil {
				return err
			}
			i++
			return insert(ctx, i)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
