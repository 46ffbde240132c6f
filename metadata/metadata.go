// Package metadata serves the documents by which a standard client finds its way:
// protected resource metadata (RFC 9728), authorization server metadata (RFC
// 8414, and the same at OpenID Connect's address) and the JWKS (RFC 7517).
//
// It knows nothing of how tokens are issued: what it says is handed in. It
// fetches nothing yet (client ID metadata documents).
package metadata

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// PathJWKS is where the keys are, below the issuer.
const PathJWKS = "/oauth2/jwks"

// AuthorizationServer is the document of RFC 8414 §2.
type AuthorizationServer struct {
	Issuer                 string   `json:"issuer"`
	AuthorizationEndpoint  string   `json:"authorization_endpoint"`
	TokenEndpoint          string   `json:"token_endpoint"`
	RegistrationEndpoint   string   `json:"registration_endpoint"`
	JWKSURI                string   `json:"jwks_uri"`
	ScopesSupported        []string `json:"scopes_supported"`
	ResponseTypes          []string `json:"response_types_supported"`
	ResponseModes          []string `json:"response_modes_supported"`
	GrantTypes             []string `json:"grant_types_supported"`
	TokenAuthMethods       []string `json:"token_endpoint_auth_methods_supported"`
	CodeChallengeMethods   []string `json:"code_challenge_methods_supported"`
	AuthorizationDetails   []string `json:"authorization_details_types_supported"`          // RFC 9396 §10
	IssInResponseSupported bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 §3
}

// ProtectedResource is the document of RFC 9728 §2.
type ProtectedResource struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	JWKSURI              string   `json:"jwks_uri,omitempty"`
	ScopesSupported      []string `json:"scopes_supported"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name,omitempty"`
}

// Config is what the documents say.
type Config struct {
	Server    AuthorizationServer
	Resources []ProtectedResource
	JWKS      func() any // the current key set
}

// Register adds the documents to mux. Every other well-known path answers 404. It
// fails for resources that cannot be told apart by their paths.
func Register(mux *http.ServeMux, cfg Config) error {
	server, err := json.Marshal(cfg.Server)
	if err != nil {
		return err
	}
	get(mux, "/.well-known/oauth-authorization-server", document(server))
	get(mux, "/.well-known/openid-configuration", document(server))
	resources, err := resourceDocuments(cfg.Resources)
	if err != nil {
		return err
	}
	for at, doc := range resources {
		get(mux, at, document(doc))
	}
	get(mux, PathJWKS, func(w http.ResponseWriter, _ *http.Request) {
		doc, err := json.Marshal(cfg.JWKS())
		if err != nil {
			_ = web.WriteJSON(w, http.StatusInternalServerError, &oauth.Error{Code: oauth.ServerError})
			return
		}
		write(w, doc)
	})
	return nil
}

const pathResource = "/.well-known/oauth-protected-resource"

// resourceDocuments are the documents of the resources by their paths (RFC 9728 §3.1).
func resourceDocuments(resources []ProtectedResource) (map[string][]byte, error) {
	docs := map[string][]byte{}
	for _, r := range resources {
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
		if len(resources) == 1 { // with several, the root form would name the wrong one
			docs[pathResource] = doc
		}
	}
	return docs, nil
}

func get(mux *http.ServeMux, path string, h http.HandlerFunc) {
	mux.Handle("GET "+path, web.Public(h))
	mux.Handle("OPTIONS "+path, web.Public(h))
}

func document(doc []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { write(w, doc) }
}

// write lets caches keep the document for a minute: a rotated key is known that soon.
func write(w http.ResponseWriter, doc []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	_, _ = w.Write(doc) // fails only when the client has gone
}
