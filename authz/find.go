package authz

import (
	"context"
	"errors"
	"strings"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// find finds a client: one that is registered, or for a client ID metadata
// document the snapshot that a grant names, else the last one. It fetches nothing.
// It returns ErrNotFound.
//
// What the configuration says of a document's URL comes before the document
// (draft-ietf-oauth-client-id-metadata-document-01 §6.10).
func (s *Server) find(ctx context.Context, id identity.ClientID, document string) (Client, error) {
	c, err := s.cfg.Store.Client(ctx, id)
	if isDocument(id) && errors.Is(err, ErrNotFound) {
		return s.snapshot(ctx, id, document)
	}
	return c, err
}

// ours reports whether the client is this server's own: it has a resource that is for
// nobody else, and its redirect URI is one of ours, to the letter.
func (s *Server) ours(c Client) bool { return c.Static && s.cfg.Resources.Reserved(c.ID.String()) }

// isDocument reports whether the id is the URL of a client ID metadata document:
// what we issue never is one. One of http is none that is found, but on loopback.
func isDocument(id identity.ClientID) bool {
	return strings.HasPrefix(id.String(), "https://") || strings.HasPrefix(id.String(), "http://")
}
