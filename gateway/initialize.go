package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// maxKept bounds what a client says of itself and a session handle keeps, bytes.
const maxKept = 2 << 10

// initializeParams is what of the client's initialize counts.
type initializeParams struct {
	version              string
	client, capabilities jsontext.Value
}

func parseInitialize(params object) (initializeParams, error) {
	p := initializeParams{version: text(params.get("protocolVersion")), client: params.get("clientInfo"), capabilities: params.get("capabilities")}
	if p.capabilities == nil {
		p.capabilities = jsontext.Value("{}")
	}
	if p.version == "" || p.client.Kind() != '{' || p.capabilities.Kind() != '{' {
		return p, errBadParams
	}
	return p, params.only("protocolVersion", "clientInfo", "capabilities", "_meta")
}

// clientCapabilities are those that an upstream is told: what it may ask the client for.
// Tasks and experiments are not passed through.
func clientCapabilities(theirs jsontext.Value) (jsontext.Value, error) {
	o, err := readObject(theirs)
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(o, func(m member) bool { return !slices.Contains([]string{"sampling", "elicitation", "roots"}, m.name) })
	return kept.with(), nil
}

// initialize opens a session: ours with the client, sealed, around the upstream's with
// us.
func (p *passage) initialize() *rpcError {
	params, err := parseInitialize(p.msg.params)
	if err == nil {
		params.capabilities, err = clientCapabilities(params.capabilities)
	}
	if err != nil || p.msg.id == nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), reason: "malformed", cause: err}
	}
	if p.tool != nil || !p.Scope().Covers(token.SessionScope()) {
		return p.stepUp(oauth.ScopeTools)
	}
	if !slices.Contains(sessionVersions, params.version) {
		params.version = sessionVersions[0]
	}
	if p.every() {
		return p.initializeEvery(params)
	}
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	p.nameSession()
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		return p.openSession(ctx, call, params)
	})
}

// openSession opens the session and answers the client.
func (p *passage) openSession(ctx context.Context, call token.Call, params initializeParams) (outcome, *rpcError) {
	opened, failure := p.handshake(ctx, call, params)
	s := session{owner: p.owner(sessionLifetime), Upstream: opened.session, Version: opened.version}
	// A server of the stateless era has no sessions; one of both eras that keeps none for
	// us can ask the client for input in the stateless era only.
	asks := failure == nil && opened.session == "" && string(params.capabilities) != "{}"
	if failure != nil && opened.refused || asks {
		if other, ok := p.translated(ctx, params); ok {
			opened, failure = other, nil
			s = session{owner: p.owner(sessionLifetime), Version: opened.version, Translated: true, Capabilities: bounded(params.capabilities), Info: bounded(params.client)}
		}
	}
	if failure != nil {
		return outcome{}, failure
	}
	s.Name = p.session.Name
	s.URLs = s.Version == sessionVersions[0] && offersURLs(params.capabilities)
	result, redactions, err := p.redactKept(opened.result)
	if err != nil {
		return outcome{}, errRedaction(err)
	}
	handle, err := seal(p.g, kindSession, s)
	if err != nil {
		return outcome{}, errUnavailable("session_unsealable", err)
	}
	return outcome{status: "ok", redactions: redactions, answer: func() {
		p.w.Header().Set("Mcp-Session-Id", handle)
		writeRPC(p.w, p.msg.id, result, nil)
	}}, nil
}

func bounded(v jsontext.Value) jsontext.Value {
	if len(v) > maxKept {
		return nil
	}
	return v
}

// opened is a session with an upstream.
type opened struct {
	session, version string
	result           jsontext.Value // of initialize, as a client may have it
	refused          bool           // the upstream knows no initialize
}

func (o opened) leg() leg { return leg{session: o.session, version: o.version} }

// handshake sends our own initialize.
func (p *passage) handshake(ctx context.Context, call token.Call, params initializeParams) (opened, *rpcError) {
	id := jsontext.Value("1")
	body := envelope(id, "initialize", object{}.with(member{"protocolVersion", quote(params.version)},
		member{"capabilities", orEmpty(params.capabilities)}, member{"clientInfo", params.client}))
	resp, err := p.g.post(ctx, p.up, call, leg{}, outgoing{body: body})
	if err != nil {
		return opened{}, upstreamError(err)
	}
	defer drain(resp)
	if c := resp.StatusCode; c != http.StatusOK {
		refused := c == http.StatusBadRequest || c == http.StatusNotFound || c == http.StatusMethodNotAllowed
		if p.up.command() && c != http.StatusNotFound { // with which one says that it is of the stateless era
			return opened{}, p.up.failure(resp)
		}
		if refused {
			p.up.era.refused()
		}
		return opened{refused: refused}, errUnavailable("upstream_failed", fmt.Errorf("HTTP %d to initialize", c))
	}
	a, err := readAnswer(resp, id, p.up.echoes)
	if err != nil {
		return opened{}, errUnavailable("upstream_malformed", err)
	}
	if a.result == nil {
		return opened{refused: true}, errUnavailable("upstream_malformed", errors.New("initialize was not answered with a result"))
	}
	result, version, err := narrowInitialize(a.result)
	if err != nil {
		return opened{}, errUnavailable("upstream_malformed", err)
	}
	return opened{session: visibleASCII(resp.Header.Get("Mcp-Session-Id")), version: version, result: result}, nil
}

// translated answers initialize for a server of the stateless era, from what that says of
// itself.
func (p *passage) translated(ctx context.Context, params initializeParams) (opened, bool) {
	e, err := p.g.era(ctx, p.up)
	if err != nil || !e.stateless {
		return opened{}, false
	}
	o, err := readObject(e.discover)
	if err != nil {
		return opened{}, false
	}
	offered, err := narrowCapabilities(o.get("capabilities"), "subscribe", "logging")
	if err != nil {
		return opened{}, false
	}
	return opened{version: params.version, result: object{}.with(member{"protocolVersion", quote(params.version)}, member{"capabilities", offered},
		member{"serverInfo", serverInfo(o)}, member{"instructions", o.get("instructions")})}, true
}

var unknownServer = jsontext.Value(`{"name":"unknown","version":"0"}`)

// serverInfo is how the server calls itself, in either era.
func serverInfo(result object) jsontext.Value {
	info := result.get("serverInfo")
	if m, err := readObject(orEmpty(result.get("_meta"))); err == nil && info == nil {
		info = m.get(metaServer)
	}
	if info.Kind() != '{' {
		return unknownServer
	}
	return info
}

// narrowInitialize keeps of the upstream's result what this gateway passes through.
func narrowInitialize(result jsontext.Value) (jsontext.Value, string, error) {
	o, err := readObject(result)
	if err != nil {
		return nil, "", err
	}
	version := text(o.get("protocolVersion"))
	if !slices.Contains(sessionVersions, version) {
		return nil, "", fmt.Errorf("the upstream speaks protocol version %q, the gateway %v", truncate(version), sessionVersions)
	}
	offered, err := narrowCapabilities(o.get("capabilities"))
	if err != nil {
		return nil, "", err
	}
	return object{}.with(member{"protocolVersion", quote(version)}, member{"capabilities", offered}, member{"serverInfo", serverInfo(o)},
		member{"instructions", o.get("instructions")}), version, nil
}

// narrowCapabilities keeps what the gateway passes through. It tells of changes itself
// (an approval, a policy), whatever the upstream does.
func narrowCapabilities(theirs jsontext.Value, without ...string) (jsontext.Value, error) {
	o, err := readObject(orEmpty(theirs))
	if err != nil {
		return nil, err
	}
	var kept object
	for _, m := range o {
		if slices.Contains(without, m.name) {
			continue
		}
		switch m.name {
		case "tools", "prompts":
			kept = append(kept, member{m.name, jsontext.Value(`{"listChanged":true}`)})
		case "resources":
			kept = append(kept, member{m.name, resourcesCapability(m.value, without)})
		case "completions", "logging":
			kept = append(kept, member{m.name, jsontext.Value("{}")})
		}
	}
	return kept.with(), nil
}

func resourcesCapability(theirs jsontext.Value, without []string) jsontext.Value {
	o, err := readObject(theirs)
	if err == nil && string(o.get("subscribe")) == "true" && !slices.Contains(without, "subscribe") {
		return jsontext.Value(`{"subscribe":true,"listChanged":true}`)
	}
	return jsontext.Value(`{"listChanged":true}`)
}

// visibleASCII is a session id as the specification wants it, or none.
func visibleASCII(s string) string {
	if len(s) > 1024 {
		return ""
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return ""
		}
	}
	return s
}
