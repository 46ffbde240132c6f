package postgres

import (
	"context"
	"fmt"
	"math"
)

// grown are the rows that Grow adds. Nobody has what their hashes are of, so nobody
// can redeem them; they expire in the year 2255.
func grown() []string {
	return []string{
		`INSERT INTO clients (` + clientColumns + `)
		SELECT id, 'grown', '{http://127.0.0.1/callback}', '{authorization_code}', 'none', '{}', false,
		1, 1, '', NULL, '', NULL, '', '', '', '', '', false, false, '' FROM row WHERE i % 10 = 0`,
		`INSERT INTO authorizations (id, client_id, subject, resource, scope, auth_time, acr, claims, document, created_at, expires_at, revoked_at)
		SELECT id, 'grown-' || (i % 1000), 'grown', 'https://mcp.example.com/mcp', 'mcp:tools', 1, '', '', '', 1, 9000000000000000 + i, NULL FROM row`,
		`INSERT INTO codes (hash, authorization_id, redirect_uri, challenge, jkt, expires_at, used_at)
		SELECT hash, id, 'http://127.0.0.1/callback', '', '', 9000000000000000 + i, 1 FROM row WHERE i % 10 = 0`,
		`INSERT INTO refresh_tokens (hash, authorization_id, created_at, expires_at, rotated_at, successor, jkt, x5t)
		SELECT hash, id, 1, 9000000000000000 + i, NULL, '', '', '' FROM row`,
		`INSERT INTO tickets (kind, hash, value, expires_at)
		SELECT 'assertion', hash, '', 9000000000000000 + i FROM row WHERE i % 10 = 0`,
		`INSERT INTO device_codes (hash, user_hash, client_id, resource, scope, document, created_at, expires_at, authorization_id)
		SELECT hash, hash, 'grown-' || (i % 1000), '', '', '', 1, 9000000000000000 + i, '' FROM row WHERE i % 10 = 0`,
		`INSERT INTO client_documents (client_id, digest, body, fetched_at, fresh_at)
		SELECT 'https://grown.example/' || (i % 1000), id, '', 9000000000000000 + i, 1 FROM row WHERE i % 10 = 0`,
		`INSERT INTO approvals (standing, ` + approvalColumns + `)
		SELECT NULL, id, 'grown-' || (i % 1000), 'grown', '{}', 'grown', 'grown', '', '', '', '', '', '', '[]', 1, 9000000000000000 + i,
		CASE WHEN i % 100 > 0 THEN 1 END, false, 'grown', '', 1 FROM row WHERE i % 10 = 0`,
		`INSERT INTO webhook_messages (id, endpoint, kind, body, created_at, due_at, attempts)
		SELECT id, 'grown', '', '', 9000000000000000 + i, 9000000000000000 + i, 0 FROM row WHERE i % 10 = 0`,
		`INSERT INTO vault_leases (` + leaseColumns + `)
		SELECT id, 'grown-' || (i % 1000), '', '', 'grown', 'grown', '', '', '', '', '', 1, 9000000000000000 + i, 9000000000000000 + i, NULL, 0, '', '' FROM row WHERE i % 10 = 0`,
		`INSERT INTO limit_counts (key, due_at) SELECT id, 9000000000000000 + i FROM row WHERE i % 10 = 0`,
		`INSERT INTO limit_leases (id, key, expires_at) SELECT id, id, 9000000000000000 + i FROM row WHERE i % 10 = 0`,
	}
}

// rows are numbered from $1 to $2. Their keys ascend, because then a million takes
// seconds, and yet are spread over all that hashes can be, because what is inserted
// later must not always meet the same few pages.
const rows = `WITH row AS (SELECT i, $3::text || lpad(i::text, 9, '0') AS id,
		int8send((i - $4::bigint) * $5::bigint) || substr(sha256(convert_to($3 || i, 'UTF8')), 9) AS hash
	FROM generate_series($1::bigint, $2::bigint) AS i) `

const perGrow = 100_000 // rows of a transaction

// Grow adds n grants with their refresh tokens, and a tenth of all else (a used code
// stays for a day only), to measure what a full database costs. Nobody can use them;
// it is not for a database that is of use.
func Grow(ctx context.Context, s *Store, n int) error {
	var run string
	if err := s.get(ctx, "SELECT 'grown-' || gen_random_uuid() || '-'", nil, &run); err != nil {
		return fmt.Errorf("grow database: %w", err)
	}
	step := int64(math.MaxUint64 / uint64(max(n, 3)))
	for from := 0; from < n; from += perGrow {
		err := s.InTx(ctx, func(ctx context.Context) error {
			// Foreign keys are half the time. Only a superuser may do without them.
			_, _ = s.exec(ctx, "SET LOCAL session_replication_role = replica")
			for _, insert := range grown() {
				if _, err := s.exec(ctx, rows+insert, from, min(n, from+perGrow)-1, run, n/2, step); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("grow database: %w", err)
		}
	}
	if _, err := s.exec(ctx, "ANALYZE"); err != nil { // as autovacuum would, a minute later
		return fmt.Errorf("grow database: %w", err)
	}
	return nil
}
