package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/postgres"
)

// connect is a connection beside the store.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url+"&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, conn *pgx.Conn, query string) (answer string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestParallelFirstOpens is what replicas do that start together, more of them
// than the PgBouncer has connections.
func TestParallelFirstOpens(t *testing.T) {
	for _, url := range []string{pgtest.Empty(t), pgtest.Bounced(t, pgtest.Empty(t))} {
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				s, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1, Migrate: true})
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if err := s.InsertClient(t.Context(), authz.Client{ID: identity.MustClientID(fmt.Sprint(i))}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := ask(t, connect(t, url), `SELECT string_agg(version_id::text, ' ' ORDER BY id) FROM wicketgate_migrations`); got != "0 1 2 3 4 5" {
			t.Errorf("applied: %s, want 0 1 2 3 4 5", got)
		}
	}
}

func TestMigrateWaitsForAnother(t *testing.T) {
	url := pgtest.Migrated(t)
	conn := connect(t, url)
	execute(t, conn, "BEGIN; SELECT one FROM wicketgate_migration_lock FOR UPDATE")
	done := make(chan error)
	go func() { done <- postgres.Migrate(t.Context(), url) }()
	asked := `SELECT count(*)::text FROM pg_stat_activity
		WHERE datname = current_database() AND state = 'idle' AND query = 'ROLLBACK'`
	for other := connect(t, url); ask(t, other, asked) == "0"; {
		select {
		case err := <-done:
			t.Fatalf("Migrate did not wait: %v", err)
		default:
		}
	}
	execute(t, conn, "COMMIT")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestMigrateFreesItsLockWhenItFails keeps one bad start from blocking all others.
func TestMigrateFreesItsLockWhenItFails(t *testing.T) {
	url := pgtest.Empty(t)
	conn := connect(t, url)
	execute(t, conn, "CREATE TABLE clients (id text); INSERT INTO clients (id) VALUES ('theirs')")
	for range 2 {
		if err := postgres.Migrate(t.Context(), url); err == nil || !strings.Contains(err.Error(), `"clients" already exists`) {
			t.Fatalf("Migrate over another program's table = %v", err)
		}
	}
	if got := ask(t, conn, "SELECT id FROM clients"); got != "theirs" {
		t.Errorf("their table has %q", got)
	}
	if got := ask(t, conn, "SELECT coalesce(to_regclass('codes')::text, 'none')"); got != "none" {
		t.Error("a migration that failed left a table")
	}
	execute(t, conn, "DROP TABLE clients")
	if err := postgres.Migrate(t.Context(), url); err != nil {
		t.Error(err)
	}
}

func TestMigrateIgnoresAnotherProgramsGoose(t *testing.T) {
	url := pgtest.Empty(t)
	execute(t, connect(t, url), `CREATE TABLE goose_db_version (id int, version_id bigint, is_applied boolean, tstamp timestamp);
		INSERT INTO goose_db_version (id, version_id, is_applied, tstamp) VALUES (1, 42, true, now())`)
	if err := postgres.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	open(t, url)
}

func TestMigrateAgainChangesNothing(t *testing.T) {
	url := pgtest.Migrated(t)
	if err := open(t, url).InsertClient(t.Context(), authz.Client{ID: identity.MustClientID("c1")}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	columns := `SELECT string_agg(concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable), chr(10)
		ORDER BY table_name, ordinal_position) FROM information_schema.columns WHERE table_schema = 'public'`
	before := ask(t, conn, columns)
	for range 2 {
		if err := postgres.Migrate(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
	if after := ask(t, conn, columns); after != before {
		t.Errorf("the schema changed from\n%s\nto\n%s", before, after)
	}
	if _, err := open(t, url).Client(t.Context(), identity.MustClientID("c1")); err != nil {
		t.Error(err)
	}
}

// TestNoMigrationIsCommittedTwice holds even where the lock fails.
func TestNoMigrationIsCommittedTwice(t *testing.T) {
	conn := connect(t, pgtest.Migrated(t))
	if _, err := conn.Exec(t.Context(), "INSERT INTO wicketgate_migrations (version_id, is_applied) VALUES (1, true)"); err == nil {
		t.Error("a version could be recorded a second time")
	}
}

func TestStatus(t *testing.T) {
	url := pgtest.Empty(t)
	for _, step := range []int64{0, 1, 2, 3, 4, 5} {
		if err := postgres.MigrateTo(t.Context(), url, step); step > 0 && err != nil {
			t.Fatal(err)
		}
		if have, want, err := postgres.Status(t.Context(), url); have != step || want != 5 || err != nil {
			t.Errorf("Status = %d, %d, %v, want %d, 5", have, want, err, step)
		}
	}
	older := before(t)
	if err := postgres.Migrate(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	if have, want, err := postgres.Status(t.Context(), older); have != want || err != nil {
		t.Errorf("Status = %d, %d, %v after Migrate", have, want, err)
	}
}

func TestOpenRefusesAnEmptyDatabase(t *testing.T) {
	url := pgtest.Empty(t)
	_, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if !errors.Is(err, postgres.ErrSchema) || !strings.Contains(err.Error(), "migrate it first") {
		t.Errorf("Open = %v, want ErrSchema that says what to do", err)
	}
}

func TestOpenRefusesADatabaseOfANewerProgram(t *testing.T) {
	url := pgtest.Migrated(t)
	execute(t, connect(t, url), "INSERT INTO wicketgate_migrations (version_id, is_applied) VALUES (9999, true)")
	for _, migrate := range []bool{false, true} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url, Migrate: migrate})
		if !errors.Is(err, postgres.ErrSchema) || !strings.Contains(err.Error(), "9999") {
			t.Errorf("Open = %v, want ErrSchema with the version", err)
		}
	}
}

func TestProgramRunsOnItsSchemaAndTheOneBefore(t *testing.T) {
	for _, test := range []struct {
		have, want int64
		ok         bool
	}{{0, 1, false}, {1, 1, true}, {2, 1, false}, {3, 5, false}, {4, 5, true}, {5, 5, true}, {6, 5, false}} {
		err := postgres.RunsOn(test.have, test.want)
		if (err == nil) != test.ok || err != nil && !errors.Is(err, postgres.ErrSchema) {
			t.Errorf("a program of schema %d on %d: %v", test.want, test.have, err)
		}
	}
}

// TestStoreNeedsNoRightToChangeTables is how it should run in production.
func TestStoreNeedsNoRightToChangeTables(t *testing.T) {
	url := pgtest.Migrated(t)
	conn := connect(t, url)
	execute(t, conn, "CREATE ROLE wicketgate_app LOGIN")
	t.Cleanup(func() { // the role is the server's, not the database's
		_, err := conn.Exec(context.Background(), "DROP OWNED BY wicketgate_app; DROP ROLE wicketgate_app")
		if err != nil {
			t.Error(err)
		}
	})
	execute(t, conn, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO wicketgate_app")
	s := open(t, strings.Replace(url, "postgres@", "wicketgate_app@", 1))
	insertCode(t, s, "code")
	if err := s.RedeemCode(t.Context(), hashOf("code"), at); err != nil {
		t.Error(err)
	}
	if _, err := s.DeleteExpired(t.Context(), at); err != nil {
		t.Error(err)
	}
}
