package authz

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// SVIDs verifies the documents by which workloads of SPIFFE prove who they are, of the
// trust domains that are configured and by their bundles alone. It is safe for concurrent
// use. Where it cannot tell, since a bundle is not to be had, it returns an error that
// is ErrUnavailable; any other one is a refusal.
type SVIDs interface {
	// X509 verifies the chain of a client that has proved to have the key of its first
	// certificate (X509-SVID §5).
	X509(chain []*x509.Certificate) (SVID, error)

	// JWT verifies a JWT-SVID that is for the audience and for nobody else (JWT-SVID §5).
	JWT(raw, audience string) (SVID, error)
}

// SVID is what one that was verified says.
type SVID struct {
	ID      identity.SPIFFEID
	Expires time.Time
}

// ErrUnavailable is returned by SVIDs.
var ErrUnavailable = errors.New("unavailable")

// checkJWTSVID finds the client whose SPIFFE ID the assertion proves
// (draft-ietf-oauth-spiffe-client-auth-02 §3.1). A client_id beside it is optional, and
// must be the same.
//
// It counts as often as it likes: agents keep a JWT-SVID for minutes and hand the same
// one out again, to every thread of a workload.
func (s *Server) checkJWTSVID(ctx context.Context, cred credentials) (Client, error) {
	if s.cfg.SVIDs == nil {
		return Client{}, s.unproved(ctx, errNoTrustDomain)
	}
	svid, err := s.cfg.SVIDs.JWT(cred.svid, s.cfg.Issuer)
	if err != nil {
		return Client{}, s.unproved(ctx, fmt.Errorf("JWT-SVID: %w", err))
	}
	id := svid.ID
	if err := s.lasts(svid); err != nil {
		return Client{}, s.unproved(ctx, fmt.Errorf("JWT-SVID: %w", err))
	}
	if cred.id != "" && cred.id != id.String() {
		return Client{}, s.unproved(ctx, fmt.Errorf("client_id is not the SPIFFE ID of the JWT-SVID, %s", id))
	}
	c, err := s.cfg.Store.Client(ctx, id.ClientID())
	switch {
	case errors.Is(err, ErrNotFound):
		return Client{}, s.unproved(ctx, fmt.Errorf("no client is configured for %s", id))
	case err != nil:
		return Client{}, err
	case !c.Static || c.AuthMethod != oauth.AuthSPIFFE && c.AuthMethod != oauth.AuthSPIFFEJWT:
		return Client{}, s.unproved(ctx, fmt.Errorf("client %s proves itself by %s", id, c.AuthMethod))
	}
	c.Until = svid.Expires
	return c, nil
}

// checkX509SVID has the client prove itself by the X.509-SVID of its connection
// (draft-ietf-oauth-spiffe-client-auth-02, X509-SVID).
func (s *Server) checkX509SVID(_ context.Context, c *Client, chain []*x509.Certificate) error {
	if s.cfg.SVIDs == nil {
		return errNoTrustDomain
	}
	svid, err := s.cfg.SVIDs.X509(chain[:min(len(chain), 1+maxIntermediates)])
	if err != nil {
		return fmt.Errorf("X.509-SVID: %w", err)
	}
	if svid.ID.ClientID() != c.ID || !c.Static {
		return fmt.Errorf("the X.509-SVID is that of %s", svid.ID)
	}
	c.Until = svid.Expires
	return s.lasts(svid)
}

// lasts refuses an SVID that ends before anything that is issued for it could begin.
func (s *Server) lasts(svid SVID) error {
	if svid.Expires.Sub(s.cfg.Now()) < time.Second {
		return errors.New("it expires at this moment")
	}
	return nil
}

// maxCause bounds what a stranger writes into the log with each request, bytes: there is
// room for a SPIFFE ID, and not for the names that a certificate may have.
const maxCause = 3 << 10

var errNoTrustDomain = errors.New("no trust domain is configured")

// unproved is invalid_client, but where nobody could tell. The log says why: a workload
// that nobody watches cannot tell its operator.
func (s *Server) unproved(ctx context.Context, err error) error {
	cause := err.Error()
	s.cfg.Log.InfoContext(ctx, "client not authenticated", "request_id", web.RequestID(ctx), "cause", cause[:min(len(cause), maxCause)])
	if errors.Is(err, ErrUnavailable) {
		return &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "the trust bundle of your trust domain is not here at the moment: try again soon", Cause: err}
	}
	return errInvalidClient(err)
}
