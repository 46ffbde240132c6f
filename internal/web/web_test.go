package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// answer is what a client sees.
type answer struct {
	Status int
	Body   string
}

// serve asks h and checks what holds for every answer.
func serve(t *testing.T, h http.Handler, r *http.Request) (answer, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Body.String()}, w.Header()
}

func failing(err error) web.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

// logTo makes a logger of which the test reads every line.
func logTo(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// TestOnlyTheTextsOfOAuthErrorsLeave: causes and other errors stay in the log.
func TestOnlyTheTextsOfOAuthErrorsLeave(t *testing.T) {
	secret := errors.New("pq: password authentication failed for user wicketgate")
	invalid := &oauth.Error{Code: oauth.InvalidGrant, Description: "the code has expired", Cause: secret}
	tests := []struct {
		name   string
		err    error
		want   answer
		logged bool
	}{
		{"an OAuth error", invalid, answer{400, `{"error":"invalid_grant","error_description":"the code has expired"}`}, false},
		{"an OAuth error within another", fmt.Errorf("redeem %w: %w", invalid, secret), answer{400, `{"error":"invalid_grant","error_description":"the code has expired"}`}, false},
		{"an OAuth error joined with another", errors.Join(invalid, secret), answer{400, `{"error":"invalid_grant","error_description":"the code has expired"}`}, false},
		{"an OAuth error without description", &oauth.Error{Code: oauth.InvalidScope, Cause: secret}, answer{400, `{"error":"invalid_scope"}`}, false},
		{"any other error", secret, answer{500, `{"error":"server_error"}`}, true},
		{"a server error of ours", &oauth.Error{Code: oauth.ServerError, Cause: secret}, answer{500, `{"error":"server_error"}`}, true},
		{"a cancelled request", context.Canceled, answer{500, `{"error":"server_error"}`}, true},
		{"a body that was too large", fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 1}), answer{400, `{"error":"invalid_request","error_description":"request body is too large"}`}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			got, h := serve(t, web.JSON(logTo(&log), failing(tt.err)), httptest.NewRequest("POST", "/token", nil))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" || h.Get("WWW-Authenticate") != "" {
				t.Errorf("headers %v", h)
			}
			if got := log.Len() > 0; got != tt.logged {
				t.Errorf("log: %s", &log)
			}
		})
	}
}

func TestUnknownClientIsAskedToAuthenticate(t *testing.T) {
	got, h := serve(t, web.JSON(slog.New(slog.DiscardHandler), failing(&oauth.Error{Code: oauth.InvalidClient})), httptest.NewRequest("POST", "/", nil))
	if got.Status != 401 || h.Get("WWW-Authenticate") != `Basic realm="token endpoint"` {
		t.Errorf("%v %v", got, h)
	}
}

// TestSuccessIsNotStored: RFC 6749 §5.1.
func TestSuccessIsNotStored(t *testing.T) {
	h := web.JSON(slog.New(slog.DiscardHandler), func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Cache-Control", "public") // a slip that must not win
		return web.WriteJSON(w, http.StatusCreated, map[string]string{"access_token": "x"})
	})
	got, header := serve(t, h, httptest.NewRequest("POST", "/", nil))
	if diff := cmp.Diff(answer{201, `{"access_token":"x"}`}, got); diff != "" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v", diff, header)
	}
}

func TestWhatCannotBeWrittenIsAServerError(t *testing.T) {
	h := web.JSON(slog.New(slog.DiscardHandler), func(w http.ResponseWriter, _ *http.Request) error { return web.WriteJSON(w, 200, func() {}) })
	if got, _ := serve(t, h, httptest.NewRequest("POST", "/", nil)); got != (answer{500, `{"error":"server_error"}`}) {
		t.Errorf("%v", got)
	}
}

func TestBodyLimit(t *testing.T) {
	h := web.LimitBody(10, web.JSON(slog.New(slog.DiscardHandler), func(w http.ResponseWriter, r *http.Request) error {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		return web.WriteJSON(w, 200, len(b))
	}))
	for body, want := range map[string]answer{
		"":                         {200, "0"},
		"0123456789":               {200, "10"},
		"0123456789a":              {400, `{"error":"invalid_request","error_description":"request body is too large"}`},
		strings.Repeat("a", 1<<20): {400, `{"error":"invalid_request","error_description":"request body is too large"}`},
	} {
		r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader(body))) // of unknown length, as chunks are
		if got, _ := serve(t, h, r); got != want {
			t.Errorf("%d bytes: %v, want %v", len(body), got, want)
		}
	}
}

// connection is a ResponseWriter that notes the deadlines that are set on its reads.
type connection struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (c *connection) SetReadDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

// TestBodyThatTricklesInIsNotAwaited: a deadline is there until the last byte, also
// where nobody reads, and not for the answer, which may take longer.
func TestBodyThatTricklesInIsNotAwaited(t *testing.T) {
	for name, test := range map[string]struct {
		body       io.Reader
		read       bool
		set, clear bool
	}{
		"read to its end": {io.MultiReader(strings.NewReader("abc")), true, true, true},
		"too long":        {io.MultiReader(strings.NewReader("0123456789a")), true, true, false},
		"left alone":      {io.MultiReader(strings.NewReader("abc")), false, true, false},
		"none":            {http.NoBody, true, false, false},
	} {
		w, began := &connection{ResponseRecorder: httptest.NewRecorder()}, time.Now()
		web.LimitBody(10, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if test.read {
				_, _ = io.ReadAll(r.Body)
			}
		})).ServeHTTP(w, httptest.NewRequest("POST", "/", test.body))
		set := len(w.deadlines) > 0 && w.deadlines[0].After(began) && w.deadlines[0].Before(time.Now().Add(time.Minute))
		clear := len(w.deadlines) > 1 && w.deadlines[len(w.deadlines)-1].IsZero()
		if set != test.set || clear != test.clear {
			t.Errorf("%s: deadlines %v", name, w.deadlines)
		}
	}
}

func TestSourceIgnoresForwardedHeaders(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.1:1234": "192.0.2.1", "[2001:db8::1]:1234": "2001:db8::1", "@": "@", "": ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = addr
		for _, h := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip"} {
			r.Header.Set(h, "10.0.0.1")
		}
		if got := web.Source(r); got != want {
			t.Errorf("Source(%q) = %q, want %q", addr, got, want)
		}
	}
}
