package authz

import (
	"context"
	"errors"
	"fmt"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Revocations is what this process knows of revocations. *revocation.View is one.
type Revocations interface {
	// MayIssue returns revocation.ErrFrozen, token.ErrRevoked for a token that would be
	// taken for one from before a revocation, or token.ErrStale. A zero subject is not
	// known yet.
	MayIssue(c identity.ClientID, s identity.Subject) error
	// Poll brings the knowledge up to date.
	Poll(ctx context.Context) error
}

// mayIssue refuses before anything is spent: code, refresh token and device code are
// good again afterwards. The Minter refuses what no grant asked for here.
func (s *Server) mayIssue(c identity.ClientID, subject identity.Subject) error {
	return revokedError(s.cfg.Revocations.MayIssue(c, subject))
}

// mayIssueOf is mayIssue for an authorization. A refusal tells the audit log whose it is.
func (s *Server) mayIssueOf(a Authorization, trace *oauth.Trace) error {
	err := s.mayIssue(a.ClientID, a.Subject)
	if err != nil && trace != nil {
		trace.Subject, trace.Txn = a.Subject.String(), a.ID
	}
	return err
}

// revokedError says why nothing is issued, or nothing known, because of a revocation.
// A client shall throw nothing away for a state that passes, so it is never
// invalid_grant or invalid_client: clients forget tokens and registrations then.
func revokedError(err error) error {
	var known *oauth.Error
	switch {
	case errors.Is(err, token.ErrStale): // also as the cause of something else: for all we know, nothing was wrong
		return &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "what was revoked is not known here at the moment: try again soon", Cause: err}
	case errors.As(err, &known):
		return err
	case errors.Is(err, revocation.ErrFrozen):
		return &oauth.Error{Code: oauth.AccessDenied, Description: "an operator has stopped this client or person for the time being", Cause: err}
	case errors.Is(err, token.ErrRevoked):
		return &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "what was issued until now has just been revoked: try again in a few seconds", Cause: err}
	}
	return err
}

// noticed makes a revocation of our own count here before anybody is told that it is
// done, also when the caller has gone.
func (s *Server) noticed(ctx context.Context) error {
	if err := s.cfg.Revocations.Poll(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("notice a revocation: %w", err)
	}
	return nil
}
