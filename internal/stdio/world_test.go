//go:build linux

package stdio_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/stdio"
)

type world struct {
	*stdio.Transport
	t   *testing.T
	log *syncBuffer

	mu  sync.Mutex // guards now
	now time.Time
}

type syncBuffer struct {
	mu      sync.Mutex // guards b
	b       bytes.Buffer
	written sync.Cond
}

func newSyncBuffer() *syncBuffer {
	s := &syncBuffer{}
	s.written.L = &s.mu
	return s
}

// wait waits until the text is there.
func (s *syncBuffer) wait(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !strings.Contains(s.b.String(), text) {
		s.written.Wait()
	}
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.written.Broadcast()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T, change func(*stdio.Config)) *world {
	t.Helper()
	w := &world{t: t, log: newSyncBuffer(), now: time.Unix(1_800_000_000, 0)}
	cfg := stdio.Config{Name: "files", Command: []string{"/proc/self/exe"}, Env: []string{serverVariable + "=lines"}, Grace: 10 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now
		}}
	if change != nil {
		change(&cfg)
	}
	transport, err := stdio.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Transport = transport
	t.Cleanup(func() {
		_ = transport.Close()
		if n := transport.Processes(); n != 0 {
			t.Errorf("%d processes run after Close", n)
		}
	})
	return w
}

// do makes a request of the session.
func (w *world) do(ctx context.Context, method, session, body string) (*http.Response, error) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "stdio://files", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer a-call-token")
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	resp, err := w.RoundTrip(req)
	if err == nil {
		w.t.Cleanup(func() { _ = resp.Body.Close() })
	}
	return resp, err
}

func (w *world) must(method, session, body string) *http.Response {
	w.t.Helper()
	resp, err := w.do(w.t.Context(), method, session, body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, body, err)
	}
	return resp
}

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`

func (w *world) open() string {
	w.t.Helper()
	resp := w.must("POST", "", initialize)
	id := resp.Header.Get("Mcp-Session-Id")
	if resp.StatusCode != http.StatusOK || id == "" {
		w.t.Fatalf("initialize: HTTP %d, session %q: %s", resp.StatusCode, id, all(w.t, resp))
	}
	return id
}

func all(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the body: %v", err)
	}
	return string(b)
}

// ask posts a request and returns the whole body.
func (w *world) ask(session, body string) string {
	w.t.Helper()
	resp := w.must("POST", session, body)
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: HTTP %d: %s", body, resp.StatusCode, all(w.t, resp))
	}
	return all(w.t, resp)
}

func (w *world) status(method, session, body string) int {
	w.t.Helper()
	return w.must(method, session, body).StatusCode
}

// events reads the data of an event stream.
type events struct {
	t *testing.T
	r *bufio.Reader
}

func eventsOf(t *testing.T, resp *http.Response) *events {
	t.Helper()
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("Content-Type %q, want an event stream: %s", ct, all(t, resp))
	}
	return &events{t, bufio.NewReader(resp.Body)}
}

func (e *events) next() string {
	e.t.Helper()
	for {
		l, err := e.r.ReadString('\n')
		if err != nil {
			e.t.Fatalf("event stream: %v", err)
		}
		if data, ok := strings.CutPrefix(l, "data: "); ok {
			return strings.TrimSuffix(data, "\n")
		}
	}
}

func (e *events) end() error {
	_, err := io.Copy(io.Discard, e.r)
	return err
}
