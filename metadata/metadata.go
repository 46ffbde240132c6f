// Package metadata serves the documents by which a standard client finds its way:
// protected resource metadata (RFC 9728), authorization server metadata (RFC
// 8414, and the same at OpenID Connect's address) and the JWKS (RFC 7517).
//
// It also fetches what clients point at (client ID metadata documents, jwks_uri):
// Fetcher is the only way to a URL that a stranger wrote.
//
// It knows nothing of how tokens are issued: what it says is handed in, and what
// it fetches it does not read.
package metadata

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// PathJWKS is where the keys are, below the issuer.
const PathJWKS = "/oauth2/jwks"

// AuthorizationServer is the document of RFC 8414 §2. What is absent is unsupported.
//
// The same bytes are at OpenID Connect's address, for clients that look only there
// (RFC 8414 §5). They say what is true and no more: OpenID Connect Discovery 1.0 §3
// also requires subject_types_supported and id_token_signing_alg_values_supported,
// but we issue no ID tokens and have nothing to put there. openid-client does not
// miss them. The MCP TypeScript SDK does at that address, which it asks only where
// RFC 8414's, asked first, does not answer: ours does.
type AuthorizationServer struct {
	Issuer                 string   `json:"issuer"`
	AuthorizationEndpoint  string   `json:"authorization_endpoint"`
	TokenEndpoint          string   `json:"token_endpoint"`
	RegistrationEndpoint   string   `json:"registration_endpoint,omitempty"`
	JWKSURI                string   `json:"jwks_uri"`
	ScopesSupported        []string `json:"scopes_supported"`
	ResponseTypes          []string `json:"response_types_supported"`
	ResponseModes          []string `json:"response_modes_supported"`
	GrantTypes             []string `json:"grant_types_supported"`
	GrantProfiles          []string `json:"authorization_grant_profiles_supported,omitempty"` // draft-ietf-oauth-identity-assertion-authz-grant-04 §7.2
	TokenAuthMethods       []string `json:"token_endpoint_auth_methods_supported"`
	CodeChallengeMethods   []string `json:"code_challenge_methods_supported"`
	AuthorizationDetails   []string `json:"authorization_details_types_supported"`          // RFC 9396 §10
	IssInResponseSupported bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 §3

	RevocationEndpoint       string       `json:"revocation_endpoint,omitempty"` // RFC 7009
	RevocationAuthMethods    []string     `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	RevocationSigningAlgs    []string     `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"` // required beside private_key_jwt
	IntrospectionEndpoint    string       `json:"introspection_endpoint,omitempty"`                                // RFC 7662
	IntrospectionAuthMethods []string     `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	IntrospectionSigningAlgs []string     `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"` // required beside private_key_jwt
	TokenAuthSigningAlgs     []string     `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`         // required beside private_key_jwt
	PAREndpoint              string       `json:"pushed_authorization_request_endpoint,omitempty"`                    // RFC 9126 §5
	RequirePAR               bool         `json:"require_pushed_authorization_requests,omitzero"`                     // RFC 9126 §5
	DeviceEndpoint           string       `json:"device_authorization_endpoint,omitempty"`                            // RFC 8628 §4
	CIMDSupported            bool         `json:"client_id_metadata_document_supported,omitzero"`                     // draft-ietf-oauth-client-id-metadata-document-02 §6
	ACRValues                []string     `json:"acr_values_supported,omitempty"`                                     // RFC 9470 §7
	PromptValues             []string     `json:"prompt_values_supported,omitempty"`                                  // Initiating User Registration via OpenID Connect 1.0 §5
	MTLSAliases              *MTLSAliases `json:"mtls_endpoint_aliases,omitempty"`                                    // RFC 8705 §5
	DPoPAlgs                 []string     `json:"dpop_signing_alg_values_supported,omitempty"`                        // RFC 9449 §5.1
	CertificateBound         bool         `json:"tls_client_certificate_bound_access_tokens,omitzero"`                // RFC 8705 §3.3
	ServiceDocumentation     string       `json:"service_documentation,omitempty"`
}

// MTLSAliases is where a client with a certificate goes instead (RFC 8705 §5).
type MTLSAliases struct {
	TokenEndpoint         string `json:"token_endpoint,omitempty"`
	RevocationEndpoint    string `json:"revocation_endpoint,omitempty"`
	IntrospectionEndpoint string `json:"introspection_endpoint,omitempty"`
	PAREndpoint           string `json:"pushed_authorization_request_endpoint,omitempty"`
	DeviceEndpoint        string `json:"device_authorization_endpoint,omitempty"`
}

// ProtectedResource is the document of RFC 9728 §2.
type ProtectedResource struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	JWKSURI              string   `json:"jwks_uri,omitempty"`
	ScopesSupported      []string `json:"scopes_supported"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name,omitempty"`
	DPoPAlgs             []string `json:"dpop_signing_alg_values_supported,omitempty"`
	DPoPRequired         bool     `json:"dpop_bound_access_tokens_required,omitzero"` // and nothing else would do
	CertificateBound     bool     `json:"tls_client_certificate_bound_access_tokens,omitzero"`
}

// Config is what the documents say.
type Config struct {
	Server    AuthorizationServer // zero, as JWKS: that of another process has its own
	Resources []ProtectedResource
	Beside    []ProtectedResource // that are no server: the endpoint over all of them, the console
	JWKS      func() any          // the current key set
}

// Register adds the documents to mux, each at the addresses where clients look for
// it; the issuer has no path. Every other path under /.well-known/ answers 404, for
// a client that gets anything else does not try its next one. Put Exact around mux,
// which would answer some of them itself. Register fails for resources that cannot
// be told apart by their paths.
func Register(mux *http.ServeMux, cfg Config) error {
	resources, err := resourceDocuments(cfg.Resources, cfg.Beside)
	if err != nil {
		return err
	}
	for at, doc := range resources {
		serve(mux, at, fixed(doc))
		serve(mux, at+"/{$}", fixed(doc)) // the other spelling of the resource; the document names the one that counts
	}
	serveNothing(mux)
	return registerServer(mux, cfg)
}

func registerServer(mux *http.ServeMux, cfg Config) error {
	if cfg.JWKS == nil {
		return nil
	}
	server, err := json.Marshal(cfg.Server)
	if err != nil {
		return err
	}
	serve(mux, "/.well-known/oauth-authorization-server", fixed(server))
	serve(mux, "/.well-known/openid-configuration", fixed(server))
	serve(mux, PathJWKS, func() ([]byte, error) { return json.Marshal(cfg.JWKS()) })
	return nil
}

const pathResource = "/.well-known/oauth-protected-resource"

// resourceDocuments are the documents of the resources by their paths (RFC 9728 §3.1).
func resourceDocuments(servers, beside []ProtectedResource) (map[string][]byte, error) {
	docs := map[string][]byte{}
	for i, r := range slices.Concat(servers, beside) {
		doc, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(r.Resource)
		if err != nil {
			return nil, fmt.Errorf("resource %q: %w", r.Resource, err)
		}
		at := pathResource + strings.TrimSuffix(u.EscapedPath(), "/")
		if docs[at] != nil || path.Clean(at) != at { // the mux would panic
			return nil, fmt.Errorf("resource %q: its metadata would be at %s, which is taken or no clean path", r.Resource, at)
		}
		docs[at] = doc
		if i == 0 && len(servers) == 1 { // with several, the root form would name the wrong one
			docs[pathResource] = doc
		}
	}
	return docs, nil
}
