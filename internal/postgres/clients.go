package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// Client implements authz.Clients.
func (s *Store) Client(ctx context.Context, id identity.ClientID) (authz.Client, error) {
	var c authz.Client
	err := s.get(ctx, `SELECT id, name, redirect_uris, grant_types, auth_method, secret_hash, scope, static, created_at
		FROM clients WHERE id = $1`, []any{id.String()},
		text{&c.ID}, &c.Name, &c.RedirectURIs, &c.GrantTypes, &c.AuthMethod, &c.SecretHash, &c.Scope, &c.Static,
		(*instant)(&c.Created))
	if err != nil {
		return authz.Client{}, fmt.Errorf("read client: %w", err)
	}
	return c, nil
}

const insertClient = `INSERT INTO clients
	(id, name, redirect_uris, grant_types, auth_method, secret_hash, scope, static, created_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

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
		auth_method = excluded.auth_method, secret_hash = excluded.secret_hash, scope = excluded.scope,
		created_at = excluded.created_at
		WHERE clients.static`, c)
	if err != nil {
		return fmt.Errorf("put client: %w", err)
	}
	return nil
}

func (s *Store) writeClient(ctx context.Context, query string, c authz.Client) error {
	n, err := s.exec(ctx, query, c.ID.String(), c.Name, some(c.RedirectURIs), some(c.GrantTypes), c.AuthMethod,
		some(c.SecretHash), some(c.Scope), c.Static, micros(c.Created))
	if err == nil && n == 0 {
		err = authz.ErrExists
	}
	return err
}
