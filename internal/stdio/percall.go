package stdio

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	statelessVersion = "2026-07-28"
	metaPrefix       = "io.modelcontextprotocol/"
)

// sessionVersions are the protocol versions in which the command may answer, the one that
// it is asked for first.
var sessionVersions = []string{"2025-11-25", "2025-06-18", "2025-03-26"}

// onceMethods are requests of the stateless era that one process can answer.
var onceMethods = []string{"server/discover", "tools/list", "tools/call", "prompts/list", "prompts/get", "resources/list", "resources/templates/list",
	"resources/read", "completion/complete"}

// Members of capabilities for which a client has to answer requests of the server.
var askable = []string{"sampling", "elicitation", "roots", "tasks"}

var (
	refuseHandshake = &refusal{http.StatusBadGateway, "process_failed: the server does not answer initialize as MCP 2025-03-26 or later says"}
	refuseVersion   = &refusal{http.StatusBadRequest, "_meta must say " + metaPrefix + "protocolVersion " + statelessVersion}
)

// question is a request of the stateless era.
type question struct {
	message
	id           jsontext.Value // as the client has written it
	version      string
	client       jsontext.Value // of _meta, as the next
	capabilities jsontext.Value
	line         []byte // the request as a server of the session era takes it
}

// readQuestion reads a request, and writes it for the other era: nothing is changed in it
// but what the protocol itself has there.
func readQuestion(body []byte) (question, error) {
	m, err := parse(body)
	if err != nil || m.kind != request {
		return question{}, errors.Join(err, errNotRPC)
	}
	q := question{message: m, client: jsontext.Value(`{"name":"wicketgate","version":"1"}`), capabilities: jsontext.Value("{}")}
	var method, params jsontext.Value
	if err := members(body, func(name string, value jsontext.Value) {
		switch name {
		case "id":
			q.id = value
		case "method":
			method = value
		case "params":
			params = value
		}
	}); err != nil {
		return q, err
	}
	if params.Kind() == '{' {
		if params, err = q.readParams(params); err != nil {
			return q, err
		}
	}
	o := object{`"jsonrpc":"2.0"`}.with("id", q.id).with("method", method).with("params", params)
	q.line = oneLine(o.bytes())
	return q, nil
}

// readParams returns the params without what the session era does not have there.
func (q *question) readParams(params jsontext.Value) (jsontext.Value, error) {
	var kept object
	var meta jsontext.Value
	if err := members(params, func(name string, value jsontext.Value) {
		switch name {
		case "_meta":
			meta = value
		case "inputResponses", "requestState":
		default:
			kept = kept.with(name, value)
		}
	}); err != nil {
		return nil, err
	}
	if meta.Kind() != '{' {
		return kept.with("_meta", meta).bytes(), nil
	}
	var keptMeta object
	err := members(meta, func(name string, value jsontext.Value) {
		switch {
		case name == metaPrefix+"protocolVersion":
			q.version = text(value)
		case name == metaPrefix+"clientInfo" && value.Kind() == '{':
			q.client = value
		case name == metaPrefix+"clientCapabilities" && value.Kind() == '{':
			q.capabilities = value
		case !strings.HasPrefix(name, metaPrefix):
			keptMeta = keptMeta.with(name, value)
		}
	})
	if len(keptMeta) > 0 {
		kept = kept.with("_meta", keptMeta.bytes())
	}
	return kept.bytes(), err
}

// object is a JSON object: its members as they are written.
type object []string

// with adds a member, unless there is no value.
func (o object) with(name string, value jsontext.Value) object {
	if value == nil {
		return o
	}
	key, err := jsontext.AppendQuote(nil, name)
	if err != nil { // it is valid UTF-8, as it was read
		return o
	}
	return append(o, string(key)+":"+string(value))
}

func (o object) bytes() []byte { return []byte("{" + strings.Join(o, ",") + "}") }

// without is the JSON object without some members.
func without(raw jsontext.Value, names []string) (jsontext.Value, error) {
	var kept object
	err := members(raw, func(name string, value jsontext.Value) {
		if !slices.Contains(names, name) {
			kept = kept.with(name, value)
		}
	})
	return kept.bytes(), err
}

// perCall answers a request with a process of its own.
func (t *Transport) perCall(req *http.Request, body []byte) (*http.Response, *refusal, error) {
	if req.Method != http.MethodPost {
		return nil, refuseMethod, nil
	}
	q, err := readQuestion(body)
	switch {
	case err != nil:
		return nil, refuseBody, nil
	case !slices.Contains(onceMethods, q.method):
		return noMethod(q.id), nil, nil
	case q.version != statelessVersion:
		return nil, refuseVersion, nil
	}
	s, refused := t.open(req.Context())
	if refused != nil {
		return nil, refused, nil
	}
	resp, refused, err := s.serve(req.Context(), q)
	switch {
	case err != nil: // the client has gone
		s.kill(errEnded, "client gone")
	case refused != nil:
		s.end("not answered")
	}
	return resp, refused, err
}

// noMethod is the answer of the stateless era to a method that there is not.
func noMethod(id jsontext.Value) *http.Response {
	body := object{`"jsonrpc":"2.0"`}.with("id", id).with("error", jsontext.Value(`{"code":-32601,"message":"Method not found"}`)).bytes()
	return respond(http.StatusNotFound, "application/json", body)
}

// serve opens the session with the process, and has it answer the one request.
func (s *session) serve(ctx context.Context, q question) (*http.Response, *refusal, error) {
	initialized, refused, err := s.handshake(ctx, q)
	if refused != nil || err != nil {
		return nil, refused, err
	}
	if q.method == "server/discover" {
		answer, err := discovered(q.id, initialized)
		if err != nil {
			return nil, refuseHandshake, nil
		}
		s.end("answered")
		return respond(http.StatusOK, "application/json", answer), nil, nil
	}
	if err := s.process.send(ctx, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)); err != nil {
		refused, err := failure(ctx, s.because(err))
		return nil, refused, err
	}
	s.mu.Lock()
	s.request = q.id
	s.mu.Unlock()
	return s.call(ctx, q.message, q.line)
}

// handshake returns the result of initialize.
func (s *session) handshake(ctx context.Context, q question) (jsontext.Value, *refusal, error) {
	capabilities, err := without(q.capabilities, askable)
	if err != nil {
		return nil, refuseBody, nil
	}
	m := message{kind: request, id: `"wicketgate"`, method: "initialize"}
	line := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"method":"initialize","params":{"protocolVersion":"%s","capabilities":%s,"clientInfo":%s}}`, m.id, sessionVersions[0], capabilities, q.client)
	e, refused, err := s.firstAnswer(ctx, m, line)
	if refused != nil || err != nil {
		return nil, refused, err
	}
	var result jsontext.Value
	version := ""
	err = members(e.raw, func(name string, value jsontext.Value) {
		if name == "result" {
			result = value
		}
	})
	if err == nil && result != nil {
		err = members(result, func(name string, value jsontext.Value) {
			if name == "protocolVersion" {
				version = text(value)
			}
		})
	}
	if err != nil || !slices.Contains(sessionVersions, version) {
		s.log.Warn("stdio server does not answer initialize", "version", version, "versions", sessionVersions)
		return nil, refuseHandshake, nil
	}
	return result, nil, nil
}

// discovered is the answer to server/discover, of the result of initialize.
func discovered(id, initialized jsontext.Value) ([]byte, error) {
	var capabilities object
	result := object{`"resultType":"complete"`, `"supportedVersions":["` + statelessVersion + `"]`, `"ttlMs":60000`, `"cacheScope":"private"`}
	var offered jsontext.Value
	if err := members(initialized, func(name string, value jsontext.Value) {
		switch name {
		case "capabilities":
			offered = value
		case "instructions":
			result = result.with(name, value)
		case "serverInfo":
			result = result.with("_meta", object{}.with(metaPrefix+"serverInfo", value).bytes())
		}
	}); err != nil {
		return nil, err
	}
	err := members(offered, func(name string, value jsontext.Value) {
		switch name {
		case "tools", "prompts", "resources", "completions": // nobody subscribes to anything
			capabilities = append(capabilities, `"`+name+`":{}`)
		}
	})
	return object{`"jsonrpc":"2.0"`}.with("id", id).with("result", result.with("capabilities", capabilities.bytes()).bytes()).bytes(), err
}

// stateless is an answer of the session era as the other one has it: with the very id of
// the request, and saying that it is complete (MCP 2026-07-28, basic, resultType).
func stateless(id jsontext.Value, line []byte) []byte {
	out := object{`"jsonrpc":"2.0"`}.with("id", id)
	err := members(line, func(name string, value jsontext.Value) {
		switch name {
		case "result":
			out = out.with(name, completed(value))
		case "error":
			out = out.with(name, value)
		}
	})
	if err != nil { // it was read before
		return line
	}
	return oneLine(out.bytes())
}

func completed(result jsontext.Value) jsontext.Value {
	said, empty := false, true
	err := members(result, func(name string, _ jsontext.Value) {
		said, empty = said || name == "resultType", false
	})
	switch {
	case err != nil || said:
		return result
	case empty:
		return jsontext.Value(`{"resultType":"complete"}`)
	}
	return slices.Concat(jsontext.Value(`{"resultType":"complete",`), result[1:])
}

// relayed reports whether a client of the stateless era may hear of it before the answer.
func relayed(m message) bool {
	return m.kind == notification && (m.method == "notifications/progress" || m.method == "notifications/message")
}

// answerHere takes what concerns no client of the stateless era. Requests are answered:
// nobody can be asked.
func (s *session) answerHere(m message, line []byte) {
	switch {
	case m.method == "ping":
		s.process.trySend([]byte(`{"jsonrpc":"2.0","id":` + m.id + `,"result":{}}`))
	case m.kind == request:
		s.process.trySend([]byte(`{"jsonrpc":"2.0","id":` + m.id + `,"error":{"code":-32601,"message":"the client cannot be asked: the process serves one request"}}`))
	default:
		s.drop("not of the stateless era", line)
	}
}
