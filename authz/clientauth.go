package authz

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// credentials is what a request says of its client, and by what it would prove it:
// at most one of secret, assertion and JWT-SVID.
type credentials struct {
	id, secret string
	assertion  *assertion
	svid       string
}

// AuthMethods lists how clients may authenticate, for the metadata.
func (s *Server) AuthMethods() []string {
	methods := []string{oauth.AuthNone, oauth.AuthBasic, oauth.AuthPost, oauth.AuthPrivateKeyJWT}
	if s.cfg.ClientCAs != nil {
		methods = append(methods, oauth.AuthTLS, oauth.AuthSelfSignedTLS)
	}
	if s.cfg.SVIDs != nil {
		methods = append(methods, oauth.AuthSPIFFEJWT, oauth.AuthSPIFFEX509)
	}
	return methods
}

// authenticate finds the client and has it prove who it is (RFC 6749 §2.3) by the
// method that it registered; a secret may come either way, whichever that is. All
// failures look alike: unknown client, wrong method, wrong proof.
func (s *Server) authenticate(ctx context.Context, r *http.Request, action string, form url.Values) (Client, error) {
	cred, err := parseCredentials(r, form)
	if err != nil {
		return Client{}, err
	}
	if cred.svid != "" {
		return s.checkJWTSVID(ctx, cred)
	}
	c, err := s.claimed(ctx, cred.id, form)
	if err != nil {
		return Client{}, err
	}
	if s.bearsWorkload(r, action, form, cred, c) {
		return s.checkWorkload(ctx, form, cred.id)
	}
	switch {
	case cred.assertion != nil:
		err = s.checkAssertion(ctx, c, *cred.assertion)
	case cred.secret != "":
		err = s.checkSecret(c, cred.secret)
	case c.AuthMethod != oauth.AuthNone:
		err = s.checkCertificate(ctx, cred.id, &c, s.chain(r, c.ID))
	}
	if err == nil && c.ID.IsZero() {
		err = errInvalidClient(ErrNotFound)
	}
	if err != nil {
		return Client{}, err
	}
	return c, nil
}

// chain is what the client proved to have the key of. For a gateway no proxy's word is
// proof: a certificate is no secret, and this client may exchange everybody's tokens.
func (s *Server) chain(r *http.Request, c identity.ClientID) []*x509.Certificate {
	if s.cfg.Gateways.Clients[c] && web.ViaProxy(r) {
		return nil
	}
	return web.ClientChain(r)
}

// claimed finds the client that the request says it comes from. For one that is
// unknown it returns the zero Client: it has no method, so every proof of it fails,
// and fails after the same work as that of a client which is known.
func (s *Server) claimed(ctx context.Context, name string, form url.Values) (Client, error) {
	id, err := identity.ParseClientID(name)
	if err != nil {
		return Client{}, nil
	}
	c, err := s.find(ctx, id, s.documentOf(ctx, id, form))
	if errors.Is(err, ErrNotFound) {
		return Client{}, nil
	}
	return c, err
}

// checkSecret compares in constant time. Secrets have 256 random bits, so one
// SHA-256 is enough, and costs an attacker's flood little.
func (s *Server) checkSecret(c Client, secret string) error {
	sum, now := sha256.Sum256([]byte(secret)), s.cfg.Now()
	current := subtle.ConstantTimeCompare(sum[:], c.SecretHash) == 1
	old := subtle.ConstantTimeCompare(sum[:], c.OldSecretHash) == 1 && now.Before(c.OldSecretExpires)
	switch {
	case c.AuthMethod != oauth.AuthBasic && c.AuthMethod != oauth.AuthPost, !current && !old:
		return errInvalidClient(errors.New("wrong secret"))
	case current && s.cfg.SecretMaxAge > 0 && !now.Before(c.SecretCreated.Add(s.cfg.SecretMaxAge)): // told only to who knows it
		return &oauth.Error{Code: oauth.InvalidClient, Description: "the client secret has expired: rotate it"}
	}
	return nil
}

// parseCredentials reads HTTP Basic, a secret in the body or an assertion, never
// two of them (RFC 6749 §2.3). A certificate may come with each of them, since every
// request of a connection has it: it counts for a client that registered to use it.
func parseCredentials(r *http.Request, form url.Values) (credentials, error) {
	body := credentials{id: form.Get("client_id"), secret: form.Get("client_secret")}
	header := r.Header.Get("Authorization") != ""
	asserted := form.Get("client_assertion") != "" || form.Get("client_assertion_type") != ""
	switch {
	case len(r.Header.Values("Authorization")) > 1, asserted && (header || body.secret != ""):
		return credentials{}, errTwoWays()
	case asserted:
		return asserting(form)
	case header:
		return parseBasic(r, body)
	}
	return body, nil
}

// parseBasic reads the Authorization header. One with an empty secret is what some
// public clients send first.
func parseBasic(r *http.Request, body credentials) (credentials, error) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		return credentials{}, errInvalidClient(errors.New("not Basic"))
	}
	basic := credentials{id: unescape(id), secret: unescape(secret)}
	if body.secret != "" || body.id != "" && body.id != basic.id {
		return credentials{}, errTwoWays()
	}
	return basic, nil
}

// asserting reads a client assertion (RFC 7521 §4.2). Its subject is the client; a
// client_id beside it is optional, and must be the same.
func asserting(form url.Values) (credentials, error) {
	kind, raw := form.Get("client_assertion_type"), form.Get("client_assertion")
	switch {
	case raw != "" && kind == oauth.AssertionJWTSPIFFE:
		return credentials{id: form.Get("client_id"), svid: raw}, nil
	case raw == "" || kind != oauth.AssertionJWTBearer:
		return credentials{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_assertion needs client_assertion_type urn:ietf:params:oauth:client-assertion-type:jwt-bearer, or :jwt-spiffe for a JWT-SVID"}
	}
	a, err := parseAssertion(form.Get("client_assertion"))
	if err != nil {
		return credentials{}, errInvalidClient(err)
	}
	if id := form.Get("client_id"); id != "" && id != a.claims.Subject {
		return credentials{}, errInvalidClient(errors.New("the assertion is another client's"))
	}
	return credentials{id: a.claims.Subject, assertion: &a}, nil
}

func errTwoWays() error {
	return &oauth.Error{Code: oauth.InvalidRequest, Description: "the client authenticated in more than one way"}
}

// unescape undoes the form encoding of RFC 6749 §2.3.1, which many clients leave
// out; our own ids and secrets read the same either way.
func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func errInvalidClient(cause error) error {
	return &oauth.Error{Code: oauth.InvalidClient, Description: "the client is unknown or did not prove who it is", Cause: cause}
}

// documentOf is the digest of the metadata document that the grant in the request
// is bound to, so that what the document says now cannot change what was granted.
func (s *Server) documentOf(ctx context.Context, id identity.ClientID, form url.Values) string {
	if !isDocument(id) {
		return ""
	}
	var a Authorization
	var err error
	switch form.Get("grant_type") { // the one that is redeemed: whoever names another may not choose the document
	case oauth.GrantAuthorizationCode:
		_, a, err = s.cfg.Store.Code(ctx, hash(form.Get("code")))
	case oauth.GrantRefreshToken:
		_, a, err = s.cfg.Store.RefreshToken(ctx, hash(form.Get("refresh_token")))
	case oauth.GrantDeviceCode:
		var d DeviceCode
		d, err = s.cfg.Store.DeviceCode(ctx, hash(form.Get("device_code")))
		a.ClientID, a.Document = d.ClientID, d.Document
	case "": // revocation and introspection
		_, a, err = s.cfg.Store.RefreshToken(ctx, hash(form.Get("token")))
	}
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return unreadable
	case err != nil, a.ClientID != id:
		return ""
	}
	return a.Document
}
