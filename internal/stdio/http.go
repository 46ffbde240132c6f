package stdio

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/wicketgate/wicketgate/internal/credential"
)

const headerSession = "Mcp-Session-Id"

// refusal is an HTTP answer that comes from here, and not from the server.
type refusal struct {
	status int
	text   string
}

var (
	refuseUnknown      = &refusal{http.StatusNotFound, "there is no such session"}
	refuseNoSession    = &refusal{http.StatusBadRequest, "Mcp-Session-Id is missing: only initialize goes without"}
	refuseAgain        = &refusal{http.StatusBadRequest, "the session is initialized already"}
	refuseBody         = &refusal{http.StatusBadRequest, "the body is not one JSON-RPC message"}
	refuseTooLong      = &refusal{http.StatusRequestEntityTooLarge, "the body is too long"}
	refuseSameID       = &refusal{http.StatusBadRequest, "a request with this id is open"}
	refuseSameToken    = &refusal{http.StatusBadRequest, "a request with this progressToken is open"}
	refuseMethod       = &refusal{http.StatusMethodNotAllowed, "POST, GET and DELETE"}
	refuseSecondStream = &refusal{http.StatusConflict, "the session has a stream already"}
	refuseStart        = &refusal{http.StatusBadGateway, "process_failed: the server did not start; the log says why"}
	refuseEnded        = &refusal{http.StatusBadGateway, "process_ended: the server ended before it answered"}
	refuseCredential   = &refusal{http.StatusServiceUnavailable, "credential_ended: the credential of the server's process is good no more"}
	refuseSlow         = &refusal{http.StatusBadGateway, "the client reads too slowly"}
)

func refuseBusy(reason string) *refusal { return &refusal{http.StatusServiceUnavailable, reason} }

// RoundTrip implements http.RoundTripper. Of the request's headers it reads
// Mcp-Session-Id and no other.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, refused, err := t.handle(req)
	if err != nil {
		return nil, err
	}
	if refused != nil {
		resp = respond(refused.status, "text/plain; charset=utf-8", []byte(refused.text))
	}
	resp.Request = req
	return resp, nil
}

func (t *Transport) handle(req *http.Request) (*http.Response, *refusal, error) {
	body, refused, err := readBody(req)
	if refused != nil || err != nil {
		return nil, refused, err
	}
	if t.cfg.PerCall {
		return t.perCall(req, body)
	}
	id := req.Header.Get(headerSession)
	if req.Method == http.MethodPost && id == "" {
		return t.initialize(req.Context(), body)
	}
	if id == "" {
		return nil, refuseNoSession, nil
	}
	s := t.find(id)
	if s == nil || req.Method != http.MethodDelete && !s.serves(req.Context()) {
		return nil, refuseUnknown, nil
	}
	switch req.Method {
	case http.MethodPost:
		return s.post(req.Context(), body)
	case http.MethodGet:
		return s.stream(req.Context())
	case http.MethodDelete:
		s.end("deleted")
		return respond(http.StatusNoContent, "", nil), nil, nil
	default:
		return nil, refuseMethod, nil
	}
}

// readBody reads and closes the body, as an http.RoundTripper must.
func readBody(req *http.Request) ([]byte, *refusal, error) {
	if req.Body == nil {
		return nil, nil, nil
	}
	defer req.Body.Close()
	body, err := io.ReadAll(io.LimitReader(req.Body, maxLine+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read the request: %w", err)
	}
	if len(body) > maxLine {
		return nil, refuseTooLong, nil
	}
	return body, nil, nil
}

func respond(status int, contentType string, body []byte) *http.Response {
	h := http.Header{}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	return &http.Response{Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
}

// initialize starts a process for a new session. Without a good answer there is none.
func (t *Transport) initialize(ctx context.Context, body []byte) (*http.Response, *refusal, error) {
	m, err := parse(body)
	if err != nil {
		return nil, refuseBody, nil
	}
	if m.kind != request || m.method != "initialize" {
		return nil, refuseNoSession, nil
	}
	s, refused := t.open(ctx)
	if refused != nil {
		return nil, refused, nil
	}
	e, refused, err := s.firstAnswer(ctx, m, body)
	if refused != nil || err != nil {
		s.end("not initialized")
		return nil, refused, err
	}
	resp := respond(http.StatusOK, "application/json", e.raw)
	if e.failed {
		s.end("initialize refused")
		return resp, nil, nil
	}
	resp.Header.Set(headerSession, s.id)
	return resp, nil, nil
}

// open starts the process of a new session.
func (t *Transport) open(ctx context.Context) (*session, *refusal) {
	owner := t.cfg.Owner(ctx)
	if reason := t.place(ctx, owner); reason != "" {
		t.log.Warn("no process was started", "why", reason)
		return nil, refuseBusy(reason)
	}
	s := t.newSession(ctx, owner)
	p, err := t.start(s)
	if err != nil {
		t.release(s)
		t.log.Error("start stdio server", "error", s.masked(err.Error()))
		return nil, refuseStart
	}
	if !t.add(s) {
		p.stop()
		return nil, refuseBusy(reasonClosed)
	}
	go s.watch()
	return s, nil
}

func (t *Transport) newSession(ctx context.Context, owner string) *session {
	now := t.cfg.Now()
	s := &session{id: rand.Text(), owner: owner, t: t, log: t.log, rate: &logRate{}, credential: credential.From(ctx), once: t.cfg.PerCall,
		open: map[string]*call{}, born: now, used: now}
	if s.credential != nil {
		s.secrets = s.credential.Secrets()
	}
	if s.once {
		s.rate = &t.rate
	}
	return s
}

// serves reports whether what is sent with ctx may come to the process: whose credential
// is another one, newer or of other actors, has to begin a session of its own.
func (s *session) serves(ctx context.Context) bool {
	c := credential.From(ctx)
	return c == nil || s.credential != nil && c.Done() == s.credential.Done()
}

// watch ends the session when its process has ended by itself, and kills the process whose
// credential has ended: it may hold on to what it got by it.
func (s *session) watch() {
	var ended <-chan struct{}
	if s.credential != nil {
		ended = s.credential.Done()
	}
	select {
	case <-s.process.exited:
		s.end("process ended")
	case <-ended:
		s.kill(errCredential, "credential ended")
	}
}

// firstAnswer waits for the answer to initialize; what comes before it has no
// reader yet.
func (s *session) firstAnswer(ctx context.Context, m message, body []byte) (event, *refusal, error) {
	c, refused, err := s.send(ctx, m, body)
	if refused != nil || err != nil {
		return event{}, refused, err
	}
	for {
		e, err := c.out.next(ctx)
		if err != nil {
			refused, err := failure(ctx, err)
			return event{}, refused, err
		}
		if e.final {
			return e, nil, nil
		}
		s.drop("before initialize was answered", e.raw)
	}
}

// send writes a request to the server.
func (s *session) send(ctx context.Context, m message, body []byte) (*call, *refusal, error) {
	c, refused := s.begin(m)
	if refused != nil {
		return nil, refused, nil
	}
	if err := s.process.send(ctx, oneLine(body)); err != nil {
		s.unsent(c)
		refused, err := failure(ctx, s.because(err))
		return nil, refused, err
	}
	return c, nil, nil
}

// because is why nothing can be sent any more.
func (s *session) because(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil && errors.Is(err, errEnded) {
		return s.cause
	}
	return err
}

// failure is what a caller is told of an error.
func failure(ctx context.Context, err error) (*refusal, error) {
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, errSlow):
		return refuseSlow, nil
	case errors.Is(err, errCredential):
		return refuseCredential, nil
	default:
		return refuseEnded, nil
	}
}

func (s *session) post(ctx context.Context, body []byte) (*http.Response, *refusal, error) {
	m, err := parse(body)
	switch {
	case err != nil:
		return nil, refuseBody, nil
	case m.method == "initialize":
		return nil, refuseAgain, nil
	case m.kind == request:
		return s.call(ctx, m, body)
	}
	s.touch(m)
	if err := s.process.send(ctx, oneLine(body)); err != nil {
		refused, err := failure(ctx, s.because(err))
		return nil, refused, err
	}
	return respond(http.StatusAccepted, "", nil), nil, nil
}

// call sends a request, and answers with JSON unless something comes before the answer.
func (s *session) call(ctx context.Context, m message, body []byte) (*http.Response, *refusal, error) {
	c, refused, err := s.send(ctx, m, body)
	if refused != nil || err != nil {
		return nil, refused, err
	}
	out := c.out
	e, err := out.next(ctx)
	if err != nil {
		s.leave(c)
		refused, err := failure(ctx, err)
		return nil, refused, err
	}
	if e.final {
		return respond(http.StatusOK, "application/json", e.raw), nil, nil
	}
	stop := context.AfterFunc(ctx, func() { s.leave(c) })
	b := newEventBody(ctx, out, func() { stop(); s.leave(c) })
	b.rest = format(e.raw)
	return eventStream(b), nil, nil
}

// stream opens the stream for what belongs to no request.
func (s *session) stream(ctx context.Context) (*http.Response, *refusal, error) {
	get, refused := s.listen()
	if refused != nil {
		return nil, refused, nil
	}
	stop := context.AfterFunc(ctx, func() { s.unlisten(get) })
	return eventStream(newEventBody(ctx, get, func() { stop(); s.unlisten(get) })), nil, nil
}

func eventStream(b *eventBody) *http.Response {
	resp := respond(http.StatusOK, "text/event-stream", nil)
	resp.Header.Set("Cache-Control", "no-store")
	resp.Body, resp.ContentLength = b, -1
	return resp
}
