package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// token is the token endpoint (RFC 6749 §3.2): authenticate the client, then hand
// over to the one grant that answers the grant_type.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	proof, err := s.checkProof(w, r, PathToken, "token")
	if err != nil {
		return err
	}
	client, form, err := s.authenticated(r, "token")
	if err != nil {
		return err
	}
	trace := &oauth.Trace{}
	req := oauth.TokenRequest{Client: oauth.Client{ID: client.ID.String(), Confidential: client.Confidential(), Scope: client.Scope}, Form: form,
		Source: web.Source(r), RequestID: web.RequestID(r.Context()), Until: client.Until, Trace: trace}
	var resp oauth.TokenResponse
	if req.Proof, req.Bind, err = s.prove(r, client, proof); err == nil {
		resp, err = s.issue(r.Context(), &requestState{client: client, proof: req.Proof, bind: req.Bind, dpop: proof}, req)
	}
	if err != nil {
		return s.denied(r, client, knownGrant(s.grants, form.Get("grant_type")), err, trace)
	}
	return web.WriteJSON(w, http.StatusOK, resp)
}

// authenticated reads the form of an endpoint for clients, and finds the client
// that proves it is the sender.
func (s *Server) authenticated(r *http.Request, action string) (Client, url.Values, error) {
	form, err := parseForm(r)
	if err != nil {
		s.refuse(r, action, err)
		return Client{}, nil, err
	}
	client, err := s.authenticate(r.Context(), r, action, form)
	if err != nil {
		s.refuse(r, action, err)
		return Client{}, nil, err
	}
	return client, form, nil
}

func (s *Server) issue(ctx context.Context, state *requestState, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	c := state.client
	grant, ok := s.grants[r.Form.Get("grant_type")]
	if !ok {
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.UnsupportedGrantType, Description: "grant_type is missing or not one that the metadata lists"}
	}
	if !c.May(r.Form.Get("grant_type")) {
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "the client did not register for this grant_type"}
	}
	if err := s.mayIssue(c.ID, identity.Subject{}); err != nil {
		return oauth.TokenResponse{}, err
	}
	if c.Static {
		if err := state.spendProof(ctx); err != nil {
			return oauth.TokenResponse{}, err
		}
	}
	resp, err := grant.Issue(withState(ctx, state), r)
	if err == nil { // nothing is issued by a proof that was not
		err = state.spendProof(ctx)
	}
	if err != nil {
		return oauth.TokenResponse{}, revokedError(err)
	}
	return resp, nil
}

// parseForm reads an urlencoded body in which no parameter comes twice (RFC 6749
// §3.2) but resource and audience (RFC 8693 §2.1, RFC 8707 §2). Parameters in the
// URL do not count.
func parseForm(r *http.Request) (url.Values, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "Content-Type must be application/x-www-form-urlencoded"}
	}
	if err := r.ParseForm(); err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return nil, err
		}
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is not a well-formed form", Cause: err}
	}
	return r.PostForm, noDuplicates(r.PostForm)
}

func noDuplicates(v url.Values) error {
	for name, values := range v {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return &oauth.Error{Code: oauth.InvalidRequest, Description: "a parameter was sent more than once"}
		}
	}
	return nil
}

// refuse notes a caller that did not prove who it is, or a client, at most one, whose
// word that is. The first of a source is a line, the others are counted.
func (s *Server) refuse(r *http.Request, action string, err error, c ...identity.ClientID) {
	e := audit.Event{Kind: audit.Refusal, Action: action, Decision: "deny", Reason: string(web.Wire(err).Code), Source: web.Source(r), RequestID: web.RequestID(r.Context())}
	if len(c) > 0 {
		e.Client = c[0].String()
	}
	if err := s.cfg.Refusals.Refuse(r.Context(), e); err != nil {
		s.cfg.Log.Error("record refusal", "error", err)
	}
}

// denied notes a request that was made in vain, and returns what to answer. A trace,
// at most one, says for whom it was.
func (s *Server) denied(r *http.Request, c Client, action string, err error, trace ...*oauth.Trace) error {
	code := web.Wire(err).Code
	switch code {
	case oauth.ServerError:
		return err // logged where it is rendered; it may be the audit log itself that failed
	case oauth.AuthorizationPending, oauth.SlowDown:
		return err // a device asks every few seconds, and nothing was refused (RFC 8628 §3.5)
	}
	switch {
	case !c.Confidential(): // it has proven nothing: anybody can send its client_id
		s.refuse(r, action, err)
		return err
	case !c.Static && !granted(trace): // nor much: anybody can register, and then be refused all day
		s.refuse(r, action, err, c.ID)
		return err
	}
	e := audit.Event{Kind: audit.Denial, Action: action, Client: c.ID.String(), Source: web.Source(r),
		Decision: "deny", Reason: string(code)}
	for _, t := range trace {
		e.Subject, e.TokenID, e.Txn, e.Server, e.Tool = t.Subject, t.TokenID, t.Txn, t.Server, t.Tool
	}
	if failed := s.record(r.Context(), e); failed != nil {
		return fmt.Errorf("%w; it was for: %v", failed, err)
	}
	return err
}

// granted reports whether somebody's authorization is behind a request.
func granted(trace []*oauth.Trace) bool { return len(trace) > 0 && trace[0].Txn != "" }

// knownGrant keeps what a client may write into the audit log to our own words.
func knownGrant(grants map[string]Grant, name string) string {
	if _, ok := grants[name]; ok {
		return name
	}
	return "unknown grant_type"
}

// clientCredentials is the grant of RFC 6749 §4.4 with resource (RFC 8707): a
// workload acts for itself, so its client_id is the subject (RFC 9068 §2.2).
type clientCredentials struct{ s *Server }

func (g clientCredentials) Issue(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	return g.issue(ctx, r, oauth.GrantClientCredentials, "")
}

// issue also is for the assertion that proved a workload; reason is then its name there.
func (g clientCredentials) issue(ctx context.Context, r oauth.TokenRequest, grant, reason string) (oauth.TokenResponse, error) {
	c := stateOf(ctx).client
	if !r.Client.Confidential {
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "client_credentials is for confidential clients only"}
	}
	name := c.ID
	if g.s.cfg.Gateways.Clients[c.ID] {
		name = g.s.cfg.Gateways.Presenter
	}
	subject, err := name.Subject()
	if err != nil {
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "the client_id is too long to be a subject"}
	}
	resource, err := g.s.cfg.Resources.One(r.Form["resource"])
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	scope, err := g.s.grantedScope(r.Form.Get("scope"), c, resource)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	txn := rand.Text() // there is no authorization behind it: the transaction begins here
	e := audit.Event{Kind: audit.Token, Action: grant, Subject: subject.String(), Client: c.ID.String(), Txn: txn,
		Resource: resource.String(), Scope: scope.String(), Source: r.Source, Decision: "allow", Reason: reason}
	if err := g.s.record(ctx, e); err != nil {
		return oauth.TokenResponse{}, err
	}
	raw, _, err := g.s.cfg.Minter.Access(token.AccessSpec{Subject: subject, ClientID: name, Audience: resource.String(), Scope: scope, Txn: txn, Lifetime: g.s.lifetime(ctx),
		Confirmation: token.Confirmation(r.Bind)})
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	return g.s.tokenResponse(ctx, raw, scope, "", r.Bind), nil
}

func (s *Server) tokenResponse(ctx context.Context, raw string, scope token.Scope, refresh string, bind oauth.Proof) oauth.TokenResponse {
	return oauth.TokenResponse{AccessToken: raw, TokenType: token.Confirmation(bind).TokenType(), ExpiresIn: int64(s.lifetime(ctx).Seconds()), Scope: scope.String(), RefreshToken: refresh}
}

// lifetime is that of an access token: not beyond what proved its client, so that a
// workload that is no longer one has nothing when its SVID ends.
func (s *Server) lifetime(ctx context.Context) time.Duration {
	return lifetimeOf(s.cfg, stateOf(ctx).client)
}

func lifetimeOf(cfg Config, c Client) time.Duration {
	if left := c.Until.Sub(cfg.Now()); !c.Until.IsZero() && left < cfg.AccessLifetime {
		return left
	}
	return cfg.AccessLifetime
}

// grantedScope is what of the wanted scope can be granted: unknown ones are
// dropped, as RFC 6749 §3.3 allows, because clients ask for openid and the like;
// nothing wanted means the defaults. The answer says what was granted.
func (s *Server) grantedScope(wanted string, c Client, resource oauth.Resource) (token.Scope, error) {
	all := s.cfg.Resources.Scopes(resource)
	if strings.TrimSpace(wanted) == "" {
		wanted = strings.Join(all, " ")
	}
	scope, err := token.ParseScope(wanted)
	if err != nil {
		return token.Scope{}, &oauth.Error{Code: oauth.InvalidScope, Description: "scope is malformed", Cause: err}
	}
	known := slices.DeleteFunc(scope.Fields(), func(f string) bool {
		_, err := token.ParseToolScope(f)
		return (err != nil || s.ours(c)) && !slices.Contains(all, f)
	})
	scope = scope.Intersect(known)
	if len(c.Scope) > 0 {
		scope = scope.Intersect(c.Scope)
	}
	if scope.IsZero() {
		return token.Scope{}, &oauth.Error{Code: oauth.InvalidScope, Description: "none of the scopes can be granted"}
	}
	return scope, nil
}

// fositeGrant is the grants whose state machines are fosite's: authorization_code
// and refresh_token.
type fositeGrant struct{ s *Server }

func (g fositeGrant) Issue(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	stateOf(ctx).refresh = r.Form.Get("refresh_token")
	resp, err := g.redeem(ctx, r)
	id := stateOf(ctx).reused
	if id == "" {
		return resp, err
	}
	if resp, err = g.again(ctx, r); !errors.Is(err, errNoSuccessor) {
		return resp, err
	}
	return oauth.TokenResponse{}, g.s.revoke(ctx, id, r.Source) // somebody has a copy
}

func (g fositeGrant) redeem(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	secret := "code"
	if r.Form.Get("grant_type") == oauth.GrantRefreshToken {
		secret = "refresh_token"
	}
	if r.Form.Get(secret) == "" {
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "code or refresh_token is missing"}
	}
	form := maps.Clone(r.Form)
	form.Del("scope") // ours to narrow; fosite ignores it on refresh
	ar, err := g.s.fosite.NewAccessRequest(ctx, &http.Request{Method: http.MethodPost, PostForm: form, Form: form, Header: http.Header{}}, &session{})
	if err != nil {
		return oauth.TokenResponse{}, wireError(err)
	}
	ses := ar.GetSession().(*session)
	if err := g.narrow(ses, r.Form); err != nil {
		return oauth.TokenResponse{}, err
	}
	a := ses.authorization
	if err := g.s.mayIssueOf(a, r.Trace); err != nil {
		return oauth.TokenResponse{}, err
	}
	if err := stateOf(ctx).spendProof(ctx); err != nil {
		return oauth.TokenResponse{}, err
	}
	var resp fosite.AccessResponder
	err = g.s.cfg.Store.InTx(ctx, func(ctx context.Context) error {
		if resp, err = g.s.fosite.NewAccessResponse(ctx, ar); err != nil {
			return err
		}
		return g.s.record(ctx, audit.Event{Kind: audit.Token, Action: r.Form.Get("grant_type"), Subject: a.Subject.String(), Client: a.ClientID.String(),
			Txn: a.ID, Resource: a.Resource, Scope: ses.scope.String(), Source: r.Source, Decision: "allow"})
	})
	if err != nil {
		return oauth.TokenResponse{}, wireError(err)
	}
	refresh, _ := resp.GetExtra("refresh_token").(string)
	return g.s.tokenResponse(ctx, resp.GetAccessToken(), ses.scope, refresh, r.Bind), nil
}

// narrow applies resource and scope of the request: the same or less than what
// was consented to (RFC 8707 §2.2, RFC 6749 §6).
func (g fositeGrant) narrow(ses *session, form url.Values) error {
	if sent := form["resource"]; len(sent) > 0 {
		resource, err := g.s.cfg.Resources.OneFor(ses.authorization.ClientID.String(), sent)
		if err != nil || resource.String() != ses.authorization.Resource {
			return oauth.ErrInvalidTarget()
		}
	}
	wanted := strings.TrimSpace(form.Get("scope"))
	if wanted == "" || form.Get("grant_type") != oauth.GrantRefreshToken {
		return nil
	}
	scope, err := token.ParseScope(wanted)
	if err != nil || slices.ContainsFunc(scope.Fields(), func(f string) bool { return !ses.scope.Has(f) }) {
		return &oauth.Error{Code: oauth.InvalidScope, Description: "scope goes beyond what was granted", Cause: err}
	}
	ses.scope = scope
	return nil
}

// revoke ends the family of a code or refresh token that came twice (RFC 6749
// §4.1.2, OAuth 2.1 §4.3.1). Whoever sent it cannot prevent that by hanging up.
func (s *Server) revoke(ctx context.Context, id, source string) error {
	ctx = context.WithoutCancel(ctx)
	c := stateOf(ctx).client.ID.String()
	if err := s.cfg.Store.RevokeAuthorization(ctx, id, s.cfg.Now()); err != nil {
		return err
	}
	if err := s.record(ctx, audit.Event{Kind: audit.Denial, Action: "revoke", Client: c, Txn: id, Source: source, Decision: "deny", Reason: "reused"}); err != nil {
		return err
	}
	if err := s.noticed(ctx); err != nil {
		return err
	}
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "this code or refresh token was used before; the authorization has been revoked, log in again"}
}

// wireError is the one map from fosite's errors to the wire: its own codes beyond
// the registered ones do not leave.
func wireError(err error) error {
	var ours *oauth.Error
	if errors.As(err, &ours) {
		return ours
	}
	var theirs *fosite.RFC6749Error
	if !errors.As(err, &theirs) {
		return err
	}
	switch {
	case theirs.ErrorField == fosite.ErrInvalidGrant.ErrorField,
		errors.Is(err, fosite.ErrNotFound): // it was there when fosite first looked, and ended since
		return &oauth.Error{Code: oauth.InvalidGrant, Description: "the code or refresh token, its redirect_uri or its code_verifier is wrong, expired or used", Cause: err}
	case theirs.ErrorField == fosite.ErrInvalidRequest.ErrorField:
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "a parameter is missing or malformed", Cause: err}
	case theirs.ErrorField == fosite.ErrUnauthorizedClient.ErrorField:
		return &oauth.Error{Code: oauth.UnauthorizedClient, Description: "the client did not register for this grant", Cause: err}
	case theirs.ErrorField == fosite.ErrInvalidClient.ErrorField:
		return &oauth.Error{Code: oauth.InvalidClient, Description: "the client is unknown or did not prove who it is", Cause: err}
	}
	return fmt.Errorf("fosite: %s: %w", theirs.DebugField, err) // its Error has the code only, not the cause
}
