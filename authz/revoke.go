package authz

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
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
	dead := errors.Is(err, token.ErrRevoked) // what it comes from may still live
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil && !dead:
		return err
	case t.ClientID() != c.ID:
		return errOthersToken()
	}
	a, err := s.cfg.Store.Authorization(ctx, t.Txn())
	switch {
	case err != nil && !errors.Is(err, ErrNotFound): // a workload's own has none
		return err
	case !a.Revoked.IsZero(), dead && a.ClientID != c.ID:
		return nil
	}
	return s.revokeIssued(ctx, t, a, source)
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
	if err := s.cfg.Store.RevokeAuthorization(ctx, a.ID, s.cfg.Now()); err != nil {
		return err
	}
	return s.noticed(ctx)
}

// revokeIssued revokes the client's own access or tool token, with its authorization
// where that is the client's too: what somebody else was granted is not its to end.
func (s *Server) revokeIssued(ctx context.Context, t token.Issued, a Authorization, source string) error {
	if err := s.record(ctx, audit.Event{Kind: audit.Token, Action: "revoke", Subject: t.Subject().String(), Client: t.ClientID().String(), Txn: t.Txn(),
		TokenID: t.ID(), Resource: t.Audience(), Source: source, Decision: "allow"}); err != nil {
		return err
	}
	var err error
	if a.ClientID == t.ClientID() {
		err = s.cfg.Store.RevokeAuthorization(ctx, a.ID, s.cfg.Now())
	} else {
		err = s.cfg.Store.Revoke(ctx, entryOf(t, a, s.cfg.Now()))
	}
	if err != nil {
		return err
	}
	return s.noticed(ctx)
}

// entryOf refuses a token and all that comes from it. Where the token is the root of
// its transaction that is the grant, which calls at upstreams name too. Nothing of it
// outlives the token, so nor need the entry.
func entryOf(t token.Issued, a Authorization, now time.Time) revocation.Entry {
	e := revocation.New(revocation.Token, t.ID(), now)
	if a.ID == "" && t.Txn() != "" && len(t.Ancestors()) == 0 && len(t.Details()) == 0 {
		e.Kind, e.Name = revocation.Grant, t.Txn()
	}
	e.Expires = t.Expiry().Add(revocation.Margin)
	return e
}

// issued verifies a token of ours. It returns ErrNotFound for what is no good token,
// and token.ErrRevoked with the token; any other error means that we cannot tell, which
// is not the same.
func (s *Server) issued(ctx context.Context, raw string) (token.Issued, error) {
	t, err := s.cfg.Verifier.ParseIssued(ctx, raw)
	for _, refusal := range []error{token.ErrMalformed, token.ErrType, token.ErrSignature, token.ErrIssuer, token.ErrExpired} {
		if errors.Is(err, refusal) {
			return t, ErrNotFound
		}
	}
	if errors.Is(err, token.ErrRevoked) {
		return t, err
	}
	return t, revokedError(err)
}

func errOthersToken() error {
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "the token was issued to another client"} // RFC 7009 §2.1
}
