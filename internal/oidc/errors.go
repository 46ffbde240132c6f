package oidc

import (
	"fmt"
	"net/url"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// refused maps an error answer of the IdP (RFC 6749 §4.1.2.1, OpenID Connect Core
// 1.0 §3.1.2.6) to words of ours. What the IdP says is for the log: anybody can
// have a browser bring an error here.
func refused(params url.Values) error {
	cause := fmt.Errorf("the identity provider answered error %q, error_description %q", short(params.Get("error")), short(params.Get("error_description")))
	switch oauth.ErrorCode(params.Get("error")) {
	case oauth.AccessDenied:
		return &oauth.Error{Code: oauth.AccessDenied, Description: "the login was declined at the identity provider", Cause: cause}
	case oauth.LoginRequired:
		return &oauth.Error{Code: oauth.LoginRequired, Description: "the person must log in at the identity provider, and prompt=none forbids to ask", Cause: cause}
	case oauth.InteractionRequired:
		return &oauth.Error{Code: oauth.InteractionRequired, Description: "the identity provider must ask the person something, and prompt=none forbids it", Cause: cause}
	case oauth.ConsentRequired:
		return &oauth.Error{Code: oauth.ConsentRequired, Description: "the person must consent at the identity provider, and prompt=none forbids to ask", Cause: cause}
	case oauth.AccountSelectionRequired:
		return &oauth.Error{Code: oauth.AccountSelectionRequired, Description: "the person must choose an account at the identity provider, and prompt=none forbids to ask", Cause: cause}
	case oauth.UnmetAuthenticationRequirements:
		return unmet(cause)
	case oauth.TemporarilyUnavailable, oauth.ServerError:
		return unavailable(cause)
	}
	return misconfigured(cause)
}

// unavailable is for what passes.
func unavailable(cause error) error {
	return &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "the identity provider cannot be reached or has a problem: try again later", Cause: cause}
}

// misconfigured is for what only the operator can cure.
func misconfigured(cause error) error {
	return &oauth.Error{Code: oauth.ServerError, Description: "the identity provider does not accept this server: tell its operator", Cause: cause}
}

// rejected is for an ID token that is not for this login, or not the IdP's.
func rejected(cause error) error {
	return &oauth.Error{Code: oauth.AccessDenied, Description: "what the identity provider says of this login did not pass a check: start the login again, and tell the operator if that does not help", Cause: cause}
}

// unfit is for a person of whom the IdP says what we cannot use.
func unfit(cause error) error {
	return &oauth.Error{Code: oauth.AccessDenied, Description: "the identity provider describes this person in a way that this server cannot use: tell its operator", Cause: cause}
}

// unmet is OpenID Connect Core Unmet Authentication Requirements 1.0.
func unmet(cause error) error {
	return &oauth.Error{Code: oauth.UnmetAuthenticationRequirements, Description: "the person did not log in the way that acr_values asks for", Cause: cause}
}

const maxQuoted = 300 // bytes of the IdP's words in a log line

func short(s string) string {
	if len(s) > maxQuoted {
		return s[:maxQuoted] + "..."
	}
	return s
}

// clipped is an error whose text holds a body of the IdP's.
type clipped struct{ error }

func clip(err error) error { return clipped{err} }

func (c clipped) Error() string { return short(c.error.Error()) }

func (c clipped) Unwrap() error { return c.error }
