package postgres_test

import (
	"path/filepath"
	"testing"

	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/storetest"
)

// BenchmarkStore compares the stores; the server does not fsync, SQLite does.
func BenchmarkStore(b *testing.B) {
	b.Run("store=sqlite", func(b *testing.B) {
		storetest.Bench(b, func(b *testing.B) storetest.Store {
			s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "wicketgate.db"))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			return s
		})
	})
	b.Run("store=postgres", func(b *testing.B) {
		storetest.Bench(b, func(b *testing.B) storetest.Store { return open(b, pgtest.Migrated(b)) })
	})
	b.Run("store=postgres-pgbouncer", func(b *testing.B) {
		storetest.Bench(b, func(b *testing.B) storetest.Store { return open(b, bounced(b)) })
	})
}
