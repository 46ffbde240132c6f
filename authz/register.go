package authz

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// registration is the response (RFC 7591 §3.2.1, RFC 7592 §3): what was issued,
// which is never the client's to say, and what was registered.
type registration struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
	IssuedAt     int64  `json:"client_id_issued_at"`
	ExpiresAt    *int64 `json:"client_secret_expires_at,omitempty"` // 0: never
	Token        string `json:"registration_access_token"`
	URI          string `json:"registration_client_uri"`
	clientMetadata
}

// RegistrationOffered reports whether clients may register themselves.
func (s *Server) RegistrationOffered() bool { return !s.cfg.Registration.Off }

func errRegistrationOff() error {
	return &oauth.Error{Code: oauth.AccessDenied, Description: "clients cannot register themselves here: ask the operator to configure this client, or use the URL of a client metadata document as client_id if the server metadata offers that"}
}

// register is dynamic client registration (RFC 7591 §3).
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if ok, err := s.withinQuota(w, r); !ok {
		return err
	}
	m, err := s.parseRegistration(r)
	if err != nil {
		s.refuse(r, "register", err)
		return err
	}
	if ok, err := s.room(r.Context()); err != nil {
		return fmt.Errorf("register client: %w", err)
	} else if !ok {
		return s.tooMany(w, r, waitForRoom, &oauth.Error{Code: oauth.TemporarilyUnavailable,
			Description: "too many clients registered and were never used: try again later, or have the operator configure this client"})
	}
	c, resp := s.newClient(m)
	e := audit.Event{Kind: audit.Registration, Client: c.ID.String(), Source: web.Source(r), Decision: "allow"}
	if err := s.record(r.Context(), e); err != nil {
		return err
	}
	if err := s.cfg.Store.InsertClient(r.Context(), c); err != nil {
		return fmt.Errorf("register client: %w", err)
	}
	return web.WriteJSON(w, http.StatusCreated, resp)
}

func (s *Server) parseRegistration(r *http.Request) (clientMetadata, error) {
	var m clientMetadata
	if !s.RegistrationOffered() {
		return m, errRegistrationOff()
	}
	if err := readMetadata(r, &m); err != nil {
		return m, err
	}
	return s.complete(m)
}

// readMetadata reads the body into v, which is or embeds a clientMetadata.
func readMetadata(r *http.Request, v any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "the body must be one JSON object with the metadata of RFC 7591", Cause: err}
	}
	return nil
}

// newClient issues what a new client needs.
func (s *Server) newClient(m clientMetadata) (Client, registration) {
	c := m.client()
	c.ID = identity.MustClientID(newSecret("wg_c_")[:27])
	c.Created = s.cfg.Now()
	token := newSecret("wg_rat_")
	c.RegistrationHash = hash(token)
	secret := ""
	if c.hasSecret() {
		secret = s.newClientSecret(&c)
	}
	return c, s.registrationOf(c, m, token, secret)
}

// newClientSecret gives the client a secret, and no other beside it.
func (s *Server) newClientSecret(c *Client) string {
	secret := newSecret("wg_cs_")
	c.SecretHash, c.SecretCreated = hash(secret), s.cfg.Now()
	c.OldSecretHash, c.OldSecretExpires = nil, time.Time{}
	return secret
}

// hasSecret reports whether the client authenticates by a secret.
func (c Client) hasSecret() bool {
	return c.AuthMethod == oauth.AuthBasic || c.AuthMethod == oauth.AuthPost
}

// registrationOf is what the client is told. A secret that it has already is not
// told again, because only its hash is here.
func (s *Server) registrationOf(c Client, m clientMetadata, token, secret string) registration {
	resp := registration{ClientID: c.ID.String(), ClientSecret: secret, IssuedAt: c.Created.Unix(), Token: token,
		URI: s.cfg.Issuer + PathRegister + "/" + c.ID.String(), clientMetadata: m}
	if c.hasSecret() {
		resp.ExpiresAt = new(int64)
		if s.cfg.SecretMaxAge > 0 {
			*resp.ExpiresAt = c.SecretCreated.Add(s.cfg.SecretMaxAge).Unix()
		}
	}
	return resp
}

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
