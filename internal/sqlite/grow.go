package sqlite

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
		SELECT id, 'grown', '["http://127.0.0.1/callback"]', '["authorization_code"]', 'none', '[]', 0,
		1, 1, x'', NULL, x'', NULL, x'', '', '', '', '', 0, 0, x'' FROM row WHERE i % 10 = 0`,
		`INSERT INTO authorizations (id, client_id, subject, resource, scope, auth_time, acr, claims, document, created_at, expires_at, revoked_at)
		SELECT id, 'grown-' || (i % 1000), 'grown', 'https://mcp.example.com/mcp', 'mcp:tools', 1, '', x'', '', 1, 9000000000000000 + i, NULL FROM row`,
		`INSERT INTO codes (hash, authorization_id, redirect_uri, challenge, jkt, expires_at, used_at)
		SELECT hash, id, 'http://127.0.0.1/callback', '', '', 9000000000000000 + i, 1 FROM row WHERE i % 10 = 0`,
		`INSERT INTO refresh_tokens (hash, authorization_id, created_at, expires_at, rotated_at, successor, jkt, x5t)
		SELECT hash, id, 1, 9000000000000000 + i, NULL, x'', '', '' FROM row`,
		`INSERT INTO tickets (kind, hash, value, expires_at)
		SELECT 'assertion', hash, x'', 9000000000000000 + i FROM row WHERE i % 10 = 0`,
		`INSERT INTO device_codes (hash, user_hash, client_id, resource, scope, document, created_at, expires_at, authorization_id)
		SELECT hash, hash, 'grown-' || (i % 1000), '', '', '', 1, 9000000000000000 + i, '' FROM row WHERE i % 10 = 0`,
		`INSERT INTO client_documents (client_id, digest, body, fetched_at, fresh_at)
		SELECT 'https://grown.example/' || (i % 1000), lower(hex(hash)), x'', 9000000000000000 + i, 1 FROM row WHERE i % 10 = 0`,
		`INSERT INTO approvals (standing, ` + approvalColumns + `)
		SELECT NULL, id, 'grown-' || (i % 1000), 'grown', '[]', 'grown', 'grown', '', '', '', '', x'', '', '[]', 1, 9000000000000000 + i,
		CASE WHEN i % 100 > 0 THEN 1 END, 0, 'grown', '', 1 FROM row WHERE i % 10 = 0`,
		`INSERT INTO webhook_messages (id, endpoint, kind, body, created_at, due_at, attempts)
		SELECT id, 'grown', '', x'', 9000000000000000 + i, 9000000000000000 + i, 0 FROM row WHERE i % 10 = 0`,
		`INSERT INTO vault_leases (` + leaseColumns + `)
		SELECT id, 'grown-' || (i % 1000), '', '', 'grown', 'grown', '', '', '', '', '', 1, 9000000000000000 + i, 9000000000000000 + i, NULL, 0, '', '' FROM row WHERE i % 10 = 0`,
	}
}

// rows are numbered from ?1 to before ?2. Their keys ascend, because then a million
// takes seconds, and yet are spread over all that hashes can be, because what is
// inserted later must not always meet the same few pages.
const rows = `WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2),
	row (i, id, hash) AS (SELECT i, ?3 || printf('%09d', i), unhex(printf('%016x%s', (i - ?4) * ?5, hex(randomblob(24)))) FROM n) `

const perGrow = 100_000 // rows of a transaction: the WAL is not much larger than that

// Grow adds n grants with their refresh tokens, and a tenth of all else (a used code
// stays for a day only), to measure what a full database costs. Nobody can use them;
// it is not for a database that is of use.
func Grow(ctx context.Context, s *Store, n int) error {
	// Else pages that change again and again are written in between.
	if _, err := s.writer.ExecContext(ctx, "PRAGMA cache_size = -200000"); err != nil {
		return fmt.Errorf("grow database: %w", err)
	}
	defer s.writer.ExecContext(context.WithoutCancel(ctx), "PRAGMA cache_size = -2000") // SQLite's default
	var run string
	if err := s.get(ctx, "SELECT 'grown-' || lower(hex(randomblob(8))) || '-'", nil, &run); err != nil {
		return fmt.Errorf("grow database: %w", err)
	}
	step := int64(math.MaxUint64 / uint64(max(n, 3)))
	for from := 0; from < n; from += perGrow {
		err := s.InTx(ctx, func(ctx context.Context) error {
			for _, insert := range grown() {
				if _, err := s.exec(ctx, rows+insert, from, min(n, from+perGrow), run, n/2, step); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("grow database: %w", err)
		}
	}
	return nil
}
