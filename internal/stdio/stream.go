package stdio

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// Errors with which a stream may end.
var (
	errEnded      = errors.New("the session has ended")
	errSlow       = errors.New("the client reads too slowly")
	errCredential = &credentialEnded{}
)

// credentialEnded says by its Reason what a stream that has begun cannot say by its status.
type credentialEnded struct{}

func (*credentialEnded) Error() string { return "the credential of the server's process has ended" }

// Reason is the word for the audit log.
func (*credentialEnded) Reason() string { return "credential_ended" }

// event is a message for a client.
type event struct {
	raw    []byte
	failed bool
	final  bool // the answer: nothing comes after it
}

// stream is what waits for one client: bounded, so that a slow one holds up nobody
// else. It fails as a whole rather than losing something from its middle.
type stream struct {
	wake chan struct{} // has a token when something changed

	mu    sync.Mutex // guards what follows
	queue []event
	size  int
	err   error // after the queue
}

func newStream() *stream { return &stream{wake: make(chan struct{}, 1)} }

// push adds a message. A single one always fits.
func (s *stream) push(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return
	case s.size > 0 && s.size+len(e.raw) > maxQueued:
		s.queue, s.size, s.err = nil, 0, errSlow
	default:
		s.queue = append(s.queue, e)
		s.size += len(e.raw) + 1
		if e.final {
			s.err = io.EOF
		}
	}
	s.notify()
}

// finish ends the stream after what it holds.
func (s *stream) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.notify()
}

func (s *stream) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next waits for a message. It has one reader.
func (s *stream) next(ctx context.Context) (event, error) {
	for {
		if err := ctx.Err(); err != nil { // a client that has gone gets nothing more
			return event{}, err
		}
		if e, ok, err := s.take(); ok || err != nil {
			return e, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

func (s *stream) take() (event, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return event{}, false, s.err
	}
	e := s.queue[0]
	s.queue, s.size = s.queue[1:], s.size-len(e.raw)-1
	return e, true, nil
}

// eventBody is a stream as the body of an HTTP response.
type eventBody struct {
	ctx    context.Context
	stream *stream
	close  func()
	rest   []byte
}

func newEventBody(ctx context.Context, s *stream, close func()) *eventBody {
	return &eventBody{ctx: ctx, stream: s, close: sync.OnceFunc(close)}
}

// Read implements io.Reader.
func (b *eventBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		e, err := b.stream.next(b.ctx)
		if err != nil {
			return 0, err
		}
		b.rest = format(e.raw)
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (b *eventBody) Close() error {
	b.stream.finish(http.ErrBodyReadAfterClose)
	b.close()
	return nil
}

// format makes an event (HTML Living Standard §9.2.6) of a message, which is one line.
func format(raw []byte) []byte {
	const before, after = "event: message\ndata: ", "\n\n"
	b := make([]byte, 0, len(before)+len(raw)+len(after))
	return append(append(append(b, before...), raw...), after...)
}
