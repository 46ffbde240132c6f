package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
)

// outgoing is a message for an upstream.
type outgoing struct {
	body   []byte
	id     jsontext.Value // that the answer will have; nil for a notification
	method string         // as the next, for the headers of the stateless era
	name   string
	mirror func(http.Header) // sets headers that repeat arguments; may be nil

	lasting  bool           // the answer is a stream without an end
	progress jsontext.Value // the client's progressToken, where the message has its id instead
}

// Values of headers that are always the same. Nobody may change them.
var (
	sendsJSON = []string{"application/json"}
	takesBoth = []string{"application/json, text/event-stream"}
	noStore   = []string{"no-store"}
)

// post sends one message to the upstream. It needs a call token, and it sends no
// header of the client's.
func (g *Gateway) post(ctx context.Context, up *upstream, call token.Call, l leg, m outgoing) (*http.Response, error) {
	if up.command() {
		ctx = context.WithValue(ctx, subjectKey{}, call.Subject().String())
	}
	req := up.request(ctx, m)
	req.Header = m.header(l)
	if err := up.authorize(req, call, m.method); err != nil {
		return nil, err
	}
	return g.send(up, req, m.lasting)
}

// authorize says who calls: by the call token, and to a server that takes none by the
// credential of the context, which its transport applies.
func (up *upstream) authorize(req *http.Request, call token.Call, method string) error {
	if up.lender != nil {
		return up.lender.carries(req.Context(), method)
	}
	req.Header["Authorization"] = []string{"Bearer " + call.Bearer()}
	return nil
}

// request is a request with the message, without its headers.
func (up *upstream) request(ctx context.Context, m outgoing) *http.Request {
	body := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(m.body)) }
	return (&http.Request{Method: http.MethodPost, URL: up.url, Host: up.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(m.body)), Body: body(), GetBody: func() (io.ReadCloser, error) { return body(), nil }}).WithContext(ctx)
}

// header is every header of the message, but for who sends it: nothing of the client's.
func (m outgoing) header(l leg) http.Header {
	h := http.Header{"Content-Type": sendsJSON, "Accept": takesBoth}
	l.apply(h)
	if l.stateless {
		h["Mcp-Method"] = []string{m.method}
		if m.name != "" {
			h["Mcp-Name"] = []string{encodeHeader(m.name)}
		}
		if m.mirror != nil {
			m.mirror(h)
		}
	}
	return h
}

// dress makes of the client's message the one for the upstream: the very bytes that were
// accepted, but for what the other era needs otherwise.
func (p *passage) dress(l leg) outgoing {
	name, _ := p.msg.named()
	m := outgoing{body: p.msg.raw, id: p.msg.id, method: p.msg.method, name: name, mirror: p.mirror}
	switch {
	case l.shared != nil:
		m.id, m.progress = l.shared.next(), p.meta.progress
		m.body = envelope(m.id, p.msg.method, p.msg.params.with(member{"_meta", p.sessionMeta(m.id)}, member{"inputResponses", nil}, member{"requestState", nil}))
	case l.stateless && p.session.Translated: // whose client knows no requestState, and has none from us
		m.body = envelope(m.id, p.msg.method, p.msg.params.with(member{"_meta", statelessMeta(p.theirMeta(), p.session.Info, p.session.Capabilities)}, member{"inputResponses", nil}, member{"requestState", nil}))
	case p.input != nil:
		m.body = envelope(m.id, p.msg.method, p.msg.params.with(p.input...))
	}
	return m
}

// sessionMeta is the _meta of a message for the session era: without what the other one
// has there, and with a progress token that no other message of the session has.
func (p *passage) sessionMeta(id jsontext.Value) jsontext.Value {
	kept := slices.DeleteFunc(p.theirMeta(), func(m member) bool { return strings.HasPrefix(m.name, metaPrefix) })
	if p.meta.progress == nil {
		return kept.with()
	}
	return kept.with(member{"progressToken", id})
}

func (p *passage) theirMeta() object {
	o, err := readObject(p.msg.params.get("_meta"))
	if err != nil {
		return nil
	}
	return o
}

func (g *Gateway) transport(up *upstream) http.RoundTripper {
	if up.Transport != nil {
		return up.Transport
	}
	return g.cfg.Transport
}

// deleteSession ends the session with the upstream; one that knows no DELETE or
// has ended it already is as good.
func (g *Gateway) deleteSession(ctx context.Context, up *upstream, call token.Call, l leg) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, up.URL, nil)
	if err != nil {
		return err
	}
	l.apply(req.Header)
	if err := up.authorize(req, call, http.MethodDelete); err != nil {
		return err
	}
	resp, err := g.send(up, req, false)
	if err != nil {
		return err
	}
	drain(resp)
	if c := resp.StatusCode; c/100 != 2 && c != http.StatusMethodNotAllowed && c != http.StatusNotFound {
		return fmt.Errorf("upstream answered HTTP %d to DELETE", c)
	}
	return nil
}

// drain lets the connection be used again. That is not waited for where an upstream may
// keep a stream open after its answer.
func drain(resp *http.Response) {
	if mediaType(resp.Header) != "text/event-stream" {
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	}
	_ = resp.Body.Close()
}

// drainStream is drain for the end of a stream, which is to be waited for beside.
func drainStream(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

// errOver is for a request that ended for another reason than what the upstream did; nil
// for none of these.
func errOver(err error) *rpcError {
	var known *rpcError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.DeadlineExceeded):
		return errUnavailable("upstream_timeout", err)
	case errors.Is(err, context.Canceled):
		return errUnavailable("client_gone", err)
	}
	return nil
}

func upstreamError(err error) *rpcError {
	if e := errOver(err); e != nil {
		return e
	}
	return errUnavailable("upstream_unreachable", err)
}

// answerError tells an upstream that went away from one that talks nonsense.
func answerError(err error) *rpcError {
	if e := errOver(err); e != nil {
		return e
	}
	return errUnavailable(reasonOf(err, "upstream_malformed"), err) // a command says why its stream ended
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
