package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/authz"
)

const (
	attempts        = 5                // of a transaction that conflicts with others
	backoff         = time.Millisecond // doubles with each attempt
	rollbackTimeout = 5 * time.Second
)

// txKey finds the transaction of one store in a context.
type txKey struct{ s *Store }

func (s *Store) tx(ctx context.Context) pgx.Tx {
	tx, _ := ctx.Value(txKey{s}).(pgx.Tx)
	return tx
}

// InTx runs f in one transaction: all of it, or nothing when f fails. Inside a
// transaction it runs f as a part of that one, which can fail by itself. When the
// server ends the transaction because it conflicts with others (a deadlock), f
// runs again from the start.
//
// Inside f, use the context that f is given: with another one a call needs a
// second connection, and when every connection waits for a second one all wait
// until their contexts end.
func (s *Store) InTx(ctx context.Context, f func(ctx context.Context) error) error {
	if tx := s.tx(ctx); tx != nil {
		return savepoint(ctx, tx, f)
	}
	return retry(ctx, func() error { return s.inTx(ctx, f) })
}

func (s *Store) inTx(ctx context.Context, f func(ctx context.Context) error) error {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer rollback(ctx, tx) // no effect after Commit; f may panic
	if err := f(context.WithValue(ctx, txKey{s}, tx)); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}

// rollback gives the connection back even if the context is what ended the
// transaction. Should it fail, pgx drops the connection, and the server rolls back.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// savepoint leaves nothing of an f that fails, and its statements ignore that the
// context may be what ended f; a panic ends the whole transaction.
func savepoint(ctx context.Context, tx pgx.Tx, f func(ctx context.Context) error) error {
	always := context.WithoutCancel(ctx)
	if _, err := tx.Exec(ctx, "SAVEPOINT part"); err != nil {
		return fmt.Errorf("begin savepoint: %w", err)
	}
	failed := f(ctx)
	if failed != nil {
		if _, err := tx.Exec(always, "ROLLBACK TO SAVEPOINT part"); err != nil {
			return errors.Join(failed, fmt.Errorf("roll back savepoint: %w", err))
		}
	}
	if _, err := tx.Exec(always, "RELEASE SAVEPOINT part"); err != nil {
		return errors.Join(failed, fmt.Errorf("release savepoint: %w", err))
	}
	return failed
}

// retry repeats what the server has undone as a whole because of a conflict.
func retry(ctx context.Context, f func() error) error {
	for i := range attempts - 1 {
		err := f()
		if !coded(err, serializationFailure, deadlockDetected) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(backoff << i)):
		}
	}
	return f()
}

// exec runs a statement that writes and returns the number of rows it changed.
func (s *Store) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	if tx := s.tx(ctx); tx != nil {
		n, err = guarded(ctx, tx, query, args)
		return n, sentinel(err)
	}
	err = retry(ctx, func() error {
		tag, err := s.pool.Exec(ctx, query, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, sentinel(err)
}

// guarded runs a statement in a savepoint of its own, in one round trip: one that
// fails would otherwise end the whole transaction.
func guarded(ctx context.Context, tx pgx.Tx, query string, args []any) (int64, error) {
	var b pgx.Batch
	b.Queue("SAVEPOINT statement")
	b.Queue(query, args...)
	b.Queue("RELEASE SAVEPOINT statement")
	r := tx.SendBatch(ctx, &b)
	if _, err := r.Exec(); err != nil {
		return 0, errors.Join(err, r.Close())
	}
	tag, err := r.Exec()
	if closed := r.Close(); err == nil {
		err = closed
	}
	if err == nil {
		return tag.RowsAffected(), nil
	}
	if _, undo := tx.Exec(context.WithoutCancel(ctx), "ROLLBACK TO SAVEPOINT statement"); undo != nil {
		return 0, errors.Join(err, fmt.Errorf("roll back savepoint: %w", undo))
	}
	return 0, err
}

// get reads one row into the columns.
func (s *Store) get(ctx context.Context, query string, args []any, columns ...any) error {
	run := s.pool.QueryRow
	if tx := s.tx(ctx); tx != nil {
		run = tx.QueryRow
	}
	return sentinel(run(ctx, query, args...).Scan(columns...))
}

// change runs a statement that writes and reads the one row that it returns. It
// must not be one that a constraint can refuse: that would end the transaction.
func (s *Store) change(ctx context.Context, query string, args []any, columns ...any) error {
	if tx := s.tx(ctx); tx != nil {
		return sentinel(tx.QueryRow(ctx, query, args...).Scan(columns...))
	}
	return sentinel(retry(ctx, func() error { return s.pool.QueryRow(ctx, query, args...).Scan(columns...) }))
}

// each reads all rows, one call of scan for each.
func (s *Store) each(ctx context.Context, scan func(pgx.Row) error, query string, args ...any) error {
	run := s.pool.Query
	if tx := s.tx(ctx); tx != nil {
		run = tx.Query
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

// sentinel turns what PostgreSQL says into what a caller acts on.
func sentinel(err error) error {
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return authz.ErrNotFound
	case coded(err, uniqueViolation):
		return fmt.Errorf("%w: %w", authz.ErrExists, err)
	case coded(err, foreignKeyViolation):
		return fmt.Errorf("%w: %w", authz.ErrNotFound, err)
	}
	return err
}
