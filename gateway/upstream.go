package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
)

// send posts one message to the upstream. It needs a call token, and it sends no
// header of the client's.
func (g *Gateway) send(ctx context.Context, up *upstream, call token.Call, s session, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, up.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{
		"Content-Type":  {"application/json"},
		"Accept":        {"application/json, text/event-stream"},
		"Authorization": {"Bearer " + call.Bearer()},
	}
	s.apply(req.Header)
	return g.transport(up).RoundTrip(req) // not a client: no redirect is followed, no cookie kept
}

func (g *Gateway) transport(up *upstream) http.RoundTripper {
	if up.Transport != nil {
		return up.Transport
	}
	return g.cfg.Transport
}

// deleteSession ends the session with the upstream; one that knows no DELETE or
// has ended it already is as good.
func (g *Gateway) deleteSession(ctx context.Context, up *upstream, call token.Call, s session) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, up.URL, nil)
	if err != nil {
		return err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + call.Bearer()}}
	s.apply(req.Header)
	resp, err := g.transport(up).RoundTrip(req)
	if err != nil {
		return err
	}
	drain(resp)
	if c := resp.StatusCode; c/100 != 2 && c != http.StatusMethodNotAllowed && c != http.StatusNotFound {
		return fmt.Errorf("upstream answered HTTP %d to DELETE", c)
	}
	return nil
}

func (s session) apply(h http.Header) {
	if s.Upstream != "" {
		h["Mcp-Session-Id"] = []string{s.Upstream}
	}
	if s.Version != "" {
		h["Mcp-Protocol-Version"] = []string{s.Version}
	}
}

// drain lets the connection be used again.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

func upstreamError(err error) *rpcError {
	if errors.Is(err, context.DeadlineExceeded) {
		return errUnavailable("upstream_timeout", err)
	}
	return errUnavailable("upstream_unreachable", err)
}

// answerError tells an upstream that went away from one that talks nonsense.
func answerError(err error) *rpcError {
	if errors.Is(err, context.DeadlineExceeded) {
		return errUnavailable("upstream_timeout", err)
	}
	return errUnavailable("upstream_malformed", err)
}

// statusError is what an upstream's HTTP status means to the client.
func statusError(status int) *rpcError {
	switch status {
	case http.StatusNotFound: // the upstream's session is gone, so is ours
		return errNoSession("upstream_session_gone")
	case http.StatusUnauthorized, http.StatusForbidden:
		return errUnavailable("upstream_refused", fmt.Errorf("HTTP %d", status))
	default:
		return errUnavailable("upstream_failed", fmt.Errorf("HTTP %d", status))
	}
}

// finisher is step 9: it looks at a result and may replace it; nil keeps it.
type finisher func(ctx context.Context, result jsontext.Value) (jsontext.Value, outcome, *rpcError)

// relay sends the client's message and passes on the answer.
func (g *Gateway) relay(ctx context.Context, p *passage, call token.Call, finish finisher) (outcome, *rpcError) {
	resp, err := g.send(ctx, p.up, call, p.session, p.msg.raw)
	if err != nil {
		return outcome{}, upstreamError(err)
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusOK {
		return outcome{}, statusError(resp.StatusCode)
	}
	a, err := readAnswer(resp, p.msg.id, p.notification)
	if err != nil {
		return outcome{}, answerError(err)
	}
	member, replaced, out, failure := "result", jsontext.Value(nil), outcome{}, (*rpcError)(nil)
	if a.result != nil {
		replaced, out, failure = finish(ctx, a.result)
	} else {
		member = "error"
		replaced, out, failure = p.up.redactError(a.failure)
	}
	if failure != nil {
		return outcome{}, failure
	}
	if replaced != nil {
		a.raw = slices.Concat([]byte(`{"jsonrpc":"2.0","id":`), p.msg.id, []byte(`,"`+member+`":`), replaced, []byte(`}`))
	}
	sum := sha256.Sum256(a.raw)
	out.resultDigest = base64.RawURLEncoding.EncodeToString(sum[:])
	out.answer = func() { p.out.final(a.raw) }
	return out, nil
}

// answer is an upstream's response to a request.
type answer struct {
	raw     []byte
	result  jsontext.Value // nil when it is an error
	failure jsontext.Value // the error; nil when it is a result
}

// readAnswer reads the response to the request with the id, from a JSON body or
// an event stream (MCP 2025-11-25, transports). What comes before it on a stream
// goes to notify, which may be nil.
func readAnswer(resp *http.Response, id jsontext.Value, notify func(raw []byte) error) (answer, error) {
	body := http.MaxBytesReader(nil, resp.Body, maxResponse)
	switch mediaType(resp) {
	case "application/json":
		raw, err := readAll(body, resp.ContentLength)
		if err != nil {
			return answer{}, err
		}
		return parseAnswer(raw, id)
	case "text/event-stream":
		events := newEvents(body)
		for {
			raw, err := events.next()
			if err != nil {
				return answer{}, fmt.Errorf("the stream ended without an answer: %w", err)
			}
			if a, err := parseAnswer(raw, id); !errors.Is(err, errNotification) {
				return a, err
			}
			if notify != nil {
				if err := notify(raw); err != nil {
					return answer{}, err
				}
			}
		}
	default:
		return answer{}, fmt.Errorf("content type %q", resp.Header.Get("Content-Type"))
	}
}

// errNotification is returned by parseAnswer for a message to pass on.
var errNotification = errors.New("a notification")

// parseAnswer reads one message of an upstream as strictly as a client's.
func parseAnswer(raw []byte, id jsontext.Value) (answer, error) {
	a := answer{raw: raw}
	var method string
	var gotID jsontext.Value
	err := members(jsontext.Value(bytes.TrimSpace(raw)), func(name string, value jsontext.Value) error {
		switch name {
		case "id":
			gotID = value
		case "method":
			method = text(value)
		case "result":
			a.result = value
		case "error":
			a.failure = value
		case "jsonrpc", "params":
		default:
			return folds(name, "jsonrpc", "id", "method", "params", "result", "error")
		}
		return nil
	})
	switch {
	case err != nil:
		return answer{}, err
	case method != "" && gotID == nil:
		return answer{}, errNotification
	case method != "":
		return answer{}, errors.New("the upstream asks the client, who offered nothing")
	case !bytes.Equal(gotID, id):
		return answer{}, errors.New("an answer to another request")
	case (a.failure != nil) == (a.result != nil):
		return answer{}, errNotRPC
	}
	return a, nil
}

// initializeParams is what of the client's initialize counts.
type initializeParams struct {
	version string
	client  jsontext.Value
}

func parseInitialize(params jsontext.Value) (initializeParams, error) {
	var p initializeParams
	if params == nil {
		return p, errBadParams
	}
	err := members(params, func(name string, value jsontext.Value) error {
		switch name {
		case "protocolVersion":
			p.version = text(value)
		case "clientInfo":
			p.client = value
		case "capabilities", "_meta":
		default:
			return folds(name, "protocolVersion", "clientInfo", "capabilities", "_meta")
		}
		return nil
	})
	if err == nil && (p.version == "" || p.client == nil || p.client.Kind() != '{') {
		err = errBadParams
	}
	return p, err
}

// openUpstream opens the session with the upstream and answers the client.
func (p *passage) openUpstream(ctx context.Context, call token.Call, params initializeParams) (outcome, *rpcError) {
	result, s, err := p.handshake(ctx, call, params)
	if err != nil {
		return outcome{}, err
	}
	handle, sealErr := p.g.sealSession(s)
	if sealErr != nil {
		return outcome{}, errUnavailable("session_unsealable", sealErr)
	}
	return outcome{status: "ok", answer: func() {
		p.w.Header().Set("Mcp-Session-Id", handle)
		writeRPC(p.w, p.msg.id, result, nil)
	}}, nil
}

// handshake sends our own initialize and returns what of the answer a client may
// have, with the session.
func (p *passage) handshake(ctx context.Context, call token.Call, params initializeParams) (jsontext.Value, session, *rpcError) {
	body := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%q,"capabilities":{},"clientInfo":%s}}`, params.version, params.client)
	resp, err := p.g.send(ctx, p.up, call, session{}, body)
	if err != nil {
		return nil, session{}, upstreamError(err)
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusOK {
		return nil, session{}, errUnavailable("upstream_failed", fmt.Errorf("HTTP %d to initialize", resp.StatusCode))
	}
	a, err := readAnswer(resp, jsontext.Value("1"), nil)
	if err != nil || a.result == nil {
		return nil, session{}, errUnavailable("upstream_malformed", errors.Join(err, errors.New("initialize was not answered with a result")))
	}
	result, version, err := narrowInitialize(a.result)
	if err != nil {
		return nil, session{}, errUnavailable("upstream_malformed", err)
	}
	return result, session{Upstream: visibleASCII(resp.Header.Get("Mcp-Session-Id")), Server: p.up.Name, Subject: p.Subject(),
		Client: p.ClientID(), Version: version, Expires: p.g.cfg.Now().Add(sessionLifetime).Unix()}, nil
}

// narrowInitialize keeps of the upstream's result what this gateway passes
// through: tools, without announcements of changes.
func narrowInitialize(result jsontext.Value) (jsontext.Value, string, error) {
	var r struct {
		Version      string                    `json:"protocolVersion"`
		Capabilities map[string]jsontext.Value `json:"capabilities"`
		Server       jsontext.Value            `json:"serverInfo"`
		Instructions string                    `json:"instructions,omitempty"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return nil, "", err
	}
	if !slices.Contains(versions, r.Version) {
		return nil, "", fmt.Errorf("the upstream speaks protocol version %q, the gateway %v", truncate(r.Version), versions)
	}
	tools := r.Capabilities["tools"]
	r.Capabilities = map[string]jsontext.Value{}
	if tools != nil {
		r.Capabilities["tools"] = jsontext.Value("{}")
	}
	if r.Server == nil {
		r.Server = jsontext.Value(`{"name":"unknown","version":"0"}`)
	}
	b, err := json.Marshal(r)
	return b, r.Version, err
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
