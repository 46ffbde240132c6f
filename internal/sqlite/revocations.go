package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/revocation"
)

// Revoke implements revocation.Store.
func (s *Store) Revoke(ctx context.Context, e revocation.Entry) error {
	err := s.InTx(ctx, func(ctx context.Context) error {
		seq, err := s.nextRevocation(ctx)
		if err != nil {
			return err
		}
		_, err = s.exec(ctx, `INSERT INTO revocations AS old (kind, name, not_before, frozen, lifted, reason, by_whom, created_at, expires_at, seq)
			VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9)
			ON CONFLICT (kind, name) DO UPDATE SET seq = excluded.seq, lifted = 0, frozen = old.frozen OR excluded.frozen,
			not_before = max(old.not_before, excluded.not_before), expires_at = max(old.expires_at, excluded.expires_at),
			reason = CASE WHEN old.frozen AND NOT excluded.frozen THEN old.reason ELSE excluded.reason END,
			by_whom = CASE WHEN old.frozen AND NOT excluded.frozen THEN old.by_whom ELSE excluded.by_whom END,
			created_at = CASE WHEN old.frozen AND NOT excluded.frozen THEN old.created_at ELSE excluded.created_at END`,
			string(e.Kind), e.Name, micros(e.NotBefore), e.Frozen, e.Reason, e.By, micros(e.Created), micros(e.Expires), seq)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke %s: %w", e.Kind, err)
	}
	return nil
}

// nextRevocation counts, in the transaction of the only writer: whoever comes next has
// a higher number, and is committed later.
func (s *Store) nextRevocation(ctx context.Context) (seq int64, err error) {
	err = s.get(ctx, `INSERT INTO revocation_counter AS c (id, n) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = c.n + 1 RETURNING n`, nil, &seq)
	return seq, err
}

// Unfreeze implements revocation.Store.
func (s *Store) Unfreeze(ctx context.Context, e revocation.Entry) error {
	err := s.InTx(ctx, func(ctx context.Context) error {
		seq, err := s.nextRevocation(ctx)
		if err != nil {
			return err
		}
		n, err := s.exec(ctx, `UPDATE revocations SET frozen = 0, lifted = 1, not_before = max(not_before, ?3), reason = ?4, by_whom = ?5,
			created_at = ?6, expires_at = max(expires_at, ?7), seq = ?8 WHERE kind = ?1 AND name = ?2 AND frozen`,
			string(e.Kind), e.Name, micros(e.NotBefore), e.Reason, e.By, micros(e.Created), micros(e.Expires), seq)
		if err == nil && n == 0 {
			err = revocation.ErrNotFrozen
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("unfreeze %s: %w", e.Kind, err)
	}
	return nil
}

// Revocations implements revocation.Store.
func (s *Store) Revocations(ctx context.Context, after int64) ([]revocation.Entry, error) {
	var all []revocation.Entry
	err := s.each(ctx, func(row scanner) error {
		var e revocation.Entry
		err := row.Scan((*string)(&e.Kind), &e.Name, (*instant)(&e.NotBefore), &e.Frozen, &e.Lifted, &e.Reason, &e.By, (*instant)(&e.Created), (*instant)(&e.Expires), &e.Seq)
		all = append(all, e)
		return err
	}, `SELECT kind, name, not_before, frozen, lifted, reason, by_whom, created_at, expires_at, seq
		FROM revocations WHERE seq > ?1 ORDER BY seq LIMIT 1000`, after)
	if err != nil {
		return nil, fmt.Errorf("list revocations: %w", err)
	}
	return all, nil
}

// RevokeAuthorization implements authz.Store. The first time stands; that there is
// no such authorization (any more) is no error.
func (s *Store) RevokeAuthorization(ctx context.Context, id string, now time.Time) error {
	err := s.InTx(ctx, func(ctx context.Context) error {
		n, err := s.exec(ctx, `UPDATE authorizations SET revoked_at = ?1 WHERE id = ?2 AND revoked_at IS NULL`, micros(now), id)
		if err != nil || n == 0 {
			return err
		}
		return s.Revoke(ctx, revocation.New(revocation.Grant, id, now))
	})
	if err != nil {
		return fmt.Errorf("revoke authorization: %w", err)
	}
	return nil
}

// EndAuthorizations ends all that a subject gave, or a client has, and returns how
// many. It is beside an entry of that subject or client, which refuses what came of
// them, and so adds none.
func (s *Store) EndAuthorizations(ctx context.Context, of revocation.Kind, name string, now time.Time) (n int64, err error) {
	switch of {
	case revocation.Subject:
		n, err = s.exec(ctx, `UPDATE authorizations SET revoked_at = ?1 WHERE subject = ?2 AND revoked_at IS NULL`, micros(now), name)
	case revocation.Client:
		n, err = s.exec(ctx, `UPDATE authorizations SET revoked_at = ?1 WHERE client_id = ?2 AND revoked_at IS NULL`, micros(now), name)
	default:
		err = errors.New("neither a subject nor a client")
	}
	if err != nil {
		return 0, fmt.Errorf("end authorizations: %w", err)
	}
	return n, nil
}
