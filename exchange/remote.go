package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Gateways are the gateways of other processes: clients who alone may aim at upstreams.
type Gateways struct {
	// Clients are who they are. Each proves it by what nobody can replay.
	Clients map[identity.ClientID]bool

	// Presenter is the client_id of call tokens, whichever gateway presents them: an
	// upstream need not know how many processes there are.
	Presenter identity.ClientID

	// Spend makes a tool token count once, over all gateways: it reports false for one
	// that was spent before, and fails when it cannot tell.
	Spend func(ctx context.Context, jti string, until time.Time) (bool, error)
}

// spentMargin is how long after its expiry a token stays spent, for clocks that differ.
const spentMargin = time.Minute

// gatewayCall is a checked request of a gateway for a call token. The caller's token is
// an access token, or a tool token that says itself what the call is.
type gatewayCall struct {
	client, source, id string
	access             token.Access
	tool               *token.Tool
	spec               token.CallSpec
	server             string
}

// upstreamOf is the upstream that a gateway of ours aims at. Whoever else names one is
// answered as if there were none (see target).
func (e *Exchanger) upstreamOf(r oauth.TokenRequest) (oauth.Resource, bool) {
	client, err := identity.ParseClientID(r.Client.ID)
	if err != nil || !e.cfg.Gateways.Clients[client] || !r.Client.Confidential || len(r.Form["resource"]) != 1 || r.Form.Has("audience") {
		return oauth.Resource{}, false
	}
	target, err := oauth.ParseResource(r.Form.Get("resource"))
	return target, err == nil && e.cfg.Resources.Internal(target)
}

// issueCall is Call and Readdress over HTTP: the gateway has decided and recorded, and
// what it says of that goes into the call token as it would in process. The subject
// token is verified here once more, and the line here is written before anything is
// minted.
func (e *Exchanger) issueCall(ctx context.Context, r oauth.TokenRequest, upstream oauth.Resource) (oauth.TokenResponse, error) {
	q, err := e.parseGateway(ctx, r, upstream)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	if err := e.cfg.Audit.Record(ctx, q.event()); err != nil {
		return oauth.TokenResponse{}, fmt.Errorf("record exchange: %w", err)
	}
	call, err := e.mintFor(ctx, q)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	return response(call.Bearer(), call.Verified), nil
}

func (e *Exchanger) mintFor(ctx context.Context, q gatewayCall) (call token.Call, err error) {
	if q.tool == nil {
		call, err = e.Call(ctx, q.access, q.spec)
	} else {
		if err := e.spend(ctx, *q.tool); err != nil {
			return token.Call{}, err
		}
		call, err = e.readdress(*q.tool, q.spec)
	}
	if err != nil {
		return token.Call{}, mintError(err)
	}
	return call, nil
}

// spend also holds between gateways that share no store.
func (e *Exchanger) spend(ctx context.Context, t token.Tool) error {
	first, err := e.cfg.Gateways.Spend(ctx, t.ID(), t.Expiry().Add(spentMargin))
	switch {
	case err != nil:
		return fmt.Errorf("spend tool token: %w", err)
	case !first:
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: errSpent}
	}
	return nil
}

var errSpent = errors.New("the tool token was spent before")

func (e *Exchanger) parseGateway(ctx context.Context, r oauth.TokenRequest, upstream oauth.Resource) (gatewayCall, error) {
	public, err := e.calledAt(ctx, r, upstream)
	if err != nil {
		return gatewayCall{}, err
	}
	q := gatewayCall{client: r.Client.ID, source: r.Source, id: r.RequestID, server: e.cfg.Servers[public]}
	q.spec = token.CallSpec{Audience: upstream.String(), Presenter: e.cfg.Gateways.Presenter, Until: r.Until}
	if err := checkTypes(r.Form.Get); err != nil {
		return q, err
	}
	if r.Form.Has("actor_token") {
		return q, &oauth.Error{Code: oauth.InvalidRequest, Description: "a gateway is never an actor"}
	}
	if err := e.thawed(q.server); err != nil {
		return q, err
	}
	err = e.vouched(ctx, r.Form.Get("subject_token"), public.String(), &q)
	if all := e.cfg.All; errors.Is(err, token.ErrAudience) && !all.IsZero() {
		err = e.vouched(ctx, r.Form.Get("subject_token"), all.String(), &q)
	}
	if err != nil {
		return q, rejected(&oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: err})
	}
	of := q.verified()
	if r.Trace != nil {
		r.Trace.Subject, r.Trace.TokenID, r.Trace.Txn, r.Trace.Server = of.Subject().String(), of.ID(), of.Txn(), q.server
	}
	if q.tool == nil {
		return q, q.parseSpec(r.Form.Get("scope"), r.Form.Get("authorization_details"))
	}
	if r.Form.Has("scope") || r.Form.Has("authorization_details") {
		return q, &oauth.Error{Code: oauth.InvalidRequest, Description: "a tool token says itself what the call is"}
	}
	q.spec.Details = q.tool.Details()
	q.spec.Scope, err = token.ParseCallScope(of.Scope().String())
	return q, err
}

// calledAt is the public resource of the server that is called: the only one that the
// upstream stands for, or, where it is Vault, the one that the call names. That proves
// nothing: the token of the caller must be for that resource, and the call of that server.
func (e *Exchanger) calledAt(ctx context.Context, r oauth.TokenRequest, upstream oauth.Resource) (oauth.Resource, error) {
	if one := e.cfg.Upstreams[upstream]; len(one) == 1 {
		return one[0], nil
	}
	details, refusal := e.saysOfCall(ctx, r)
	if len(details) == 1 {
		if public, ok := e.behind(upstream, details[0].Server); ok {
			return public, nil
		}
	}
	return oauth.Resource{}, refusal
}

// saysOfCall is what a request says that the call is: in the details, or by its tool token.
// The error is for one that says nothing that can be.
func (e *Exchanger) saysOfCall(ctx context.Context, r oauth.TokenRequest) (details []token.Details, refusal error) {
	if r.Form.Has("authorization_details") {
		err := json.Unmarshal([]byte(r.Form.Get("authorization_details")), &details)
		return details, errDetails(errors.Join(errAnotherServer, err))
	}
	t, err := e.cfg.Verifier.ParseIssued(ctx, r.Form.Get("subject_token"))
	if err == nil {
		err = fmt.Errorf("%w: %w", token.ErrAudience, errAnotherServer)
	}
	return t.Details(), rejected(&oauth.Error{Code: oauth.InvalidRequest, Description: "subject_token rejected", Cause: err})
}

// vouched verifies the token of a caller, for the resource at which it was presented.
// The keys that it is bound to were proved to the gateway, by whose word that is: they
// cannot be proved to anybody who was not called.
func (e *Exchanger) vouched(ctx context.Context, raw, audience string, q *gatewayCall) error {
	t, err := e.cfg.Verifier.ParseIssued(ctx, raw)
	if err != nil {
		return err
	}
	q.access, err = e.cfg.Verifier.ParseAccess(ctx, raw, audience, t.Confirmation())
	if !errors.Is(err, token.ErrType) {
		return err
	}
	tool, err := e.cfg.Verifier.ParseTool(ctx, raw, audience, t.Confirmation())
	q.tool = &tool
	return err
}

func (q gatewayCall) verified() token.Verified {
	if q.tool != nil {
		return q.tool.Verified
	}
	return q.access.Verified
}

// parseSpec reads what the call is: one scope, and one details of it.
func (q *gatewayCall) parseSpec(scope, details string) error {
	var list []token.Details
	if err := json.Unmarshal([]byte(details), &list, json.RejectUnknownMembers(true)); err != nil {
		return errDetails(err)
	}
	var err error
	if q.spec.Scope, err = token.ParseCallScope(scope); err != nil || !q.access.Scope().Covers(q.spec.Scope) {
		return errScope(err)
	}
	if len(list) != 1 {
		return errDetails(errors.New("not exactly one"))
	}
	d := list[0]
	if d.Server != q.server || !q.spec.Scope.Fits(d) {
		return errDetails(errors.New("type, server, what is called, or arguments_digest"))
	}
	q.spec.Details = d
	return nil
}

// event is the audit line: the subject, who acts for it, and the gateway as the client
// that asked.
func (q gatewayCall) event() audit.Event {
	of, d := q.verified(), q.spec.Details
	return audit.Event{Kind: audit.Token, Action: oauth.GrantTokenExchange, Subject: of.Subject().String(), Client: q.client, Actors: of.Actors().Chain(),
		Txn: of.Txn(), TokenID: of.ID(), Source: q.source, RequestID: q.id, Server: q.server, Tool: d.Tool, Prompt: d.Prompt, URI: d.Resource, ArgumentsDigest: d.ArgumentsDigest,
		DefinitionDigest: d.DefinitionDigest, PolicyDigest: d.PolicyDigest, Approval: d.Approval, Resource: q.spec.Audience, Scope: q.spec.Scope.String(),
		Decision: audit.Allow, Reason: "a gateway decided"}
}
