package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

// authorizationColumns go with columnsOf.
const authorizationColumns = `a.id, a.client_id, a.subject, a.resource, a.scope, a.auth_time, a.acr, a.claims, a.document,
	a.created_at, a.expires_at, a.revoked_at`

func columnsOf(a *authz.Authorization) []any {
	return []any{&a.ID, text{&a.ClientID}, text{&a.Subject}, &a.Resource, &a.Scope, (*instant)(&a.AuthTime), &a.ACR,
		&a.Claims, &a.Document, (*instant)(&a.Created), (*instant)(&a.Expires), (*instant)(&a.Revoked)}
}

const insertAuthorization = `INSERT INTO authorizations
	(id, client_id, subject, resource, scope, auth_time, acr, claims, document, created_at, expires_at, revoked_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

func rowOf(a authz.Authorization) []any {
	return []any{a.ID, a.ClientID.String(), a.Subject.String(), a.Resource, a.Scope, micros(a.AuthTime), a.ACR, some(a.Claims),
		a.Document, micros(a.Created), micros(a.Expires), mark(a.Revoked)}
}

// InsertAuthorization implements authz.Store.
func (s *Store) InsertAuthorization(ctx context.Context, a authz.Authorization) error {
	if _, err := s.exec(ctx, insertAuthorization, rowOf(a)...); err != nil {
		return fmt.Errorf("insert authorization: %w", err)
	}
	return nil
}

// Authorization implements authz.Store.
func (s *Store) Authorization(ctx context.Context, id string) (authz.Authorization, error) {
	var a authz.Authorization
	if err := s.get(ctx, `SELECT `+authorizationColumns+` FROM authorizations a WHERE a.id = $1`, []any{id}, columnsOf(&a)...); err != nil {
		return authz.Authorization{}, fmt.Errorf("read authorization: %w", err)
	}
	return a, nil
}

// InsertCode implements authz.Codes.
func (s *Store) InsertCode(ctx context.Context, a authz.Authorization, c authz.Code) error {
	_, err := s.exec(ctx, `WITH a AS (`+insertAuthorization+` RETURNING id)
		INSERT INTO codes (hash, authorization_id, redirect_uri, challenge, jkt, expires_at, used_at)
		SELECT $13::bytea, a.id, $14::text, $15::text, $16::text, $17::bigint, $18::bigint FROM a`,
		append(rowOf(a), some(c.Hash), c.RedirectURI, c.Challenge, c.JKT, micros(c.Expires), mark(c.Used))...)
	if err != nil {
		return fmt.Errorf("insert code: %w", err)
	}
	return nil
}

// Code implements authz.Codes.
func (s *Store) Code(ctx context.Context, hash []byte) (authz.Code, authz.Authorization, error) {
	var c authz.Code
	var a authz.Authorization
	columns := []any{&c.Hash, &c.RedirectURI, &c.Challenge, &c.JKT, (*instant)(&c.Expires), (*instant)(&c.Used)}
	err := s.get(ctx, `SELECT c.hash, c.redirect_uri, c.challenge, c.jkt, c.expires_at, c.used_at, `+authorizationColumns+`
		FROM codes c JOIN authorizations a ON a.id = c.authorization_id WHERE c.hash = $1`,
		[]any{some(hash)}, append(columns, columnsOf(&a)...)...)
	if err != nil {
		return authz.Code{}, authz.Authorization{}, fmt.Errorf("read code: %w", err)
	}
	return c, a, nil
}

// RedeemCode implements authz.Codes. A code that there is not is ErrSpent too.
func (s *Store) RedeemCode(ctx context.Context, hash []byte, now time.Time) error {
	err := s.once(ctx, `UPDATE codes SET used_at = $1 WHERE hash = $2 AND used_at IS NULL`, micros(now), some(hash))
	if err != nil {
		return fmt.Errorf("redeem code: %w", err)
	}
	return nil
}

// once runs a statement that changes one row, unless somebody has been first.
func (s *Store) once(ctx context.Context, query string, args ...any) error {
	n, err := s.exec(ctx, query, args...)
	if err == nil && n != 1 {
		err = authz.ErrSpent
	}
	return err
}

// InsertRefreshToken implements authz.RefreshTokens. It returns ErrNotFound when
// there is no such authorization.
func (s *Store) InsertRefreshToken(ctx context.Context, authorization string, t authz.RefreshToken) error {
	_, err := s.exec(ctx, `INSERT INTO refresh_tokens (hash, authorization_id, created_at, expires_at, rotated_at, successor, jkt, x5t)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		some(t.Hash), authorization, micros(t.Created), micros(t.Expires), mark(t.Rotated), some(t.Successor), t.Bound.JKT, t.Bound.X5T)
	if err != nil {
		return fmt.Errorf("insert refresh token: %w", err)
	}
	return nil
}

// RefreshToken implements authz.RefreshTokens.
func (s *Store) RefreshToken(ctx context.Context, hash []byte) (authz.RefreshToken, authz.Authorization, error) {
	var t authz.RefreshToken
	var a authz.Authorization
	columns := []any{&t.Hash, (*instant)(&t.Created), (*instant)(&t.Expires), (*instant)(&t.Rotated), &t.Successor, &t.Bound.JKT, &t.Bound.X5T}
	err := s.get(ctx, `SELECT t.hash, t.created_at, t.expires_at, t.rotated_at, t.successor, t.jkt, t.x5t, `+authorizationColumns+`
		FROM refresh_tokens t JOIN authorizations a ON a.id = t.authorization_id WHERE t.hash = $1`,
		[]any{some(hash)}, append(columns, columnsOf(&a)...)...)
	if err != nil {
		return authz.RefreshToken{}, authz.Authorization{}, fmt.Errorf("read refresh token: %w", err)
	}
	return t, a, nil
}

// RotateRefreshToken implements authz.RefreshTokens. A token that there is not is
// ErrSpent too.
func (s *Store) RotateRefreshToken(ctx context.Context, hash, successor []byte, now time.Time) error {
	err := s.once(ctx, `UPDATE refresh_tokens SET rotated_at = $1, successor = $2 WHERE hash = $3 AND rotated_at IS NULL`,
		micros(now), some(successor), some(hash))
	if err != nil {
		return fmt.Errorf("rotate refresh token: %w", err)
	}
	return nil
}
