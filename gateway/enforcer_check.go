package gateway

import (
	"net/http"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

// SinceMargin is by how much the issuer's clock may be ahead of ours (package token takes
// as much).
const SinceMargin = 5 * time.Second

// Methods that a token for the session is good for. What is not here has a token of its
// own, or does not pass. A gateway subscribes to resources for all of a session's callers.
var (
	sessionMethods = []string{"initialize", "ping", "server/discover", "subscriptions/listen", "logging/setLevel", "completion/complete",
		"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/subscribe", "resources/unsubscribe"}
	sessionNotices = []string{"notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"}
	resourceUses   = []string{"resources/read", "resources/subscribe", "resources/unsubscribe"}
)

func errAnotherCall(reason string) *rpcError {
	return &rpcError{Code: codeDenied, Message: "the call token is for another call", status: http.StatusForbidden, reason: reason}
}

// check holds the message to the token.
func (h *hop) check() *rpcError {
	d := h.call.Details()
	if d.Type == token.DetailsSession {
		return h.checkSession()
	}
	if h.once = true; !h.cfg.Since.IsZero() && !h.call.IssuedAt().After(h.cfg.Since.Add(SinceMargin)) {
		return &rpcError{Code: codeDenied, Message: "the call token may have been used before this process started: exchange a new one", status: http.StatusForbidden, reason: "token_before_start"}
	}
	if h.msg.response || h.msg.id == nil {
		return errAnotherCall("token_for_another_call")
	}
	switch d.Type {
	case token.DetailsToolCall:
		return h.checkCall(d)
	case token.DetailsPromptGet:
		_, e := h.sameArguments("prompts/get", d.Prompt, d.ArgumentsDigest)
		return e
	case token.DetailsResourceRead:
		if slices.Contains(resourceUses, h.msg.method) && text(h.msg.params.get("uri")) == d.Resource {
			return nil
		}
	}
	return errAnotherCall("token_for_another_call")
}

func (h *hop) checkSession() *rpcError {
	known := sessionMethods
	switch {
	case h.msg.response && !h.leg.stateless:
		return nil
	case h.msg.id == nil && !h.leg.stateless:
		known = sessionNotices
	}
	if !slices.Contains(known, h.msg.method) {
		return errAnotherCall("session_token_for_a_call")
	}
	return nil
}

// sameArguments holds a call to its name and arguments.
func (h *hop) sameArguments(method, name, digest string) (call, *rpcError) {
	c, err := parseCall(h.msg.params)
	if err != nil {
		return c, &rpcError{Code: codeInvalidParams, Message: plain(err), status: http.StatusBadRequest, reason: "malformed", cause: err}
	}
	if h.msg.method != method || c.name != name || h.msg.params.get("task") != nil {
		return c, errAnotherCall("token_for_another_call")
	}
	if got, err := token.Digest(c.arguments); err != nil || got != digest {
		return c, errAnotherCall("other_arguments")
	}
	return c, nil
}

// checkCall is tools/call: this tool by this definition, with these arguments, which fit
// it. A token without a definition is for none that there is.
func (h *hop) checkCall(d token.Details) *rpcError {
	c, e := h.sameArguments("tools/call", d.Tool, d.ArgumentsDigest)
	if e != nil {
		return e
	}
	t, e := h.definition(c.name, d.DefinitionDigest)
	if e != nil {
		return e
	}
	if err := t.check(c.arguments); err != nil {
		return &rpcError{Code: codeInvalidParams, Message: "Invalid arguments for " + c.name + ": " + err.Error(), reason: "schema", cause: err}
	}
	if h.leg.stateless {
		if e := checkParamHeaders(h.r.Header, t.headers, c.arguments); e != nil {
			return e
		}
	}
	h.tool, h.mirror = t, func(to http.Header) { mirror(to, t.headers, c.arguments) }
	return nil
}

// way finds out the era, and the way to the server: in the session that the caller names,
// or without one.
func (h *hop) way() *rpcError {
	var err error
	if h.meta, err = parseMeta(h.msg.params); err != nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), status: http.StatusBadRequest, reason: "malformed", cause: err}
	}
	if stateless(h.r.Header, h.meta) && !h.msg.response {
		h.leg = leg{stateless: true, version: h.meta.version}
		return checkStateless(h.r.Header, h.msg, h.meta)
	}
	return h.inSession()
}

// inSession is the way in the session era.
func (h *hop) inSession() *rpcError {
	version, e := h.one("MCP-Protocol-Version")
	if e == nil && version != "" && !slices.Contains(sessionVersions, version) {
		e = errVersion(version)
	}
	if e != nil {
		return e
	}
	id, e := h.one("Mcp-Session-Id")
	h.leg = leg{version: version, session: id}
	return e
}

// one is a header's one value of visible ASCII, empty where it is not there.
func (h *hop) one(name string) (string, *rpcError) {
	values := h.r.Header.Values(name)
	if len(values) == 0 {
		return "", nil
	}
	if v := visibleASCII(values[0]); len(values) == 1 && v != "" {
		return v, nil
	}
	return "", &rpcError{Code: codeInvalidRequest, Message: name + " is not one value of visible ASCII", status: http.StatusBadRequest, reason: "malformed"}
}

// described adds to the audit event what the token is for.
func (h *hop) described() {
	d := h.call.Details()
	h.event.Server, h.event.Tool, h.event.Prompt, h.event.URI = d.Server, d.Tool, d.Prompt, truncate(d.Resource)
	h.event.ArgumentsDigest, h.event.DefinitionDigest, h.event.PolicyDigest, h.event.Approval = d.ArgumentsDigest, d.DefinitionDigest, d.PolicyDigest, d.Approval
}
