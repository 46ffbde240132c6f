package authz

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// authorizeRequest is a checked authorization request (RFC 6749 §4.1.1).
type authorizeRequest struct {
	query       url.Values // as it came
	client      Client
	redirectURI string // where errors and the code go: registered
	state       string
	resource    oauth.Resource
	scope       token.Scope
	challenge   string
	prompt      []string
	shownTo     identity.Subject // who saw the consent page that was posted
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
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "the query is malformed", Cause: err}
	}
	req, err := s.parseAuthorize(r.Context(), q)
	if err != nil {
		return err
	}
	if len(s.cfg.InsecureUsers) == 0 {
		return &oauth.Error{Code: oauth.AccessDenied, Description: "nobody can log in here, because login is not configured on this server: ask its operator (workloads use client_credentials)"}
	}
	b := s.browser(w, r)
	login, ok := s.session(r, b)
	switch {
	case slices.Contains(req.prompt, "none"): // consent is asked each time, so this never succeeds
		return req.fail(oauth.LoginRequired, "login and consent need the person")
	case !ok, slices.Contains(req.prompt, "login"):
		return s.showLogin(w, r, req, b)
	}
	return s.showConsent(w, r, req, b, login)
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
	c, err := s.cfg.Store.Client(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "this application is not registered here: it must register again"}
	} else if err != nil {
		return nil, err
	}
	uri, ok := matchRedirect(c.RedirectURIs, q.Get("redirect_uri"))
	if !ok {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "redirect_uri is not one that this application registered"}
	}
	req := &authorizeRequest{query: q, client: c, redirectURI: uri, state: q.Get("state"), challenge: q.Get("code_challenge"), prompt: strings.Fields(q.Get("prompt"))}
	return req, s.checkAuthorize(req)
}

// checkAuthorize checks what the client can be told about.
func (s *Server) checkAuthorize(req *authorizeRequest) error {
	q := req.query
	if q.Has("request") || q.Has("request_uri") {
		return req.fail(oauth.InvalidRequest, "request objects are not supported")
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
	var err error
	if req.resource, err = s.cfg.Resources.One(q["resource"]); err != nil {
		return req.fail(oauth.InvalidTarget, web.Wire(err).Description)
	}
	if req.scope, err = grantedScope(q.Get("scope"), req.client); err != nil {
		return req.fail(oauth.InvalidScope, web.Wire(err).Description)
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
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
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

// login takes the person that was picked on the login page. It proves nothing,
// which is why only InsecureUsers can be picked.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	b := s.browser(w, r)
	req, err := s.pending(r, b)
	if err != nil {
		return err
	}
	subject, err := identity.ParseSubject(r.PostForm.Get("user"))
	if err != nil || !slices.Contains(s.cfg.InsecureUsers, subject) {
		return &oauth.Error{Code: oauth.AccessDenied, Description: "there is no such user"}
	}
	if err := s.notAClient(r.Context(), subject); err != nil {
		return err
	}
	e := audit.Event{Kind: audit.Login, Subject: subject.String(), Client: req.client.ID.String(), Source: web.Source(r), Decision: "allow"}
	if err := s.record(r.Context(), e); err != nil {
		return err
	}
	s.setSession(w, login{Subject: subject, At: s.cfg.Now().Unix(), Browser: b})
	req.query.Del("prompt") // login is done
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, PathAuthorize+"?"+req.query.Encode(), http.StatusSeeOther)
	return nil
}

// notAClient refuses a person whose name is a client's: policy could not tell
// them apart.
func (s *Server) notAClient(ctx context.Context, subject identity.Subject) error {
	id, err := identity.ParseClientID(subject.String())
	if err != nil {
		return nil
	}
	if _, err := s.cfg.Store.Client(ctx, id); err == nil {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "this user has the name of a client and cannot log in"}
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// consent takes the decision from the consent page.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	b := s.browser(w, r)
	req, err := s.pending(r, b)
	if err != nil {
		return err
	}
	person, ok := s.session(r, b)
	if !ok {
		return s.showLogin(w, r, req, b)
	}
	if person.Subject != req.shownTo { // who became somebody else in another tab, or has not seen the page
		return s.showConsent(w, r, req, b, person)
	}
	if err := s.notAClient(r.Context(), person.Subject); err != nil {
		return err
	}
	e := audit.Event{Kind: audit.Consent, Subject: person.Subject.String(), Client: req.client.ID.String(), Resource: req.resource.String(),
		Scope: req.scope.String(), Source: web.Source(r), Decision: "allow"}
	switch r.PostForm.Get("decision") {
	case "approve":
	case "switch":
		s.setSession(w, login{})
		return s.showLogin(w, r, req, b)
	default:
		e.Decision, e.Reason = "deny", "declined"
		if err := s.record(r.Context(), e); err != nil {
			return err
		}
		return &redirectError{req, &oauth.Error{Code: oauth.AccessDenied, Description: "the person declined", Cause: errDeclined}}
	}
	if err := s.record(r.Context(), e); err != nil {
		return err
	}
	code, err := s.newCode(r.Context(), req, person)
	if err != nil {
		return err
	}
	return s.redirect(w, r, req, url.Values{"code": {code}})
}

// newCode has fosite issue the code for what was consented to.
func (s *Server) newCode(ctx context.Context, req *authorizeRequest, person login) (string, error) {
	c := req.client
	c.RedirectURIs = []string{req.redirectURI} // the one that matched, with its port
	ctx = withState(ctx, &requestState{client: c})
	q := url.Values{"client_id": {c.ID.String()}, "redirect_uri": {req.redirectURI}, "response_type": {"code"}, "scope": {req.scope.String()},
		"code_challenge": {req.challenge}, "code_challenge_method": {"S256"}, "state": {"ours"}}
	ar, err := s.fosite.NewAuthorizeRequest(ctx, &http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: q.Encode()}, Form: q, Header: http.Header{}})
	if err != nil {
		return "", wireError(err)
	}
	for _, f := range req.scope.Fields() {
		ar.GrantScope(f)
	}
	ar.SetRequestedAudience(fosite.Arguments{req.resource.String()})
	ar.GrantAudience(req.resource.String())
	ses := &session{scope: req.scope, challenge: req.challenge}
	if req.query.Get("redirect_uri") != "" { // OAuth 2.1 §4.1.3: compared at the token endpoint only if it was sent here
		ses.redirectURI = req.redirectURI
	}
	ses.authorization = Authorization{ClientID: c.ID, Subject: person.Subject, Resource: req.resource.String(), Scope: req.scope.String(), AuthTime: person.time()}
	resp, err := s.fosite.NewAuthorizeResponse(ctx, ar, ses)
	if err != nil {
		return "", wireError(err)
	}
	return resp.GetParameters().Get("code"), nil
}
