package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

// maxDetail bounds what of a policy's words goes to a caller, bytes.
const maxDetail = 512

// errDenied is the answer to a denial that hides nothing: the caller may know of what it
// asked for. It says what would make it allowed, and never by which rule.
func errDenied(d policies.Decision) *rpcError {
	e := &rpcError{Code: codeDenied, Message: "access denied by policy", reason: string(d.Reason)}
	if d.Detail != "" {
		e.Message += ": " + strings.ToValidUTF8(d.Detail[:min(len(d.Detail), maxDetail)], "")
	}
	switch d.Reason {
	case policies.ReasonSenderConstraint:
		e.Message += ". It needs an access token that is bound to a key of yours: ask for one with a DPoP proof (RFC 9449) or with a client certificate (RFC 8705), and prove the key with the call"
	case policies.ReasonStepUp:
		e.Message += ". It needs another login of the person for whom it is made: see RFC 9470"
		e.login = &d.Needs
	}
	return e
}

// onlyNeeds reports whether nothing is missing but what the caller can bring along: then
// what was asked for is not hidden.
func onlyNeeds(d policies.Decision) bool {
	return d.Reason == policies.ReasonSenderConstraint || d.Reason == policies.ReasonStepUp || d.Reason == policies.ReasonApproval
}

// canLogIn reports whether there is a person who can log in again.
func (p *passage) canLogIn() bool { return !p.Workload() && !p.Subject().Is(p.ClientID()) }

// loginNeeded asks for a login of another kind, or a more recent one (RFC 9470 §3). The
// scope is the one that the token has: the next one needs no other.
func (g *Gateway) loginNeeded(p *passage, needs policies.Needs) {
	e := &oauth.Error{Code: oauth.InsufficientUserAuthentication, Description: "policy asks for a login of another kind or a more recent one"}
	problem := []string{`error="` + string(e.Code) + `"`, `error_description="` + e.Description + `"`}
	if acr := quotable(needs.ACR); acr != "" {
		problem = append(problem, `acr_values="`+acr+`"`)
	}
	if needs.MaxAge > 0 {
		problem = append(problem, `max_age="`+strconv.FormatInt(int64(needs.MaxAge/time.Second), 10)+`"`)
	}
	challenges(p.w, p.r, problem, []string{`resource_metadata="` + g.metadataURL(p.up) + `"`, `scope="` + p.Scope().String() + `"`})
	_ = web.WriteJSON(p.w, http.StatusUnauthorized, e)
}

// quotable is the values that can stand in a quoted parameter (RFC 9110 §5.6.4), in their
// order; one that cannot was never asked for by name.
func quotable(values []string) string {
	var good []string
	for _, v := range values {
		if v != "" && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			good = append(good, v)
		}
	}
	return strings.Join(good, " ")
}
