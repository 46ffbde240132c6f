package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/keys"
)

// Keys implements keys.Store.
func (s *Store) Keys(ctx context.Context) ([]keys.Record, error) {
	var records []keys.Record
	err := s.each(ctx, func(row scanner) error {
		var r keys.Record
		err := row.Scan(&r.KeyID, &r.Use, &r.Algorithm, &r.Wrapped, &r.Public, (*instant)(&r.Created), (*instant)(&r.Activated))
		records = append(records, r)
		return err
	}, `SELECT kid, use, algorithm, wrapped, public, created_at, activated_at FROM keys ORDER BY created_at, kid`)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return records, nil
}

// InsertKey implements keys.Store.
func (s *Store) InsertKey(ctx context.Context, r keys.Record) error {
	_, err := s.exec(ctx, `INSERT INTO keys (kid, use, algorithm, wrapped, public, created_at, activated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`,
		r.KeyID, string(r.Use), r.Algorithm, bytes(r.Wrapped), bytes(r.Public), micros(r.Created), mark(r.Activated))
	if err != nil {
		return fmt.Errorf("insert key: %w", err)
	}
	return nil
}

// ActivateKey implements keys.Store. A key that there is not is ErrActive too.
func (s *Store) ActivateKey(ctx context.Context, keyID string, now time.Time) error {
	n, err := s.exec(ctx, `UPDATE keys SET activated_at = ? WHERE kid = ? AND activated_at IS NULL`, micros(now), keyID)
	if err == nil && n == 0 {
		err = keys.ErrActive
	}
	if err != nil {
		return fmt.Errorf("activate key: %w", err)
	}
	return nil
}

// RewrapKey implements keys.RewrapStore.
func (s *Store) RewrapKey(ctx context.Context, keyID string, before, after []byte) error {
	n, err := s.exec(ctx, `UPDATE keys SET wrapped = ? WHERE kid = ? AND wrapped = ?`, bytes(after), keyID, bytes(before))
	if err == nil && n == 0 {
		err = keys.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("rewrap key: %w", err)
	}
	return nil
}
