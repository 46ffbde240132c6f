// Package sqlite keeps what Wicketgate remembers in one SQLite file: clients and
// their metadata documents, authorizations with their codes and refresh tokens,
// device codes, tickets, wrapped keys, pinned tool definitions and the heads of
// audit logs.
//
// A Store writes through one connection and reads through several, in WAL mode,
// and what it has confirmed survives a power cut (synchronous=FULL). Several
// processes of one machine may share the file.
//
// The package does NOT judge what it stores: expiry, revocation and reuse are
// returned as they are and left to the caller (only an expired ticket is as none),
// and the time is always passed in.
// It does not serve several machines (a network file system breaks SQLite's
// locks), keeps nothing in memory only, and encrypts nothing: private keys
// arrive wrapped, tokens as hashes.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
)

// Store is an open database. It is safe for concurrent use; a context that InTx
// passed on is for one goroutine at a time.
type Store struct {
	reader, writer pool
}

// Open opens the database file, makes it if there is none (readable by its owner
// only), and migrates it. It returns ErrForeign for a file of another program
// and ErrSchema for one that a newer version of this program has migrated.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := create(path); err != nil {
		return nil, fmt.Errorf("create database: %w", err)
	}
	return open(ctx, path, func(db *sql.DB) error {
		if err := claim(ctx, db); err != nil {
			return err
		}
		return migrate(ctx, db)
	})
}

// OpenAsIs opens an existing database and does not migrate it. It returns
// ErrForeign, and ErrSchema for one that this version of the program cannot run on.
func OpenAsIs(ctx context.Context, path string) (*Store, error) {
	if err := exists(path); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return open(ctx, path, func(db *sql.DB) error {
		if err := checkSchema(ctx, db); err != nil { // before anything in it changes
			return err
		}
		return claim(ctx, db)
	})
}

func open(ctx context.Context, path string, prepare func(*sql.DB) error) (*Store, error) {
	s := &Store{}
	if err := s.open(ctx, path, prepare); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string, prepare func(*sql.DB) error) (err error) {
	if s.writer.DB, err = sql.Open("sqlite", dsn(path, writing)); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1) // SQLite has one writer: wait here, in order, rather than at its lock
	if err := prepare(s.writer.DB); err != nil {
		return err
	}
	if err := checkSchema(ctx, s.writer.DB); err != nil {
		return err
	}
	if s.reader.DB, err = sql.Open("sqlite", dsn(path, reading)); err != nil {
		return err
	}
	n := max(4, runtime.GOMAXPROCS(0))
	s.reader.SetMaxOpenConns(n)
	s.reader.SetMaxIdleConns(n)
	return errors.Join(s.writer.prepare(ctx), s.reader.prepare(ctx))
}

// OpenReadOnly opens an existing database for offline tools. It creates and
// migrates nothing, and all that would write fails. It returns ErrForeign, and
// ErrSchema for a database that this version of the program cannot read.
func OpenReadOnly(ctx context.Context, path string) (*Store, error) {
	s := &Store{}
	if err := s.openReadOnly(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *Store) openReadOnly(ctx context.Context, path string) error {
	file, a, err := restOf(path)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(file, a))
	if err != nil {
		return err
	}
	s.reader.DB, s.writer.DB = db, db
	if err := checkSchema(ctx, db); err != nil {
		return err
	}
	if err := s.reader.prepare(ctx); err != nil {
		return err
	}
	s.writer.statements = s.reader.statements
	return nil
}

// Ping reports whether the file can be read. It does not write: a disk that is full
// is seen by what writes.
func (s *Store) Ping(ctx context.Context) error {
	var tables int64
	if err := s.reader.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	return nil
}

// Close closes the database; the last one to close it folds the WAL into the
// file. A second Close is no error.
func (s *Store) Close() error {
	if err := errors.Join(s.reader.close(), s.writer.close()); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// pool is a set of connections with the statements that are worth keeping
// compiled.
type pool struct {
	*sql.DB
	statements map[string]*sql.Stmt // by query; not changed once open
}

func (p *pool) prepare(ctx context.Context) error {
	p.statements = map[string]*sql.Stmt{}
	for _, query := range []string{selectClient, selectRefreshToken, selectTicket, insertTicket, takeTicket, redeemCode,
		insertRefreshToken, rotateRefreshToken} {
		stmt, err := p.PrepareContext(ctx, query)
		if err != nil {
			return fmt.Errorf("prepare statement: %w", err)
		}
		p.statements[query] = stmt
	}
	return nil
}

func (p *pool) close() error {
	if p.DB == nil {
		return nil
	}
	return p.DB.Close() // its statements too
}
