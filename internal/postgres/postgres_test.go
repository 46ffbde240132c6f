package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/postgres"
	"github.com/wicketgate/wicketgate/internal/storetest"
)

func TestStore(t *testing.T) { storetest.Run(t, stores(t, pgtest.Migrated(t), 0)) }

// TestStoreThroughPgBouncer pools transactions: no statement may count on what an
// earlier transaction left in its session.
func TestStoreThroughPgBouncer(t *testing.T) { storetest.Run(t, stores(t, bounced(t), 250)) }

// TestStoreOnTheSchemaBefore is a program that was replaced before its database
// was migrated.
func TestStoreOnTheSchemaBefore(t *testing.T) {
	storetest.RunBefore(t, stores(t, before(t), 100))
}

func TestProcesses(t *testing.T) { storetest.RunProcesses(t, 0, processes(pgtest.Migrated)) }

func TestProcessesThroughPgBouncer(t *testing.T) { storetest.RunProcesses(t, 250, processes(bounced)) }

func bounced(t testing.TB) string { return pgtest.Bounced(t, pgtest.Migrated(t)) }

// before is a database with the schema of one migration less.
func before(t testing.TB) string {
	t.Helper()
	url := pgtest.Empty(t)
	_, want, err := postgres.Status(t.Context(), url)
	if err == nil {
		err = postgres.MigrateTo(t.Context(), url, want-1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// stores gives every test the same database, emptied: to make one takes longer
// than most tests do.
func stores(t *testing.T, url string, rounds int) func(t *testing.T) storetest.Stores {
	conn := connect(t, url)
	tables := ask(t, conn, `SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
		WHERE schemaname = 'public' AND NOT starts_with(tablename, 'wicketgate_')`)
	return func(t *testing.T) storetest.Stores {
		execute(t, conn, "TRUNCATE "+tables)
		again := func(t *testing.T) storetest.Store { return open(t, url) }
		return storetest.Stores{Store: again(t), Open: again, Rounds: rounds}
	}
}

func open(t testing.TB, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fightVariable makes this test binary the other process of RunProcesses.
const fightVariable = "WICKETGATE_TEST_FIGHT"

func TestMain(m *testing.M) {
	if url := os.Getenv(fightVariable); url != "" {
		if err := fight(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func fight(url string) error {
	s, err := postgres.Open(context.Background(), postgres.Config{URL: url})
	if err != nil {
		return err
	}
	defer s.Close()
	return storetest.Fight(context.Background(), s, os.Stdin, os.Stdout)
}

func processes(database func(testing.TB) string) func(*testing.T) (storetest.Store, func() *exec.Cmd) {
	return func(t *testing.T) (storetest.Store, func() *exec.Cmd) {
		url := database(t)
		return open(t, url), func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), fightVariable+"="+url)
			return cmd
		}
	}
}
