package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

// leaseColumns go with leaseOf.
const leaseColumns = `id, holder, boot, call, server, subject, client_id, accessor, lease_id, path, engine,
	created_at, expires_at, held_until, next_at, attempts, failure, ended_by`

func leaseOf(row scanner) (r vaultbridge.Record, err error) {
	err = row.Scan(&r.ID, &r.Holder, &r.Boot, &r.Call, &r.Server, &r.Subject, &r.Client, &r.Accessor, &r.Lease, &r.Path, &r.Engine,
		(*instant)(&r.Created), (*instant)(&r.Expires), (*instant)(&r.Held), (*instant)(&r.Next), &r.Attempts, &r.Failure, &r.EndedBy)
	return r, err
}

// InsertLease implements vaultbridge.Records.
func (s *Store) InsertLease(ctx context.Context, r vaultbridge.Record) error {
	_, err := s.exec(ctx, `INSERT INTO vault_leases (`+leaseColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, r.Holder, r.Boot, r.Call, r.Server, r.Subject, r.Client, r.Accessor, r.Lease, r.Path, r.Engine,
		micros(r.Created), micros(r.Expires), micros(r.Held), mark(r.Next), r.Attempts, r.Failure, r.EndedBy)
	if err != nil {
		return fmt.Errorf("store lease: %w", unmigrated(err))
	}
	return nil
}

// NameLease implements vaultbridge.Records.
func (s *Store) NameLease(ctx context.Context, id, lease string) error {
	_, err := s.exec(ctx, `UPDATE vault_leases SET lease_id = ? WHERE id = ?`, lease, id)
	if err != nil {
		return fmt.Errorf("name lease: %w", unmigrated(err))
	}
	return nil
}

// DeleteLease implements vaultbridge.Records.
func (s *Store) DeleteLease(ctx context.Context, id string) error {
	if _, err := s.exec(ctx, `DELETE FROM vault_leases WHERE id = ?`, id); err != nil {
		return fmt.Errorf("delete lease: %w", unmigrated(err))
	}
	return nil
}

// FailLease implements vaultbridge.Records.
func (s *Store) FailLease(ctx context.Context, id, failure string, next time.Time) error {
	_, err := s.exec(ctx, `UPDATE vault_leases SET attempts = attempts + 1, failure = ?, next_at = ? WHERE id = ?`, failure, mark(next), id)
	if err != nil {
		return fmt.Errorf("put off the end of a lease: %w", unmigrated(err))
	}
	return nil
}

// HoldLeases implements vaultbridge.Records.
func (s *Store) HoldLeases(ctx context.Context, holder, boot string, until time.Time) error {
	_, err := s.exec(ctx, `UPDATE vault_leases SET held_until = ?3 WHERE holder = ?1 AND boot = ?2 AND held_until < ?3`, holder, boot, micros(until))
	if err != nil {
		return fmt.Errorf("hold leases: %w", unmigrated(err))
	}
	return nil
}

// orphaned is what ?1 (in its run ?2) has to end at ?3.
const orphaned = `(held_until < ?3 AND NOT (holder = ?1 AND boot = ?2) OR holder = ?1 AND boot <> ?2)`

// ClaimLeases implements vaultbridge.Records. It looks before it writes: others wait for
// who writes, and mostly there is nothing.
func (s *Store) ClaimLeases(ctx context.Context, holder, boot string, now, until time.Time) (all []vaultbridge.Record, err error) {
	var some bool
	err = s.get(ctx, `SELECT EXISTS (SELECT 1 FROM vault_leases WHERE `+orphaned+`)`, []any{holder, boot, micros(now)}, &some)
	if err == nil && some {
		err = s.InTx(ctx, func(ctx context.Context) error {
			all, err = s.leases(ctx, `UPDATE vault_leases SET holder = ?1, boot = ?2, held_until = ?4 WHERE id IN
				(SELECT id FROM vault_leases WHERE `+orphaned+` LIMIT ?5) RETURNING `+leaseColumns,
				holder, boot, micros(now), micros(until), vaultbridge.MaxClaimed)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("claim leases: %w", unmigrated(err))
	}
	return all, nil
}

// EndLeases has those who hold them end the leases of a selection, for an operator, and
// returns their ids.
func (s *Store) EndLeases(ctx context.Context, of vaultbridge.Selection, by string) (ids []string, err error) {
	if of == (vaultbridge.Selection{}) {
		return nil, nil
	}
	err = s.InTx(ctx, func(ctx context.Context) error {
		return s.each(ctx, func(row scanner) error {
			var id string
			err := row.Scan(&id)
			ids = append(ids, id)
			return err
		}, `UPDATE vault_leases SET ended_by = ?1
			WHERE (?2 = '' OR id = ?2) AND (?3 = '' OR server = ?3) AND (?4 = '' OR subject = ?4) RETURNING id`,
			by, of.ID, of.Server, of.Subject)
	})
	if err != nil {
		return nil, fmt.Errorf("order the end of leases: %w", unmigrated(err))
	}
	return ids, nil
}

// EndedLeases implements vaultbridge.Records.
func (s *Store) EndedLeases(ctx context.Context, holder, boot string) ([]vaultbridge.Record, error) {
	all, err := s.leases(ctx, `SELECT `+leaseColumns+` FROM vault_leases WHERE holder = ?1 AND boot = ?2 AND ended_by <> '' LIMIT ?3`,
		holder, boot, vaultbridge.MaxRecords)
	if err != nil {
		return nil, fmt.Errorf("look for leases to end: %w", unmigrated(err))
	}
	return all, nil
}

// Leases implements vaultbridge.Records.
func (s *Store) Leases(ctx context.Context) ([]vaultbridge.Record, error) {
	all, err := s.leases(ctx, `SELECT `+leaseColumns+` FROM vault_leases ORDER BY created_at, id LIMIT ?`, vaultbridge.MaxRecords)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", unmigrated(err))
	}
	return all, nil
}

// leases reads rows, and puts the oldest first.
func (s *Store) leases(ctx context.Context, query string, args ...any) (all []vaultbridge.Record, err error) {
	err = s.each(ctx, func(row scanner) error {
		r, err := leaseOf(row)
		all = append(all, r)
		return err
	}, query, args...)
	slices.SortFunc(all, func(a, b vaultbridge.Record) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return all, err
}
