// Package exchange is the token-exchange service (RFC 8693): it narrows an access
// token to a call token, for the gateway in process and for confidential clients
// at the token endpoint.
//
// What comes out never has more than what went in: the same subject and
// transaction, a chain of actors that only grows, one audience, one tool, at most
// 60 seconds and never beyond the subject token's expiry. It does NOT authenticate
// clients (package authz has) and keeps nothing.
//
// Unsupported, answered with an error: actor_token (RFC 8693 §2.1), several
// resource or audience parameters, subject tokens other than our access tokens
// issued to the very client, products other than a tool token.
package exchange

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// PDP decides whether the call may be made. *policies.PDP is one.
type PDP interface {
	Decide(ctx context.Context, q policies.Request) policies.Decision
	Digest() string
}

// Definitions knows the approved tool definitions.
type Definitions interface {
	// Definition returns the digest of the approved definition, or false.
	Definition(ctx context.Context, server, tool string) (string, bool)
}

// Config is all that an Exchanger needs; every field is required.
type Config struct {
	Issuer      string // ours
	Resources   oauth.Resources
	Servers     map[oauth.Resource]string // the server's name by its public resource
	Verifier    *token.Verifier
	Minter      *token.Minter
	PDP         PDP
	Definitions Definitions
	Audit       audit.Recorder
	Now         func() time.Time
}

// Exchanger exchanges tokens. It is safe for concurrent use.
type Exchanger struct{ cfg Config }

// New makes an Exchanger.
func New(cfg Config) *Exchanger { return &Exchanger{cfg} }

// errNotInternal means that the caller in process aimed at what is no upstream.
var errNotInternal = errors.New("exchange: the audience is not an upstream")

// Call narrows an access token for a call of an upstream. Only the gateway in
// process has this way in: its audiences are internal resources, which nobody can
// ask for at the token endpoint. The caller has decided and recorded.
func (e *Exchanger) Call(_ context.Context, parent token.Access, s token.CallSpec) (token.Call, error) {
	target, err := oauth.ParseResource(s.Audience)
	if err != nil || !e.cfg.Resources.Internal(target) {
		return token.Call{}, errNotInternal
	}
	return e.cfg.Minter.Call(parent, s)
}

// Readdress is the one hop of a tool token that a client presented to the gateway in
// process, which has decided, recorded and spent it.
func (e *Exchanger) Readdress(_ context.Context, t token.Tool, audience string, presenter identity.ClientID) (token.Call, error) {
	target, err := oauth.ParseResource(audience)
	if err != nil || !e.cfg.Resources.Internal(target) {
		return token.Call{}, errNotInternal
	}
	return e.cfg.Minter.Readdress(t, audience, presenter)
}

// request is a checked request at the token endpoint.
type request struct {
	client    identity.ClientID
	resource  oauth.Resource
	server    string
	subject   token.Access
	scope     token.CallScope
	arguments jsontext.Value
	digest    string // of the arguments
}

// Issue answers the token-exchange grant: one tool token, for the server's public
// resource, bound to the full arguments that the client sends in
// authorization_details. It satisfies authz.Grant.
func (e *Exchanger) Issue(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	q, err := e.parse(ctx, r)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	definition, d := e.decide(ctx, q)
	if !d.Allowed() || definition == "" { // one answer for unknown, hidden and denied
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.InvalidScope, Description: "this tool cannot be granted with these arguments",
			Cause: fmt.Errorf("policy: %s", d.Reason)}
	}
	ev := audit.Event{Kind: audit.Token, Action: oauth.GrantTokenExchange, Subject: q.subject.Subject().String(), Client: q.client.String(),
		Actors: q.subject.Actors().Chain(), Txn: q.subject.Txn(), TokenID: q.subject.ID(), Source: r.Source, Server: q.server, Tool: q.scope.Tool(),
		Resource: q.resource.String(), Scope: q.scope.String(), ArgumentsDigest: q.digest, DefinitionDigest: definition, PolicyDigest: d.PolicyDigest,
		Decision: "allow", Reason: string(d.Reason), Rule: d.Rule}
	if err := e.cfg.Audit.Record(ctx, ev); err != nil {
		return oauth.TokenResponse{}, fmt.Errorf("record exchange: %w", err)
	}
	actor := token.ActorOf(e.cfg.Issuer, q.client)
	raw, tool, err := e.cfg.Minter.Tool(q.subject, token.ToolSpec{Child: token.Child{Audience: q.resource.String(), ClientID: q.client, Actor: &actor}, Scope: q.scope,
		Details: token.Details{Server: q.server, ArgumentsDigest: q.digest, DefinitionDigest: definition, PolicyDigest: d.PolicyDigest}})
	if err != nil {
		return oauth.TokenResponse{}, mintError(err)
	}
	return oauth.TokenResponse{AccessToken: raw, IssuedTokenType: oauth.TokenTypeAccessToken, TokenType: "Bearer",
		ExpiresIn: int64(tool.Expiry().Sub(tool.IssuedAt()).Seconds()), Scope: q.scope.String()}, nil
}

func (e *Exchanger) parse(ctx context.Context, r oauth.TokenRequest) (request, error) {
	if !r.Client.Confidential {
		return request{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "token exchange is for confidential clients only"}
	}
	client, err := identity.ParseClientID(r.Client.ID)
	if err != nil {
		return request{}, err
	}
	q := request{client: client}
	if err := checkTypes(r.Form.Get); err != nil {
		return request{}, err
	}
	if q.resource, err = e.target(r.Form["resource"], r.Form["audience"]); err != nil {
		return request{}, err
	}
	q.server = e.cfg.Servers[q.resource]
	if q.subject, err = e.subjectToken(ctx, r.Form.Get("subject_token"), q); err != nil {
		return request{}, err
	}
	if q.scope, err = token.ParseToolScope(r.Form.Get("scope")); err != nil || !q.subject.Scope().Covers(q.scope) || !mayAsk(r.Client, q.scope) {
		return request{}, &oauth.Error{Code: oauth.InvalidScope, Description: "scope must be one tool:NAME that the subject_token covers", Cause: err}
	}
	if q.arguments, err = parseDetails(r.Form.Get("authorization_details"), q); err != nil {
		return request{}, err
	}
	if q.digest, err = token.Digest(q.arguments); err != nil {
		return request{}, errDetails(err)
	}
	return q, nil
}

// mayAsk holds the client to its own scope, which may have been narrowed since
// the subject_token was issued. A client without one is bound by its tokens only.
func mayAsk(c oauth.Client, s token.CallScope) bool {
	scope, err := token.ParseScope(strings.Join(c.Scope, " "))
	return len(c.Scope) == 0 || err == nil && scope.Covers(s)
}

// checkTypes holds the request to what is supported (RFC 8693 §2.1).
func checkTypes(param func(string) string) error {
	switch {
	case param("actor_token") != "" || param("actor_token_type") != "":
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "actor_token is not supported"}
	case param("subject_token") == "" || param("subject_token_type") != oauth.TokenTypeAccessToken:
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token must be an access token, with the subject_token_type of one"}
	case param("requested_token_type") != "" && param("requested_token_type") != oauth.TokenTypeAccessToken:
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "requested_token_type must be that of an access token"}
	}
	return nil
}

// target resolves where the token shall point. An upstream's URI is internal, and
// is answered as one that nobody knows: so nobody can exchange their way around
// the gateway.
func (e *Exchanger) target(resource, audience []string) (oauth.Resource, error) {
	if len(audience) > 0 {
		return oauth.Resource{}, oauth.ErrInvalidTarget()
	}
	return e.cfg.Resources.One(resource)
}

// subjectToken verifies the subject_token: an access token of ours for the same
// resource, issued to the client that now presents it. Everything else is
// invalid_request (RFC 8693 §2.2.2), worded alike.
func (e *Exchanger) subjectToken(ctx context.Context, raw string, q request) (token.Access, error) {
	t, err := e.cfg.Verifier.ParseAccess(ctx, raw, q.resource.String(), token.Confirmation{})
	if err == nil && t.ClientID() != q.client {
		err = errors.New("issued to another client")
	}
	if err != nil {
		return token.Access{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: err}
	}
	return t, nil
}

// parseDetails reads authorization_details (RFC 9396 §2): one mcp_tool_call with
// the full arguments, since nobody can decide on a digest.
func parseDetails(raw string, q request) (jsontext.Value, error) {
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
	if d.Type != token.DetailsToolCall || d.Server != q.server || d.Tool != q.scope.Tool() || d.Arguments.Kind() != '{' {
		return nil, errDetails(errors.New("type, server, tool or arguments"))
	}
	return d.Arguments, nil
}

func errDetails(cause error) error {
	return &oauth.Error{Code: oauth.InvalidAuthorizationDetails, Cause: cause,
		Description: "authorization_details must be one object of type mcp_tool_call with server and tool as in resource and scope, and the arguments as an object"}
}

func (e *Exchanger) decide(ctx context.Context, q request) (string, policies.Decision) {
	definition, ok := e.cfg.Definitions.Definition(ctx, q.server, q.scope.Tool())
	if !ok {
		return "", policies.Decision{}
	}
	return definition, e.cfg.PDP.Decide(ctx, policies.Request{Subject: q.subject.Subject(), ClientID: q.subject.ClientID(), Workload: q.subject.Workload(), Actors: actingClients(q.subject.Actors()),
		Action: policies.ActionCallTool, Server: q.server, Tool: q.scope.Tool(), Arguments: q.arguments, DefinitionDigest: definition, Time: e.cfg.Now(),
		Groups: q.subject.Groups(), Claims: q.subject.Claims(), ACR: q.subject.ACR(), AuthTime: q.subject.AuthTime()})
}

func actingClients(a *token.Actor) (ids []identity.ClientID) {
	for ; a != nil; a = a.Act {
		ids = append(ids, a.ClientID)
	}
	return ids
}

func mintError(err error) error {
	switch {
	case errors.Is(err, token.ErrNotCovered):
		return &oauth.Error{Code: oauth.InvalidScope, Description: "scope goes beyond the subject_token", Cause: err}
	case errors.Is(err, token.ErrTooDeep), errors.Is(err, token.ErrExpired):
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: err}
	}
	return err
}
