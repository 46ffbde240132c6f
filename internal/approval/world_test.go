package approval_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/sqlite"
)

// world is a Service over a real store.
type world struct {
	*testing.T
	*approval.Service
	store *sqlite.Store
	now   time.Time
	told  []told

	mu     sync.Mutex // guards what follows
	lines  []audit.Event
	broken error
}

// told is a notice.
type told struct{ kind, body string }

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "wicketgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := &world{T: t, store: store, now: time.Date(2026, 10, 7, 9, 30, 0, 123456789, time.UTC)}
	w.Service = approval.New(w.config())
	return w
}

func (w *world) config() approval.Config {
	return approval.Config{Store: w.store, Audit: w, Notices: w, Now: func() time.Time { return w.now }, Page: "https://gate.example/console/approvals/",
		MaxPending: 3, Prefixes: []string{"partner:", "partner:eu:"}}
}

// Record implements audit.Recorder.
func (w *world) Record(_ context.Context, e audit.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	w.lines = append(w.lines, e)
	return nil
}

// Put implements approval.Notices.
func (w *world) Put(_ context.Context, kind string, body []byte, _ time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, told{kind, string(body)})
	return nil
}

func subject(name string) identity.Subject {
	s, err := identity.ParseSubject(name)
	if err != nil {
		panic(err) // a constant
	}
	return s
}

// call is one that needs an approval.
func (w *world) call(tool string) approval.Request {
	return approval.Request{Binding: approval.Binding{Subject: subject("alice@example.com"), Client: identity.MustClientID("dev-agent"),
		Actors: []string{"helper@example.com", "dev-agent"}, Server: "db", Tool: tool, ArgumentsDigest: "args", DefinitionDigest: "def", PolicyDigest: "pol",
		Rule: "access.yaml:7: roles.admin"}, Arguments: []byte(`{"table":"orders"}`), Risk: "high", By: [][]string{{"approver"}}, Expires: w.now.Add(15 * time.Minute)}
}

func (w *world) open(r approval.Request) approval.Request {
	w.Helper()
	got, err := w.Open(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	return got
}

func by(name, id string, approve bool) approval.Decision {
	return approval.Decision{ID: id, Approve: approve, By: subject(name), Client: identity.MustClientID("wicketgate-console"), ACR: "mfa", Comment: "checked",
		TokenID: "token-1", Source: "127.0.0.1", RequestID: "request-1"}
}

func (w *world) decide(d approval.Decision) approval.Request {
	w.Helper()
	r, err := w.Decide(w.Context(), d)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) wantState(id string, want approval.State) {
	w.Helper()
	r, err := w.Get(w.Context(), id)
	if err != nil || r.State != want {
		w.Errorf("%s is %s, %v, want %s", id, r.State, err, want)
	}
}

func (w *world) wantIs(what string, err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Errorf("%s = %v, want %v", what, err, want)
	}
}
