package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

const (
	grace     = 24 * time.Hour // after expiry, in which reuse is still seen for what it is
	perExpire = 1000           // rows of a table that one DeleteExpired removes: others wait to write
)

// keepDocument is how long a client metadata document stays that no grant names.
const keepDocument = 24 * time.Hour

// keepApproval is how long an approval stays after its expiry, for people to see what came
// of it, and a message that nobody delivers: its endpoint is no longer configured.
const keepApproval = 7 * 24 * time.Hour

// DeleteExpired removes codes, refresh tokens, device codes and authorizations that
// expired a day before now or earlier, tickets and revocations that have expired and
// documents that nothing names, approvals and messages that are a week old, and leases of
// Vault that have been over for a day, and returns how many. It removes a bounded number:
// call it again while it removes any.
func (s *Store) DeleteExpired(ctx context.Context, now time.Time) (n int64, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		n = 0
		old := micros(now.Add(-grace))
		for _, sweep := range []struct {
			query  string
			before int64
		}{
			{`DELETE FROM refresh_tokens WHERE hash IN
				(SELECT hash FROM refresh_tokens WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`, old},
			{`DELETE FROM codes WHERE hash IN
				(SELECT hash FROM codes WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`, old},
			{`DELETE FROM authorizations WHERE id IN
				(SELECT a.id FROM authorizations a WHERE a.expires_at <= ?
				AND NOT EXISTS (SELECT 1 FROM codes c WHERE c.authorization_id = a.id)
				AND NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.authorization_id = a.id)
				ORDER BY a.expires_at LIMIT ?)`, old},
			{`DELETE FROM device_codes WHERE hash IN
				(SELECT hash FROM device_codes WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`, old},
			{`DELETE FROM tickets WHERE (kind, hash) IN
				(SELECT kind, hash FROM tickets WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`, micros(now)},
			{`DELETE FROM revocations WHERE seq IN
				(SELECT seq FROM revocations WHERE frozen = 0 AND expires_at <= ? ORDER BY expires_at LIMIT ?)`, micros(now)},
			{`DELETE FROM client_documents WHERE (client_id, digest) IN
				(SELECT client_id, digest FROM client_documents d WHERE fetched_at <= ?
				AND NOT EXISTS (SELECT 1 FROM authorizations a WHERE a.client_id = d.client_id AND a.document = d.digest)
				AND NOT EXISTS (SELECT 1 FROM device_codes c WHERE c.client_id = d.client_id AND c.document = d.digest)
				ORDER BY fetched_at LIMIT ?)`, micros(now.Add(-keepDocument))},
			{`DELETE FROM approvals WHERE id IN
				(SELECT id FROM approvals WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`, micros(now.Add(-keepApproval))},
			{`DELETE FROM webhook_messages WHERE id IN
				(SELECT id FROM webhook_messages WHERE created_at <= ? ORDER BY created_at LIMIT ?)`, micros(now.Add(-keepApproval))},
			{`DELETE FROM vault_leases WHERE id IN
				(SELECT id FROM vault_leases WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`, old},
		} {
			rows, err := s.exec(ctx, sweep.query, sweep.before, perExpire)
			if err = unmigrated(err); err != nil && !errors.Is(err, vaultbridge.ErrUnmigrated) {
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
