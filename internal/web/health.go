package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// checkTimeout is how long all checks together may take.
const checkTimeout = 2 * time.Second

// Check is something without which no request can be served. Do must be safe for
// concurrent use; its error is told to operators, so it holds no secret.
type Check struct {
	Name string
	Do   func(ctx context.Context) error
}

// Warning is an error of a Check that an operator should know of, though requests are
// served all the same.
type Warning struct{ Err error }

func (w Warning) Error() string { return w.Err.Error() }

func (w Warning) Unwrap() error { return w.Err }

// Health answers whether the process lives (/healthz) and whether it can serve
// (/readyz). It is for a listener of operators, not for clients.
type Health struct {
	Checks []Check
	Log    *slog.Logger

	stopping atomic.Bool
	mu       sync.Mutex // guards failing
	failing  map[string]string
}

// Stopping makes the process not ready, for good.
func (h *Health) Stopping() { h.stopping.Store(true) }

// Register adds the endpoints to mux.
func (h *Health) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_ = WriteJSON(w, http.StatusOK, readiness{Status: "ok"})
	})
	mux.HandleFunc("GET /readyz", h.ready)
}

type readiness struct {
	Status string   `json:"status"`
	Checks []result `json:"checks,omitempty"`
}

type result struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Warning string `json:"warning,omitempty"`
	Error   string `json:"error,omitempty"`
}

func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	if h.stopping.Load() {
		_ = WriteJSON(w, http.StatusServiceUnavailable, readiness{Status: "stopping"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	status, answer := http.StatusOK, readiness{Status: "ready"}
	for _, c := range h.Checks {
		res := h.result(ctx, c)
		if !res.OK {
			status, answer.Status = http.StatusServiceUnavailable, "not ready"
		}
		answer.Checks = append(answer.Checks, res)
	}
	_ = WriteJSON(w, status, answer)
}

// How a check has ended.
const (
	checkGood    = ""
	checkWarning = "ready, but"
	checkFailed  = "not ready"
)

// result does one check, and logs when it begins or ceases to fail, or to warn.
func (h *Health) result(ctx context.Context, c Check) result {
	err := c.Do(ctx)
	res, state := result{Name: c.Name, OK: true}, checkGood
	var w Warning
	switch {
	case errors.As(err, &w):
		res.Warning, state = err.Error(), checkWarning
	case err != nil:
		res, state = result{Name: c.Name, Error: err.Error()}, checkFailed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing == nil {
		h.failing = map[string]string{}
	}
	if h.failing[c.Name] == state {
		return res
	}
	h.failing[c.Name] = state
	switch state {
	case checkFailed:
		h.Log.Error(state, "check", c.Name, "error", err)
	case checkWarning:
		h.Log.Warn(state, "check", c.Name, "error", err)
	default:
		h.Log.Info("ready again", "check", c.Name)
	}
	return res
}
