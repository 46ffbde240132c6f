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

func TestStore(t *testing.T) { storetest.Run(t, stores(pgtest.Migrated)) }

// TestStoreThroughPgBouncer pools transactions: no statement may count on what an
// earlier transaction left in its session.
func TestStoreThroughPgBouncer(t *testing.T) { storetest.Run(t, stores(bounced)) }

func TestProcesses(t *testing.T) { storetest.RunProcesses(t, processes(pgtest.Migrated)) }

func TestProcessesThroughPgBouncer(t *testing.T) { storetest.RunProcesses(t, processes(bounced)) }

func bounced(t testing.TB) string { return pgtest.Bounced(t, pgtest.Migrated(t)) }

func stores(database func(testing.TB) string) func(t *testing.T) storetest.Stores {
	return func(t *testing.T) storetest.Stores {
		url := database(t)
		again := func(t *testing.T) storetest.Store { return open(t, url) }
		return storetest.Stores{Store: again(t), Open: again}
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
