package sqlite

import (
	"context"
	"fmt"
	"time"
)

const (
	grace     = 24 * time.Hour // after expiry, in which reuse is still seen for what it is
	perExpire = 1000           // rows of a table that one DeleteExpired removes: others wait to write
)

// DeleteExpired removes codes, refresh tokens and authorizations that expired a
// day before now or earlier, and returns how many. It removes a bounded number:
// call it again while it removes any.
func (s *Store) DeleteExpired(ctx context.Context, now time.Time) (n int64, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		n = 0
		for _, query := range []string{
			`DELETE FROM refresh_tokens WHERE hash IN
				(SELECT hash FROM refresh_tokens WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`,
			`DELETE FROM codes WHERE hash IN
				(SELECT hash FROM codes WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`,
			`DELETE FROM authorizations WHERE id IN
				(SELECT a.id FROM authorizations a WHERE a.expires_at <= ?
				AND NOT EXISTS (SELECT 1 FROM codes c WHERE c.authorization_id = a.id)
				AND NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.authorization_id = a.id)
				ORDER BY a.expires_at LIMIT ?)`,
		} {
			rows, err := s.exec(ctx, query, micros(now.Add(-grace)), perExpire)
			if err != nil {
				return err
			}
			n += rows
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("delete expired rows: %w", err)
	}
	return n, nil
}
