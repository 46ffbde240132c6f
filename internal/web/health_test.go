package web_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/web"
)

func TestReadyzNamesEachCheckAndLogsChangesOnly(t *testing.T) {
	var fails error
	var log bytes.Buffer
	h := &web.Health{Log: slog.New(slog.NewTextHandler(&log, nil)), Checks: []web.Check{
		{Name: "store", Do: func(context.Context) error { return fails }},
		{Name: "keys", Do: func(context.Context) error { return nil }},
	}}
	mux := http.NewServeMux()
	h.Register(mux)
	steps := []struct {
		name   string
		err    error
		status int
		body   string
		logged int // lines so far
	}{
		{"all well", nil, 200, `{"status":"ready","checks":[{"name":"store","ok":true},{"name":"keys","ok":true}]}`, 0},
		{"store gone", errors.New("gone"), 503, `{"status":"not ready","checks":[{"name":"store","ok":false,"error":"gone"},{"name":"keys","ok":true}]}`, 1},
		{"still gone", errors.New("gone"), 503, `{"status":"not ready","checks":[{"name":"store","ok":false,"error":"gone"},{"name":"keys","ok":true}]}`, 1},
		{"back", nil, 200, `{"status":"ready","checks":[{"name":"store","ok":true},{"name":"keys","ok":true}]}`, 2},
	}
	for _, s := range steps {
		fails = s.err
		if status, body := get(mux, "/readyz"); status != s.status || body != s.body {
			t.Errorf("%s: %d %s", s.name, status, body)
		}
		if n := strings.Count(log.String(), "\n"); n != s.logged {
			t.Errorf("%s: %d lines logged, want %d", s.name, n, s.logged)
		}
	}
	h.Stopping()
	if status, body := get(mux, "/readyz"); status != 503 || body != `{"status":"stopping"}` {
		t.Errorf("stopping: %d %s", status, body)
	}
	if status, body := get(mux, "/healthz"); status != 200 || body != `{"status":"ok"}` {
		t.Errorf("healthz: %d %s", status, body)
	}
}

// A check that hangs must not hang readiness: it gets a deadline.
func TestCheckGetsADeadline(t *testing.T) {
	h := &web.Health{Log: slog.New(slog.DiscardHandler), Checks: []web.Check{{Name: "store", Do: func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("no deadline")
		}
		return nil
	}}}}
	mux := http.NewServeMux()
	h.Register(mux)
	if status, body := get(mux, "/readyz"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func get(h http.Handler, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}
