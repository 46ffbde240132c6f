package sqlite

import (
	"context"
	"database/sql"
	"encoding"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/wicketgate/wicketgate/authz"
)

// txKey finds the transaction of one store in a context.
type txKey struct{ s *Store }

func (s *Store) tx(ctx context.Context) *sql.Tx {
	tx, _ := ctx.Value(txKey{s}).(*sql.Tx)
	return tx
}

// InTx runs f in one transaction: all of it, or nothing when f fails. Inside a
// transaction it runs f as a part of that one, which can fail by itself.
//
// Inside f, use the context that f is given: with another one a write would wait
// for the only writing connection, which f has.
func (s *Store) InTx(ctx context.Context, f func(ctx context.Context) error) error {
	if tx := s.tx(ctx); tx != nil {
		return savepoint(ctx, tx, f)
	}
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer tx.Rollback() // no effect after Commit; f may panic
	if err := f(context.WithValue(ctx, txKey{s}, tx)); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}

// savepoint leaves nothing of an f that fails, and its statements ignore that the
// context may be what ended f; a panic ends the whole transaction.
func savepoint(ctx context.Context, tx *sql.Tx, f func(ctx context.Context) error) error {
	always := context.WithoutCancel(ctx)
	if _, err := tx.ExecContext(ctx, "SAVEPOINT part"); err != nil {
		return fmt.Errorf("begin savepoint: %w", err)
	}
	failed := f(ctx)
	if failed != nil {
		if _, err := tx.ExecContext(always, "ROLLBACK TO part"); err != nil {
			return errors.Join(failed, fmt.Errorf("roll back savepoint: %w", err))
		}
	}
	if _, err := tx.ExecContext(always, "RELEASE part"); err != nil {
		return errors.Join(failed, fmt.Errorf("release savepoint: %w", err))
	}
	return failed
}

// exec runs a statement that writes and returns the number of rows it changed.
func (s *Store) exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := s.run(ctx, query, args)
	if err != nil {
		return 0, sentinel(err)
	}
	return result.RowsAffected()
}

func (s *Store) run(ctx context.Context, query string, args []any) (sql.Result, error) {
	tx, stmt := s.tx(ctx), s.writer.statements[query]
	switch {
	case tx != nil && stmt != nil:
		return tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	case tx != nil:
		return tx.ExecContext(ctx, query, args...)
	case stmt != nil:
		return stmt.ExecContext(ctx, args...)
	}
	return s.writer.ExecContext(ctx, query, args...)
}

// scanner is a row, of one or of many.
type scanner interface{ Scan(dest ...any) error }

// get reads one row into the columns.
func (s *Store) get(ctx context.Context, query string, args []any, columns ...any) error {
	return sentinel(s.row(ctx, query, args).Scan(columns...))
}

func (s *Store) row(ctx context.Context, query string, args []any) *sql.Row {
	if tx := s.tx(ctx); tx != nil {
		if stmt := s.writer.statements[query]; stmt != nil {
			return tx.StmtContext(ctx, stmt).QueryRowContext(ctx, args...)
		}
		return tx.QueryRowContext(ctx, query, args...)
	}
	if stmt := s.reader.statements[query]; stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return s.reader.QueryRowContext(ctx, query, args...)
}

// each reads all rows, one call of scan for each.
func (s *Store) each(ctx context.Context, scan func(scanner) error, query string, args ...any) error {
	run := s.reader.QueryContext
	if tx := s.tx(ctx); tx != nil {
		run = tx.QueryContext
	}
	rows, err := run(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// sentinel turns what SQLite says into what a caller acts on.
func sentinel(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return authz.ErrNotFound
	}
	var e *modernc.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return fmt.Errorf("%w: %w", authz.ErrExists, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", authz.ErrNotFound, err)
	}
	return err
}

// micros is a time at rest.
func micros(t time.Time) int64 { return t.UnixMicro() }

// mark is the time at which something happened, NULL when it has not.
func mark(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// instant reads micros and mark.
type instant time.Time

func (t *instant) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*t = instant{}
	case int64:
		*t = instant(time.UnixMicro(v).UTC())
	default:
		return fmt.Errorf("a time is a %T", src)
	}
	return nil
}

// bytes is never NULL.
func bytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// list is a list of strings at rest: JSON.
type list []string

func (l *list) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("a list is a %T", src)
	}
	return json.Unmarshal([]byte(text), (*[]string)(l))
}

func encode(values []string) (string, error) {
	b, err := json.Marshal(values)
	return string(b), err
}

// text reads a value that parses itself.
type text struct{ encoding.TextUnmarshaler }

func (t text) Scan(src any) error {
	v, ok := src.(string)
	if !ok {
		return fmt.Errorf("a text is a %T", src)
	}
	return t.UnmarshalText([]byte(v))
}
