package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/webhook"
)

const (
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	second = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDd1XzH9rZ8EE="
)

// received is a request that arrived.
type received struct {
	id   string
	body string
}

// receiver is a server that verifies what it gets, as any other one would.
type receiver struct {
	*httptest.Server
	secret string

	mu     sync.Mutex // guards what follows
	answer []int      // of the next requests; then 204
	got    []received
	bad    []error
}

func receive(t *testing.T, answer ...int) *receiver {
	t.Helper()
	r := &receiver{secret: secret, answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// receiveAt is a receiver that comes up at an address.
func receiveAt(t *testing.T, addr string) *receiver {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{secret: secret}
	r.Server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: r}}
	r.Start()
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	key, _ := standardwebhooks.NewWebhook(r.secret)
	if err == nil {
		err = key.VerifyIgnoringTimestamp(body, q.Header)
	}
	if ts := q.Header.Get("webhook-timestamp"); err == nil && ts == "" || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" {
		err = fmt.Errorf("%s at %q of type %q", q.Method, ts, q.Header.Get("Content-Type"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.bad = append(r.got, received{q.Header.Get("webhook-id"), string(body)}), append(r.bad, err)
	status := http.StatusNoContent
	if len(r.answer) > 0 {
		status, r.answer = r.answer[0], r.answer[1:]
	}
	if status/100 == 3 {
		w.Header().Set("Location", r.URL+"/elsewhere")
	}
	w.WriteHeader(status)
}

// arrived is what came, all of it with a signature.
func (r *receiver) arrived(t *testing.T) []received {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.bad {
		if err != nil {
			t.Errorf("the receiver: %v", err)
		}
	}
	return r.got
}

// world is senders over one store, and a clock.
type world struct {
	*testing.T
	path string
	log  bytes.Buffer

	mu       sync.Mutex // guards now and outcomes
	now      time.Time
	outcomes map[string]int
}

func newWorld(t *testing.T) *world {
	return &world{T: t, path: filepath.Join(t.TempDir(), "wicketgate.db"), now: time.Date(2026, 10, 7, 9, 30, 0, 0, time.UTC), outcomes: map[string]int{}}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) open() *sqlite.Store {
	w.Helper()
	s, err := sqlite.Open(w.Context(), w.path)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { s.Close() })
	return s
}

func (w *world) endpoint(url, secrets string) webhook.Endpoint {
	w.Helper()
	e, err := webhook.ParseEndpoint(url, secrets)
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// sender is one of a process, over the store.
func (w *world) sender(outbox webhook.Outbox, to ...webhook.Endpoint) *webhook.Sender {
	return webhook.New(webhook.Config{Endpoints: to, Outbox: outbox, Now: w.clock, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Observe: func(_, outcome string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.outcomes[outcome]++
		}})
}

func (w *world) put(s *webhook.Sender, body string) {
	w.Helper()
	if err := s.Put(w.Context(), "approval.requested", []byte(body), w.clock()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) deliver(s *webhook.Sender, e webhook.Endpoint) {
	w.Helper()
	if err := s.Deliver(context.WithoutCancel(w.Context()), e); err != nil {
		w.Fatal(err)
	}
}
