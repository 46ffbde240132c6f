package postgres

import (
	"context"
	"fmt"
	"time"
)

const (
	grace     = 24 * time.Hour // after expiry, in which reuse is still seen for what it is
	perExpire = 1000           // rows of a table that one DeleteExpired removes: a short statement, little WAL at once
)

// DeleteExpired removes codes, refresh tokens and authorizations that expired a
// day before now or earlier, and returns how many. It removes a bounded number:
// call it again while it removes any. Replicas that do so at the same time leave
// one another's rows alone rather than wait for them.
func (s *Store) DeleteExpired(ctx context.Context, now time.Time) (n int64, err error) {
	// WITH, so that the rows are chosen once: IN may run a subquery several times.
	for _, query := range []string{
		`WITH gone AS (SELECT hash FROM refresh_tokens WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
			DELETE FROM refresh_tokens t USING gone WHERE t.hash = gone.hash`,
		`WITH gone AS (SELECT hash FROM codes WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
			DELETE FROM codes c USING gone WHERE c.hash = gone.hash`,
		`WITH gone AS (SELECT id FROM authorizations a WHERE expires_at <= $1
				AND NOT EXISTS (SELECT 1 FROM codes c WHERE c.authorization_id = a.id)
				AND NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.authorization_id = a.id)
				ORDER BY expires_at LIMIT $2 FOR UPDATE OF a SKIP LOCKED)
			DELETE FROM authorizations a USING gone WHERE a.id = gone.id`,
	} {
		rows, err := s.exec(ctx, query, micros(now.Add(-grace)), perExpire)
		if err != nil {
			return n, fmt.Errorf("delete expired rows: %w", err)
		}
		n += rows
	}
	return n, nil
}
