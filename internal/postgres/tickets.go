package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

// InsertTicket implements authz.Tickets.
func (s *Store) InsertTicket(ctx context.Context, kind authz.TicketKind, key, value []byte, now, expires time.Time) error {
	n, err := s.exec(ctx, `INSERT INTO tickets (kind, hash, value, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (hash, kind) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at, taken_at = NULL
		WHERE tickets.expires_at <= $5`, string(kind), some(key), some(value), micros(expires), micros(now))
	if err = none(n, err, authz.ErrExists); err != nil {
		return fmt.Errorf("insert ticket: %w", err)
	}
	return nil
}

// TakeTicket implements authz.Tickets.
func (s *Store) TakeTicket(ctx context.Context, kind authz.TicketKind, key []byte, now time.Time) (value []byte, err error) {
	err = s.change(ctx, `UPDATE tickets SET taken_at = $3 WHERE kind = $1 AND hash = $2 AND expires_at > $3 AND taken_at IS NULL
		RETURNING value`, []any{string(kind), some(key), micros(now)}, &value)
	if errors.Is(err, authz.ErrNotFound) {
		err = s.missed(ctx, kind, key, now)
	}
	if err != nil {
		return nil, fmt.Errorf("take ticket: %w", err)
	}
	return value, nil
}

// missed says why there was no ticket to take. One that is not taken has come only
// after the look for it.
func (s *Store) missed(ctx context.Context, kind authz.TicketKind, key []byte, now time.Time) error {
	var taken bool
	err := s.get(ctx, `SELECT taken_at IS NOT NULL FROM tickets WHERE kind = $1 AND hash = $2 AND expires_at > $3`,
		[]any{string(kind), some(key), micros(now)}, &taken)
	if err != nil {
		return err
	}
	if taken {
		return authz.ErrSpent
	}
	return authz.ErrNotFound
}

// Ticket implements authz.Tickets.
func (s *Store) Ticket(ctx context.Context, kind authz.TicketKind, key []byte, now time.Time) (value []byte, err error) {
	err = s.get(ctx, `SELECT value FROM tickets WHERE kind = $1 AND hash = $2 AND expires_at > $3`,
		[]any{string(kind), some(key), micros(now)}, &value)
	if err != nil {
		return nil, fmt.Errorf("read ticket: %w", err)
	}
	return value, nil
}
