package web_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/web"
)

const ours = "http://127.0.0.1:8420"

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })

// middleware is ours, and what it refused.
func middleware(log *bytes.Buffer) (web.Middleware, *[]string) {
	var refused []string
	return web.Middleware{Hosts: []string{"127.0.0.1:8420"}, Origins: []string{ours, "https://inspector.example"}, Log: logTo(log),
		Refused: func(_ *http.Request, reason string) { refused = append(refused, reason) }}, &refused
}

// A4: TestDNSRebindingIsRefused: a page's own host name that resolves to us is no
// name of ours.
func TestDNSRebindingIsRefused(t *testing.T) {
	tests := []struct {
		name, host string
		want       int
	}{
		{"our own", "127.0.0.1:8420", 200},
		{"another name", "evil.example:8420", 421},
		{"another name without port", "evil.example", 421},
		{"our name without port", "127.0.0.1", 421},
		{"our name with another port", "127.0.0.1:80", 421},
		{"our name as the begin of another", "127.0.0.1:8420.evil.example", 421},
		{"our name as the end of another", "evil.127.0.0.1:8420", 421},
		{"a name that means the same", "localhost:8420", 421},
		{"a name that means the same, in decimal", "2130706433:8420", 421},
		{"a trailing dot", "127.0.0.1.:8420", 421},
		{"white space", " 127.0.0.1:8420", 421},
		{"two names", "127.0.0.1:8420,evil.example", 421},
		{"user information", "x@127.0.0.1:8420", 421},
		{"nothing", "", 421},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			m, refused := middleware(&log)
			r := httptest.NewRequest("GET", "/", nil)
			r.Host = tt.host
			got, _ := serve(t, m.Wrap(ok), r)
			if got.Status != tt.want || (tt.want == 200) != (len(*refused) == 0) {
				t.Errorf("Host %q: %v, refused %q, want %d", tt.host, got, *refused, tt.want)
			}
			if tt.host != "" && tt.want != 200 && strings.Contains(got.Body, tt.host) {
				t.Errorf("the answer echoes the Host: %s", got.Body)
			}
		})
	}
}

// A4: TestOriginOfAnotherSiteIsRefused: also in a preflight, and nothing of it runs.
func TestOriginOfAnotherSiteIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		origin []string
		want   int
	}{
		{"no page at all", nil, 200},
		{"our own page", []string{ours}, 200},
		{"a listed page", []string{"https://inspector.example"}, 200},
		{"another site", []string{"https://evil.example"}, 403},
		{"the origin of a sandboxed frame or a file", []string{"null"}, 403},
		{"another case", []string{"HTTP://127.0.0.1:8420"}, 403},
		{"another scheme", []string{"https://127.0.0.1:8420"}, 403},
		{"another port", []string{"http://127.0.0.1:8421"}, 403},
		{"no port", []string{"http://127.0.0.1"}, 403},
		{"a name that means the same", []string{"http://localhost:8420"}, 403},
		{"ours as the begin of another", []string{ours + ".evil.example"}, 403},
		{"a listed name below another", []string{"https://inspector.example.evil.example"}, 403},
		{"a name below a listed one", []string{"https://evil.inspector.example"}, 403},
		{"a path", []string{ours + "/"}, 403},
		{"two in one", []string{ours + " https://evil.example"}, 403},
		{"ours first, then another", []string{ours, "https://evil.example"}, 403},
		{"a wildcard", []string{"*"}, 403},
		{"nothing, in a header", []string{""}, 403},
	}
	for _, tt := range tests {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			t.Run(tt.name+", "+method, func(t *testing.T) {
				m, refused := middleware(&bytes.Buffer{})
				ran := false
				h := m.SameSite(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ran = true; ok(w, r) }))
				r := httptest.NewRequest(method, "/mcp/mail", nil)
				r.Header["Origin"] = tt.origin
				got, header := serve(t, h, r)
				want := tt.want
				if want == 200 && method == "OPTIONS" {
					want = 204
				}
				if got.Status != want || ran != (want == 200) || slices.Equal(*refused, []string{"origin"}) != (want == 403) {
					t.Errorf("%v, ran %v, refused %q, want %d", got, ran, *refused, want)
				}
				allow := ""
				if want != 403 && len(tt.origin) == 1 {
					allow = tt.origin[0]
				}
				if header.Get("Access-Control-Allow-Origin") != allow || header.Get("Access-Control-Allow-Credentials") != "" || header.Get("Vary") != "Origin" {
					t.Errorf("headers %v, want %q allowed, no credentials", header, allow)
				}
			})
		}
	}
}

func TestPreflightOfAListedPage(t *testing.T) {
	m, _ := middleware(&bytes.Buffer{})
	r := httptest.NewRequest("OPTIONS", "/mcp/mail", nil)
	r.Header.Set("Origin", ours)
	r.Header.Set("Access-Control-Request-Method", "POST")
	_, h := serve(t, m.SameSite(ok), r)
	for _, name := range []string{"authorization", "content-type", "mcp-protocol-version", "mcp-session-id", "last-event-id"} {
		if !strings.Contains(h.Get("Access-Control-Allow-Headers"), name) {
			t.Errorf("%s is not allowed", name)
		}
	}
	if !strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("methods %q", h.Get("Access-Control-Allow-Methods"))
	}
}

// TestPublicDocumentsAreForEveryPage: without credentials.
func TestPublicDocumentsAreForEveryPage(t *testing.T) {
	for method, want := range map[string]int{"GET": 200, "OPTIONS": 204} {
		r := httptest.NewRequest(method, "/.well-known/x", nil)
		r.Header.Set("Origin", "https://any.example")
		got, h := serve(t, web.Public(ok), r)
		if got.Status != want || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v %v", method, got, h)
		}
	}
}

func TestPanicIsAServerErrorAndLogged(t *testing.T) {
	var log bytes.Buffer
	m, _ := middleware(&log)
	h := m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen-Id", web.RequestID(r.Context()))
		panic("the secret is 42")
	}))
	r := httptest.NewRequest("GET", "/x", nil)
	r.Host = "127.0.0.1:8420"
	got, header := serve(t, h, r)
	if diff := cmp.Diff(answer{500, `{"error":"server_error"}`}, got); diff != "" {
		t.Error(diff)
	}
	if header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", header)
	}
	if id := header.Get("X-Seen-Id"); len(id) < 20 || strings.Count(log.String(), id) != 2 || !strings.Contains(log.String(), "middleware_test.go") {
		t.Errorf("no panic with its stack under request %s in the log: %s", id, &log)
	}
}

// TestBrokenAnswerIsNotTakenForAWhole: over a real connection, the client of an
// answer that a panic cut off sees an error.
func TestBrokenAnswerIsNotTakenForAWhole(t *testing.T) {
	for name, p := range map[string]any{"a panic": "boom", "an abort": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			m, _ := middleware(&log)
			srv := httptest.NewUnstartedServer(nil)
			srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			m.Hosts = []string{srv.Listener.Addr().String()}
			srv.Config.Handler = m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "half of it")
				_ = http.NewResponseController(w).Flush()
				panic(p)
			}))
			srv.Start()
			defer srv.Close()
			resp, err := srv.Client().Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("read %q, %v, want %v", b, err, io.ErrUnexpectedEOF)
			}
		})
	}
}

// TestAbsoluteRequestTargetIsTheHost: a proxy's spelling does not hide the name.
func TestAbsoluteRequestTargetIsTheHost(t *testing.T) {
	m, _ := middleware(&bytes.Buffer{})
	srv := httptest.NewServer(nil)
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	m.Hosts = []string{u.Host}
	srv.Config.Handler = m.Wrap(ok)
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: " + u.Host + "\r\n\r\n":                       "HTTP/1.1 200",
		"GET http://evil.example/ HTTP/1.1\r\nHost: " + u.Host + "\r\n\r\n":    "HTTP/1.1 421",
		"GET / HTTP/1.0\r\n\r\n":                                               "HTTP/1.0 421",
		"GET / HTTP/1.1\r\nHost: " + u.Host + "\r\nHost: evil.example\r\n\r\n": "HTTP/1.1 400",
	} {
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b := make([]byte, len(want))
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
			t.Errorf("%q: %q, %v, want %q", request, b, err, want)
		}
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	m, _ := middleware(&bytes.Buffer{})
	seen := map[string]bool{}
	h := m.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen[web.RequestID(r.Context())] = true }))
	for range 10 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.Header = "127.0.0.1:8420", http.Header{"X-Request-Id": {"chosen by the client"}}
		if _, header := serve(t, h, r); !seen[header.Get("Request-Id")] {
			t.Errorf("the client is told %q, which is not the request's id", header.Get("Request-Id"))
		}
	}
	if len(seen) != 10 || seen["chosen by the client"] || seen[""] {
		t.Errorf("ids %v", seen)
	}
	if id := web.RequestID(t.Context()); id != "" {
		t.Errorf("id %q outside a request", id)
	}
}

// TestAccessLogHasNoQuery: codes and states travel in queries.
func TestAccessLogHasNoQuery(t *testing.T) {
	var log bytes.Buffer
	m, _ := middleware(&log)
	r := httptest.NewRequest("GET", "/callback?code=secret", nil)
	r.Host = "127.0.0.1:8420"
	r.Header.Set("Authorization", "Bearer secret")
	serve(t, m.Wrap(ok), r)
	if !strings.Contains(log.String(), "path=/callback status=200") || strings.Contains(log.String(), "secret") {
		t.Errorf("log: %s", &log)
	}
}

func TestBrowsersAreToldToComeByHTTPSOnly(t *testing.T) {
	for secure, want := range map[bool]string{true: "max-age=31536000", false: ""} {
		w := httptest.NewRecorder()
		m := web.Middleware{Hosts: []string{"example.com"}, Secure: secure, Log: slog.New(slog.DiscardHandler)}
		m.Wrap(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if got := w.Header().Get("Strict-Transport-Security"); got != want {
			t.Errorf("secure %v: Strict-Transport-Security %q, want %q", secure, got, want)
		}
	}
}
