package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/wicketgate/wicketgate/migrations"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// Migrate makes the database if there is none and brings its schema up to date.
// Any number may do so at the same time.
func Migrate(ctx context.Context, path string) error {
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	return s.Close()
}

// Status returns the schema version of the database, 0 when there is none, and the
// version that Migrate would bring it to. It changes nothing.
func Status(ctx context.Context, path string) (have, want int64, err error) {
	if want, err = newest(); err != nil {
		return 0, 0, err
	}
	file, a, err := restOf(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, want, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read schema version of %s: %w", path, err)
	}
	db, err := sql.Open("sqlite", dsn(file, a))
	if err != nil {
		return 0, 0, fmt.Errorf("read schema version of %s: %w", path, err)
	}
	defer db.Close()
	if have, err = versionOf(ctx, db); err != nil {
		return 0, 0, fmt.Errorf("read schema version of %s: %w", path, err)
	}
	return have, want, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	p, err := provider(db)
	if err != nil {
		return err
	}
	// Another process may apply the same migrations at the same time: the one that
	// comes second fails, and finds them applied when it looks again.
	for range len(p.ListSources()) + 1 {
		if _, err = p.Up(ctx); err == nil {
			return nil
		}
	}
	return fmt.Errorf("migrate database: %w", err)
}

func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := migrations.SQLite()
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

// checkSchema compares the version of the database with the program's.
func checkSchema(ctx context.Context, db *sql.DB) error {
	have, err := versionOf(ctx, db)
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

// versionOf returns 0 for an empty database, and ErrForeign for another program's.
func versionOf(ctx context.Context, db *sql.DB) (version int64, err error) {
	id, tables, err := inspect(ctx, db)
	switch {
	case err != nil:
		return 0, err
	case id != applicationID && (id != 0 || tables > 0):
		return 0, ErrForeign
	case tables == 0:
		return 0, nil
	}
	err = db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	return version, nil
}

func newest() (version int64, err error) {
	files, err := migrations.SQLite()
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

// unmigrated is vaultbridge.ErrUnmigrated where the table is missing that the schema before
// does not have.
func unmigrated(err error) error {
	if err != nil && strings.Contains(err.Error(), "no such table: vault_leases") {
		return vaultbridge.ErrUnmigrated
	}
	return err
}
