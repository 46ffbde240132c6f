package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// caller is who was admitted: the bearer of an access token, or of a tool token that
// is good for one call.
type caller struct {
	token.Verified
	access token.Access // zero with a tool token
	tool   *token.Tool  // nil with an access token
	bound  bool         // to a key, which was proved with this request
}

// admit is step 1: a token of ours for exactly this resource, from a sender who has
// proved what it is bound to, on every request.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request, up *upstream) (caller, error) {
	p, err := g.presented(w, r, up)
	if err != nil {
		return caller{}, err
	}
	c, err := g.verify(r.Context(), p, up)
	if err == nil {
		err = p.settle(r.Context(), c.Confirmation(), up)
	}
	c.bound = err == nil && !c.Confirmation().IsZero() && c.Confirmation().ProvenBy(p.keys)
	return c, err
}

func (g *Gateway) verify(ctx context.Context, p presented, up *upstream) (caller, error) {
	access, err := g.cfg.Verifier.ParseAccess(ctx, p.raw, up.Resource.String(), p.keys)
	if !errors.Is(err, token.ErrType) {
		return caller{Verified: access.Verified, access: access}, err
	}
	tool, toolErr := g.cfg.Verifier.ParseTool(ctx, p.raw, up.Resource.String(), p.keys)
	if errors.Is(toolErr, token.ErrType) {
		return caller{}, err
	}
	return caller{Verified: tool.Verified, tool: &tool}, toolErr
}

// challenge answers a caller that was not admitted, and tells it where to begin
// (RFC 9728 §5.1, RFC 6750 §3).
func (g *Gateway) challenge(w http.ResponseWriter, r *http.Request, up *upstream, err error) {
	switch {
	case errors.Is(err, token.ErrStale):
		g.undecided(w, r, up, err, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "what was revoked is not known here at the moment: try again soon"})
		return
	case tokenReason(err) == keysUnavailable:
		g.cfg.Log.ErrorContext(r.Context(), "verify token", "server", up.Name, "request_id", web.RequestID(r.Context()), "error", err)
		g.undecided(w, r, up, err, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "whether the token is good is not known here at the moment: try again soon"})
		return
	case errors.Is(err, errUnspent):
		g.cfg.Log.ErrorContext(r.Context(), "spend DPoP proof", "server", up.Name, "request_id", web.RequestID(r.Context()), "error", err)
		g.undecided(w, r, up, err, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "whether the DPoP proof was used before is not known here at the moment: try again soon with a new one"})
		return
	}
	e := &oauth.Error{Code: oauth.InvalidToken, Description: "an access token for this resource is needed"}
	if !errors.Is(err, errNoToken) {
		e.Description = tokenProblem(err)
	}
	errors.As(err, &e)                // what is wrong with a proof
	if e.Code != oauth.UseDPoPNonce { // every client is asked for one at first
		g.refuse(r, audit.Event{Server: up.Name, Action: "admit", Reason: tokenReason(err)})
	}
	var problem []string
	if !errors.Is(err, errNoToken) {
		problem = []string{`error="` + string(e.Code) + `"`, `error_description="` + e.Description + `"`}
	}
	challenges(w, r, problem, []string{`resource_metadata="` + g.metadataURL(up) + `"`, `scope="` + strings.Join(oauth.DefaultScopes(), " ") + `"`})
	_ = web.WriteJSON(w, http.StatusUnauthorized, e)
}

// undecided answers where nobody could tell: the token may be good, and a client must not
// throw it away as it would after 401.
func (g *Gateway) undecided(w http.ResponseWriter, r *http.Request, up *upstream, err error, e *oauth.Error) {
	g.refuse(r, audit.Event{Server: up.Name, Action: "admit", Reason: tokenReason(err)})
	w.Header().Set("Retry-After", "1")
	_ = web.WriteJSON(w, e.Status(), e)
}

// insufficient asks for the scopes that the operation needs (RFC 6750 §3.1).
func (g *Gateway) insufficient(w http.ResponseWriter, r *http.Request, up *upstream, scope string) {
	problem := []string{`error="insufficient_scope"`}
	challenges(w, r, problem, []string{`scope="` + scope + `"`, `resource_metadata="` + g.metadataURL(up) + `"`})
	_ = web.WriteJSON(w, http.StatusForbidden, &oauth.Error{Code: oauth.InsufficientScope, Description: "the access token lacks a scope that this needs"})
}

func (g *Gateway) metadataURL(up *upstream) string {
	return g.cfg.Issuer + "/.well-known/oauth-protected-resource" + g.path(up)
}

// path is where the server's endpoint is.
func (g *Gateway) path(up *upstream) string {
	if up == g.all {
		return "/mcp"
	}
	return "/mcp/" + up.Name
}

// tokenProblem says to a client what is wrong with its token.
func tokenProblem(err error) string {
	switch {
	case errors.Is(err, token.ErrExpired):
		return "the access token has expired"
	case errors.Is(err, token.ErrAudience):
		return "the access token is for another resource"
	case errors.Is(err, token.ErrRevoked):
		return "the access token was revoked"
	case errors.Is(err, token.ErrType):
		return "this is not an access token"
	case errors.Is(err, errNotBound):
		return "the access token is not bound to a DPoP key: send it as Bearer"
	case errors.Is(err, errBearer):
		return "this server takes only access tokens that are bound to a key: ask for one with a DPoP proof, or for one that is bound to a certificate"
	case errors.Is(err, token.ErrUnproven):
		return "the access token is bound to a key that this request does not prove"
	default:
		return "the access token is not valid"
	}
}

// keysUnavailable is the reason where none of the refusals of package token was: the keys
// of the issuer are not to be had, and the token may be good.
const keysUnavailable = "keys_unavailable"

// tokenReason is the same for the audit log, told apart further.
func tokenReason(err error) string {
	var wire *oauth.Error
	if errors.As(err, &wire) {
		return string(wire.Code)
	}
	for _, k := range []struct {
		err    error
		reason string
	}{
		{errNoToken, "token_missing"}, {token.ErrExpired, "token_expired"}, {token.ErrAudience, "token_for_another_resource"},
		{token.ErrType, "token_of_another_type"}, {token.ErrSignature, "token_signature"}, {token.ErrIssuer, "token_of_another_issuer"},
		{token.ErrUnproven, "token_bound_to_another_key"},
		{errNotBound, "token_not_bound"}, {errBearer, "token_not_bound"}, {token.ErrNotYet, "token_from_the_future"}, {token.ErrMalformed, "token_malformed"},
		{revocation.ErrFrozen, "frozen"}, {token.ErrRevoked, "token_revoked"}, {token.ErrStale, "revocations_stale"}, {errUnspent, "single_use_unknown"},
	} {
		if errors.Is(err, k.err) {
			return k.reason
		}
	}
	return keysUnavailable
}
