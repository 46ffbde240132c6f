package authz

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// authorizeRequest is a checked authorization request (RFC 6749 §4.1.1).
type authorizeRequest struct {
	query       url.Values // as it came, or as it was pushed
	client      Client
	redirectURI string // where errors and the code go: registered
	state       string
	resource    oauth.Resource
	scope       token.Scope
	challenge   string
	prompt      []string
	acr         []string      // acr_values: any of these (RFC 9470 §4)
	maxAge      time.Duration // of the login (RFC 9470 §4), if hasMaxAge
	hasMaxAge   bool
	began       time.Time        // when the browser brought it
	key         string           // a login for this very request carries it
	id          string           // of the page that was posted
	shownTo     identity.Subject // who saw the consent page that was posted
	shown       string           // Digest of the client as it was shown there
	device      []byte           // hash of the device code that it is for; then there is no redirect
	userCode    string           // that the device shows
	ours        bool             // of this server's own client, see Server.ours
}

// redirectError is an error that the client's redirect URI is told of (RFC 6749
// §4.1.2.1); any other error stays with the person at the browser.
type redirectError struct {
	request *authorizeRequest
	err     *oauth.Error
}

// errDeclined is the cause of the error that a person's own decision is.
var errDeclined = errors.New("declined")

func (e *redirectError) Error() string { return e.err.Error() }
func (e *redirectError) Unwrap() error { return e.err }

// authorize is the authorization endpoint: check, then login, then consent.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	if strings.HasPrefix(q.Get("request_uri"), requestURIPrefix) {
		return s.authorizePushed(w, r, q)
	}
	req, err := s.parseAuthorize(r.Context(), q)
	if err != nil {
		return err
	}
	s.begin(req)
	return s.proceed(w, r, req, s.browser(w, r))
}

// parseQuery reads the query of a page, in which no parameter comes twice.
func parseQuery(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the query is malformed", Cause: err}
	}
	return q, noDuplicates(q)
}

// begin notes that a request came, from now on until the person has answered it.
func (s *Server) begin(req *authorizeRequest) { req.began, req.key = s.cfg.Now(), rand.Text() }

// proceed takes a request one step further: to a page, to the IdP, or back to the
// client.
func (s *Server) proceed(w http.ResponseWriter, r *http.Request, req *authorizeRequest, b string) error {
	if s.cfg.Login == nil && len(s.cfg.InsecureUsers) == 0 {
		return &oauth.Error{Code: oauth.AccessDenied, Description: "nobody can log in here, because login is not configured on this server: ask its operator (workloads use client_credentials)"}
	}
	person, ok := s.session(r, b)
	if err := req.suffices(person, ok); err != nil {
		switch {
		case slices.Contains(req.prompt, "none"):
			return req.fail(oauth.LoginRequired, "the person must log in")
		case ok && person.For == req.key: // once more would be no better
			return err
		}
		return s.beginLogin(w, r, req, b)
	}
	known, err := s.consented(r.Context(), req, person)
	switch {
	case err != nil:
		return err
	case known && !slices.Contains(req.prompt, "consent"):
		return s.answer(w, r, req, person)
	case slices.Contains(req.prompt, "none"):
		return req.fail(oauth.ConsentRequired, "the person must be asked")
	}
	return s.showConsent(w, r, req, b, person)
}

// suffices reports what is missing in a login for the request: recent enough
// (max_age, prompt) and good enough (acr_values).
func (r *authorizeRequest) suffices(person login, ok bool) error {
	again := slices.Contains(r.prompt, "login") || slices.Contains(r.prompt, "select_account")
	switch {
	case !ok, again && person.For != r.key:
		return r.fail(oauth.LoginRequired, "the person must log in")
	case r.hasMaxAge && person.AuthTime.Before(r.began.Add(-r.maxAge).Truncate(time.Second)): // auth_time has whole seconds
		return r.fail(oauth.UnmetAuthenticationRequirements, "the login is older than max_age")
	case len(r.acr) > 0 && !slices.Contains(r.acr, person.ACR):
		return r.fail(oauth.UnmetAuthenticationRequirements, "the login is of another kind than acr_values")
	}
	return nil
}

// parseAuthorize checks the request. Until client and redirect URI are known to
// belong together, nothing is sent to the redirect URI.
func (s *Server) parseAuthorize(ctx context.Context, q url.Values) (*authorizeRequest, error) {
	if err := noDuplicates(q); err != nil {
		return nil, err
	}
	id, err := identity.ParseClientID(q.Get("client_id"))
	if err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_id is missing or malformed"}
	}
	c, err := s.resolve(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "this application is not registered here: it must register again"}
	} else if err != nil {
		return nil, err
	}
	return s.parseFor(c, q)
}

// parseFor is parseAuthorize for a client that is known already.
func (s *Server) parseFor(c Client, q url.Values) (*authorizeRequest, error) {
	uri, ok := matchRedirect(c.RedirectURIs, q.Get("redirect_uri"))
	if !ok || s.ours(c) && !slices.Contains(c.RedirectURIs, uri) { // no other port: that is another program's
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "redirect_uri is not one that this application registered"}
	}
	req := &authorizeRequest{query: q, client: c, ours: s.ours(c), redirectURI: uri, state: q.Get("state"), challenge: q.Get("code_challenge"),
		prompt: strings.Fields(q.Get("prompt"))}
	return req, s.checkAuthorize(req)
}

// checkAuthorize checks what the client can be told about.
func (s *Server) checkAuthorize(req *authorizeRequest) error {
	q := req.query
	if q.Has("request") || q.Has("request_uri") {
		return req.fail(oauth.InvalidRequest, "request objects are not supported: push the request to the endpoint that the metadata names")
	}
	if q.Get("response_type") != "code" {
		return req.fail(oauth.UnsupportedResponseType, "response_type must be code")
	}
	if m := q.Get("response_mode"); m != "" && m != "query" {
		return req.fail(oauth.InvalidRequest, "response_mode must be query")
	}
	if !req.client.May(oauth.GrantAuthorizationCode) {
		return req.fail(oauth.UnauthorizedClient, "the client did not register for the authorization code grant")
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(req.challenge); q.Get("code_challenge_method") != "S256" || err != nil || len(raw) != 32 ||
		len(req.challenge) != 43 { // the decoder skips line breaks
		return req.fail(oauth.InvalidRequest, "PKCE is required: code_challenge with code_challenge_method S256")
	}
	if jkt := q.Get("dpop_jkt"); jkt != "" && !isThumbprint(jkt) {
		return req.fail(oauth.InvalidRequest, "dpop_jkt must be the SHA-256 thumbprint of a key in base64url")
	}
	if !utf8.ValidString(q.Get("login_hint")) { // it is passed on
		return req.fail(oauth.InvalidRequest, "a parameter that the login needs is not UTF-8")
	}
	if slices.Contains(req.prompt, "none") && len(req.prompt) > 1 {
		return req.fail(oauth.InvalidRequest, "prompt none must stand alone")
	}
	err := req.wants(q)
	if err != nil {
		return err
	}
	if req.resource, err = s.cfg.Resources.OneFor(req.client.ID.String(), q["resource"]); err != nil {
		return req.fail(oauth.InvalidTarget, web.Wire(err).Description)
	}
	if req.scope, err = s.grantedScope(q.Get("scope"), req.client, req.resource); err != nil {
		return req.fail(oauth.InvalidScope, web.Wire(err).Description)
	}
	return nil
}

// wants reads what login is asked for (RFC 9470 §4).
func (r *authorizeRequest) wants(q url.Values) error {
	if !utf8.ValidString(q.Get("acr_values")) { // it is passed on
		return r.fail(oauth.InvalidRequest, "a parameter that the login needs is not UTF-8")
	}
	r.acr = strings.Fields(q.Get("acr_values"))
	if age := q.Get("max_age"); age != "" {
		seconds, err := strconv.ParseUint(age, 10, 31)
		if err != nil {
			return r.fail(oauth.InvalidRequest, "max_age must be a number of seconds")
		}
		r.maxAge, r.hasMaxAge = time.Duration(seconds)*time.Second, true
	}
	if r.device != nil {
		r.query = q // which is all that a page has to carry of it
	}
	return nil
}

func (r *authorizeRequest) fail(code oauth.ErrorCode, description string) error {
	return &redirectError{r, &oauth.Error{Code: code, Description: description}}
}

// redirect sends the browser back to the client.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, req *authorizeRequest, params url.Values) error {
	to, err := s.response(req, params)
	if err != nil {
		return err
	}
	seeOther(w, r, to)
	return nil
}

// seeOther redirects with a GET, whatever the request was (RFC 9700 §4.12).
func seeOther(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// response is the redirect URI with the parameters, with iss (RFC 9207) and with
// the client's state, if it sent one.
func (s *Server) response(req *authorizeRequest, params url.Values) (string, error) {
	u, err := url.Parse(req.redirectURI)
	if err != nil {
		return "", fmt.Errorf("redirect URI of client %s: %w", req.client.ID, err)
	}
	q := u.Query()
	for name, v := range params {
		q[name] = v
	}
	q.Set("iss", s.cfg.Issuer)
	q.Del("state")
	if req.state != "" {
		q.Set("state", req.state)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// redirectError tells the client of an error. Anybody can register a redirect
// URI, so a browser at which nobody has logged in is not sent there unasked: that
// would make us an open redirector (RFC 9700 §4.11.2).
func (s *Server) redirectError(w http.ResponseWriter, r *http.Request, back *redirectError) error {
	if back.request.device != nil {
		s.showError(w, r, back.err, "")
		return nil
	}
	params := url.Values{"error": {string(back.err.Code)}, "error_description": {back.err.Description}}
	if _, ok := s.session(r, s.knownBrowser(r)); ok || back.request.trusted() {
		return s.redirect(w, r, back.request, params)
	}
	to, err := s.response(back.request, params)
	if err != nil {
		return err
	}
	s.showError(w, r, back.err, to)
	return nil
}

// trusted reports whether the redirect goes to the person's own machine, or where
// the operator said.
func (r *authorizeRequest) trusted() bool {
	u, err := url.Parse(r.redirectURI)
	return err == nil && (r.client.Static || u.Scheme != "https" || isLoopback(u.Hostname()))
}
