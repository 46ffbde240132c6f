package authz

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"

	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// checkProof checks the DPoP proof of a request to an endpoint of ours, if it has one.
// The client is not known yet: it may have to come again with a nonce, and its assertion
// counts once.
func (s *Server) checkProof(w http.ResponseWriter, r *http.Request, path, action string) (dpop.Proof, error) {
	urls := []string{s.cfg.Issuer + path}
	if s.cfg.MutualTLS != "" {
		urls = append(urls, s.cfg.MutualTLS+path)
	}
	p, err := s.cfg.DPoP.Check(r, w.Header(), "", urls...)
	if err != nil && web.Wire(err).Code != oauth.UseDPoPNonce { // every client is asked for one at first
		s.refuse(r, action, err)
	}
	return p, err
}

// prove says which keys the client has proved to have, and which of them its tokens are
// bound to: that of a proof always (RFC 9449 §5), that of its certificate if it
// registered for that (RFC 8705 §3.4). The proof is not spent yet, see spendProof.
func (s *Server) prove(r *http.Request, c Client, p dpop.Proof) (proof, bind oauth.Proof, err error) {
	proof = oauth.Proof{JKT: p.Thumbprint, X5T: web.ClientThumbprint(r)}
	bind.JKT = proof.JKT
	if c.CertificateBound {
		bind.X5T = proof.X5T
	}
	switch {
	case c.DPoPBound && bind.JKT == "":
		return proof, bind, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "the client registered for DPoP-bound access tokens: send a proof in the DPoP header"}
	case c.CertificateBound && bind.X5T == "":
		return proof, bind, &oauth.Error{Code: oauth.InvalidRequest, Description: "the client registered for certificate-bound access tokens: connect with its certificate, where the metadata has mtls_endpoint_aliases"}
	}
	return proof, bind, nil
}

// spendProof makes the DPoP proof of the request count, once. Anybody can send the
// client_id of a public client, or register, so that grants call it when they have seen
// somebody's authorization: or strangers could fill the store with proofs.
func (s *requestState) spendProof(ctx context.Context) error {
	if s.spent {
		return nil
	}
	err := s.dpop.Spend(ctx)
	s.spent = err == nil
	return err
}

// refreshBound is what a refresh token is bound to: that of a confidential client is to
// its credentials, and its key may change (RFC 9449 §5, RFC 8705 §4).
func (s *requestState) refreshBound() oauth.Proof {
	if s.client.Confidential() {
		return oauth.Proof{}
	}
	return s.bind
}

// proven reports whether all that something is bound to has been proved.
func proven(bound, proof oauth.Proof) bool {
	return token.Confirmation(bound).ProvenBy(token.Confirmation(proof))
}

func errUnproven() error {
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "the code or refresh token is bound to a key that this request does not prove: send a DPoP proof of that key, or connect with that certificate"}
}

// isThumbprint reports whether s may be a jkt.
func isThumbprint(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size && len(s) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}
