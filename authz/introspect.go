package authz

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// introspected is the response of RFC 7662 §2.2. Inactive, it has no other member.
type introspected struct {
	Active   bool              `json:"active"`
	Issuer   string            `json:"iss,omitempty"`
	Subject  identity.Subject  `json:"sub,omitzero"`
	Audience string            `json:"aud,omitempty"`
	ClientID identity.ClientID `json:"client_id,omitzero"`
	Scope    string            `json:"scope,omitempty"`
	Type     string            `json:"token_type,omitempty"`
	ID       string            `json:"jti,omitempty"`
	IssuedAt int64             `json:"iat,omitzero"`
	Expiry   int64             `json:"exp,omitzero"`
	AuthTime int64             `json:"auth_time,omitzero"` // RFC 9470 §6.2
	ACR      string            `json:"acr,omitempty"`      // RFC 9470 §6.2
	Act      *token.Actor      `json:"act,omitempty"`      // RFC 8693 §4.1
	Details  []token.Details   `json:"authorization_details,omitempty"`

	Confirmation token.Confirmation `json:"cnf,omitzero"` // RFC 9449 §6.2, RFC 8705 §3.2
}

// introspection is the introspection endpoint (RFC 7662). A token is active only
// for the client that it was issued to and for a resource server of its audience;
// to anybody else it is as unknown as a wrong one.
func (s *Server) introspection(w http.ResponseWriter, r *http.Request) error {
	client, form, err := s.authenticated(r, "introspect")
	if err != nil {
		return err
	}
	answer, err := s.introspect(r.Context(), client, form)
	if err != nil {
		return s.denied(r, client, "introspect", err)
	}
	return web.WriteJSON(w, http.StatusOK, answer)
}

func (s *Server) introspect(ctx context.Context, c Client, form url.Values) (introspected, error) {
	raw := form.Get("token")
	switch {
	case !c.Confidential(): // RFC 7662 §2.1: or tokens could be guessed at here
		return introspected{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "introspection is for confidential clients only"}
	case raw == "":
		return introspected{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "token is missing"}
	case strings.HasPrefix(raw, refreshPrefix):
		return s.introspectRefresh(ctx, c, raw)
	}
	t, err := s.issued(ctx, raw)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, token.ErrRevoked):
		return introspected{}, nil
	case err != nil:
		return introspected{}, err
	case t.ClientID() != c.ID && !slices.Contains(s.cfg.ResourceServers[c.ID], t.Audience()):
		return introspected{}, nil
	}
	answer := introspected{Active: true, Issuer: t.Issuer(), Subject: t.Subject(), Audience: t.Audience(), ClientID: t.ClientID(), Scope: t.Scope().String(),
		Type: t.Confirmation().TokenType(), ID: t.ID(), IssuedAt: t.IssuedAt().Unix(), Expiry: t.Expiry().Unix(), ACR: t.ACR(), Act: t.Actor(), Details: t.Details(), Confirmation: t.Confirmation()}
	if at := t.AuthTime(); !at.IsZero() {
		answer.AuthTime = at.Unix()
	}
	return answer, nil
}

// introspectRefresh tells a client of its own refresh token, as long as it can be
// used: a resource server has no business with one.
func (s *Server) introspectRefresh(ctx context.Context, c Client, raw string) (introspected, error) {
	t, a, err := s.cfg.Store.RefreshToken(ctx, hash(raw))
	now := s.cfg.Now()
	switch {
	case errors.Is(err, ErrNotFound):
		return introspected{}, nil
	case err != nil:
		return introspected{}, err
	case a.ClientID != c.ID, !t.Rotated.IsZero(), !a.Revoked.IsZero(), !now.Before(t.Expires), !now.Before(a.Expires):
		return introspected{}, nil
	}
	if err := s.mayIssue(a.ClientID, a.Subject); errors.Is(err, revocation.ErrFrozen) {
		return introspected{}, nil
	} else if errors.Is(err, token.ErrStale) {
		return introspected{}, err
	}
	answer := introspected{Active: true, Issuer: s.cfg.Issuer, Subject: a.Subject, Audience: a.Resource, ClientID: a.ClientID, Scope: a.Scope,
		IssuedAt: t.Created.Unix(), Expiry: t.Expires.Unix(), ACR: a.ACR}
	if !a.AuthTime.IsZero() { // the IdP may not say
		answer.AuthTime = a.AuthTime.Unix()
	}
	return answer, nil
}
