// Package web owns what every HTTP endpoint shares: turning an error into a
// response, request ids, recovery, body limits, the check of Host and Origin,
// cross-origin headers, the access log, and how pages for people are sent.
//
// It knows no feature. It is the only place that writes an error to a client:
// an *oauth.Error as it is, anything else as server_error without text.
package web

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// WriteJSON writes a response that must not be stored (RFC 6749 §5.1).
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b) // fails only when the client has gone: there is nobody to tell
	return nil
}

// HandlerFunc is an HTTP handler that may fail before it has written anything.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// JSON makes an http.Handler whose errors are OAuth error responses (RFC 6749 §5.2).
func JSON(log *slog.Logger, h HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			WriteError(w, r, log, err)
		}
	})
}

// WriteError renders err. What is no *oauth.Error is logged here and told to the
// client as server_error.
func WriteError(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	e := Wire(err)
	if e.Code == oauth.ServerError {
		log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "request_id", RequestID(r.Context()), "error", err)
	}
	if e.Code == oauth.InvalidClient { // RFC 6749 §5.2, RFC 7235 §3.1
		w.Header().Set("WWW-Authenticate", `Basic realm="token endpoint"`)
	}
	if err := WriteJSON(w, e.Status(), e); err != nil {
		log.ErrorContext(r.Context(), "write error response", "error", err)
	}
}

// Wire is what the client may be told of err.
func Wire(err error) *oauth.Error {
	var e *oauth.Error
	if errors.As(err, &e) {
		return e
	}
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "request body is too large"}
	}
	return &oauth.Error{Code: oauth.ServerError}
}

type requestIDKey struct{}

// RequestID returns the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// Source is the address that the request came from, without the port. Forwarded
// headers are not read: whoever may set them is not known here.
func Source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Middleware is what every request of a listener passes through.
type Middleware struct {
	Hosts   []string // accepted Host values, with port; others get 421
	Secure  bool     // clients come by https: browsers are told to come no other way (RFC 6797)
	Origins []string // accepted Origin values, our own among them; others get 403 behind SameSite
	Log     *slog.Logger
	Refused func(r *http.Request, reason string) // told of each refusal, for the audit log; may be nil
}

// Wrap puts recovery, request id, the Host check and the access log around h.
func (m Middleware) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := rand.Text()
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		w.Header().Set("Request-Id", id) // for whoever asks the operator why
		sw := &statusWriter{ResponseWriter: w}
		defer m.finish(sw, r, start)
		sw.Header().Set("X-Content-Type-Options", "nosniff")
		if m.Secure {
			sw.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		if !slices.Contains(m.Hosts, r.Host) { // DNS rebinding: a page's own host name that resolves to us
			m.refuse(sw, r, "host", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(sw, r)
	})
}

// finish recovers from a panic and writes the access log line. A response that
// had begun is aborted, so that nobody takes the half of it for the whole.
func (m Middleware) finish(w *statusWriter, r *http.Request, start time.Time) {
	p := recover()
	abort := p == http.ErrAbortHandler || p != nil && w.status != 0
	if p != nil && p != http.ErrAbortHandler {
		m.Log.ErrorContext(r.Context(), "panic", "value", p, "path", r.URL.Path, "request_id", RequestID(r.Context()), "stack", string(debug.Stack()))
		if !abort {
			_ = WriteJSON(w, http.StatusInternalServerError, &oauth.Error{Code: oauth.ServerError})
		}
	}
	if m.Log.Enabled(r.Context(), slog.LevelDebug) {
		m.Log.DebugContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path, "status", w.status,
			"duration", time.Since(start), "source", Source(r), "request_id", RequestID(r.Context()))
	}
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// SameSite refuses a request from another site's page: an Origin that is neither
// ours nor listed gets 403 (MCP 2025-11-25, transports: Origin must be validated).
// For the accepted ones it answers CORS, preflights included.
func (m Middleware) SameSite(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		origins := r.Header.Values("Origin") // one, or none where no page asks
		if len(origins) > 1 || len(origins) == 1 && !slices.Contains(m.Origins, origins[0]) {
			m.refuse(w, r, "origin", http.StatusForbidden)
			return
		}
		if len(origins) == 1 {
			allowOrigin(w.Header(), origins[0])
		}
		if preflight(w, r) {
			return
		}
		h.ServeHTTP(w, r)
	})
}

// refuse tells the caller no more than the status does.
func (m Middleware) refuse(w http.ResponseWriter, r *http.Request, reason string, status int) {
	if m.Refused != nil {
		m.Refused(r, reason)
	}
	_ = WriteJSON(w, status, &oauth.Error{Code: oauth.InvalidRequest, Description: "this server does not answer to that Host or Origin"})
}

// Public lets every origin read: for documents that are the same for everybody.
func Public(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allowOrigin(w.Header(), "*")
		if !preflight(w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

func allowOrigin(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version")
}

func preflight(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodOptions {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "authorization, dpop, content-type, accept, mcp-protocol-version, mcp-method, mcp-name, mcp-session-id, last-event-id")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// bodyTimeout is how long a body may take to come: who sends a byte a minute would hold
// a connection, and what its headers were admitted for, as long as it likes.
const bodyTimeout = 30 * time.Second

// LimitBody caps the request body, and the time that it may take; reading beyond fails
// with *http.MaxBytesError.
func LimitBody(n int64, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			c := http.NewResponseController(w)
			_ = c.SetReadDeadline(time.Now().Add(bodyTimeout)) // fails only where there is no connection
			r.Body = punctual{r.Body, c}
		}
		r.Body = http.MaxBytesReader(w, r.Body, n)
		h.ServeHTTP(w, r)
	})
}

// punctual is a body with a deadline, which is over when the body is: the answer may take
// longer, and that the client goes away meanwhile shall still be noticed.
type punctual struct {
	io.ReadCloser
	c *http.ResponseController
}

func (p punctual) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if errors.Is(err, io.EOF) { // with another error the rest is still awaited
		_ = p.c.SetReadDeadline(time.Time{})
	}
	return n, err
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
