package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// consent takes the decision from the consent page.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	form, req, b, err := s.posted(w, r)
	if err != nil {
		return err
	}
	person, ok := s.session(r, b)
	if !ok || person.Subject != req.shownTo || req.client.Digest != req.shown { // somebody else by now, or has not seen this page, or this client
		return s.proceed(w, r, req, b)
	}
	if err := s.notAClient(r.Context(), person.Subject); err != nil {
		return err
	}
	approved := form.Get("decision") == "approve"
	switch {
	case req.device != nil:
		return s.decideDevice(w, r, req, person, approved)
	case approved:
		return s.approve(w, r, req, person)
	}
	e := consentEvent(r, req, person, "")
	e.Decision, e.Reason = "deny", "declined"
	if err := s.record(r.Context(), e); err != nil {
		return err
	}
	return &redirectError{req, &oauth.Error{Code: oauth.AccessDenied, Description: "the person declined", Cause: errDeclined}}
}

// consentEvent is the line of a decision; grant is the authorization that it makes, "" if none.
func consentEvent(r *http.Request, req *authorizeRequest, person login, grant string) audit.Event {
	return audit.Event{Kind: audit.Consent, Subject: person.Subject.String(), Client: req.client.ID.String(), Txn: grant, Resource: req.resource.String(),
		Scope: req.scope.String(), Source: web.Source(r), Decision: "allow"}
}

// errAnswered is the cause of a page's second answer.
var errAnswered = errors.New("answered before")

// approve issues the code for one page, once: a form that was sent twice, by a
// double click, leads to the same code.
func (s *Server) approve(w http.ResponseWriter, r *http.Request, req *authorizeRequest, person login) error {
	grant := rand.Text()
	if err := s.record(r.Context(), consentEvent(r, req, person, grant)); err != nil {
		return err
	}
	key, now := TicketKey(req.id), s.cfg.Now()
	var code string
	err := s.cfg.Store.InTx(r.Context(), func(ctx context.Context) (err error) {
		if code, err = s.newCode(ctx, grant, req, person); err != nil {
			return err
		}
		sealed, err := s.seal(code)
		if err != nil {
			return err
		}
		if err := s.cfg.Store.InsertTicket(ctx, TicketAnswer, key, sealed, now, now.Add(pendingLifetime)); err != nil {
			return errors.Join(errAnswered, err)
		}
		return s.remember(ctx, req, person)
	})
	if errors.Is(err, errAnswered) && errors.Is(err, ErrExists) {
		code, err = s.answered(r.Context(), key)
	}
	if err != nil {
		return err
	}
	return s.redirect(w, r, req, url.Values{"code": {code}})
}

// answered returns the code of the first answer, unless the client has it already:
// then it must not get it twice.
func (s *Server) answered(ctx context.Context, key []byte) (string, error) {
	again := &oauth.Error{Code: oauth.InvalidRequest, Description: "this page was answered before: go back to the application, and connect again if it does not go on by itself", Cause: errAnswered}
	sealed, err := s.cfg.Store.Ticket(ctx, TicketAnswer, key, s.cfg.Now())
	if errors.Is(err, ErrNotFound) {
		return "", again
	} else if err != nil {
		return "", err
	}
	var code string
	if !s.open(sealed, &code) {
		return "", again
	}
	c, _, err := s.cfg.Store.Code(ctx, hash(code))
	switch {
	case err != nil:
		return "", err
	case !c.Used.IsZero() || !s.cfg.Now().Before(c.Expires):
		return "", again
	}
	return code, nil
}

// answer issues a code without asking, for what the person has consented to before.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, req *authorizeRequest, person login) error {
	grant := rand.Text()
	e := consentEvent(r, req, person, grant)
	e.Reason = "remembered"
	if err := s.record(r.Context(), e); err != nil {
		return err
	}
	code, err := s.newCode(r.Context(), grant, req, person)
	if err != nil {
		return err
	}
	return s.redirect(w, r, req, url.Values{"code": {code}})
}

// remember keeps the consent for as long as a grant may live.
func (s *Server) remember(ctx context.Context, req *authorizeRequest, person login) error {
	if !req.assured() {
		return nil
	}
	now := s.cfg.Now()
	err := s.cfg.Store.InsertTicket(ctx, TicketConsent, req.consentKey(person), nil, now, now.Add(s.cfg.AbsoluteLifetime))
	if errors.Is(err, ErrExists) {
		return nil
	}
	return err
}

// consented reports whether the person has consented to just this before.
func (s *Server) consented(ctx context.Context, req *authorizeRequest, person login) (bool, error) {
	if !req.assured() {
		return false, nil
	}
	_, err := s.cfg.Store.Ticket(ctx, TicketConsent, req.consentKey(person), s.cfg.Now())
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// assured reports whether the client is who it says it is: it proves it, or its
// answer goes to a host that only it has. Any program on a person's machine can
// pretend to be a native client, so such a one is asked about each time (RFC 8252
// §8.6); and a code that a device shows may be anybody's (RFC 8628 §5.4).
func (r *authorizeRequest) assured() bool {
	return r.device == nil && (r.client.Confidential() || r.ours || strings.HasPrefix(r.redirectURI, "https://") && !isLoopback(hostOf(r.redirectURI)))
}

// consentKey is what a consent was for; a change of any of it asks again.
func (r *authorizeRequest) consentKey(person login) []byte {
	return TicketKey(person.Subject.String(), r.client.ID.String(), hostOf(r.redirectURI), r.resource.String(),
		strings.Join(slices.Sorted(slices.Values(r.scope.Fields())), " "), r.client.Digest)
}

// hostOf is the host of a URI that was checked.
func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// newCode has fosite issue the code for what was consented to, the authorization grant.
func (s *Server) newCode(ctx context.Context, grant string, req *authorizeRequest, person login) (string, error) {
	c := req.client
	c.RedirectURIs = []string{req.redirectURI} // the one that matched, with its port
	ctx = withState(ctx, &requestState{client: c})
	q := url.Values{"client_id": {c.ID.String()}, "redirect_uri": {req.redirectURI}, "response_type": {"code"}, "scope": {req.scope.String()},
		"code_challenge": {req.challenge}, "code_challenge_method": {"S256"}, "state": {"ours"}}
	ar, err := s.fosite.NewAuthorizeRequest(ctx, &http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: q.Encode()}, Form: q, Header: http.Header{}})
	if err != nil {
		return "", wireError(err)
	}
	ar.SetID(grant)
	for _, f := range req.scope.Fields() {
		ar.GrantScope(f)
	}
	ar.SetRequestedAudience(fosite.Arguments{req.resource.String()})
	ar.GrantAudience(req.resource.String())
	ses := &session{scope: req.scope, challenge: req.challenge, jkt: req.query.Get("dpop_jkt")}
	if req.query.Get("redirect_uri") != "" { // OAuth 2.1 §4.1.3: compared at the token endpoint only if it was sent here
		ses.redirectURI = req.redirectURI
	}
	if ses.authorization, err = authorizationOf(c, person.Person, req.resource, req.scope.String()); err != nil {
		return "", err
	}
	resp, err := s.fosite.NewAuthorizeResponse(ctx, ar, ses)
	if err != nil {
		return "", wireError(err)
	}
	if err := s.cfg.Store.UseClient(ctx, c.ID, s.cfg.Now()); err != nil {
		return "", err
	}
	return resp.GetParameters().Get("code"), nil
}

// authorizationOf is what a person grants to a client, without the times.
func authorizationOf(c Client, p Person, resource oauth.Resource, scope string) (Authorization, error) {
	claims, err := claimsOf(p)
	return Authorization{ClientID: c.ID, Subject: p.Subject, Resource: resource.String(), Scope: scope, AuthTime: p.AuthTime, ACR: p.ACR,
		Claims: claims, Document: c.Digest}, err
}
