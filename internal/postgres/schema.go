package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/wicketgate/wicketgate/migrations"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// ErrSchema is returned for a schema that this version of the program cannot run
// on: it runs on its own and on the one before.
var ErrSchema = errors.New("the database has another schema version than this program")

// versions is the table of applied migrations. It has a name of its own, because
// the database may be shared with another program that uses goose.
const versions = "wicketgate_migrations"

// lockPause is how long a process that waits to migrate lets pass, on average,
// before it asks again.
const lockPause = 100 * time.Millisecond

// Migrate brings the schema up to date. Any number may do so at the same time:
// one does, the others wait for it.
func Migrate(ctx context.Context, url string) error {
	pc, err := parse(url)
	if err != nil {
		return err
	}
	return migrate(ctx, pc.ConnConfig)
}

// Status returns the schema version of the database, 0 for an empty one, and the
// version that Migrate would bring it to.
func Status(ctx context.Context, url string) (have, want int64, err error) {
	pc, err := parse(url)
	if err != nil {
		return 0, 0, err
	}
	conn, err := pgx.ConnectConfig(ctx, pc.ConnConfig)
	if err != nil {
		return 0, 0, fmt.Errorf("read schema version: %w", err)
	}
	defer conn.Close(ctx)
	if have, err = versionOf(ctx, conn); err != nil {
		return 0, 0, err
	}
	want, err = newest()
	return have, want, err
}

func migrate(ctx context.Context, c *pgx.ConnConfig) error {
	unlock, err := lock(ctx, c)
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	if err := errors.Join(up(ctx, c), unlock()); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
}

func up(ctx context.Context, c *pgx.ConnConfig) error {
	db := stdlib.OpenDB(*c)
	defer db.Close()
	p, err := provider(db)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := migrations.Postgres()
	if err != nil {
		return nil, err
	}
	table, err := database.NewStore(database.DialectPostgres, versions)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider("", db, files, goose.WithStore(table), goose.WithDisableGlobalRegistry(true))
}

// lock waits until no other process migrates. It locks a row, in a transaction
// on a connection of its own: that works through PgBouncer, is let go by the
// server when this process dies, and has no term that a long migration outlives.
func lock(ctx context.Context, c *pgx.ConnConfig) (unlock func() error, err error) {
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	always := context.WithoutCancel(ctx)
	if err := lockRow(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close(always))
	}
	return func() error {
		_, err := conn.Exec(always, "COMMIT")
		return errors.Join(err, conn.Close(always))
	}, nil
}

// lockRow asks again and again rather than wait in the server: all that wait
// there would keep their connections, perhaps the last of a pool, and who
// migrates needs a second one.
func lockRow(ctx context.Context, conn *pgx.Conn) error {
	if err := makeLock(ctx, conn); err != nil {
		return fmt.Errorf("make migration lock: %w", err)
	}
	for {
		err := tryLock(ctx, conn)
		if !coded(err, lockNotAvailable) {
			return err
		}
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			return fmt.Errorf("take migration lock: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("take migration lock: %w", ctx.Err())
		case <-time.After(lockPause/2 + rand.N(lockPause)):
		}
	}
}

func tryLock(ctx context.Context, conn *pgx.Conn) error {
	for _, statement := range []string{
		"BEGIN ISOLATION LEVEL READ COMMITTED",
		"SET LOCAL idle_in_transaction_session_timeout = 0",
		"SELECT one FROM wicketgate_migration_lock FOR UPDATE NOWAIT",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("take migration lock: %w", err)
		}
	}
	return nil
}

// makeLock tries again, since others may do the same: IF NOT EXISTS does not see
// a table that is being made just now.
func makeLock(ctx context.Context, conn *pgx.Conn) (err error) {
	for range 3 {
		_, err1 := conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS wicketgate_migration_lock (one boolean PRIMARY KEY CHECK (one))`)
		_, err2 := conn.Exec(ctx, `INSERT INTO wicketgate_migration_lock (one) VALUES (true) ON CONFLICT (one) DO NOTHING`)
		if err = errors.Join(err1, err2); err == nil {
			break
		}
	}
	return err
}

// checkSchema compares the version of the database with the program's.
func checkSchema(ctx context.Context, conn *pgx.Conn) error {
	have, err := versionOf(ctx, conn)
	if err != nil {
		return err
	}
	want, err := newest()
	if err != nil {
		return err
	}
	return runsOn(have, want)
}

// runsOn decides whether a program of schema want runs on schema have.
func runsOn(have, want int64) error {
	switch {
	case have == 0:
		return fmt.Errorf("%w: it has none, the program %d: migrate it first", ErrSchema, want)
	case have < want-1:
		return fmt.Errorf("%w: it has %d, the program %d: migrate it first", ErrSchema, have, want)
	case have > want:
		return fmt.Errorf("%w: it has %d, the program %d: run a newer program", ErrSchema, have, want)
	}
	return nil
}

func versionOf(ctx context.Context, conn *pgx.Conn) (version int64, err error) {
	err = conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versions+` WHERE is_applied`).Scan(&version)
	if coded(err, undefinedTable) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	return version, nil
}

func newest() (version int64, err error) {
	files, err := migrations.Postgres()
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	for _, name := range names {
		n, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("read migrations: %w", err)
		}
		version = max(version, n)
	}
	return version, nil
}

// Codes of SQLSTATE that something is done about.
const (
	uniqueViolation      = "23505"
	foreignKeyViolation  = "23503"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	undefinedTable       = "42P01"
)

// coded reports whether the server said one of the codes.
func coded(err error, codes ...string) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// unmigrated is vaultbridge.ErrUnmigrated where a table is missing, which the schema before
// does not have.
func unmigrated(err error) error {
	if coded(err, undefinedTable) {
		return vaultbridge.ErrUnmigrated
	}
	return err
}
