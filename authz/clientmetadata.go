package authz

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	maxRedirectURIs = 10
	maxClientName   = 100 // characters
)

// clientMetadata is what a client says of itself (RFC 7591 §2). Unknown metadata
// is ignored, as §2 asks.
type clientMetadata struct {
	Name         string         `json:"client_name,omitempty"`
	RedirectURIs []string       `json:"redirect_uris,omitzero"`
	GrantTypes   []string       `json:"grant_types,omitempty"`
	Responses    []string       `json:"response_types,omitempty"`
	AuthMethod   string         `json:"token_endpoint_auth_method,omitempty"`
	SigningAlg   string         `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKS         jsontext.Value `json:"jwks,omitzero"`
	JWKSURI      string         `json:"jwks_uri,omitempty"`
	Scope        string         `json:"scope,omitempty"`
	AppType      string         `json:"application_type,omitempty"`

	DPoPBound        bool `json:"dpop_bound_access_tokens,omitzero"`                   // RFC 9449 §5.2
	CertificateBound bool `json:"tls_client_certificate_bound_access_tokens,omitzero"` // RFC 8705 §3.4
}

// complete makes of the metadata what will be registered, and checks that: for a
// new client, a changed one, and one known by its document.
func (s *Server) complete(m clientMetadata) (clientMetadata, error) {
	if m.AuthMethod == "" {
		m.AuthMethod = oauth.AuthBasic // RFC 7591 §2
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken}
	}
	// What we do not offer to clients that register themselves is dropped, so that a
	// client that lists more than it uses still gets in (RFC 7591 §3.2.1: the
	// response says what was registered).
	m.GrantTypes = slices.DeleteFunc(m.GrantTypes, func(g string) bool {
		return g != oauth.GrantAuthorizationCode && g != oauth.GrantRefreshToken && g != oauth.GrantDeviceCode
	})
	m.Responses = nil
	if slices.Contains(m.GrantTypes, oauth.GrantAuthorizationCode) {
		m.Responses = []string{"code"} // RFC 7591 §2.1
	}
	if string(m.JWKS) == "null" {
		m.JWKS = nil
	}
	if err := s.checkMetadata(m); err != nil {
		return clientMetadata{}, err
	}
	if m.AuthMethod != oauth.AuthPrivateKeyJWT { // nothing that we use keys for
		m.JWKS, m.JWKSURI, m.SigningAlg = nil, "", ""
	}
	return m, nil
}

// client is the client that the metadata describes, without what we issue.
func (m clientMetadata) client() Client {
	return Client{Name: m.Name, RedirectURIs: m.RedirectURIs, GrantTypes: m.GrantTypes, AuthMethod: m.AuthMethod,
		JWKS: m.JWKS, JWKSURI: m.JWKSURI, SigningAlg: m.SigningAlg, DPoPBound: m.DPoPBound, CertificateBound: m.CertificateBound}
}

func (s *Server) checkMetadata(m clientMetadata) error {
	switch m.AuthMethod {
	case oauth.AuthNone, oauth.AuthBasic, oauth.AuthPost, oauth.AuthPrivateKeyJWT:
	case oauth.AuthTLS, oauth.AuthSelfSignedTLS:
		return badMetadata("a client that authenticates by a certificate cannot register itself: ask the operator to configure it")
	default:
		return badMetadata("token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or private_key_jwt")
	}
	code := slices.Contains(m.GrantTypes, oauth.GrantAuthorizationCode)
	if !code && !slices.Contains(m.GrantTypes, oauth.GrantDeviceCode) {
		return badMetadata("grant_types must include authorization_code or the device_code of RFC 8628")
	}
	if code && len(m.RedirectURIs) == 0 || len(m.RedirectURIs) > maxRedirectURIs {
		return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: "redirect_uris must have one to ten entries"}
	}
	for _, u := range m.RedirectURIs {
		if err := checkRedirectURI(u, s.cfg.CustomSchemes); err != nil {
			return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: "each of redirect_uris must be https, or http on localhost, 127.0.0.1 or [::1], without fragment and user information", Cause: err}
		}
	}
	if !utf8.ValidString(m.Name) || utf8.RuneCountInString(m.Name) > maxClientName || strings.ContainsFunc(m.Name, unprintable) {
		return badMetadata("client_name must be at most 100 printable characters")
	}
	if _, err := token.ParseScope(m.Scope); err != nil {
		return badMetadata("scope is malformed")
	}
	return s.checkKeys(m)
}

// checkKeys also looks at keys that will not be used: a private one that was
// published by mistake is told of, whatever it was for.
func (s *Server) checkKeys(m clientMetadata) error {
	if m.JWKS != nil && hasPrivateKey(m.JWKS) {
		return badMetadata("jwks must hold public keys only: the private ones are known now, so make new ones")
	}
	if m.AuthMethod != oauth.AuthPrivateKeyJWT {
		return nil
	}
	if (m.JWKS == nil) == (m.JWKSURI == "") {
		return badMetadata("private_key_jwt needs jwks or jwks_uri, and not both")
	}
	if m.SigningAlg != "" && !slices.Contains([]string{"RS256", "PS256", "ES256", "EdDSA"}, m.SigningAlg) {
		return badMetadata("token_endpoint_auth_signing_alg must be RS256, PS256, ES256 or EdDSA")
	}
	if m.JWKS != nil {
		if _, err := jws.ParseSet(m.JWKS); err != nil {
			return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "jwks must be a JWK Set with public keys for RS256, PS256, ES256 or EdDSA", Cause: err}
		}
		return nil
	}
	if s.cfg.Fetcher == nil {
		return badMetadata("this server does not fetch keys: send jwks instead of jwks_uri")
	}
	if err := s.checkURL(m.JWKSURI); err != nil {
		return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "jwks_uri must be an https URL with a path, without fragment, user information and dot segments", Cause: err}
	}
	return nil
}

// hasPrivateKey looks for the members of RFC 7518 §6 that no public key has. It
// reads them itself, because a library may skip a key that it does not know.
func hasPrivateKey(jwks []byte) bool {
	var set struct {
		Keys []map[string]jsontext.Value `json:"keys"`
	}
	if json.Unmarshal(jwks, &set) != nil {
		return false // no key set at all
	}
	for _, key := range set.Keys {
		for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
			if _, ok := key[member]; ok {
				return true
			}
		}
	}
	return false
}

func badMetadata(description string) error {
	return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: description}
}

// unprintable also catches characters that turn text around on the consent page.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }
