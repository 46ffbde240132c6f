package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// approvalColumns go with approvalOf.
const approvalColumns = `id, subject, client_id, actors, server, tool, arguments_digest, definition_digest, policy_digest, rule,
	arguments, risk, approvers, created_at, expires_at, decided_at, approved, decided_by, comment, used_at`

func approvalOf(row scanner, now time.Time) (approval.Request, error) {
	var (
		r         approval.Request
		by, args  []byte
		approved  bool
		decidedBy string
	)
	err := row.Scan(&r.ID, text{&r.Subject}, text{&r.Client}, (*list)(&r.Actors), &r.Server, &r.Tool, &r.ArgumentsDigest, &r.DefinitionDigest, &r.PolicyDigest, &r.Rule,
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
	return r, json.Unmarshal(by, &r.By)
}

// OpenApproval implements approval.Store.
func (s *Store) OpenApproval(ctx context.Context, r approval.Request, most int) (stands approval.Request, stored bool, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		stands, err = s.approval(ctx, selectStanding, r.Created, r.Key(), micros(r.Created))
		if !errors.Is(err, authz.ErrNotFound) {
			return err
		}
		stands, stored = r, true
		return s.insertApproval(ctx, r, most)
	})
	if err != nil {
		return approval.Request{}, false, fmt.Errorf("store approval: %w", err)
	}
	return stands, stored, nil
}

const selectStanding = `SELECT ` + approvalColumns + ` FROM approvals WHERE standing = ? AND expires_at > ?`

// insertApproval stores one when none stands: this store has one writer at a time.
func (s *Store) insertApproval(ctx context.Context, r approval.Request, most int) error {
	if _, err := s.exec(ctx, `UPDATE approvals SET standing = NULL WHERE standing = ? AND expires_at <= ?`, r.Key(), micros(r.Created)); err != nil {
		return err
	}
	by, err1 := json.Marshal(r.By)
	actors, err2 := encode(r.Actors)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	n, err := s.exec(ctx, `INSERT INTO approvals (standing, `+approvalColumns+`)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, NULL, 0, '', '', NULL
		WHERE (SELECT count(*) FROM approvals WHERE subject = ?3 AND decided_at IS NULL AND expires_at > ?15) < ?17`,
		r.Key(), r.ID, r.Subject.String(), r.Client.String(), actors, r.Server, r.Tool, r.ArgumentsDigest, r.DefinitionDigest, r.PolicyDigest, r.Rule,
		bytes(r.Arguments), r.Risk, string(by), micros(r.Created), micros(r.Expires), most)
	if err == nil && n == 0 {
		err = approval.ErrTooMany
	}
	return err
}

// Approval implements approval.Store.
func (s *Store) Approval(ctx context.Context, id string, now time.Time) (approval.Request, error) {
	r, err := s.approval(ctx, `SELECT `+approvalColumns+` FROM approvals WHERE id = ?`, now, id)
	if errors.Is(err, authz.ErrNotFound) {
		err = approval.ErrNotFound
	}
	if err != nil {
		return approval.Request{}, fmt.Errorf("read approval: %w", err)
	}
	return r, nil
}

func (s *Store) approval(ctx context.Context, query string, now time.Time, args ...any) (approval.Request, error) {
	r, err := approvalOf(s.row(ctx, query, args), now)
	return r, sentinel(err)
}

// Approvals implements approval.Store.
func (s *Store) Approvals(ctx context.Context, of approval.State, limit int, now time.Time) (all []approval.Request, err error) {
	scan := func(row scanner) error {
		r, err := approvalOf(row, now)
		all = append(all, r)
		return err
	}
	if of == approval.Pending { // they are few, and asked for again and again
		err = s.each(ctx, scan, `SELECT `+approvalColumns+` FROM approvals WHERE decided_at IS NULL AND expires_at > ?1 AND created_at > 0
			ORDER BY created_at DESC, id DESC LIMIT ?2`, micros(now), limit)
	} else {
		err = s.each(ctx, scan, `SELECT `+approvalColumns+` FROM approvals WHERE created_at > 0 AND (?2 = '' OR ?2 =
			CASE WHEN expires_at <= ?1 THEN 'expired' WHEN used_at IS NOT NULL THEN 'used' WHEN decided_at IS NULL THEN 'pending' WHEN approved THEN 'approved' ELSE 'denied' END)
			ORDER BY created_at DESC, id DESC LIMIT ?3`, micros(now), string(of), limit)
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
		n, err := s.exec(ctx, `UPDATE approvals SET decided_at = ?1, approved = ?2, decided_by = ?3, comment = ?4
			WHERE id = ?5 AND decided_at IS NULL AND expires_at > ?1`, micros(now), as == approval.Approved, by.String(), comment, id)
		if err != nil {
			return err
		}
		if r, err = s.Approval(ctx, id, now); err == nil && n == 0 {
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
	n, err := s.exec(ctx, `UPDATE approvals SET used_at = ?1, standing = NULL
		WHERE id = ?2 AND decided_at IS NOT NULL AND approved AND used_at IS NULL AND expires_at > ?1`, micros(now), id)
	if err == nil && n == 0 {
		err = approval.ErrSpent
	}
	if err != nil {
		return fmt.Errorf("use approval: %w", err)
	}
	return nil
}
