package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// ErrForked is returned for an audit head that contradicts the one that is kept:
// somebody has written another history of the same log.
var ErrForked = errors.New("the audit log has another head at the same line")

// SaveHead implements audit.Heads. It returns ErrForked.
func (s *Store) SaveHead(ctx context.Context, h audit.Head) error {
	n, err := s.exec(ctx, `INSERT INTO audit_heads (log, seq, hash, time, kid, signature)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (log) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, time = excluded.time,
		kid = excluded.kid, signature = excluded.signature
		WHERE audit_heads.seq < excluded.seq`,
		h.Log, h.Seq, h.Hash, micros(h.Time), h.KeyID, h.Signature)
	if err == nil && n == 0 { // an older head than the one that is kept, or another
		err = s.compareHead(ctx, h)
	}
	if err != nil {
		return fmt.Errorf("save audit head: %w", err)
	}
	return nil
}

func (s *Store) compareHead(ctx context.Context, h audit.Head) error {
	var kept audit.Head
	err := s.get(ctx, `SELECT seq, hash FROM audit_heads WHERE log = $1`, []any{h.Log}, &kept.Seq, &kept.Hash)
	if err == nil && kept.Seq == h.Seq && kept.Hash != h.Hash {
		return ErrForked
	}
	return err
}

// Heads implements audit.Heads, in the order of the logs' ids.
func (s *Store) Heads(ctx context.Context, log string) ([]audit.Head, error) {
	var heads []audit.Head
	err := s.each(ctx, func(row pgx.Row) error {
		var h audit.Head
		err := row.Scan(&h.Log, &h.Seq, &h.Hash, (*instant)(&h.Time), &h.KeyID, &h.Signature)
		heads = append(heads, h)
		return err
	}, `SELECT log, seq, hash, time, kid, signature FROM audit_heads WHERE $1 = '' OR log = $1 ORDER BY log`, log)
	if err != nil {
		return nil, fmt.Errorf("list audit heads: %w", err)
	}
	return heads, nil
}
