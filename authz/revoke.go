package authz

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// revocation is the revocation endpoint (RFC 7009). A token that is unknown, and
// one that has ended, is revoked as far as anybody can tell: 200.
func (s *Server) revocation(w http.ResponseWriter, r *http.Request) error {
	client, form, err := s.authenticated(r, "revoke")
	if err != nil {
		return err
	}
	if err := s.revokeToken(r.Context(), client, form, web.Source(r)); err != nil {
		return s.denied(r, client, "revoke", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// revokeToken revokes the whole authorization of the token, whichever of its tokens
// it is (RFC 7009 §2.1): who wants one gone has no use for the others. token_type_hint
// is not needed: our tokens show what they are. What has ended gets no second line
// in the audit log, or anybody could fill it.
func (s *Server) revokeToken(ctx context.Context, c Client, form url.Values, source string) error {
	raw := form.Get("token")
	switch {
	case raw == "":
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "token is missing"}
	case strings.HasPrefix(raw, refreshPrefix):
		return s.revokeRefresh(ctx, c, raw, source)
	}
	t, err := s.issued(ctx, raw)
	if errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return s.revokeIssued(ctx, c, t, source)
}

func (s *Server) revokeRefresh(ctx context.Context, c Client, raw, source string) error {
	_, a, err := s.cfg.Store.RefreshToken(ctx, hash(raw))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case a.ClientID != c.ID:
		return errOthersToken()
	case !a.Revoked.IsZero():
		return nil
	}
	if err := s.record(ctx, audit.Event{Kind: audit.Token, Action: "revoke", Subject: a.Subject.String(), Client: c.ID.String(), Txn: a.ID,
		Resource: a.Resource, Source: source, Decision: "allow"}); err != nil {
		return err
	}
	return s.cfg.Store.RevokeAuthorization(ctx, a.ID, s.cfg.Now())
}

// revokeIssued revokes an access or call token by its jti, and its authorization
// where that is the client's own: what somebody else was granted is not its to end.
func (s *Server) revokeIssued(ctx context.Context, c Client, t token.Issued, source string) error {
	if t.ClientID() != c.ID {
		return errOthersToken()
	}
	a, ended, err := s.root(ctx, t)
	if err != nil || ended {
		return err
	}
	if err := s.record(ctx, audit.Event{Kind: audit.Token, Action: "revoke", Subject: t.Subject().String(), Client: c.ID.String(), Txn: t.Txn(),
		TokenID: t.ID(), Resource: t.Audience(), Source: source, Decision: "allow"}); err != nil {
		return err
	}
	now := s.cfg.Now()
	return s.cfg.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.cfg.Store.InsertTicket(ctx, TicketRevoked, TicketKey(t.ID()), nil, now, t.Expiry()); err != nil && !errors.Is(err, ErrExists) {
			return err
		}
		if a.ClientID != c.ID {
			return nil
		}
		return s.cfg.Store.RevokeAuthorization(ctx, a.ID, now)
	})
}

// issued verifies a token of ours. It returns ErrNotFound for what is no good token;
// any other error means that we cannot tell, which is not the same.
func (s *Server) issued(ctx context.Context, raw string) (token.Issued, error) {
	t, err := s.cfg.Verifier.ParseIssued(ctx, raw)
	for _, refusal := range []error{token.ErrMalformed, token.ErrType, token.ErrSignature, token.ErrIssuer, token.ErrExpired} {
		if errors.Is(err, refusal) {
			return t, ErrNotFound
		}
	}
	return t, err
}

// root is the authorization that a token comes from, if there is one, and whether
// the token has ended: by itself, or with its authorization.
func (s *Server) root(ctx context.Context, t token.Issued) (a Authorization, ended bool, err error) {
	a, err = s.cfg.Store.Authorization(ctx, t.Txn())
	switch {
	case errors.Is(err, ErrNotFound): // a workload's own has none
		ended = forPerson(t)
	case err != nil:
		return a, false, err
	default:
		ended = !a.Revoked.IsZero()
	}
	if ended {
		return a, true, nil
	}
	_, err = s.cfg.Store.Ticket(ctx, TicketRevoked, TicketKey(t.ID()), s.cfg.Now())
	if errors.Is(err, ErrNotFound) {
		return a, false, nil
	}
	return a, err == nil, err
}

// forPerson reports whether a client acts for somebody else in the token: a workload
// by itself is its own subject, and has no actor in a call token.
func forPerson(t token.Issued) bool {
	if len(t.Details()) > 0 {
		return t.Actor() != nil
	}
	return t.Subject().String() != t.ClientID().String()
}

func errOthersToken() error {
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "the token was issued to another client"} // RFC 7009 §2.1
}
