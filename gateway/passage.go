package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

// passage is one message on its way through the gateway.
type passage struct {
	g  *Gateway
	w  http.ResponseWriter
	r  *http.Request
	up *upstream
	caller
	actors    *token.Actor
	stateless bool    // the era of the message
	meta      meta    // of a request; in the session era, only its progressToken counts
	session   session // in the session era
	msg       message
	out       *stream
	event     audit.Event // who, from where, what; each step adds what it finds
	endpoint  string      // name of the server at whose URL the client is

	input  object            // members of params for the upstream, instead of the client's
	mirror func(http.Header) // sets the headers that repeat arguments

	due   []policies.Terms // of the decision by which it is made
	taken []string         // IDs of the limits that it was counted against
	terms *terms           // that it keeps to; nil: none

	facts    jsontext.Value  // of the last decision, as policy gave them
	observed policies.Reason // of the last decision
	approved string          // rule by which the call was approved; empty: by none

	state state                                         // what the client comes again with; zero: it begins
	again func(context.Context) (token.Call, *rpcError) // another call token for the same

	long   bool         // a stream that belongs to no call: it ends with the access token
	beat   func() error // what a long stream does every second; may be nil
	ended  *rpcError    // why a stream had to end
	slot   *slot        // what it counts for; nil until it was allowed
	id     string       // of the call in the audit log, once it was allowed
	lent   *lent        // the credential that it is made with; nil: none
	lease  string       // of that credential, for the audit log
	held   *slot        // the same, while it waits for an approval
	beside *sync.WaitGroup
}

func newPassage(g *Gateway, w http.ResponseWriter, r *http.Request, up *upstream, who caller) *passage {
	p := &passage{g: g, w: w, r: r, up: up, caller: who, actors: who.Actors(), out: &stream{w: w, patience: g.cfg.SlowClient}, endpoint: up.Name, beside: &sync.WaitGroup{}}
	p.event = audit.Event{
		Subject: who.Subject().String(), Workload: who.Workload(), Client: who.ClientID().String(), Actors: p.actors.Chain(), Txn: who.Txn(), TokenID: who.ID(),
		Source: web.Source(r), RequestID: web.RequestID(r.Context()), Server: up.Name, PolicyDigest: g.cfg.PDP.Digest(),
	}
	return p
}

// aside is a passage of the gateway's own accord, beside the one of the client's message.
func (p *passage) aside(action string) *passage {
	q := *p
	q.event.Action, q.event.Tool, q.event.Prompt, q.event.URI = action, "", "", ""
	q.facts, q.observed, q.due, q.terms = nil, "", nil, nil
	q.taken = nil
	q.lent, q.lease = nil, ""
	q.msg, q.out, q.input, q.mirror, q.beat, q.beside = message{}, nil, nil, nil, nil, &sync.WaitGroup{}
	return &q
}

// clientInfo is how the client calls itself, nil where it does not.
func (p *passage) clientInfo() jsontext.Value {
	if p.stateless {
		return p.meta.client
	}
	return p.session.Info
}

// post is steps 2 to 10 for a message.
func (p *passage) post() {
	if mediaType(p.r.Header) != "application/json" {
		p.fail(&rpcError{Code: codeInvalidRequest, Message: "Content-Type must be application/json", status: http.StatusUnsupportedMediaType, reason: "content_type"})
		return
	}
	body, err := readAll(p.r.Body, p.r.ContentLength)
	if err != nil {
		p.fail(tooLarge(err))
		return
	}
	// A client may send the headers now and the body in an hour: what was revoked
	// meanwhile is refused, or it could keep calls in reserve.
	if err := p.g.cfg.Verifier.Alive(p.Verified); err != nil {
		p.g.challenge(p.w, p.r, p.up, err)
		return
	}
	if p.msg, err = parseMessage(body); err != nil {
		p.fail(&rpcError{Code: parseCode(err), Message: plain(err), status: http.StatusBadRequest, reason: "malformed", cause: err})
		return
	}
	if p.event.Action = truncate(p.msg.method); p.msg.response {
		p.event.Action = "response"
	}
	if err := p.serve(); err != nil {
		p.fail(err)
	}
}

// serve finds out the era, and dispatches by method.
func (p *passage) serve() *rpcError {
	if err := p.thawed(); err != nil {
		return err
	}
	var err error
	if p.meta, err = parseMeta(p.msg.params); err != nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), status: http.StatusBadRequest, reason: "malformed", cause: err}
	}
	if p.stateless = stateless(p.r.Header, p.meta) && !p.msg.response; p.stateless {
		return p.serveStateless()
	}
	return p.serveSession()
}

func (p *passage) serveStateless() *rpcError {
	if p.msg.id == nil { // closing the stream is how a request is cancelled, and there are no other notifications
		return p.errNoMethod()
	}
	if err := checkStateless(p.r.Header, p.msg, p.meta); err != nil {
		return err
	}
	if p.tool != nil && p.msg.method != "tools/call" || !p.Scope().Covers(token.SessionScope()) {
		return p.stepUp(oauth.ScopeTools)
	}
	if p.every() {
		return p.serveEvery()
	}
	switch p.msg.method {
	case "server/discover":
		return p.discovery()
	case "subscriptions/listen":
		return p.subscribe()
	}
	return p.common()
}

func (p *passage) serveSession() *rpcError {
	if p.msg.method == "initialize" {
		return p.initialize()
	}
	if p.msg.method == "server/discover" { // -32601 is what newer clients fall back on
		return p.errNoMethod()
	}
	if err := p.resume(); err != nil {
		return err
	}
	if p.tool != nil && p.msg.method != "tools/call" || !p.Scope().Covers(token.SessionScope()) {
		return p.stepUp(oauth.ScopeTools)
	}
	if p.msg.response {
		return p.answered()
	}
	if p.msg.id == nil {
		return p.notify()
	}
	switch p.msg.method {
	case "ping":
		writeRPC(p.w, p.msg.id, jsontext.Value("{}"), nil)
		return nil
	case "logging/setLevel":
		return p.onlySession(p.setLevel)
	case "resources/subscribe", "resources/unsubscribe":
		return p.onlySession(p.read)
	}
	if p.every() {
		return p.serveEvery()
	}
	return p.common()
}

// onlySession serves what has no translation into the stateless era.
func (p *passage) onlySession(serve func() *rpcError) *rpcError {
	if p.session.Translated {
		return &rpcError{Code: codeNoMethod, Message: p.msg.method + " cannot be translated for this server, which is spoken to in MCP 2026-07-28", reason: "untranslatable"}
	}
	return serve()
}

// common is the methods of both eras.
func (p *passage) common() *rpcError {
	if err := p.openState(); err != nil {
		return err
	}
	switch p.msg.method {
	case "tools/call":
		return p.call()
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list":
		return p.list()
	case "resources/read":
		return p.read()
	case "prompts/get":
		return p.prompt()
	case "completion/complete":
		return p.completion()
	}
	return p.errNoMethod()
}

// thawed refuses every message for a server that is frozen.
func (p *passage) thawed() *rpcError {
	if p.g.cfg.Freezes == nil {
		return nil
	}
	err := p.g.cfg.Freezes.Server(p.up.Name)
	switch {
	case errors.Is(err, revocation.ErrFrozen):
		return &rpcError{Code: codeDenied, Message: "this server was stopped by an operator", status: http.StatusServiceUnavailable, reason: "server_frozen"}
	case err != nil:
		return &rpcError{Code: codeInternal, Message: "it is not known whether this server may be called", status: http.StatusServiceUnavailable, reason: "revocations_stale", cause: err}
	}
	return nil
}

func (p *passage) errNoMethod() *rpcError {
	e := &rpcError{Code: codeNoMethod, Message: "Method not found", reason: "unknown_method"}
	if p.stateless { // MCP 2026-07-28, streamable HTTP, protocol version header
		e.status = http.StatusNotFound
	}
	return e
}

// decide asks the PDP; arguments nil is the question whether the caller may see
// the tool at all.
func (p *passage) decide(action policies.Action, tool string, arguments jsontext.Value) policies.Decision {
	return p.decideOn(policies.Request{Action: action, Tool: tool, Arguments: arguments, DefinitionDigest: p.event.DefinitionDigest})
}

// decideOn asks the question about this caller and server.
func (p *passage) decideOn(q policies.Request) policies.Decision {
	q.Subject, q.ClientID, q.Workload, q.Actors = p.Subject(), p.ClientID(), p.Workload(), actingClients(p.actors)
	q.Groups, q.Claims, q.ACR, q.AuthTime = p.Groups(), p.Claims(), p.ACR(), p.AuthTime()
	q.Server, q.Time, q.Bound = p.up.Name, p.g.cfg.Now(), p.bound
	d := p.g.cfg.PDP.Decide(p.r.Context(), q)
	p.decided(q, d)
	if d.Err != nil {
		p.g.cfg.Log.ErrorContext(p.r.Context(), "policy gave no answer", "reason", d.Reason, "error", d.Err)
	}
	return d
}

func actingClients(a *token.Actor) (ids []identity.ClientID) {
	for ; a != nil; a = a.Act {
		ids = append(ids, a.ClientID)
	}
	return ids
}

// readAll reads r, which is bounded, into one piece of memory where its size was
// announced.
func readAll(r io.Reader, announced int64) ([]byte, error) {
	var b bytes.Buffer
	if announced > 0 && announced <= maxResponse {
		b.Grow(int(announced) + bytes.MinRead)
	}
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

func tooLarge(err error) *rpcError {
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return &rpcError{Code: codeInvalidRequest, Message: "the body is larger than 512 KiB", status: http.StatusRequestEntityTooLarge, reason: "too_large"}
	}
	return &rpcError{Code: codeParse, Message: "the body could not be read", status: http.StatusBadRequest, reason: "unreadable", cause: err}
}

func parseCode(err error) int {
	if errors.Is(err, errNotJSON) {
		return codeParse
	}
	return codeInvalidRequest
}

// plain is what of an error of parseMessage goes to the client: our own words.
func plain(err error) string {
	for _, e := range []error{errNotJSON, errBatch, errTooDeep, errFoldsTo, errBadParams} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return errNotRPC.Error()
}
