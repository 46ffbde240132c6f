package authz

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

const (
	maxRedirectURIs = 10
	maxClientName   = 100 // characters
)

// clientMetadata is what a client says of itself (RFC 7591 §2). Unknown metadata
// is ignored, as §2 asks.
type clientMetadata struct {
	Name         string   `json:"client_name,omitempty"`
	RedirectURIs []string `json:"redirect_uris"`
	GrantTypes   []string `json:"grant_types,omitempty"`
	Responses    []string `json:"response_types,omitempty"`
	AuthMethod   string   `json:"token_endpoint_auth_method,omitempty"`
	Scope        string   `json:"scope,omitempty"`
	AppType      string   `json:"application_type,omitempty"`
}

// registration is the response (RFC 7591 §3.2.1): what was issued, which is never
// the client's to say, and what was registered.
type registration struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
	IssuedAt     int64  `json:"client_id_issued_at"`
	ExpiresAt    *int64 `json:"client_secret_expires_at,omitempty"` // 0: never
	clientMetadata
}

// register is dynamic client registration (RFC 7591 §3).
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	c, resp, err := s.parseRegistration(r)
	if err != nil {
		s.refuse(r, "register", err)
		return err
	}
	e := audit.Event{Kind: audit.Registration, Client: c.ID.String(), Source: web.Source(r), Decision: "allow"}
	if err := s.record(r.Context(), e); err != nil {
		return err
	}
	if err := s.cfg.Store.InsertClient(r.Context(), c); err != nil {
		return fmt.Errorf("register client: %w", err)
	}
	return web.WriteJSON(w, http.StatusCreated, resp)
}

func (s *Server) parseRegistration(r *http.Request) (Client, registration, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return Client{}, registration{}, err
	}
	var req clientMetadata
	if err := json.Unmarshal(body, &req); err != nil {
		return Client{}, registration{}, &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "the body must be one JSON object with the metadata of RFC 7591", Cause: err}
	}
	return s.newClient(req)
}

// newClient checks the metadata and completes it to the response.
func (s *Server) newClient(req clientMetadata) (Client, registration, error) {
	if req.AuthMethod == "" {
		req.AuthMethod = oauth.AuthBasic // RFC 7591 §2
	}
	if len(req.GrantTypes) == 0 {
		req.GrantTypes = []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken}
	}
	req.Responses = []string{"code"}
	// What we do not offer to clients that register themselves is dropped, so that a
	// client that lists more than it uses still gets in (RFC 7591 §3.2.1: the
	// response says what was registered).
	req.GrantTypes = slices.DeleteFunc(req.GrantTypes, func(g string) bool {
		return g != oauth.GrantAuthorizationCode && g != oauth.GrantRefreshToken
	})
	if err := s.checkMetadata(req); err != nil {
		return Client{}, registration{}, err
	}
	now := s.cfg.Now()
	resp := registration{clientMetadata: req, ClientID: newSecret("wg_c_")[:27], IssuedAt: now.Unix()}
	c := Client{Name: req.Name, RedirectURIs: req.RedirectURIs, GrantTypes: req.GrantTypes, AuthMethod: req.AuthMethod, Created: now}
	if c.Confidential() {
		resp.ClientSecret, resp.ExpiresAt = newSecret("wg_cs_"), new(int64)
		c.SecretHash = hash(resp.ClientSecret)
	}
	c.ID = identity.MustClientID(resp.ClientID)
	return c, resp, nil
}

func (s *Server) checkMetadata(req clientMetadata) error {
	if !slices.Contains([]string{oauth.AuthNone, oauth.AuthBasic, oauth.AuthPost}, req.AuthMethod) {
		return badMetadata("token_endpoint_auth_method must be none, client_secret_basic or client_secret_post")
	}
	if !slices.Contains(req.GrantTypes, oauth.GrantAuthorizationCode) {
		return badMetadata("grant_types must include authorization_code")
	}
	if len(req.RedirectURIs) == 0 || len(req.RedirectURIs) > maxRedirectURIs {
		return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: "redirect_uris must have one to ten entries"}
	}
	for _, u := range req.RedirectURIs {
		if err := checkRedirectURI(u, s.cfg.CustomSchemes); err != nil {
			return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: "each of redirect_uris must be https, or http on localhost, 127.0.0.1 or [::1], without fragment and user information", Cause: err}
		}
	}
	if !utf8.ValidString(req.Name) || utf8.RuneCountInString(req.Name) > maxClientName || strings.ContainsFunc(req.Name, unprintable) {
		return badMetadata("client_name must be at most 100 printable characters")
	}
	if _, err := token.ParseScope(req.Scope); err != nil {
		return badMetadata("scope is malformed")
	}
	return nil
}

func badMetadata(description string) error {
	return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: description}
}

// unprintable also catches characters that turn text around on the consent page.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }

func checkRedirectURI(s string, custom []string) error {
	if slices.Contains(custom, s) {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	switch _, err := url.ParseQuery(u.RawQuery); {
	case err != nil: // or it would lose what is malformed on the way back
		return err
	case strings.Contains(s, "#"), u.User != nil, u.Opaque != "", len(s) > 2048, strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }):
		return errors.New("fragment, user information or odd characters")
	case !validHost(u.Hostname()):
		return errors.New("no host, or one of odd characters")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("neither https nor loopback http")
}

// validHost keeps to what names and addresses are made of: the host goes into a
// Content-Security-Policy, where ; and * mean something.
func validHost(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._:", r))
	})
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// matchRedirect finds the registered redirect URI that the request means: to the
// letter, and for loopback http with any port (RFC 8252 §7.3, OAuth 2.1 §2.3.1).
// It returns the URI to send the browser to, and false when there is none.
func matchRedirect(registered []string, sent string) (string, bool) {
	if sent == "" && len(registered) == 1 {
		return registered[0], true
	}
	if slices.Contains(registered, sent) {
		return sent, true
	}
	u, err := url.Parse(sent)
	if err != nil || checkRedirectURI(sent, nil) != nil || !strings.HasPrefix(sent, "http://") {
		return "", false
	}
	return sent, slices.ContainsFunc(registered, func(r string) bool {
		v, err := url.Parse(r)
		return err == nil && withoutPort(v) == withoutPort(u)
	})
}

func withoutPort(u *url.URL) string {
	v := *u
	v.Host = v.Hostname()
	return v.String()
}
