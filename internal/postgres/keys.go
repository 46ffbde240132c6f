package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/internal/keys"
)

// Keys implements keys.Store.
func (s *Store) Keys(ctx context.Context) ([]keys.Record, error) {
	var records []keys.Record
	err := s.each(ctx, func(row pgx.Row) error {
		var r keys.Record
		err := row.Scan(&r.KeyID, &r.Use, &r.Algorithm, &r.Wrapped, &r.Public, (*instant)(&r.Created))
		records = append(records, r)
		return err
	}, `SELECT kid, use, algorithm, wrapped, public, created_at FROM keys ORDER BY created_at, kid`)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return records, nil
}

// InsertKey implements keys.Store.
func (s *Store) InsertKey(ctx context.Context, r keys.Record) error {
	_, err := s.exec(ctx, `INSERT INTO keys (kid, use, algorithm, wrapped, public, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`,
		r.KeyID, string(r.Use), r.Algorithm, some(r.Wrapped), some(r.Public), micros(r.Created))
	if err != nil {
		return fmt.Errorf("insert key: %w", err)
	}
	return nil
}
