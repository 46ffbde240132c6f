package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// approvalColumns go with approvalOf.
const approvalColumns = `id, subject, client_id, actors, server, tool, arguments_digest, definition_digest, policy_digest, rule,
	arguments, risk, approvers, created_at, expires_at, decided_at, approved, decided_by, comment, used_at`

func approvalOf(row pgx.Row, now time.Time) (approval.Request, error) {
	var (
		r             approval.Request
		args          []byte
		approved      bool
		by, decidedBy string
	)
	err := row.Scan(&r.ID, text{&r.Subject}, text{&r.Client}, &r.Actors, &r.Server, &r.Tool, &r.ArgumentsDigest, &r.DefinitionDigest, &r.PolicyDigest, &r.Rule,
		&args, &r.Risk, &by, (*instant)(&r.Created), (*instant)(&r.Expires), (*instant)(&r.DecidedAt), &approved, &decidedBy, &r.Comment, (*instant)(&r.UsedAt))
	if err != nil {
		return r, err
	}
	if decidedBy != "" {
		if r.DecidedBy, err = identity.ParseSubject(decidedBy); err != nil {
			return r, err
		}
	}
	r.Arguments, r.State = args, approval.StateOf(r, approved, now)
	return r, json.Unmarshal([]byte(by), &r.By)
}

// OpenApproval implements approval.Store.
func (s *Store) OpenApproval(ctx context.Context, r approval.Request, most int) (stands approval.Request, stored bool, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		stands, err = s.approval(ctx, selectStanding, r.Created, r.Key(), micros(r.Created))
		if !errors.Is(err, authz.ErrNotFound) {
			return err
		}
		if stored, err = s.insertApproval(ctx, r, most); err != nil || stored {
			stands = r
			return err
		}
		// Another one was quicker, or there are too many.
		stands, err = s.approval(ctx, selectStanding, r.Created, r.Key(), micros(r.Created))
		if errors.Is(err, authz.ErrNotFound) {
			err = approval.ErrTooMany
		}
		return err
	})
	if err != nil {
		return approval.Request{}, false, fmt.Errorf("store approval: %w", err)
	}
	return stands, stored, nil
}

const selectStanding = `SELECT ` + approvalColumns + ` FROM approvals WHERE standing = $1 AND expires_at > $2`

func (s *Store) insertApproval(ctx context.Context, r approval.Request, most int) (stored bool, err error) {
	if _, err := s.exec(ctx, `UPDATE approvals SET standing = NULL WHERE standing = $1 AND expires_at <= $2`, r.Key(), micros(r.Created)); err != nil {
		return false, err
	}
	by, err := json.Marshal(r.By)
	if err != nil {
		return false, err
	}
	n, err := s.exec(ctx, `INSERT INTO approvals (standing, `+approvalColumns+`)
		SELECT $1::bytea, $2::text, $3::text, $4::text, $5::text[], $6::text, $7::text, $8::text, $9::text, $10::text, $11::text,
			$12::bytea, $13::text, $14::text, $15::bigint, $16::bigint, NULL, false, '', '', NULL
		WHERE (SELECT count(*) FROM approvals WHERE subject = $3 AND decided_at IS NULL AND expires_at > $15) < $17
		ON CONFLICT (standing) DO NOTHING`,
		r.Key(), r.ID, r.Subject.String(), r.Client.String(), some(r.Actors), r.Server, r.Tool, r.ArgumentsDigest, r.DefinitionDigest, r.PolicyDigest, r.Rule,
		some(r.Arguments), r.Risk, string(by), micros(r.Created), micros(r.Expires), most)
	return n == 1, err
}

// Approval implements approval.Store.
func (s *Store) Approval(ctx context.Context, id string, now time.Time) (approval.Request, error) {
	if !utf8.ValidString(id) || strings.ContainsRune(id, 0) { // which PostgreSQL takes for no text, and answers with an error
		return approval.Request{}, fmt.Errorf("read approval: %w", approval.ErrNotFound)
	}
	r, err := s.approval(ctx, `SELECT `+approvalColumns+` FROM approvals WHERE id = $1`, now, id)
	if errors.Is(err, authz.ErrNotFound) {
		err = approval.ErrNotFound
	}
	if err != nil {
		return approval.Request{}, fmt.Errorf("read approval: %w", err)
	}
	return r, nil
}

func (s *Store) approval(ctx context.Context, query string, now time.Time, args ...any) (approval.Request, error) {
	run := s.pool.QueryRow
	if tx := s.tx(ctx); tx != nil {
		run = tx.QueryRow
	}
	r, err := approvalOf(run(ctx, query, args...), now)
	return r, sentinel(err)
}

// Approvals implements approval.Store.
func (s *Store) Approvals(ctx context.Context, of approval.State, limit int, now time.Time) (all []approval.Request, err error) {
	scan := func(row pgx.Row) error {
		r, err := approvalOf(row, now)
		all = append(all, r)
		return err
	}
	if of == approval.Pending { // they are few, and asked for again and again
		err = s.each(ctx, scan, `SELECT `+approvalColumns+` FROM approvals WHERE decided_at IS NULL AND expires_at > $1 AND created_at > 0
			ORDER BY created_at DESC, id DESC LIMIT $2`, micros(now), limit)
	} else {
		err = s.each(ctx, scan, `SELECT `+approvalColumns+` FROM approvals WHERE created_at > 0 AND ($2::text = '' OR $2 =
			CASE WHEN expires_at <= $1 THEN 'expired' WHEN used_at IS NOT NULL THEN 'used' WHEN decided_at IS NULL THEN 'pending' WHEN approved THEN 'approved' ELSE 'denied' END)
			ORDER BY created_at DESC, id DESC LIMIT $3`, micros(now), string(of), limit)
	}
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	return all, nil
}

// DecideApproval implements approval.Store.
func (s *Store) DecideApproval(ctx context.Context, id string, as approval.State, by identity.Subject, comment string, now time.Time) (r approval.Request, err error) {
	if as != approval.Approved && as != approval.Denied {
		return r, fmt.Errorf("decide on approval: %q is no decision", as)
	}
	err = s.InTx(ctx, func(ctx context.Context) error {
		r, err = s.approval(ctx, `UPDATE approvals SET decided_at = $1, approved = $2, decided_by = $3, comment = $4
			WHERE id = $5 AND decided_at IS NULL AND expires_at > $1 RETURNING `+approvalColumns,
			now, micros(now), as == approval.Approved, by.String(), comment, id)
		if !errors.Is(err, authz.ErrNotFound) {
			return err
		}
		if _, err = s.Approval(ctx, id, now); err == nil {
			err = approval.ErrDecided
		}
		return err
	})
	if err != nil {
		return approval.Request{}, fmt.Errorf("decide on approval: %w", err)
	}
	return r, nil
}

// UseApproval implements approval.Store.
func (s *Store) UseApproval(ctx context.Context, id string, now time.Time) error {
	n, err := s.exec(ctx, `UPDATE approvals SET used_at = $1, standing = NULL
		WHERE id = $2 AND decided_at IS NOT NULL AND approved AND used_at IS NULL AND expires_at > $1`, micros(now), id)
	if err == nil && n == 0 {
		err = approval.ErrSpent
	}
	if err != nil {
		return fmt.Errorf("use approval: %w", err)
	}
	return nil
}
