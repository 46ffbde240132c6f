package sqlite

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

// InsertCode implements authz.Codes.
func (s *Store) InsertCode(ctx context.Context, a authz.Authorization, c authz.Code) error {
	err := s.InTx(ctx, func(ctx context.Context) error {
		if err := s.insertAuthorization(ctx, a); err != nil {
			return err
		}
		_, err := s.exec(ctx, `INSERT INTO codes (hash, authorization_id, redirect_uri, challenge, jkt, expires_at, used_at)
			VALUES (?, ?, ?, ?, ?, ?, ?)`,
			bytes(c.Hash), a.ID, c.RedirectURI, c.Challenge, c.JKT, micros(c.Expires), mark(c.Used))
		return err
	})
	if err != nil {
		return fmt.Errorf("insert code: %w", err)
	}
	return nil
}

// InsertAuthorization implements authz.Store.
func (s *Store) InsertAuthorization(ctx context.Context, a authz.Authorization) error {
	if err := s.insertAuthorization(ctx, a); err != nil {
		return fmt.Errorf("insert authorization: %w", err)
	}
	return nil
}

func (s *Store) insertAuthorization(ctx context.Context, a authz.Authorization) error {
	_, err := s.exec(ctx, `INSERT INTO authorizations
		(id, client_id, subject, resource, scope, auth_time, acr, claims, document, created_at, expires_at, revoked_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.ClientID.String(), a.Subject.String(), a.Resource, a.Scope, micros(a.AuthTime), a.ACR, bytes(a.Claims), a.Document,
		micros(a.Created), micros(a.Expires), mark(a.Revoked))
	return err
}

// Authorization implements authz.Store.
func (s *Store) Authorization(ctx context.Context, id string) (authz.Authorization, error) {
	var a authz.Authorization
	if err := s.get(ctx, `SELECT `+authorizationColumns+` FROM authorizations a WHERE a.id = ?`, []any{id}, columnsOf(&a)...); err != nil {
		return authz.Authorization{}, fmt.Errorf("read authorization: %w", err)
	}
	return a, nil
}

// Code implements authz.Codes.
func (s *Store) Code(ctx context.Context, hash []byte) (authz.Code, authz.Authorization, error) {
	var c authz.Code
	var a authz.Authorization
	columns := []any{&c.Hash, &c.RedirectURI, &c.Challenge, &c.JKT, (*instant)(&c.Expires), (*instant)(&c.Used)}
	err := s.get(ctx, `SELECT c.hash, c.redirect_uri, c.challenge, c.jkt, c.expires_at, c.used_at, `+authorizationColumns+`
		FROM codes c JOIN authorizations a ON a.id = c.authorization_id WHERE c.hash = ?`,
		[]any{bytes(hash)}, append(columns, columnsOf(&a)...)...)
	if err != nil {
		return authz.Code{}, authz.Authorization{}, fmt.Errorf("read code: %w", err)
	}
	return c, a, nil
}

const redeemCode = `UPDATE codes SET used_at = ? WHERE hash = ? AND used_at IS NULL`

// RedeemCode implements authz.Codes. A code that there is not is ErrSpent too.
func (s *Store) RedeemCode(ctx context.Context, hash []byte, now time.Time) error {
	err := s.once(ctx, redeemCode, micros(now), bytes(hash))
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

const insertRefreshToken = `INSERT INTO refresh_tokens (hash, authorization_id, created_at, expires_at, rotated_at, successor, jkt, x5t)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

// InsertRefreshToken implements authz.RefreshTokens. It returns ErrNotFound when
// there is no such authorization.
func (s *Store) InsertRefreshToken(ctx context.Context, authorization string, t authz.RefreshToken) error {
	_, err := s.exec(ctx, insertRefreshToken,
		bytes(t.Hash), authorization, micros(t.Created), micros(t.Expires), mark(t.Rotated), bytes(t.Successor), t.Bound.JKT, t.Bound.X5T)
	if err != nil {
		return fmt.Errorf("insert refresh token: %w", err)
	}
	return nil
}

const selectRefreshToken = `SELECT t.hash, t.created_at, t.expires_at, t.rotated_at, t.successor, t.jkt, t.x5t, ` + authorizationColumns + `
	FROM refresh_tokens t JOIN authorizations a ON a.id = t.authorization_id WHERE t.hash = ?`

// RefreshToken implements authz.RefreshTokens.
func (s *Store) RefreshToken(ctx context.Context, hash []byte) (authz.RefreshToken, authz.Authorization, error) {
	var t authz.RefreshToken
	var a authz.Authorization
	columns := []any{&t.Hash, (*instant)(&t.Created), (*instant)(&t.Expires), (*instant)(&t.Rotated), &t.Successor, &t.Bound.JKT, &t.Bound.X5T}
	err := s.get(ctx, selectRefreshToken, []any{bytes(hash)}, append(columns, columnsOf(&a)...)...)
	if err != nil {
		return authz.RefreshToken{}, authz.Authorization{}, fmt.Errorf("read refresh token: %w", err)
	}
	return t, a, nil
}

const rotateRefreshToken = `UPDATE refresh_tokens SET rotated_at = ?, successor = ? WHERE hash = ? AND rotated_at IS NULL`

// RotateRefreshToken implements authz.RefreshTokens. A token that there is not is
// ErrSpent too.
func (s *Store) RotateRefreshToken(ctx context.Context, hash, successor []byte, now time.Time) error {
	err := s.once(ctx, rotateRefreshToken, micros(now), bytes(successor), bytes(hash))
	if err != nil {
		return fmt.Errorf("rotate refresh token: %w", err)
	}
	return nil
}
