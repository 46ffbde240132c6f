package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// clientColumns go with clientOf and valuesOf.
const clientColumns = `id, name, redirect_uris, grant_types, auth_method, scope, static, created_at, used_at,
	secret_hash, secret_created_at, old_secret_hash, old_secret_expires_at, jwks, jwks_uri, signing_alg,
	assertion_audience, tls_name, dpop_bound, certificate_bound, registration_hash`

func clientOf(c *authz.Client) []any {
	return []any{text{&c.ID}, &c.Name, &c.RedirectURIs, &c.GrantTypes, &c.AuthMethod, &c.Scope, &c.Static,
		(*instant)(&c.Created), (*instant)(&c.Used), &c.SecretHash, (*instant)(&c.SecretCreated), &c.OldSecretHash,
		(*instant)(&c.OldSecretExpires), &c.JWKS, &c.JWKSURI, &c.SigningAlg, &c.AssertionAudience, &c.TLSName,
		&c.DPoPBound, &c.CertificateBound, &c.RegistrationHash}
}

func valuesOf(c authz.Client) []any {
	return []any{c.ID.String(), c.Name, some(c.RedirectURIs), some(c.GrantTypes), c.AuthMethod, some(c.Scope), c.Static,
		micros(c.Created), mark(c.Used), some(c.SecretHash), mark(c.SecretCreated), some(c.OldSecretHash),
		mark(c.OldSecretExpires), some(c.JWKS), c.JWKSURI, c.SigningAlg, c.AssertionAudience, c.TLSName,
		c.DPoPBound, c.CertificateBound, some(c.RegistrationHash)}
}

// Client implements authz.Clients.
func (s *Store) Client(ctx context.Context, id identity.ClientID) (authz.Client, error) {
	var c authz.Client
	if err := s.get(ctx, `SELECT `+clientColumns+` FROM clients WHERE id = $1`, []any{id.String()}, clientOf(&c)...); err != nil {
		return authz.Client{}, fmt.Errorf("read client: %w", err)
	}
	return c, nil
}

// AllClients implements authz.Clients.
func (s *Store) AllClients(ctx context.Context) ([]authz.Client, error) {
	var all []authz.Client
	err := s.each(ctx, func(row pgx.Row) error {
		var c authz.Client
		err := row.Scan(clientOf(&c)...)
		all = append(all, c)
		return err
	}, `SELECT `+clientColumns+` FROM clients ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("list clients: %w", err)
	}
	return all, nil
}

const insertClient = `INSERT INTO clients (` + clientColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`

// InsertClient implements authz.Clients.
func (s *Store) InsertClient(ctx context.Context, c authz.Client) error {
	n, err := s.exec(ctx, insertClient+` ON CONFLICT (id) DO NOTHING`, valuesOf(c)...)
	if err = none(n, err, authz.ErrExists); err != nil {
		return fmt.Errorf("insert client: %w", err)
	}
	return nil
}

// PutClient implements authz.Clients. It refuses a client that is not static.
func (s *Store) PutClient(ctx context.Context, c authz.Client) error {
	if !c.Static {
		return errors.New("put client: only a static client can be replaced")
	}
	n, err := s.exec(ctx, insertClient+` ON CONFLICT (id) DO UPDATE SET
		name = excluded.name, redirect_uris = excluded.redirect_uris, grant_types = excluded.grant_types,
		auth_method = excluded.auth_method, scope = excluded.scope, secret_hash = excluded.secret_hash,
		secret_created_at = CASE WHEN clients.secret_hash = excluded.secret_hash THEN clients.secret_created_at
			ELSE excluded.secret_created_at END,
		old_secret_hash = excluded.old_secret_hash, old_secret_expires_at = excluded.old_secret_expires_at,
		jwks = excluded.jwks, jwks_uri = excluded.jwks_uri, signing_alg = excluded.signing_alg,
		assertion_audience = excluded.assertion_audience, tls_name = excluded.tls_name,
		dpop_bound = excluded.dpop_bound, certificate_bound = excluded.certificate_bound,
		registration_hash = excluded.registration_hash
		WHERE clients.static`, valuesOf(c)...)
	if err = none(n, err, authz.ErrExists); err != nil {
		return fmt.Errorf("put client: %w", err)
	}
	return nil
}

// ReplaceClient implements authz.Clients.
func (s *Store) ReplaceClient(ctx context.Context, c authz.Client) error {
	n, err := s.exec(ctx, `UPDATE clients SET name = $2, redirect_uris = $3, grant_types = $4, auth_method = $5, scope = $6,
		secret_hash = $7, secret_created_at = $8, old_secret_hash = $9, old_secret_expires_at = $10, jwks = $11,
		jwks_uri = $12, signing_alg = $13, assertion_audience = $14, tls_name = $15, registration_hash = $16,
		dpop_bound = $17, certificate_bound = $18
		WHERE id = $1 AND NOT static`,
		c.ID.String(), c.Name, some(c.RedirectURIs), some(c.GrantTypes), c.AuthMethod, some(c.Scope),
		some(c.SecretHash), mark(c.SecretCreated), some(c.OldSecretHash), mark(c.OldSecretExpires), some(c.JWKS),
		c.JWKSURI, c.SigningAlg, c.AssertionAudience, c.TLSName, some(c.RegistrationHash), c.DPoPBound, c.CertificateBound)
	if err = none(n, err, authz.ErrNotFound); err != nil {
		return fmt.Errorf("replace client: %w", err)
	}
	return nil
}

// DeleteClient implements authz.Clients.
func (s *Store) DeleteClient(ctx context.Context, id identity.ClientID, now time.Time) error {
	err := s.InTx(ctx, func(ctx context.Context) error {
		n, err := s.exec(ctx, `DELETE FROM clients WHERE id = $1 AND NOT static`, id.String())
		if err = none(n, err, authz.ErrNotFound); err != nil {
			return err
		}
		if _, err := s.EndAuthorizations(ctx, revocation.Client, id.String(), now); err != nil {
			return err
		}
		return s.Revoke(ctx, revocation.New(revocation.Client, id.String(), now))
	})
	if err != nil {
		return fmt.Errorf("delete client: %w", err)
	}
	return nil
}

// UseClient implements authz.Clients. That there is no such client is no error: it
// may be known by its metadata document alone.
func (s *Store) UseClient(ctx context.Context, id identity.ClientID, now time.Time) error {
	if _, err := s.exec(ctx, `UPDATE clients SET used_at = $1 WHERE id = $2 AND used_at IS NULL`, micros(now), id.String()); err != nil {
		return fmt.Errorf("use client: %w", err)
	}
	return nil
}

// UnusedClients implements authz.Clients.
func (s *Store) UnusedClients(ctx context.Context) (n int, err error) {
	if err := s.get(ctx, `SELECT count(*) FROM clients WHERE used_at IS NULL AND NOT static`, nil, &n); err != nil {
		return 0, fmt.Errorf("count unused clients: %w", err)
	}
	return n, nil
}

// DeleteUnusedClients implements authz.Clients. A client that is being used just
// now is left alone.
func (s *Store) DeleteUnusedClients(ctx context.Context, before time.Time) (int64, error) {
	n, err := s.exec(ctx, `DELETE FROM clients WHERE id = ANY(ARRAY(SELECT id FROM clients
		WHERE used_at IS NULL AND NOT static AND created_at < $1
		ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, micros(before), perExpire)
	if err != nil {
		return 0, fmt.Errorf("delete unused clients: %w", err)
	}
	return n, nil
}

// none is the error of a statement that was to change a row and found none.
func none(n int64, err, missing error) error {
	if err == nil && n == 0 {
		return missing
	}
	return err
}
