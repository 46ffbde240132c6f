package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Federation knows which other issuers are trusted, and for what. What it refuses is
// told to nobody but the log.
type Federation interface {
	// Grants reports whether anybody's identity assertions are taken, Workloads whether
	// anybody's workloads are.
	Grants() bool
	Workloads() bool

	// Both doors return an *oauth.Error for what they refuse. Grant verifies an identity assertion for the client. The Scope is zero where the
	// assertion says nothing of it. That its jti counts once is for the caller to see to.
	Grant(ctx context.Context, raw string, client identity.ClientID, proof token.Confirmation) (token.Foreign, oauth.Resource, error)

	// Workload verifies what a platform says of a workload, and returns the client that it
	// is here, and its name there.
	Workload(ctx context.Context, raw string) (client identity.ClientID, name string, err error)

	// Owns reports whether only another issuer may give that name.
	Owns(name string) bool
}

// GrantProfiles lists the profiles of the grants, for the metadata.
func (s *Server) GrantProfiles() []string {
	if s.cfg.Federation == nil || !s.cfg.Federation.Grants() {
		return nil
	}
	return []string{oauth.ProfileIDJAG}
}

// federated reports whether there is anybody to bring an assertion.
func (s *Server) federated() bool {
	f := s.cfg.Federation
	return f != nil && (f.Grants() || f.Workloads())
}

// bearsWorkload reports whether the assertion of the request is all that is to prove its
// client: at the token endpoint, with this grant, from nobody or from a client that is
// configured to prove itself so, and with nothing else that proves. A certificate comes
// with every request of a connection, and does not count.
func (s *Server) bearsWorkload(r *http.Request, action string, form url.Values, cred credentials, c Client) bool {
	return action == "token" && s.federated() && form.Get("grant_type") == oauth.GrantJWTBearer &&
		len(r.Header.Values("Authorization")) == 0 && cred.secret == "" && cred.assertion == nil && cred.svid == "" &&
		(cred.id == "" || c.AuthMethod == oauth.AuthWorkload)
}

// checkWorkload finds the client that the assertion proves (SEP-1933). A client_id beside
// it is optional, and must be the same.
func (s *Server) checkWorkload(ctx context.Context, form url.Values, name string) (Client, error) {
	if form.Get("assertion") == "" {
		return Client{}, errNoAssertion()
	}
	id, _, err := s.cfg.Federation.Workload(ctx, form.Get("assertion"))
	if err != nil {
		return Client{}, s.unlessUnknown(ctx, err)
	}
	c, err := s.cfg.Store.Client(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return Client{}, s.badAssertion(ctx, errors.New("its client is not configured"))
	case err != nil:
		return Client{}, err
	case c.AuthMethod != oauth.AuthWorkload || !c.Static:
		return Client{}, s.badAssertion(ctx, errors.New("its client proves itself in another way"))
	case name != "" && name != id.String():
		return Client{}, s.badAssertion(ctx, errors.New("client_id is another client's"))
	}
	return c, nil
}

// badAssertion is the one answer to every assertion that is not taken (RFC 7523 §3.1).
func (s *Server) badAssertion(ctx context.Context, cause error) error {
	s.cfg.Log.InfoContext(ctx, "assertion refused", "cause", cause)
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "the assertion is not one that this server takes from this client, or was used before", Cause: cause}
}

// unlessUnknown is badAssertion, but where nobody could tell.
func (s *Server) unlessUnknown(ctx context.Context, err error) error {
	var refusal *oauth.Error
	if !errors.As(err, &refusal) {
		return err
	}
	return s.badAssertion(ctx, err)
}

func errNoAssertion() error {
	return &oauth.Error{Code: oauth.InvalidRequest, Description: "assertion is missing"}
}

// jwtBearer is the grant of RFC 7523 §2.1: for a client that proved itself, an identity
// assertion of its person's IdP; for a workload, the assertion that proved it.
type jwtBearer struct{ s *Server }

func (g jwtBearer) Issue(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	c := stateOf(ctx).client
	switch {
	case !r.Client.Confidential: // draft-ietf-oauth-identity-assertion-authz-grant §9.1
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "jwt-bearer is for clients that prove who they are, and for workloads"}
	case r.Form.Get("assertion") == "":
		return oauth.TokenResponse{}, errNoAssertion()
	case c.AuthMethod == oauth.AuthWorkload:
		return g.workload(ctx, r, c)
	}
	return g.person(ctx, r, c)
}

// workload issues what client_credentials would. The assertion is verified again: what is
// issued does not depend on who called.
func (g jwtBearer) workload(ctx context.Context, r oauth.TokenRequest, c Client) (oauth.TokenResponse, error) {
	id, name, err := g.s.cfg.Federation.Workload(ctx, r.Form.Get("assertion"))
	if err != nil {
		return oauth.TokenResponse{}, g.s.unlessUnknown(ctx, err)
	}
	if id != c.ID {
		return oauth.TokenResponse{}, g.s.badAssertion(ctx, errors.New("another workload's"))
	}
	if len(r.Form["resource"]) == 0 { // even where there is only one (SEP-1933)
		return oauth.TokenResponse{}, oauth.ErrInvalidTarget()
	}
	return clientCredentials(g).issue(ctx, r, oauth.GrantJWTBearer, name)
}

// person issues an access token, and no refresh token: the IdP is asked again each time,
// which is where access ends (Enterprise-Managed Authorization §1.1). The token has an
// authorization behind it, so that it is revoked like any other.
func (g jwtBearer) person(ctx context.Context, r oauth.TokenRequest, c Client) (oauth.TokenResponse, error) {
	f, resource, err := g.s.cfg.Federation.Grant(ctx, r.Form.Get("assertion"), c.ID, token.Confirmation(r.Proof))
	if err != nil {
		return oauth.TokenResponse{}, g.s.unlessUnknown(ctx, err)
	}
	r.Trace.Subject, r.Trace.TokenID = f.Subject.String(), f.ID
	if sent := r.Form["resource"]; len(sent) > 0 {
		if asked, err := g.s.cfg.Resources.One(sent); err != nil || asked != resource {
			return oauth.TokenResponse{}, g.s.badAssertion(ctx, errors.New("resource of the request is another than the assertion's"))
		}
	}
	scope, err := g.s.assertedScope(r.Form.Get("scope"), f.Scope, c)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	a, err := authorizationOf(c, Person{Subject: f.Subject, Groups: f.Groups, Claims: f.Claims, AuthTime: f.AuthTime, ACR: f.ACR}, resource, scope.String())
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	now := g.s.cfg.Now()
	a.ID, a.Created, a.Expires = rand.Text(), now, now.Add(g.s.cfg.AccessLifetime)
	if err := g.s.mayIssueOf(a, r.Trace); err != nil { // the assertion is not spent by that
		return oauth.TokenResponse{}, err
	}
	if err := g.spend(ctx, f, a, r.Source); errors.Is(err, ErrExists) {
		return oauth.TokenResponse{}, g.s.badAssertion(ctx, errors.New("the assertion was used before"))
	} else if err != nil {
		return oauth.TokenResponse{}, err
	}
	cnf := f.Confirmation.And(token.Confirmation(r.Bind)) // what the assertion is bound to has been proved
	raw, _, err := g.s.cfg.Minter.Access(token.AccessSpec{Subject: a.Subject, ClientID: a.ClientID, Audience: a.Resource, Scope: scope, Txn: a.ID,
		AuthTime: a.AuthTime, Lifetime: g.s.lifetime(ctx), Groups: f.Groups, Claims: f.Claims, ACR: f.ACR,
		Confirmation: cnf, From: f.ID})
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	return g.s.tokenResponse(ctx, raw, scope, "", oauth.Proof(cnf)), nil
}

// spend makes the jti count once, for as long as the assertion would be good by any
// replica's clock, and with it stores and records what is granted: all of it, or nothing.
func (g jwtBearer) spend(ctx context.Context, f token.Foreign, a Authorization, source string) error {
	return g.s.cfg.Store.InTx(ctx, func(ctx context.Context) error {
		until := f.Expiry.Add(2 * assertionSkew * time.Second)
		if err := g.s.cfg.Store.InsertTicket(ctx, TicketGrant, TicketKey(f.Issuer, f.ID), []byte{}, a.Created, until); err != nil {
			return err
		}
		if err := g.s.cfg.Store.InsertAuthorization(ctx, a); err != nil {
			return err
		}
		if err := g.s.cfg.Store.UseClient(ctx, a.ClientID, a.Created); err != nil {
			return err
		}
		return g.s.record(ctx, audit.Event{Kind: audit.Token, Action: oauth.GrantJWTBearer, Subject: a.Subject.String(), Client: a.ClientID.String(),
			Txn: a.ID, TokenID: f.ID, Resource: a.Resource, Scope: a.Scope, Source: source, Decision: "allow", Reason: "asserted by " + f.Issuer})
	})
}

// assertedScope is what of the wanted scope the assertion and the client have. An
// assertion that says nothing of scope leaves it to the other two, and one that does is
// what is wanted where the request says nothing.
func (s *Server) assertedScope(wanted string, asserted token.Scope, c Client) (token.Scope, error) {
	if asserted.IsZero() {
		return s.grantedScope(wanted, c, oauth.Resource{})
	}
	if wanted == "" {
		wanted = asserted.String()
	}
	scope, err := s.grantedScope(wanted, c, oauth.Resource{}) // of an MCP server: no other can be asserted
	if err != nil {
		return token.Scope{}, err
	}
	var covered []string
	for _, f := range scope.Fields() {
		if one, err := token.ParseScope(f); err == nil && asserted.CoversAll(one) {
			covered = append(covered, f)
		}
	}
	if scope = scope.Intersect(covered); scope.IsZero() {
		return token.Scope{}, &oauth.Error{Code: oauth.InvalidScope, Description: "the assertion has none of the scopes that were asked for"}
	}
	return scope, nil
}
