package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

const insertTicket = `INSERT INTO tickets (kind, hash, value, expires_at) VALUES (?, ?, ?, ?)
	ON CONFLICT (hash, kind) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at, taken_at = NULL
	WHERE tickets.expires_at <= ?`

// InsertTicket implements authz.Tickets.
func (s *Store) InsertTicket(ctx context.Context, kind authz.TicketKind, key, value []byte, now, expires time.Time) error {
	n, err := s.exec(ctx, insertTicket, string(kind), bytes(key), bytes(value), micros(expires), micros(now))
	if err == nil && n == 0 {
		err = authz.ErrExists
	}
	if err != nil {
		return fmt.Errorf("insert ticket: %w", err)
	}
	return nil
}

const (
	selectTicket = `SELECT value FROM tickets WHERE kind = ? AND hash = ? AND expires_at > ?`
	takeTicket   = `UPDATE tickets SET taken_at = ? WHERE kind = ? AND hash = ? AND taken_at IS NULL`
)

// TakeTicket implements authz.Tickets.
func (s *Store) TakeTicket(ctx context.Context, kind authz.TicketKind, key []byte, now time.Time) (value []byte, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		if err := s.get(ctx, selectTicket, []any{string(kind), bytes(key), micros(now)}, &value); err != nil {
			return err
		}
		return s.once(ctx, takeTicket, micros(now), string(kind), bytes(key))
	})
	if err != nil {
		return nil, fmt.Errorf("take ticket: %w", err)
	}
	return value, nil
}

// Ticket implements authz.Tickets.
func (s *Store) Ticket(ctx context.Context, kind authz.TicketKind, key []byte, now time.Time) (value []byte, err error) {
	err = s.get(ctx, selectTicket, []any{string(kind), bytes(key), micros(now)}, &value)
	if err != nil {
		return nil, fmt.Errorf("read ticket: %w", err)
	}
	return value, nil
}
