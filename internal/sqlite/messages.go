package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/webhook"
)

// AddMessages implements webhook.Outbox.
func (s *Store) AddMessages(ctx context.Context, all []webhook.Message) error {
	err := s.InTx(ctx, func(ctx context.Context) error {
		for _, m := range all {
			_, err := s.exec(ctx, `INSERT INTO webhook_messages (id, endpoint, kind, body, created_at, due_at, attempts) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				m.ID, m.Endpoint, m.Kind, bytes(m.Body), micros(m.Created), micros(m.Due), m.Attempts)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store messages: %w", err)
	}
	return nil
}

// TakeMessages implements webhook.Outbox. It looks before it writes: others wait for who
// writes, and mostly nothing is due.
func (s *Store) TakeMessages(ctx context.Context, endpoint string, limit int, now, until time.Time) (all []webhook.Message, err error) {
	var due bool
	err = s.get(ctx, `SELECT EXISTS (SELECT 1 FROM webhook_messages WHERE endpoint = ? AND due_at <= ?)`, []any{endpoint, micros(now)}, &due)
	if err == nil && due {
		err = s.InTx(ctx, func(ctx context.Context) error {
			return s.each(ctx, func(row scanner) error {
				var m webhook.Message
				err := row.Scan(&m.ID, &m.Endpoint, &m.Kind, &m.Body, (*instant)(&m.Created), (*instant)(&m.Due), &m.Attempts)
				all = append(all, m)
				return err
			}, `UPDATE webhook_messages SET due_at = ?1, attempts = attempts + 1 WHERE id IN
				(SELECT id FROM webhook_messages WHERE endpoint = ?2 AND due_at <= ?3 ORDER BY due_at LIMIT ?4)
				RETURNING id, endpoint, kind, body, created_at, due_at, attempts`, micros(until), endpoint, micros(now), limit)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("take messages: %w", err)
	}
	slices.SortFunc(all, func(a, b webhook.Message) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// PutOffMessage implements webhook.Outbox.
func (s *Store) PutOffMessage(ctx context.Context, m webhook.Message) error {
	_, err := s.exec(ctx, `UPDATE webhook_messages SET due_at = ? WHERE id = ? AND attempts = ?`, micros(m.Due), m.ID, m.Attempts)
	if err != nil {
		return fmt.Errorf("put off message: %w", err)
	}
	return nil
}

// DropMessage implements webhook.Outbox.
func (s *Store) DropMessage(ctx context.Context, id string) error {
	if _, err := s.exec(ctx, `DELETE FROM webhook_messages WHERE id = ?`, id); err != nil {
		return fmt.Errorf("drop message: %w", err)
	}
	return nil
}
