package inline_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/inline"
)

func TestConnectionIsUsedAgainAfterAWholeResponse(t *testing.T) {
	for name, response := range map[string]string{
		"with a length":                          good,
		"in chunks":                              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ngo\r\n2\r\nod\r\n0\r\n\r\n",
		"with trailers":                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n4\r\ngood\r\n0\r\nA: b\r\n\r\n",
		"with some informational ones before it": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + good,
	} {
		t.Run(name, func(t *testing.T) {
			u, tr := newUpstream(t, answering(response)), newTransport(t)
			for range 3 {
				if got, err := call(t, tr, u.url); got != "good" || err != nil {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			if n := u.opened.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func TestConnectionIsUsedAgainAfterAResponseWithoutBody(t *testing.T) {
	u, tr := newUpstream(t, answering("HTTP/1.1 204 No Content\r\n\r\n")), newTransport(t)
	for range 2 {
		if _, err := call(t, tr, u.url); err != nil {
			t.Fatal(err)
		}
	}
	if n := u.opened.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestConnectionIsNotUsedAgain(t *testing.T) {
	for name, response := range map[string]string{
		"after Connection: close":             "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood",
		"after a response of HTTP/1.0":        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\ngood",
		"with bytes after the response":       good + "x",
		"with bytes after one without a body": "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
	} {
		t.Run(name, func(t *testing.T) {
			u, tr := newUpstream(t, answering(response)), newTransport(t)
			for range 2 {
				if got, err := call(t, tr, u.url); got == "evil" || err != nil {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			if n := u.opened.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

func TestBodyThatEndsWithTheConnectionIsReadToItsEnd(t *testing.T) {
	u, tr := newUpstream(t, func(p *peer) { p.next(); p.send("HTTP/1.1 200 OK\r\n\r\ngood") }), newTransport(t)
	if got, err := call(t, tr, u.url); got != "good" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	if tr.Idle() != 0 {
		t.Error("a closed connection was kept")
	}
}

func TestEventsArriveWhenTheyAreSent(t *testing.T) {
	read := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-read
		_, _ = io.WriteString(w, "second")
	}))
	defer s.Close()
	resp, err := newTransport(t).RoundTrip(post(t.Context(), t, s.URL, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); string(first) != "first" || err != nil {
		t.Fatalf("got %q, %v", first, err)
	}
	close(read)
	if rest, err := io.ReadAll(resp.Body); string(rest) != "second" || err != nil {
		t.Fatalf("got %q, %v", rest, err)
	}
}

func TestOnlyWhatASocketTakesWithoutBeingReadIsSentHere(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"https":                    func(r *http.Request) { r.URL.Scheme = "https" },
		"no host":                  func(r *http.Request) { r.URL.Host = "" },
		"another method":           func(r *http.Request) { r.Method = http.MethodConnect },
		"a method of two":          func(r *http.Request) { r.Method = "POST / HTTP/1.1\r\nX:" },
		"a large body":             func(r *http.Request) { r.ContentLength = inline.MaxBody + 1 },
		"a body of no length":      func(r *http.Request) { r.ContentLength = -1 },
		"a body of unknown length": func(r *http.Request) { r.ContentLength = 0 },
		"chunks":                   func(r *http.Request) { r.TransferEncoding = []string{"chunked"} },
		"trailers":                 func(r *http.Request) { r.Trailer = http.Header{"A": nil} },
		"Expect":                   func(r *http.Request) { r.Header.Set("Expect", "100-continue") },
		"Upgrade":                  func(r *http.Request) { r.Header.Set("Upgrade", "websocket") },
	} {
		t.Run(name, func(t *testing.T) {
			req := post(t.Context(), t, "http://127.0.0.1:1/mcp", "{}")
			change(req)
			if _, err := newTransport(t).RoundTrip(req); !errors.Is(err, errElsewhere) {
				t.Errorf("got %v, want it to go elsewhere", err)
			}
		})
	}
}

func TestUpstreamThatNeverReadsTakesTheLargestBody(t *testing.T) {
	u, tr := newUpstream(t, func(p *peer) { p.send(good); p.gone() }), newTransport(t)
	resp, err := tr.RoundTrip(post(t.Context(), t, u.url, strings.Repeat("x", inline.MaxBody)))
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	closed := make(chan struct{})
	u, tr := newUpstream(t, func(p *peer) { answering(good)(p); close(closed) }), newTransport(t)
	if _, err := call(t, tr, u.url); err != nil {
		t.Fatal(err)
	}
	if tr.Expire(time.Now()); tr.Idle() != 1 {
		t.Fatal("a connection was not kept")
	}
	tr.Expire(time.Now().Add(inline.IdleTimeout))
	<-closed
	if n := tr.Idle(); n != 0 {
		t.Errorf("%d are kept, want none", n)
	}
}

// TestEachCallerGetsItsOwnAnswer has many callers at once, a third of whom give up at some
// point: whatever they leave on a connection must not reach another.
func TestEachCallerGetsItsOwnAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
		_ = http.NewResponseController(w).Flush() // in two pieces, with room to be cancelled between
		_, _ = w.Write(b)
	}))
	defer s.Close()
	tr := newTransport(t)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 60 {
				echo(t, tr, s.URL, strconv.Itoa(i)+"/"+strconv.Itoa(j)+";", j%6)
			}
		})
	}
	wg.Wait()
}

// echo gives up in one of the ways that there are, or checks the answer.
func echo(t *testing.T, tr *inline.Transport, url, body string, way int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if way == 0 {
		defer context.AfterFunc(t.Context(), cancel)()
		go cancel()
	}
	resp, err := tr.RoundTrip(post(ctx, t, url, body))
	if err != nil {
		if way != 0 {
			t.Error(err)
		}
		return
	}
	defer resp.Body.Close()
	if way == 1 {
		cancel()
	}
	if way == 2 {
		return
	}
	got, err := io.ReadAll(resp.Body)
	if way > 2 && (string(got) != body+body || err != nil) || !strings.HasPrefix(body+body, string(got)) {
		t.Errorf("got %q, %v, want %q twice", got, err, body)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	defer s.Close()
	for name, tr := range map[string]http.RoundTripper{"net/http": &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256}, "inline": inline.New(nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.URL, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
				if err != nil {
					b.Fatal(err)
				}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
				_ = resp.Body.Close()
			}
		})
	}
}
