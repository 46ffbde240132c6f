// Package stdio runs the MCP server of a command and presents it as a streamable HTTP
// server within the process: a Transport is an http.RoundTripper. It is one of the session
// era (MCP 2025-11-25, transports), where a session has a process of its own, so that
// nothing that a server remembers passes from one caller to another; or of the stateless
// era (MCP 2026-07-28), where each request has one (Config.PerCall).
//
// It owns the process (start, limits on number and life, end) and which message goes
// to which stream. The credential in the context of the request that starts a process
// (package credential) goes into that one's environment, and ends it. It does NOT
// authenticate anybody, does NOT look at what messages say beyond method, id and progress
// token, and passes no header to the process: the process never sees a token. What
// confines the process is package sandbox's.
//
// Not here: resuming of streams (Last-Event-ID), batches; and where each request has a
// process, questions of the server to the client (sampling, elicitation, roots),
// subscriptions and levels of logging.
package stdio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/internal/sandbox"
)

// Limits.
const (
	maxLine     = 4 << 20 // bytes of a message, in either direction
	maxQueued   = 8 << 20 // bytes that wait for a slow client of one stream
	maxCalls    = 1024    // requests of a session without an answer
	sweepPeriod = 5 * time.Second
)

// Config says how to run a server.
type Config struct {
	Name    string   // for the log
	Command []string // program and arguments; no shell reads it
	Env     []string // NAME=VALUE, besides PATH, HOME, LANG and TMPDIR; nothing else is inherited
	Dir     string   // working directory; empty: the process's own temporary one

	// Sandbox confines the processes; nil: nothing does.
	Sandbox *sandbox.Sandbox

	Idle  time.Duration // a session in which nothing happens ends; 0: 10 minutes
	Life  time.Duration // every session ends; 0: 12 hours
	Grace time.Duration // from closing stdin to SIGTERM, and on to SIGKILL; 0: 2 seconds

	MaxProcesses int // 0: 64
	MaxPerOwner  int // 0: 8

	// PerCall gives each request a process of its own, and presents the command as a server
	// of the stateless era (MCP 2026-07-28).
	PerCall bool

	// Owner names whose process it is, of the context of the request that starts it; nil:
	// all are of one owner.
	Owner func(ctx context.Context) string

	// Mask takes the secrets of a credential out of a text for the log, as they are and in
	// every way of writing them; nil: nothing that a process with a credential writes is logged.
	Mask func(secrets []string, text string) string

	Log *slog.Logger
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		value *time.Duration
		safe  time.Duration
	}{{&c.Idle, 10 * time.Minute}, {&c.Life, 12 * time.Hour}, {&c.Grace, 2 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.safe
		}
	}
	if c.MaxProcesses <= 0 {
		c.MaxProcesses = 64
	}
	if c.MaxPerOwner <= 0 {
		c.MaxPerOwner = 8
	}
	if c.Owner == nil {
		c.Owner = func(context.Context) string { return "" }
	}
	return c
}

// Transport is the server's HTTP side. It is safe for concurrent use.
type Transport struct {
	cfg     Config
	program string
	log     *slog.Logger
	rate    logRate // of processes that serve one request each

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session
	running  map[string]int // processes by owner, of ended sessions too until they are gone
	total    int            // of running
	ending   map[string]int // those of running that are about to be gone, by owner
	freed    chan struct{}  // closed when a place is free

	processes sync.WaitGroup // that run
	stopSweep context.CancelFunc
	swept     chan struct{} // closed when the sweeper has ended
}

var _ http.RoundTripper = (*Transport)(nil)

// New makes a Transport. It starts no process yet. Close it when it is not needed.
func New(cfg Config) (*Transport, error) {
	if len(cfg.Command) == 0 {
		return nil, errors.New("the command is empty: name a program")
	}
	program, err := find(cfg.Command[0], cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range cfg.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			return nil, errors.New("env: each entry must be NAME=VALUE") // the value may be a secret
		}
	}
	removeLeft(cfg.Log)
	ctx, cancel := context.WithCancel(context.Background())
	t := &Transport{cfg: cfg.withDefaults(), program: program, log: cfg.Log.With("server", cfg.Name), sessions: map[string]*session{}, running: map[string]int{}, ending: map[string]int{}, freed: make(chan struct{}),
		stopSweep: cancel, swept: make(chan struct{})}
	go t.sweepUntil(ctx)
	return t, nil
}

// find returns the absolute path of a program: one with a slash is relative to dir,
// as it would be for the process itself.
func find(program, dir string) (string, error) {
	if strings.Contains(program, "/") && !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("command %q: %w: write the path of a program, or the name of one in PATH", program, errors.Unwrap(err))
	}
	return filepath.Abs(path)
}

// Close ends all processes and waits until they are gone.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.stopSweep()
	<-t.swept
	for _, s := range t.all() {
		s.end("shutdown")
	}
	t.processes.Wait()
	return nil
}

func (t *Transport) all() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*session, 0, len(t.sessions))
	for _, s := range t.sessions {
		out = append(out, s)
	}
	return out
}

func (t *Transport) sweepUntil(ctx context.Context) {
	defer close(t.swept)
	tick := time.NewTicker(sweepPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.sweep()
		}
	}
}

// sweep ends the sessions whose time is over.
func (t *Transport) sweep() {
	now := t.cfg.Now()
	for _, s := range t.all() {
		if why := s.overdue(now); why != "" {
			s.end(why)
		}
	}
}

// find returns a live session.
func (t *Transport) find(id string) *session {
	t.mu.Lock()
	s := t.sessions[id]
	t.mu.Unlock()
	if s == nil {
		return nil
	}
	if why := s.overdue(t.cfg.Now()); why != "" { // the sweeper comes now and then only
		s.end(why)
		return nil
	}
	return s
}

// Reasons for an HTTP 503: the first word of its body.
const (
	reasonProcesses = "too_many_processes"
	reasonOwner     = "too_many_processes_of_caller"
	reasonClosed    = "shutting_down"
	reasonCalls     = "too_many_open_requests"
)

// place takes a place for one process, or returns the reason why there is none. It waits for
// processes that are ending: who has the answer of one may go on.
func (t *Transport) place(ctx context.Context, owner string) string {
	for {
		t.mu.Lock()
		freed := t.freed
		t.mu.Unlock()
		reason := t.reserve(owner)
		if reason == "" || !t.ends(reason, owner) {
			return reason
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return reason
		}
	}
}

// ends reports whether a place will be free soon.
func (t *Transport) ends(reason, owner string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch reason {
	case reasonOwner:
		return t.ending[owner] > 0
	case reasonProcesses:
		return len(t.ending) > 0
	}
	return false
}

// reserve takes a place for one process. It returns the reason why there is none.
func (t *Transport) reserve(owner string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return reasonClosed
	case t.total >= t.cfg.MaxProcesses:
		return reasonProcesses
	case t.running[owner] >= t.cfg.MaxPerOwner:
		return reasonOwner
	}
	t.total++
	t.running[owner]++
	t.processes.Add(1)
	return ""
}

// release gives the place of s back, once its process is gone.
func (t *Transport) release(s *session) {
	t.mu.Lock()
	t.total--
	count(t.running, s.owner, -1)
	if s.ending {
		count(t.ending, s.owner, -1)
	}
	s.gone = true
	close(t.freed)
	t.freed = make(chan struct{})
	t.mu.Unlock()
	t.processes.Done()
}

// count keeps nobody who has none.
func count(of map[string]int, owner string, by int) {
	if of[owner] += by; of[owner] == 0 {
		delete(of, owner)
	}
}

// add makes the session known. After Close it is too late.
func (t *Transport) add(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.sessions[s.id] = s
	return true
}

// remove makes the session unknown: its process is ending.
func (t *Transport) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s.id)
	if !s.ending && !s.gone {
		s.ending = true
		count(t.ending, s.owner, +1)
	}
}
