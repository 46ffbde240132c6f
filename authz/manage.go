package authz

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// update is the body of an update request (RFC 7592 §2.2).
type update struct {
	clientMetadata
	ClientID     string         `json:"client_id"`
	ClientSecret *string        `json:"client_secret"`
	Token        jsontext.Value `json:"registration_access_token"`
	URI          jsontext.Value `json:"registration_client_uri"`
	ExpiresAt    jsontext.Value `json:"client_secret_expires_at"`
	IssuedAt     jsontext.Value `json:"client_id_issued_at"`
}

// manage is the client configuration endpoint (RFC 7592 §2). The registration
// access token stays the same for the life of the client: it is shown to nobody
// but who presents it, and an answer that got lost after a rotation would leave a
// client that nobody can change or remove any more.
func (s *Server) manage(w http.ResponseWriter, r *http.Request) error {
	if ok, err := s.withinQuota(w, r); !ok {
		return err
	}
	c, token, err := s.managed(r)
	if err == nil {
		switch r.Method {
		case http.MethodPut:
			err = s.update(w, r, c, token)
		case http.MethodDelete:
			err = s.remove(w, r, c)
		default:
			err = s.read(w, r, c, token)
		}
	}
	if errors.Is(err, ErrNotFound) { // never was, or was removed in between: no difference to be seen
		err = errBadRegistrationToken()
	}
	if code := web.Wire(err).Code; err != nil && code != oauth.ServerError {
		if code == oauth.InvalidToken {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`) // RFC 6750 §3
		}
		s.refuse(r, "register", err)
	}
	return err
}

func errBadRegistrationToken() error {
	return &oauth.Error{Code: oauth.InvalidToken, Description: "there is no such client, or this is not its registration access token: register again"}
}

// managed is the client that the request is about, if the token is the client's. A
// static client has none.
func (s *Server) managed(r *http.Request) (Client, string, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	id, err := identity.ParseClientID(r.PathValue("id"))
	if err != nil || !strings.EqualFold(scheme, "Bearer") {
		return Client{}, "", ErrNotFound
	}
	c, err := s.cfg.Store.Client(r.Context(), id)
	if err != nil {
		return Client{}, "", err
	}
	if c.Static || subtle.ConstantTimeCompare(hash(token), c.RegistrationHash) != 1 {
		return Client{}, "", ErrNotFound
	}
	return c, token, nil
}

func (s *Server) read(w http.ResponseWriter, r *http.Request, c Client, token string) error {
	if err := s.recordManaged(r, c, "read"); err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, s.registrationOf(c, metadataOf(c), token, ""))
}

// update replaces the registration: what is not sent is as if it had never been
// (RFC 7592 §2.2). It is checked like a new one, by what holds now.
func (s *Server) update(w http.ResponseWriter, r *http.Request, old Client, token string) error {
	m, err := s.parseUpdate(r, old)
	if err != nil {
		return err
	}
	c := m.client()
	c.ID, c.Created, c.Used, c.RegistrationHash = old.ID, old.Created, old.Used, old.RegistrationHash
	secret := ""
	switch {
	case c.hasSecret() && (!old.hasSecret() || s.secretExpired(old)):
		secret = s.newClientSecret(&c)
	case c.hasSecret():
		c.SecretHash, c.SecretCreated = old.SecretHash, old.SecretCreated
		c.OldSecretHash, c.OldSecretExpires = old.OldSecretHash, old.OldSecretExpires
	}
	if err := s.recordManaged(r, c, "update"); err != nil {
		return err
	}
	if err := s.cfg.Store.ReplaceClient(r.Context(), c); err != nil {
		return fmt.Errorf("update client: %w", err)
	}
	return web.WriteJSON(w, http.StatusOK, s.registrationOf(c, m, token, secret))
}

func (s *Server) parseUpdate(r *http.Request, old Client) (clientMetadata, error) {
	var u update
	if !s.RegistrationOffered() { // or an old client would get what a new one does not
		return u.clientMetadata, errRegistrationOff()
	}
	if err := readMetadata(r, &u); err != nil {
		return u.clientMetadata, err
	}
	switch {
	case u.ClientID != old.ID.String():
		return u.clientMetadata, badMetadata("client_id must be the one that was issued")
	case u.Token != nil, u.URI != nil, u.ExpiresAt != nil, u.IssuedAt != nil:
		return u.clientMetadata, badMetadata("registration_access_token, registration_client_uri, client_secret_expires_at and client_id_issued_at must not be sent")
	case u.ClientSecret != nil && !isSecret(*u.ClientSecret, old.SecretHash):
		return u.clientMetadata, badMetadata("client_secret must be the one that was issued, or be left out")
	}
	return s.complete(u.clientMetadata)
}

// isSecret compares in constant time.
func isSecret(secret string, want []byte) bool {
	return subtle.ConstantTimeCompare(hash(secret), want) == 1
}

// secretExpired reports whether the client needs a new secret to go on.
func (s *Server) secretExpired(c Client) bool {
	return s.cfg.SecretMaxAge > 0 && s.cfg.Now().Sub(c.SecretCreated) >= s.cfg.SecretMaxAge
}

// remove also revokes what the client was granted (RFC 7592 §2.3).
func (s *Server) remove(w http.ResponseWriter, r *http.Request, c Client) error {
	if err := s.recordManaged(r, c, "delete"); err != nil {
		return err
	}
	if err := s.cfg.Store.DeleteClient(r.Context(), c.ID, s.cfg.Now()); err != nil {
		return fmt.Errorf("remove client: %w", err)
	}
	if err := s.noticed(r.Context()); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) recordManaged(r *http.Request, c Client, action string) error {
	return s.record(r.Context(), audit.Event{Kind: audit.Registration, Action: action, Client: c.ID.String(), Source: web.Source(r), Decision: audit.Allow})
}

// metadataOf is what the client registered.
func metadataOf(c Client) clientMetadata {
	m := clientMetadata{Name: c.Name, RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, AuthMethod: c.AuthMethod,
		SigningAlg: c.SigningAlg, JWKS: c.JWKS, JWKSURI: c.JWKSURI, DPoPBound: c.DPoPBound, CertificateBound: c.CertificateBound}
	if c.May(oauth.GrantAuthorizationCode) {
		m.Responses = []string{"code"}
	}
	return m
}
