// Package oauth owns the words of the wire: parameter values, URNs, error codes,
// resource indicators and the messages that authorization server, exchange and
// gateway hand to one another.
//
// It decides nothing and imports only the standard library.
package oauth

import (
	"net/http"
	"net/url"
	"time"
)

// Grant types (RFC 6749 §4, RFC 8693 §2.1).
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
	GrantDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code" // RFC 8628 §3.4
	GrantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
	GrantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer" // RFC 7523 §2.1
)

// TokenTypeAccessToken is the token type identifier of RFC 8693 §3.
const TokenTypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"

// Client authentication methods (RFC 7591 §2, RFC 8705 §2).
const (
	AuthNone          = "none"
	AuthBasic         = "client_secret_basic"
	AuthPost          = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
	AuthTLS           = "tls_client_auth"
	AuthSelfSignedTLS = "self_signed_tls_client_auth"

	// X.509-SVID and JWT-SVID (draft-ietf-oauth-spiffe-client-auth-02).
	AuthSPIFFEX509 = "spiffe_x509"
	AuthSPIFFEJWT  = "spiffe_jwt"

	// AuthSPIFFE is our own, and of the configuration only: the one SVID or the other.
	AuthSPIFFE = "spiffe"

	// AuthWorkload is our own, and of the configuration only: the assertion of the
	// jwt-bearer grant proves the client, and is good for no other request.
	AuthWorkload = "workload_identity"
)

// ProfileIDJAG is the grant profile of identity assertions
// (draft-ietf-oauth-identity-assertion-authz-grant-04 §7.2).
const ProfileIDJAG = "urn:ietf:params:oauth:grant-profile:id-jag"

// AssertionJWTBearer is the client_assertion_type of RFC 7523 §2.2.
const AssertionJWTBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// AssertionJWTSPIFFE is the client_assertion_type of a JWT-SVID
// (draft-ietf-oauth-spiffe-client-auth-02 §3.1).
const AssertionJWTSPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"

// Scopes of access tokens. A call token's scopes are made in package token.
const (
	ScopeTools     = "mcp:tools"
	ScopeResources = "mcp:resources"
	ScopePrompts   = "mcp:prompts"

	// ScopeApprovals is of the console alone, and never granted for an MCP server.
	ScopeApprovals = "approvals"
)

// DefaultScopes is what an empty scope asks for, and the scopes_supported of
// every protected resource (RFC 9728 §2).
func DefaultScopes() []string { return []string{ScopeTools, ScopeResources, ScopePrompts} }

// ErrorCode is a registered error of RFC 6749 §5.2 and its extensions.
type ErrorCode string

// Error codes.
const (
	InvalidRequest                 ErrorCode = "invalid_request"                  // RFC 6749 §5.2
	InvalidClient                  ErrorCode = "invalid_client"                   // RFC 6749 §5.2
	InvalidGrant                   ErrorCode = "invalid_grant"                    // RFC 6749 §5.2
	UnauthorizedClient             ErrorCode = "unauthorized_client"              // RFC 6749 §5.2
	UnsupportedGrantType           ErrorCode = "unsupported_grant_type"           // RFC 6749 §5.2
	UnsupportedResponseType        ErrorCode = "unsupported_response_type"        // RFC 6749 §4.1.2.1
	InvalidScope                   ErrorCode = "invalid_scope"                    // RFC 6749 §5.2
	AccessDenied                   ErrorCode = "access_denied"                    // RFC 6749 §4.1.2.1
	ServerError                    ErrorCode = "server_error"                     // RFC 6749 §4.1.2.1
	InvalidTarget                  ErrorCode = "invalid_target"                   // RFC 8707 §2
	InvalidToken                   ErrorCode = "invalid_token"                    // RFC 6750 §3.1
	InsufficientScope              ErrorCode = "insufficient_scope"               // RFC 6750 §3.1
	InvalidRedirectURI             ErrorCode = "invalid_redirect_uri"             // RFC 7591 §3.2.2
	InvalidClientMetadata          ErrorCode = "invalid_client_metadata"          // RFC 7591 §3.2.2
	InvalidAuthorizationDetails    ErrorCode = "invalid_authorization_details"    // RFC 9396 §5
	AuthorizationPending           ErrorCode = "authorization_pending"            // RFC 8628 §3.5
	SlowDown                       ErrorCode = "slow_down"                        // RFC 8628 §3.5
	ExpiredToken                   ErrorCode = "expired_token"                    // RFC 8628 §3.5
	TemporarilyUnavailable         ErrorCode = "temporarily_unavailable"          // RFC 6749 §4.1.2.1
	ConsentRequired                ErrorCode = "consent_required"                 // OpenID Connect Core 1.0 §3.1.2.6
	InteractionRequired            ErrorCode = "interaction_required"             // OpenID Connect Core 1.0 §3.1.2.6
	AccountSelectionRequired       ErrorCode = "account_selection_required"       // OpenID Connect Core 1.0 §3.1.2.6
	InvalidDPoPProof               ErrorCode = "invalid_dpop_proof"               // RFC 9449 §5, §7.1
	UseDPoPNonce                   ErrorCode = "use_dpop_nonce"                   // RFC 9449 §8, §9
	InsufficientUserAuthentication ErrorCode = "insufficient_user_authentication" // RFC 9470 §3
	LoginRequired                  ErrorCode = "login_required"                   // OpenID Connect Core 1.0 §3.1.2.6

	UnmetAuthenticationRequirements ErrorCode = "unmet_authentication_requirements" // OpenID Connect Core Unmet Authentication Requirements 1.0
)

// Error is what a client is told. Description is a constant that says what the
// client did wrong, holds no quotation mark or backslash (RFC 6749 §5.2) and
// echoes no input; Cause is for logs and audit and never leaves the process.
type Error struct {
	Code        ErrorCode `json:"error"`
	Description string    `json:"error_description,omitempty"`
	Cause       error     `json:"-"`
}

// Error implements error, for logs.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Description != "" {
		s += ": " + e.Description
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Status is the HTTP status of the error as an answer of an OAuth endpoint
// (RFC 6749 §5.2) or a protected resource (RFC 6750 §3.1).
func (e *Error) Status() int {
	switch e.Code {
	case InvalidClient, InvalidToken, InsufficientUserAuthentication: // RFC 9470 §3
		return http.StatusUnauthorized
	case InsufficientScope:
		return http.StatusForbidden
	case ServerError:
		return http.StatusInternalServerError
	case TemporarilyUnavailable: // RFC 6749 §4.1.2.1
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

// TokenRequest is an authenticated request at the token endpoint, as the
// authorization server hands it to a grant.
type TokenRequest struct {
	Client Client
	Form   url.Values // parameters of the body, each at most once but for resource and audience

	Source, RequestID string // the caller's address, and the request's id, for the audit log

	Proof Proof // the keys that the client has proved to have in this request
	Bind  Proof // those of them that the issued token is to be bound to

	Until time.Time // when what proved the client expires: nothing issued lives longer; zero: no bound

	Trace *Trace // filled in by the grant, also where it fails; never nil
}

// Proof is keys by their base64url SHA-256; empty: not proved.
type Proof struct {
	JKT string // of a DPoP proof (RFC 9449 §6.1)
	X5T string // of the certificate of the connection (RFC 8705 §3.1)
}

// Trace is what the audit line of a refusal says of whom the request was for.
type Trace struct {
	Subject, TokenID, Txn, Server, Tool string
}

// Client is what a grant may know of the authenticated client.
type Client struct {
	ID           string
	Confidential bool     // has proven who it is
	GrantTypes   []string // what it may ask for
	Scope        []string // the most it may be granted
}

// TokenResponse is the success response of RFC 6749 §5.1 with RFC 8693 §2.2.1.
type TokenResponse struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type,omitempty"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"` // seconds
	RefreshToken    string `json:"refresh_token,omitempty"`
	Scope           string `json:"scope"`
}
