package gateway_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
)

// fullCommand is the transport of a command that starts no more processes for a caller,
// and else is the HTTP server at the URL.
type fullCommand struct {
	to   *url.URL
	full atomic.Bool
}

func (f *fullCommand) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.full.Load() {
		return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Request: r,
			Body: io.NopCloser(strings.NewReader("too_many_processes_of_caller: end a session first\n"))}, nil
	}
	r = r.Clone(r.Context())
	r.URL, r.Host = f.to, f.to.Host
	return http.DefaultTransport.RoundTrip(r)
}

func TestCallerWhoHasEnoughProcessesOpensNobodysCircuit(t *testing.T) {
	f := &fullCommand{}
	w := newWorld(t, func(c *gateway.Config) {
		at, err := url.Parse(c.Upstreams[0].URL)
		if err != nil {
			t.Fatal(err)
		}
		f.to, c.Upstreams[0].URL, c.Upstreams[0].Transport = at, "stdio://mail", f
	})
	s := w.session(tokenSpec{subject: "bob"})
	f.full.Store(true)
	for range 20 {
		r := w.do("POST", w.url, w.token(tokenSpec{subject: "alice"}), initialize)
		if !strings.Contains(r.body, "too_many_processes_of_caller") {
			t.Fatalf("got %s", r)
		}
	}
	f.full.Store(false)
	if r := s.call(`{"name":"send_message"}`); !strings.Contains(r.body, `"result"`) {
		t.Errorf("another caller got %s", r)
	}
}
