package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

const (
	grace     = 24 * time.Hour // after expiry, in which reuse is still seen for what it is
	perExpire = 1000           // rows of a table that one DeleteExpired removes: a short statement, little WAL at once
)

// keepDocument is how long a client metadata document stays that no grant names.
const keepDocument = 24 * time.Hour

// keepApproval is how long an approval stays after its expiry, for people to see what came
// of it, and a message that nobody delivers: its endpoint is no longer configured.
const keepApproval = 7 * 24 * time.Hour

// DeleteExpired removes codes, refresh tokens, device codes and authorizations that
// expired a day before now or earlier, tickets and revocations that have expired and
// documents that nothing names, approvals and messages that are a week old, counts of limits
// that say nothing any more, and leases of Vault that have been over for a day, and returns
// how many. It removes a bounded number: call it again while it removes any. Replicas that do so at the same time leave one another's
// rows alone rather than wait for them.
func (s *Store) DeleteExpired(ctx context.Context, now time.Time) (n int64, err error) {
	old := micros(now.Add(-grace))
	// ARRAY, because then the rows are chosen once, and found again by the primary key
	// whatever their number: a join might read all of a table. OFFSET keeps EXISTS from
	// becoming one.
	for _, sweep := range []struct {
		query  string
		before int64
	}{
		{`DELETE FROM refresh_tokens WHERE hash = ANY(ARRAY(SELECT hash FROM refresh_tokens WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, old},
		{`DELETE FROM codes WHERE hash = ANY(ARRAY(SELECT hash FROM codes WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, old},
		{`DELETE FROM authorizations WHERE id = ANY(ARRAY(SELECT id FROM authorizations a WHERE expires_at <= $1
				AND NOT EXISTS (SELECT 1 FROM codes c WHERE c.authorization_id = a.id OFFSET 0)
				AND NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.authorization_id = a.id OFFSET 0)
				ORDER BY expires_at LIMIT $2 FOR UPDATE OF a SKIP LOCKED))`, old},
		{`DELETE FROM device_codes WHERE hash = ANY(ARRAY(SELECT hash FROM device_codes WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, old},
		{`DELETE FROM tickets WHERE hash = ANY(ARRAY(SELECT hash FROM tickets WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) AND expires_at <= $1`, micros(now)},
		{`DELETE FROM revocations WHERE seq = ANY(ARRAY(SELECT seq FROM revocations WHERE NOT frozen AND expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, micros(now)},
		{`WITH gone AS (SELECT client_id, digest FROM client_documents d WHERE fetched_at <= $1
				AND NOT EXISTS (SELECT 1 FROM authorizations a WHERE a.client_id = d.client_id AND a.document = d.digest)
				AND NOT EXISTS (SELECT 1 FROM device_codes c WHERE c.client_id = d.client_id AND c.document = d.digest)
				ORDER BY fetched_at LIMIT $2 FOR UPDATE OF d SKIP LOCKED)
			DELETE FROM client_documents d USING gone WHERE d.client_id = gone.client_id AND d.digest = gone.digest`,
			micros(now.Add(-keepDocument))},
		{`DELETE FROM approvals WHERE id = ANY(ARRAY(SELECT id FROM approvals WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, micros(now.Add(-keepApproval))},
		{`DELETE FROM webhook_messages WHERE id = ANY(ARRAY(SELECT id FROM webhook_messages WHERE created_at <= $1
				ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, micros(now.Add(-keepApproval))},
		{`DELETE FROM limit_counts WHERE key = ANY(ARRAY(SELECT key FROM limit_counts WHERE due_at <= $1
				ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)) AND due_at <= $1`, micros(now)},
		{`DELETE FROM limit_leases WHERE id = ANY(ARRAY(SELECT id FROM limit_leases WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, micros(now)},
		{`DELETE FROM vault_leases WHERE id = ANY(ARRAY(SELECT id FROM vault_leases WHERE expires_at <= $1
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, old},
	} {
		rows, err := s.sweep(ctx, sweep.query, sweep.before)
		if err != nil {
			return n, fmt.Errorf("delete expired rows: %w", err)
		}
		n += rows
	}
	return n, nil
}

// sweep removes some rows of a table; the schema before has not all of them. It is a
// transaction of its own, or a part of one, that can fail by itself.
func (s *Store) sweep(ctx context.Context, query string, before int64) (n int64, err error) {
	err = s.InTx(ctx, func(ctx context.Context) (err error) {
		n, err = s.exec(ctx, query, before, perExpire)
		return err
	})
	if errors.Is(unmigrated(err), vaultbridge.ErrUnmigrated) {
		return 0, nil
	}
	return n, err
}
