package postgres

import (
	"context"
	"fmt"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// PutDocument implements authz.Documents. Of two that fetched the same at the same
// time, the later stands.
func (s *Store) PutDocument(ctx context.Context, d authz.Document) error {
	_, err := s.exec(ctx, `INSERT INTO client_documents (client_id, digest, body, fetched_at, fresh_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (client_id, digest) DO UPDATE SET fetched_at = excluded.fetched_at, fresh_at = excluded.fresh_at
		WHERE excluded.fetched_at >= client_documents.fetched_at`,
		d.ClientID.String(), d.Digest, some(d.Body), micros(d.Fetched), micros(d.Fresh))
	if err != nil {
		return fmt.Errorf("put document: %w", err)
	}
	return nil
}

// Document implements authz.Documents.
func (s *Store) Document(ctx context.Context, id identity.ClientID, digest string) (authz.Document, error) {
	var d authz.Document
	err := s.get(ctx, `SELECT client_id, digest, body, fetched_at, fresh_at FROM client_documents
		WHERE client_id = $1 AND ($2 = '' OR digest = $2) ORDER BY fetched_at DESC, digest LIMIT 1`,
		[]any{id.String(), digest}, text{&d.ClientID}, &d.Digest, &d.Body, (*instant)(&d.Fetched), (*instant)(&d.Fresh))
	if err != nil {
		return authz.Document{}, fmt.Errorf("read document: %w", err)
	}
	return d, nil
}
