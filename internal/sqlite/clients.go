package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// clientColumns go with clientOf and writeClient.
const clientColumns = `id, name, redirect_uris, grant_types, auth_method, scope, static, created_at, used_at,
	secret_hash, secret_created_at, old_secret_hash, old_secret_expires_at, jwks, jwks_uri, signing_alg,
	assertion_audience, tls_name, dpop_bound, certificate_bound, registration_hash`

func clientOf(c *authz.Client) []any {
	return []any{text{&c.ID}, &c.Name, (*list)(&c.RedirectURIs), (*list)(&c.GrantTypes), &c.AuthMethod, (*list)(&c.Scope),
		&c.Static, (*instant)(&c.Created), (*instant)(&c.Used), &c.SecretHash, (*instant)(&c.SecretCreated), &c.OldSecretHash,
		(*instant)(&c.OldSecretExpires), &c.JWKS, &c.JWKSURI, &c.SigningAlg, &c.AssertionAudience, &c.TLSName,
		&c.DPoPBound, &c.CertificateBound, &c.RegistrationHash}
}

const selectClient = `SELECT ` + clientColumns + ` FROM clients WHERE id = ?`

// Client implements authz.Clients.
func (s *Store) Client(ctx context.Context, id identity.ClientID) (authz.Client, error) {
	var c authz.Client
	if err := s.get(ctx, selectClient, []any{id.String()}, clientOf(&c)...); err != nil {
		return authz.Client{}, fmt.Errorf("read client: %w", err)
	}
	return c, nil
}

// AllClients implements authz.Clients.
func (s *Store) AllClients(ctx context.Context) ([]authz.Client, error) {
	var all []authz.Client
	err := s.each(ctx, func(row scanner) error {
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
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// InsertClient implements authz.Clients.
func (s *Store) InsertClient(ctx context.Context, c authz.Client) error {
	if err := s.writeClient(ctx, insertClient+` ON CONFLICT (id) DO NOTHING`, c); err != nil {
		return fmt.Errorf("insert client: %w", err)
	}
	return nil
}

// PutClient implements authz.Clients. It refuses a client that is not static.
func (s *Store) PutClient(ctx context.Context, c authz.Client) error {
	if !c.Static {
		return errors.New("put client: only a static client can be replaced")
	}
	err := s.writeClient(ctx, insertClient+` ON CONFLICT (id) DO UPDATE SET
		name = excluded.name, redirect_uris = excluded.redirect_uris, grant_types = excluded.grant_types,
		auth_method = excluded.auth_method, scope = excluded.scope, secret_hash = excluded.secret_hash,
		secret_created_at = CASE WHEN clients.secret_hash = excluded.secret_hash THEN clients.secret_created_at
			ELSE excluded.secret_created_at END,
		old_secret_hash = excluded.old_secret_hash, old_secret_expires_at = excluded.old_secret_expires_at,
		jwks = excluded.jwks, jwks_uri = excluded.jwks_uri, signing_alg = excluded.signing_alg,
		assertion_audience = excluded.assertion_audience, tls_name = excluded.tls_name,
		dpop_bound = excluded.dpop_bound, certificate_bound = excluded.certificate_bound,
		registration_hash = excluded.registration_hash
		WHERE clients.static = 1`, c)
	if err != nil {
		return fmt.Errorf("put client: %w", err)
	}
	return nil
}

// ReplaceClient implements authz.Clients.
func (s *Store) ReplaceClient(ctx context.Context, c authz.Client) error {
	redirectURIs, grantTypes, scope, err := encodeLists(c)
	if err == nil {
		err = s.found(ctx, `UPDATE clients SET name = ?, redirect_uris = ?, grant_types = ?, auth_method = ?, scope = ?,
			secret_hash = ?, secret_created_at = ?, old_secret_hash = ?, old_secret_expires_at = ?, jwks = ?,
			jwks_uri = ?, signing_alg = ?, assertion_audience = ?, tls_name = ?, dpop_bound = ?, certificate_bound = ?, registration_hash = ?
			WHERE id = ? AND static = 0`,
			c.Name, redirectURIs, grantTypes, c.AuthMethod, scope,
			bytes(c.SecretHash), mark(c.SecretCreated), bytes(c.OldSecretHash), mark(c.OldSecretExpires), bytes(c.JWKS),
			c.JWKSURI, c.SigningAlg, c.AssertionAudience, c.TLSName, c.DPoPBound, c.CertificateBound, bytes(c.RegistrationHash), c.ID.String())
	}
	if err != nil {
		return fmt.Errorf("replace client: %w", err)
	}
	return nil
}

// found runs a statement and returns ErrNotFound if it changes nothing.
func (s *Store) found(ctx context.Context, query string, args ...any) error {
	n, err := s.exec(ctx, query, args...)
	if err == nil && n == 0 {
		err = authz.ErrNotFound
	}
	return err
}

// DeleteClient implements authz.Clients.
func (s *Store) DeleteClient(ctx context.Context, id identity.ClientID, now time.Time) error {
	err := s.InTx(ctx, func(ctx context.Context) error {
		if err := s.found(ctx, `DELETE FROM clients WHERE id = ? AND static = 0`, id.String()); err != nil {
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
	if _, err := s.exec(ctx, `UPDATE clients SET used_at = ? WHERE id = ? AND used_at IS NULL`, micros(now), id.String()); err != nil {
		return fmt.Errorf("use client: %w", err)
	}
	return nil
}

// UnusedClients implements authz.Clients.
func (s *Store) UnusedClients(ctx context.Context) (n int, err error) {
	if err := s.get(ctx, `SELECT count(*) FROM clients WHERE used_at IS NULL AND static = 0`, nil, &n); err != nil {
		return 0, fmt.Errorf("count unused clients: %w", err)
	}
	return n, nil
}

// DeleteUnusedClients implements authz.Clients.
func (s *Store) DeleteUnusedClients(ctx context.Context, before time.Time) (int64, error) {
	n, err := s.exec(ctx, `DELETE FROM clients WHERE id IN
		(SELECT id FROM clients WHERE used_at IS NULL AND static = 0 AND created_at < ? ORDER BY created_at LIMIT ?)`,
		micros(before), perExpire)
	if err != nil {
		return 0, fmt.Errorf("delete unused clients: %w", err)
	}
	return n, nil
}

func (s *Store) writeClient(ctx context.Context, query string, c authz.Client) error {
	redirectURIs, grantTypes, scope, err := encodeLists(c)
	if err != nil {
		return err
	}
	n, err := s.exec(ctx, query, c.ID.String(), c.Name, redirectURIs, grantTypes, c.AuthMethod, scope, c.Static,
		micros(c.Created), mark(c.Used), bytes(c.SecretHash), mark(c.SecretCreated), bytes(c.OldSecretHash),
		mark(c.OldSecretExpires), bytes(c.JWKS), c.JWKSURI, c.SigningAlg, c.AssertionAudience, c.TLSName,
		c.DPoPBound, c.CertificateBound, bytes(c.RegistrationHash))
	if err == nil && n == 0 {
		err = authz.ErrExists
	}
	return err
}

func encodeLists(c authz.Client) (redirectURIs, grantTypes, scope string, err error) {
	redirectURIs, err1 := encode(c.RedirectURIs)
	grantTypes, err2 := encode(c.GrantTypes)
	scope, err3 := encode(c.Scope)
	return redirectURIs, grantTypes, scope, errors.Join(err1, err2, err3)
}
