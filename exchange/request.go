package exchange

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

// request is a checked request at the token endpoint.
type request struct {
	client   identity.ClientID
	own      token.Scope // the most that the client may be granted; zero: what its tokens say
	source   string
	id       string // of the HTTP request
	proof    token.Confirmation
	bind     token.Confirmation
	resource oauth.Resource
	server   string // the name of the resource
	scope    string // as sent
	parties
	call *call // nil: a delegated access token is wanted
}

// call is the authorization_details of a tool token.
type call struct {
	scope     token.CallScope
	arguments jsontext.Value
	digest    string // of the arguments
}

func (e *Exchanger) parse(ctx context.Context, r oauth.TokenRequest) (request, error) {
	if !r.Client.Confidential {
		return request{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "token exchange is for confidential clients only"}
	}
	client, err := identity.ParseClientID(r.Client.ID)
	if err != nil {
		return request{}, err
	}
	own, err := token.ParseScope(strings.Join(r.Client.Scope, " "))
	if err != nil || len(r.Client.Scope) > 0 && own.IsZero() {
		return request{}, errScope(err)
	}
	q := request{client: client, own: own, source: r.Source, id: r.RequestID, scope: r.Form.Get("scope"), proof: token.Confirmation(r.Proof), bind: token.Confirmation(r.Bind)}
	if err := checkTypes(r.Form.Get); err != nil {
		return request{}, err
	}
	if !q.bind.ProvenBy(q.proof) {
		return request{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "the token cannot be bound to a key that was not proved", Cause: token.ErrUnproven}
	}
	if q.resource, err = e.target(r.Form["resource"], r.Form["audience"]); err != nil {
		return request{}, err
	}
	q.server = e.cfg.Servers[q.resource]
	if err := e.thawed(q.server); err != nil {
		return request{}, err
	}
	if q.parties, err = e.parties(ctx, r.Form, q); err != nil {
		return request{}, err
	}
	q.until = first(q.until, r.Until)
	if r.Trace != nil {
		r.Trace.Subject, r.Trace.TokenID, r.Trace.Txn, r.Trace.Server = q.subject.Subject().String(), q.subject.ID(), q.subject.Txn(), q.server
	}
	if !slices.Contains(q.leadsTo, q.resource) {
		return request{}, oauth.ErrInvalidTarget()
	}
	if r.Form.Has("authorization_details") {
		q.call, err = parseCall(r.Form.Get("authorization_details"), q)
	}
	if r.Trace != nil && q.call != nil {
		r.Trace.Tool = q.call.scope.Tool()
	}
	return q, err
}

// first is the earlier of two bounds, of which zero is none.
func first(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// checkTypes holds the request to what is supported (RFC 8693 §2.1).
func checkTypes(param func(string) string) error {
	switch {
	case (param("actor_token") == "") != (param("actor_token_type") == ""):
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "actor_token and actor_token_type belong together"}
	case param("actor_token") != "" && param("actor_token_type") != oauth.TokenTypeAccessToken:
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "actor_token must be an access token, with the actor_token_type of one"}
	case param("subject_token") == "" || param("subject_token_type") != oauth.TokenTypeAccessToken:
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token must be an access token, with the subject_token_type of one"}
	case param("requested_token_type") != "" && param("requested_token_type") != oauth.TokenTypeAccessToken:
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "requested_token_type must be that of an access token"}
	}
	return nil
}

// target resolves where the token shall point: one resource, which audience may name
// too, by the server's name or its URI. An upstream's URI is internal, and is answered
// as one that nobody knows: so nobody can exchange their way around the gateway.
func (e *Exchanger) target(resource, audience []string) (oauth.Resource, error) {
	if len(audience) == 0 {
		return e.cfg.Resources.One(resource)
	}
	target, ok := e.named[audience[0]]
	if !ok {
		target, ok = e.cfg.Resources.Public(audience[0])
	}
	if !ok || len(audience) > 1 {
		return oauth.Resource{}, oauth.ErrInvalidTarget()
	}
	if len(resource) == 0 {
		return target, nil
	}
	if same, err := e.cfg.Resources.One(resource); err != nil || same != target {
		return oauth.Resource{}, oauth.ErrInvalidTarget()
	}
	return target, nil
}

// thawed answers a server that is frozen as one that nobody knows.
func (e *Exchanger) thawed(server string) error {
	if e.cfg.Freezes == nil {
		return nil
	}
	err := e.cfg.Freezes.Server(server)
	if errors.Is(err, revocation.ErrFrozen) {
		return oauth.ErrInvalidTarget()
	}
	return err
}

// parseCall reads scope and authorization_details (RFC 9396 §2) of a tool token: one
// tool, and one mcp_tool_call with the full arguments, since nobody can decide on a
// digest.
func parseCall(details string, q request) (*call, error) {
	scope, err := token.ParseToolScope(q.scope)
	if err != nil || !q.subject.Scope().Covers(scope) || !q.own.IsZero() && !q.own.Covers(scope) {
		return nil, errScope(err)
	}
	c := &call{scope: scope}
	if c.arguments, err = parseDetails(details, q.server, scope.Tool()); err != nil {
		return nil, err
	}
	if c.digest, err = token.Digest(c.arguments); err != nil {
		return nil, errDetails(err)
	}
	return c, nil
}

func parseDetails(raw, server, tool string) (jsontext.Value, error) {
	var list []struct {
		Type      string         `json:"type"`
		Server    string         `json:"server"`
		Tool      string         `json:"tool"`
		Arguments jsontext.Value `json:"arguments"`
	}
	if err := json.Unmarshal([]byte(raw), &list, json.RejectUnknownMembers(true)); err != nil {
		return nil, errDetails(err)
	}
	if len(list) != 1 {
		return nil, errDetails(errors.New("not exactly one"))
	}
	d := list[0]
	if d.Type != token.DetailsToolCall || d.Server != server || d.Tool != tool || d.Arguments.Kind() != '{' {
		return nil, errDetails(errors.New("type, server, tool or arguments"))
	}
	return d.Arguments, nil
}

func errDetails(cause error) error {
	return &oauth.Error{Code: oauth.InvalidAuthorizationDetails, Cause: cause,
		Description: "authorization_details must be one object of type mcp_tool_call with server and tool as in resource and scope, and the arguments as an object"}
}

func errScope(cause error) error {
	return &oauth.Error{Code: oauth.InvalidScope, Cause: cause,
		Description: "scope goes beyond what the subject_token or the client may have; a tool token needs exactly one tool:NAME"}
}
