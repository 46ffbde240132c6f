package gateway

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// call is tools/call. Up to and with the question whether the caller may see the
// tool, every refusal is the one answer for an unknown tool.
func (p *passage) call() *rpcError {
	c, err := parseCall(p.msg.params)
	if err != nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(err), reason: "malformed", cause: err}
	}
	if p.msg.params.get("task") != nil {
		return &rpcError{Code: codeInvalidParams, Message: "tasks are not passed through this gateway: call the tool without task", reason: "task"}
	}
	p.event.Tool = truncate(c.name)
	w, e := p.want(c, "")
	if e == nil && w.d.Reason == policies.ReasonApproval {
		defer func() { p.held.release() }() // unless the call is made, and has it
		w, e = p.approve(w)
	}
	switch {
	case e != nil:
		return e
	case !w.d.Allowed():
		return errDenied(w.d)
	}
	if e := p.onlyFor(w.spec); e != nil {
		return e
	}
	t := w.tool
	return p.perform(w.spec, w.d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		return p.relay(ctx, call, t.finish)
	})
}

// wanted is a call that passed steps 3 and 4, and what was decided.
type wanted struct {
	call
	tool *tool
	spec token.CallSpec
	d    policies.Decision
}

// want is steps 3 to 5, where rule is the one by which the call was approved, or empty.
func (p *passage) want(c call, rule string) (wanted, *rpcError) {
	w := wanted{call: c}
	var e *rpcError
	if w.tool, e = p.visible(c); e != nil {
		return w, e
	}
	if p.stateless {
		if e := checkParamHeaders(p.r.Header, w.tool.headers, c.arguments); e != nil {
			return w, e
		}
	}
	t := w.tool // so that w is not captured, and stays off the heap
	p.mirror = func(h http.Header) { mirror(h, t.headers, c.arguments) }
	if w.spec, e = p.spec(c, w.tool); e == nil {
		w.d = p.decideFor(c, rule)
	}
	return w, e
}

func (p *passage) decideFor(c call, rule string) policies.Decision {
	return p.decideOn(policies.Request{Action: policies.ActionCallTool, Tool: c.name, Arguments: c.arguments, DefinitionDigest: p.event.DefinitionDigest, Rule: rule})
}

// visible is step 3. The PDP is asked first, so that a name that the caller may
// not see costs and tells the same whether it exists or not.
func (p *passage) visible(c call) (*tool, *rpcError) {
	scope, err := token.ToolScope(c.name)
	if err != nil {
		return nil, errUnknownTool("bad_tool_name")
	}
	if d := p.decide(policies.ActionCallTool, c.name, nil); !d.Allowed() {
		return nil, errUnknownTool(string(d.Reason))
	}
	if !p.coversTool(scope) {
		return nil, p.stepUp(scope.String())
	}
	if err := p.refresh(); err != nil {
		return nil, errUnavailable(reasonOf(err, "definitions_unavailable"), err)
	}
	t := p.up.catalog.get(c.name)
	if t == nil {
		return nil, errUnknownTool("not_listed_or_not_approved")
	}
	p.event.DefinitionDigest = t.digest
	return t, nil
}

// spec is step 4, the schema, and the digests that bind the call token.
func (p *passage) spec(c call, t *tool) (token.CallSpec, *rpcError) {
	if t.broken != nil {
		return token.CallSpec{}, errUnavailable("schema_unusable", t.broken)
	}
	if err := t.check(c.arguments); err != nil {
		return token.CallSpec{}, &rpcError{Code: codeInvalidParams, Message: "Invalid arguments for " + c.name + ": " + err.Error(), reason: "schema", cause: err}
	}
	digest, err := token.Digest(c.arguments)
	if err != nil {
		return token.CallSpec{}, &rpcError{Code: codeInvalidParams, Message: "Invalid arguments for " + c.name, reason: "malformed", cause: err}
	}
	p.event.ArgumentsDigest = digest
	if p.g.cfg.KeepArguments {
		p.event.Arguments = p.up.Redactor.Arguments(c.arguments)
	}
	scope, err := token.ToolScope(c.name)
	if err != nil {
		return token.CallSpec{}, errUnknownTool("bad_tool_name")
	}
	return token.CallSpec{Scope: scope, Details: token.Details{ArgumentsDigest: digest, DefinitionDigest: t.digest}}, nil
}

// finish is step 9 for the result of a call: it must be what the definition says.
// A good one goes to the client byte for byte.
func (t *tool) finish(_ context.Context, result object) (jsontext.Value, outcome, *rpcError) {
	isError := string(result.get("isError")) == "true"
	if t.output != nil && !isError {
		if err := t.output.Check(result.get("structuredContent")); err != nil {
			return nil, outcome{}, errUnavailable("upstream_output_schema", err)
		}
	}
	if isError {
		return nil, outcome{status: "tool_error"}, nil
	}
	return nil, outcome{status: "ok"}, nil
}
