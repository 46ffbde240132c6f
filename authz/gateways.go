package authz

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// Gateways are the gateways of other processes, and what nobody else is told.
type Gateways struct {
	// Clients are who they are. Each proves it by what nobody can replay.
	Clients map[identity.ClientID]bool

	// Presenter is the name that they have in tokens, all of them: an upstream need not know
	// how many processes there are.
	Presenter identity.ClientID

	// Revocations has all entries. *sqlite.Store is one.
	Revocations revocation.Reader

	// Definitions is told what tool definitions they have approved.
	Definitions Definitions
}

// Definitions keeps the approved tool definitions for who exchanges to a tool token. It
// is safe for concurrent use.
type Definitions interface {
	// Learn notes the digest of the definition, durably, unless the tool has one, and
	// returns the one that stands. It returns an *oauth.Error for a server that is unknown,
	// and where the one that stands is not approved.
	Learn(ctx context.Context, server, tool, digest string) (stands string, err error)
}

// entries is the answer of the revocations endpoint: those after the one that was asked
// for, in order, and none if there are no more.
type entries struct {
	Entries []revocation.Entry `json:"entries"`
}

// revocations is what a gateway asks every second, as a replica asks the store. It is
// not in the metadata, and in no RFC, as the next.
func (s *Server) revocations(w http.ResponseWriter, r *http.Request) error {
	return s.ofGateway(w, r, "revocations", func(ctx context.Context, form url.Values) (any, error) {
		after, err := strconv.ParseInt(form.Get("after"), 10, 64)
		if err != nil || after < 0 {
			return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "after must be the seq of the last entry that is known, or 0", Cause: err}
		}
		some, err := s.cfg.Gateways.Revocations.Revocations(ctx, after)
		return entries{append([]revocation.Entry{}, some...)}, err
	})
}

// standing is the answer of the definitions endpoint.
type standing struct {
	Digest string `json:"digest"`
}

// definition is what a gateway tells when it has approved one, and before it serves the
// tool: clients exchange here for a token that is bound to it.
func (s *Server) definition(w http.ResponseWriter, r *http.Request) error {
	return s.ofGateway(w, r, "definitions", func(ctx context.Context, form url.Values) (any, error) {
		if !token.ValidToolName(form.Get("tool")) || !isThumbprint(form.Get("digest")) {
			return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "tool or digest is missing, or is none"}
		}
		digest, err := s.cfg.Gateways.Definitions.Learn(ctx, form.Get("server"), form.Get("tool"), form.Get("digest"))
		return standing{digest}, err
	})
}

// ofGateway authenticates a request that is for gateways alone. One that is frozen is no
// longer told what happens to others, and has no definition stand for them.
func (s *Server) ofGateway(w http.ResponseWriter, r *http.Request, action string, answer func(context.Context, url.Values) (any, error)) error {
	client, form, err := s.authenticated(r, action)
	if err != nil {
		return err
	}
	if !s.cfg.Gateways.Clients[client.ID] {
		return s.denied(r, client, action, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "this is for the gateways of this server only"})
	}
	if err := s.mayIssue(client.ID, identity.Subject{}); err != nil {
		s.refuse(r, action, err, client.ID) // not a line each: it asks every second
		return err
	}
	out, err := answer(r.Context(), form)
	if err != nil {
		return s.denied(r, client, action, err)
	}
	return web.WriteJSON(w, http.StatusOK, out)
}
