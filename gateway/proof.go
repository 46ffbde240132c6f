package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// presented is the token of a request, and what its sender has proved.
type presented struct {
	raw   string
	proof dpop.Proof // zero where the token came as Bearer
	keys  token.Confirmation
}

var (
	errNotBound = errors.New("the token came with a DPoP proof, and is bound to no DPoP key")
	errBearer   = errors.New("the token is bound to nothing, and the server takes no such ones")
	errUnspent  = errors.New("the store cannot tell whether the DPoP proof was used before")
	errNoProof  = &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "a token that is sent as DPoP needs a proof in the DPoP header"}
)

// presented reads the token of a request, and what keys its sender has proved to have:
// that of its certificate on every request, that of a DPoP proof where the token is sent
// as DPoP (RFC 9449 §7.1). A token that is bound to such a key and sent as Bearer is so
// refused as unproven. Only the Authorization header counts, never the query (RFC 6750
// §2.3).
func (g *Gateway) presented(w http.ResponseWriter, r *http.Request, up *upstream) (p presented, err error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return p, errNoToken
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	p.raw, p.keys.X5T = raw, web.ClientThumbprint(r)
	switch {
	case len(values) != 1 || raw == "":
		return p, token.ErrMalformed
	case strings.EqualFold(scheme, "Bearer"):
		return p, nil
	case !strings.EqualFold(scheme, dpop.Scheme):
		return p, token.ErrMalformed
	}
	p.proof, err = g.cfg.DPoP.Check(r, w.Header(), raw, g.urls(up)...)
	if err == nil && p.proof.Thumbprint == "" {
		err = errNoProof
	}
	p.keys.JKT = p.proof.Thumbprint
	return p, err
}

// urls are the URLs at which clients find the server.
func (g *Gateway) urls(up *upstream) []string {
	urls := []string{up.Resource.String()}
	if g.cfg.MutualTLS != "" {
		urls = append(urls, g.cfg.MutualTLS+g.path(up))
	}
	return urls
}

// settle holds what a token is bound to against how it came, and spends the proof: last,
// so that only who holds token and key can.
func (p presented) settle(ctx context.Context, bound token.Confirmation, up *upstream) error {
	switch {
	case p.proof.Thumbprint != "" && bound.JKT == "":
		return errNotBound
	case up.SenderConstrained && bound.IsZero():
		return errBearer
	}
	err := p.proof.Spend(ctx)
	if wire := (*oauth.Error)(nil); err != nil && !errors.As(err, &wire) {
		return fmt.Errorf("%w: %w", errUnspent, err)
	}
	return err
}

// isDPoP reports whether a token came as DPoP: the error then belongs to that challenge.
func isDPoP(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, dpop.Scheme)
}

// challenges sets the two challenges: Bearer first, because many clients read one only,
// then DPoP with its algorithms (RFC 9449 §7.1, §7.2). The problem is told in the one that
// the client answered, the rest in both.
func challenges(w http.ResponseWriter, r *http.Request, problem, rest []string) {
	algs := `algs="` + strings.Join(dpop.Algs(), " ") + `"`
	for _, scheme := range []string{"Bearer", dpop.Scheme} {
		var params []string
		if isDPoP(r) == (scheme == dpop.Scheme) {
			params = append(params, problem...)
		}
		params = append(params, rest...)
		if scheme == dpop.Scheme {
			params = append(params, algs)
		}
		w.Header().Add("WWW-Authenticate", scheme+" "+strings.Join(params, ", "))
	}
}
