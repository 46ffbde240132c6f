package exchange

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// child is what both products have in common.
func (e *Exchanger) child(q request) token.Child {
	return token.Child{Audience: q.resource.String(), ClientID: q.client, Actor: &q.actor, Proof: q.proof, Bind: q.bind, Until: q.until}
}

// event is the audit line, which is written before anything is minted.
func (q request) event() audit.Event {
	return audit.Event{Kind: audit.Token, Action: oauth.GrantTokenExchange, Subject: q.subject.Subject().String(), Client: q.client.String(),
		Actors: q.subject.ActorsWith(&q.actor).Chain(), Txn: q.subject.Txn(), TokenID: q.subject.ID(), Source: q.source, RequestID: q.id, Server: q.server,
		Resource: q.resource.String(), Decision: audit.Allow}
}

// ask is the question to the PDP, as the gateway will ask it when the token is presented.
func (e *Exchanger) ask(q request) policies.Request {
	return policies.Request{Subject: q.subject.Subject(), Workload: q.subject.Workload(), ClientID: q.client, Actors: actingClients(q.subject.ActorsWith(&q.actor)),
		Server: q.server, Time: e.cfg.Now(), Bound: !q.subject.Confirmation().And(q.bind).IsZero(), Groups: q.subject.Groups(), Claims: q.subject.Claims(), ACR: q.subject.ACR(), AuthTime: q.subject.AuthTime()}
}

// issueTool is the tool token: bound to the definition that is approved and to the
// arguments that policy allowed.
func (e *Exchanger) issueTool(ctx context.Context, q request) (oauth.TokenResponse, error) {
	definition, d := e.decide(ctx, q)
	if !d.Allowed() || definition == "" {
		return oauth.TokenResponse{}, e.denied(ctx, q, definition, d)
	}
	ev := q.event()
	ev.Tool, ev.Scope, ev.ArgumentsDigest, ev.DefinitionDigest = q.call.scope.Tool(), q.call.scope.String(), q.call.digest, definition
	e.say(&ev, d)
	if err := e.cfg.Audit.Record(ctx, ev); err != nil {
		return oauth.TokenResponse{}, fmt.Errorf("record exchange: %w", err)
	}
	raw, t, err := e.cfg.Minter.Tool(q.subject, token.ToolSpec{Child: e.child(q), Scope: q.call.scope,
		Details: token.Details{Server: q.server, ArgumentsDigest: q.call.digest, DefinitionDigest: definition, PolicyDigest: d.PolicyDigest}})
	if err != nil {
		return oauth.TokenResponse{}, mintError(err)
	}
	return response(raw, t.Verified), nil
}

// decide returns no definition for a tool that is unknown. The PDP is asked about that
// too, so that it costs and tells the same as one that the subject may not call.
func (e *Exchanger) decide(ctx context.Context, q request) (string, policies.Decision) {
	definition, ok := e.cfg.Definitions.Definition(ctx, q.server, q.call.scope.Tool())
	if !ok {
		definition = ""
	}
	r := e.ask(q)
	r.Action, r.Tool, r.Arguments, r.DefinitionDigest = policies.ActionCallTool, q.call.scope.Tool(), q.call.arguments, definition
	return definition, e.cfg.PDP.Decide(ctx, r)
}

// issueDelegated is the delegated access token.
func (e *Exchanger) issueDelegated(ctx context.Context, q request) (oauth.TokenResponse, error) {
	scope, err := q.delegated()
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	d := e.mayDelegate(ctx, q, scope)
	if !d.Allowed() {
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.InvalidScope, Description: "this scope cannot be granted", Cause: fmt.Errorf("policy: %s", d.Reason)}
	}
	ev := q.event()
	ev.Scope = scope.String()
	e.say(&ev, d)
	if err := e.cfg.Audit.Record(ctx, ev); err != nil {
		return oauth.TokenResponse{}, fmt.Errorf("record exchange: %w", err)
	}
	raw, t, err := e.cfg.Minter.Delegate(q.subject, token.DelegateSpec{Child: e.child(q), Scope: scope, Lifetime: e.cfg.Lifetime})
	if err != nil {
		return oauth.TokenResponse{}, mintError(err)
	}
	return response(raw, t.Verified), nil
}

// delegated is the scope: what was asked for, to the letter or not at all; or else all
// that both the subject_token and the client have.
func (q request) delegated() (token.Scope, error) {
	parent := q.subject.Scope()
	wanted, err := token.ParseScope(q.scope)
	switch {
	case err != nil:
		return token.Scope{}, errScope(err)
	case strings.TrimSpace(q.scope) == "" && q.own.IsZero():
		wanted = parent
	case strings.TrimSpace(q.scope) == "":
		wanted = parent.Meet(q.own)
	}
	if wanted.IsZero() || !parent.CoversAll(wanted) || !q.own.IsZero() && !q.own.CoversAll(wanted) {
		return token.Scope{}, errScope(nil)
	}
	return wanted, nil
}

// mayDelegate asks whether the subject may use the server at all with that chain, and
// each tool that the scope names. Scopes that name no tool say nothing that policy
// decides on before there is a call.
func (e *Exchanger) mayDelegate(ctx context.Context, q request, scope token.Scope) policies.Decision {
	r := e.ask(q)
	r.Action = policies.ActionSession
	d := e.cfg.PDP.Decide(ctx, r)
	for _, f := range scope.Fields() {
		tool, err := token.ParseToolScope(f)
		if err != nil || !d.Allowed() {
			continue
		}
		r.Action, r.Tool = policies.ActionCallTool, tool.Tool()
		d = e.cfg.PDP.Decide(ctx, r)
	}
	return d
}

// response always says what was issued (RFC 8693 §2.2.1).
func response(raw string, t token.Verified) oauth.TokenResponse {
	return oauth.TokenResponse{AccessToken: raw, IssuedTokenType: oauth.TokenTypeAccessToken, TokenType: t.Confirmation().TokenType(),
		ExpiresIn: int64(t.Expiry().Sub(t.IssuedAt()) / time.Second), Scope: t.Scope().String()}
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
	case errors.Is(err, token.ErrTooDeep), errors.Is(err, token.ErrMayNotAct):
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: err}
	}
	return rejected(&oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: err}) // revoked, or expired, a moment ago
}
