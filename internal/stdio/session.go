package stdio

import (
	"context"
	"log/slog"
	"math/bits"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/credential"
)

// session is one client's process.
type session struct {
	id, owner string
	t         *Transport
	log       *slog.Logger
	process   *process
	rate      *logRate

	credential *credential.Credential // that the process was started with; nil: none
	secrets    []string               // of the credential
	once       bool                   // it serves one request of the stateless era

	ending, gone bool // of the process; guarded by t.mu

	mu      sync.Mutex // guards what follows
	over    bool
	cause   error            // with which what was open failed
	request jsontext.Value   // id of the one request, once it was sent
	open    map[string]*call // by the id of the request
	get     *stream          // of the client's GET
	born    time.Time
	used    time.Time
	dropped uint
}

// call is a request that the server has not answered.
type call struct {
	id, progress string
	out          *stream // nil: its client has gone, or has cancelled it
	cancelled    bool
}

// overdue says why the session must end, if it must.
func (s *session) overdue(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case now.Sub(s.born) >= s.t.cfg.Life:
		return "life"
	case !s.busy() && now.Sub(s.used) >= s.t.cfg.Idle:
		return "idle"
	}
	return ""
}

// busy: somebody waits for something.
func (s *session) busy() bool {
	if s.get != nil {
		return true
	}
	for _, c := range s.open {
		if c.out != nil {
			return true
		}
	}
	return false
}

// end makes the session unknown, fails what is open in it and ends its process.
func (s *session) end(why string) { s.endWith(errEnded, why) }

// kill is end without the time to end well.
func (s *session) kill(cause error, why string) {
	s.endWith(cause, why)
	s.process.kill()
}

func (s *session) endWith(cause error, why string) {
	s.t.remove(s)
	s.mu.Lock()
	first := !s.over
	if s.over = true; first {
		s.cause = cause
	}
	for _, c := range s.open {
		if c.out != nil {
			c.out.finish(cause)
		}
	}
	if s.get != nil {
		s.get.finish(cause)
	}
	dropped := s.dropped
	s.mu.Unlock()
	if first {
		s.log.Log(context.Background(), s.level(), "session of a stdio server ended", "why", why, "dropped", dropped)
	}
	s.process.stop()
}

// level is that of news of a session, which is none where each request has one.
func (s *session) level() slog.Level {
	if s.once {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// begin notes a request. It returns an HTTP refusal instead when it cannot be.
func (s *session) begin(m message) (*call, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return nil, s.refuseOver()
	case s.open[m.id] != nil:
		return nil, refuseSameID
	case m.progress != "" && s.byProgress(m.progress) != nil:
		return nil, refuseSameToken
	}
	if len(s.open) >= maxCalls {
		s.forgetGone()
	}
	if len(s.open) >= maxCalls {
		return nil, refuseBusy(reasonCalls)
	}
	c := &call{id: m.id, progress: m.progress, out: newStream()}
	s.open[m.id], s.used = c, s.t.cfg.Now()
	return c, nil
}

// refuseOver is for who comes while the session ends. The caller holds s.mu.
func (s *session) refuseOver() *refusal {
	switch {
	case s.cause == errCredential:
		return refuseCredential
	case s.once: // whoever comes knows of no session
		return refuseEnded
	}
	return refuseUnknown
}

// forgetGone makes room: a client must not use an id again (MCP 2025-11-25, base
// protocol), so that a late answer finds nobody.
func (s *session) forgetGone() {
	for id, c := range s.open {
		if c.out == nil {
			delete(s.open, id)
		}
	}
}

// leave notes that the client of a request has gone. The server still works on it:
// its id stays taken, and what belongs to it is nobody else's. A process that has nothing
// else to do is killed.
func (s *session) leave(c *call) {
	s.mu.Lock()
	waiting := s.open[c.id] == c
	c.out, s.used = nil, s.t.cfg.Now()
	s.mu.Unlock()
	if waiting && s.once {
		s.kill(errEnded, "client gone")
	}
}

// unsent takes a request back that the server has never seen.
func (s *session) unsent(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c.id)
}

// touch notes that the session was used, and which request was cancelled: nothing
// that comes without a name belongs to that one any more.
func (s *session) touch(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = s.t.cfg.Now()
	if c := s.open[m.cancels]; m.cancels != "" && c != nil {
		c.cancelled = true
	}
}

// listen takes the one GET stream.
func (s *session) listen() (*stream, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return nil, refuseUnknown
	case s.get != nil:
		return nil, refuseSecondStream
	}
	s.get, s.used = newStream(), s.t.cfg.Now()
	return s.get, nil
}

func (s *session) unlisten(get *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.get == get {
		s.get, s.used = nil, s.t.cfg.Now()
	}
}

// receive hands a line of the server to whom it belongs.
func (s *session) receive(line []byte) {
	m, err := parse(line)
	if err != nil {
		s.drop("not a message", line)
		return
	}
	line = oneLine(line)
	switch {
	case m.kind == response:
		s.answer(m, line)
		return
	case s.once && !relayed(m):
		s.answerHere(m, line)
		return
	}
	out := s.streamFor(m)
	if out == nil {
		s.drop("no stream for it", line)
		if m.kind == request { // else the server waits for ever
			s.process.trySend(noClient(m.id))
		}
		return
	}
	out.push(event{raw: line})
}

// noClient answers a request of the server that reaches nobody.
func noClient(id string) []byte {
	return []byte(`{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32603,"message":"no client listens"}}`)
}

func (s *session) answer(m message, line []byte) {
	s.mu.Lock()
	c := s.open[m.id]
	delete(s.open, m.id)
	s.used = s.t.cfg.Now()
	var out *stream
	if c != nil {
		out = c.out
	}
	request := s.request
	s.mu.Unlock()
	if c != nil && request != nil {
		line = stateless(request, line)
		s.end("answered") // first, so that who has the answer finds its place free or about to be
	}
	switch {
	case c == nil:
		s.drop("answer to no request", line)
	case out != nil:
		out.push(event{raw: line, failed: m.failed, final: true})
	}
}

// streamFor finds whose a message of the server is. Progress names its request. The
// rest belongs to the one request that is open, where it is one, and otherwise to
// the GET stream: it is never given to one of several by guess.
func (s *session) streamFor(m message) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.method == "notifications/progress" {
		if c := s.byProgress(m.progress); c != nil {
			return c.out
		}
		return nil
	}
	if c := s.only(); c != nil && c.out != nil {
		return c.out
	}
	return s.get
}

func (s *session) byProgress(token string) *call {
	for _, c := range s.open {
		if c.progress != "" && c.progress == token {
			return c
		}
	}
	return nil
}

// only returns the one request that the server works on.
func (s *session) only() *call {
	var only *call
	for _, c := range s.open {
		if c.cancelled {
			continue
		}
		if only != nil {
			return nil
		}
		only = c
	}
	return only
}

// drop counts what reaches nobody, and logs it ever less often.
func (s *session) drop(why string, line []byte) {
	s.mu.Lock()
	s.dropped++
	n := s.dropped
	s.mu.Unlock()
	if bits.OnesCount(n) == 1 {
		s.log.Warn("message of a stdio server dropped", "why", why, "bytes", len(line), "dropped", n)
	}
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug("message of a stdio server dropped", "why", why, "text", cut(s.masked(string(line))))
	}
}
