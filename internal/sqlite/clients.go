package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

const selectClient = `SELECT id, name, redirect_uris, grant_types, auth_method, secret_hash, scope, static, created_at
	FROM clients WHERE id = ?`

// Client implements authz.Clients.
func (s *Store) Client(ctx context.Context, id identity.ClientID) (authz.Client, error) {
	var c authz.Client
	err := s.get(ctx, selectClient, []any{id.String()},
		text{&c.ID}, &c.Name, (*list)(&c.RedirectURIs), (*list)(&c.GrantTypes), &c.AuthMethod, &c.SecretHash,
		(*list)(&c.Scope), &c.Static, (*instant)(&c.Created))
	if err != nil {
		return authz.Client{}, fmt.Errorf("read client: %w", err)
	}
	return c, nil
}

const insertClient = `INSERT INTO clients
	(id, name, redirect_uris, grant_types, auth_method, secret_hash, scope, static, created_at)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`

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
		WHERE clients.static = 1`, c)
	if err != nil {
		return fmt.Errorf("put client: %w", err)
	}
	return nil
}

func (s *Store) writeClient(ctx context.Context, query string, c authz.Client) error {
	redirectURIs, err1 := encode(c.RedirectURIs)
	grantTypes, err2 := encode(c.GrantTypes)
	scope, err3 := encode(c.Scope)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	n, err := s.exec(ctx, query, c.ID.String(), c.Name, redirectURIs, grantTypes, c.AuthMethod, bytes(c.SecretHash),
		scope, c.Static, micros(c.Created))
	if err == nil && n == 0 {
		err = authz.ErrExists
	}
	return err
}
