package gateway

import (
	"context"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// The one answer for what does not exist and for what the caller may not see.
func errUnknownPrompt(reason string) *rpcError {
	return &rpcError{Code: codeInvalidParams, Message: "Unknown prompt", reason: reason}
}

func (p *passage) errUnknownResource(reason string) *rpcError {
	e := &rpcError{Code: codeInvalidParams, Message: "Resource not found", reason: reason}
	if !p.stateless {
		e.Code = codeNoResource
	}
	return e
}

// read is resources/read, and in the session era resources/subscribe and unsubscribe.
func (p *passage) read() *rpcError {
	uri := text(p.msg.params.get("uri"))
	if err := p.msg.params.only("uri", "_meta", "inputResponses", "requestState"); err != nil || uri == "" {
		return &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), reason: "malformed", cause: err}
	}
	p.event.URI = truncate(uri)
	d := p.decideOn(policies.Request{Action: policies.ActionReadResource, Resource: uri})
	if !d.Allowed() && !onlyNeeds(d) {
		return p.errUnknownResource(string(d.Reason))
	}
	if !p.Scope().Covers(token.ResourceScope()) {
		return p.stepUp(oauth.ScopeResources)
	}
	if !d.Allowed() {
		return errDenied(d)
	}
	spec := token.CallSpec{Scope: token.ResourceScope(), Details: token.Details{Resource: uri}}
	return p.perform(spec, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) { return p.relay(ctx, call, p.private) })
}

// private is step 9 for what was read for one caller.
func (p *passage) private(_ context.Context, result object) (jsontext.Value, outcome, *rpcError) {
	out := outcome{status: "ok"}
	if !p.stateless || p.msg.method != "resources/read" {
		return nil, out, nil
	}
	return result.with(member{"cacheScope", quote("private")}, member{"ttlMs", boundedTTL(result.get("ttlMs"))}), out, nil
}

// prompt is prompts/get.
func (p *passage) prompt() *rpcError {
	c, err := parseCall(p.msg.params)
	if err != nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(err), reason: "malformed", cause: err}
	}
	p.event.Prompt = truncate(c.name)
	scope, err := token.PromptScope(c.name)
	if err != nil {
		return errUnknownPrompt("bad_prompt_name")
	}
	if d := p.decideOn(policies.Request{Action: policies.ActionGetPrompt, Prompt: c.name}); !d.Allowed() {
		return errUnknownPrompt(string(d.Reason))
	}
	if !p.Scope().Covers(scope) {
		return p.stepUp(oauth.ScopePrompts)
	}
	d := p.decideOn(policies.Request{Action: policies.ActionGetPrompt, Prompt: c.name, Arguments: c.arguments})
	if !d.Allowed() {
		return errDenied(d)
	}
	digest, err := token.Digest(c.arguments)
	if err != nil {
		return &rpcError{Code: codeInvalidParams, Message: "Invalid arguments for " + c.name, reason: "malformed", cause: err}
	}
	p.event.ArgumentsDigest = digest
	spec := token.CallSpec{Scope: scope, Details: token.Details{Prompt: c.name, ArgumentsDigest: digest}}
	return p.perform(spec, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) { return p.relay(ctx, call, p.private) })
}

// completion is completion/complete, which is decided as what it completes: who may not
// use a prompt or a template learns nothing of its arguments.
func (p *passage) completion() *rpcError {
	ref, err := readObject(orEmpty(p.msg.params.get("ref")))
	if err == nil {
		err = errors.Join(p.msg.params.only("ref", "argument", "context", "_meta"), ref.only("type", "name", "uri", "title"))
	}
	if err != nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), reason: "malformed", cause: err}
	}
	q, unknown, covered := policies.Request{}, errUnknownPrompt, false
	switch text(ref.get("type")) {
	case "ref/prompt":
		q = policies.Request{Action: policies.ActionGetPrompt, Prompt: text(ref.get("name"))}
		p.event.Prompt = truncate(q.Prompt)
		scope, err := token.PromptScope(q.Prompt)
		covered = err == nil && p.Scope().Covers(scope)
	case "ref/resource":
		q, unknown = policies.Request{Action: policies.ActionReadResource, Template: text(ref.get("uri"))}, p.errUnknownResource
		p.event.URI = truncate(q.Template)
		covered = p.Scope().Covers(token.ResourceScope())
	default:
		return &rpcError{Code: codeInvalidParams, Message: `ref.type must be "ref/prompt" or "ref/resource"`, reason: "malformed"}
	}
	d := p.decideOn(q)
	if !d.Allowed() || !covered {
		return unknown(string(d.Reason))
	}
	return p.inSession(d)
}

// inSession relays what is decided already, or needs no more than a session.
func (p *passage) inSession(d policies.Decision) *rpcError {
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		return p.relay(ctx, call, p.private)
	})
}

// setLevel is logging/setLevel.
func (p *passage) setLevel() *rpcError {
	levels := []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}
	if !slices.Contains(levels, text(p.msg.params.get("level"))) {
		return &rpcError{Code: codeInvalidParams, Message: "level must be one of debug, info, notice, warning, error, critical, alert, emergency", reason: "malformed"}
	}
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	return p.inSession(d)
}
