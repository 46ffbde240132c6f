package inline_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/inline"
)

const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

// TestSmuggledResponseIsNeverTheNextCallers: what a response leaves on the connection is
// not read as the answer to another request.
func TestSmuggledResponseIsNeverTheNextCallers(t *testing.T) {
	for name, first := range map[string]string{
		"a second response behind one with a length": good + evil,
		"a second response behind chunks":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n" + evil,
		"a length that ends before the chunks do":    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + evil,
		"a body where none may be":                   "HTTP/1.1 204 No Content\r\nContent-Length: 45\r\n\r\n" + evil,
		"two lengths":                                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 0\r\n\r\n" + evil,
		"a length with a sign":                       "HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n" + evil,
		"two transfer encodings":                     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + evil,
		"an upgrade that nobody asked for":           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + evil,
		"a body of an informational response":        "HTTP/1.1 103 Early Hints\r\nContent-Length: 45\r\n\r\n" + good + evil,
	} {
		t.Run(name, func(t *testing.T) {
			u, tr := newUpstream(t, func(p *peer) { p.next(); p.send(first); p.gone() }, answering(good)), newTransport(t)
			_, _ = call(t, tr, u.url)
			if got, err := call(t, tr, u.url); got != "good" || err != nil {
				t.Errorf("the next caller got %q, %v", got, err)
			}
			if n := u.opened.Load(); n != 2 {
				t.Errorf("%d connections, want another one for the next caller", n)
			}
		})
	}
}

// TestResponseBeforeItsRequestIsThrownAway: an upstream that answers a kept connection
// in advance would be believed about a call that it has not seen.
func TestResponseBeforeItsRequestIsThrownAway(t *testing.T) {
	early := make(chan struct{})
	u, tr := newUpstream(t, func(p *peer) { p.next(); p.send(good); <-early; p.send(evil); p.gone() }, answering(good)), newTransport(t)
	if _, err := call(t, tr, u.url); err != nil {
		t.Fatal(err)
	}
	close(early)
	until(t, "the early response arrives", func() bool { return !tr.AllQuiet() })
	if got, err := call(t, tr, u.url); got != "good" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestUntrustworthyResponsesAreErrors(t *testing.T) {
	for name, send := range map[string]func(*peer){
		"an endless header": func(p *peer) {
			p.send("HTTP/1.1 200 OK\r\n")
			for range inline.MaxHeader/1024 + 64 {
				p.send("A: " + strings.Repeat("x", 1024) + "\r\n")
			}
			p.send("Content-Length: 4\r\n\r\ngood")
		},
		"an endless status line": func(p *peer) { p.send("HTTP/1.1 200 " + strings.Repeat("x", inline.MaxHeader) + "\r\n\r\n") },
		"a flood of informational": func(p *peer) {
			p.send(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", inline.MaxInformational+1) + good)
		},
		"another protocol": func(p *peer) { p.send("HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\ngood") },
		"no HTTP at all":   func(p *peer) { p.send("SSH-2.0-x\r\n") },
		"two lengths":      func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\ngood") },
		"a folded header":  func(p *peer) { p.send("HTTP/1.1 200 OK\r\n A: b\r\n\r\n") },
		"nothing":          func(*peer) {},
		"half a header":    func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Le") },
		"half a body":      func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ngood") },
		"half a chunk":     func(p *peer) { p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ngood") },
		"no last chunk":    func(p *peer) { p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			u, tr := newUpstream(t, func(p *peer) { p.next(); send(p) }), newTransport(t)
			if got, err := call(t, tr, u.url); err == nil || errors.Is(err, context.Canceled) {
				t.Errorf("got %q, %v", got, err)
			}
			if tr.Idle() != 0 {
				t.Error("the connection was kept")
			}
		})
	}
}

// TestCallIsNotMadeTwice: a connection that ends after the request was sent says nothing
// of whether the upstream has acted.
func TestCallIsNotMadeTwice(t *testing.T) {
	u, tr := newUpstream(t, func(p *peer) { p.next(); p.send(good); p.next() }, answering(good)), newTransport(t)
	if _, err := call(t, tr, u.url); err != nil {
		t.Fatal(err)
	}
	if got, err := call(t, tr, u.url); err == nil {
		t.Errorf("got %q, want an error", got)
	}
	if n := u.seen.Load(); n != 2 {
		t.Errorf("the upstream saw %d requests, want 2", n)
	}
}

func TestKeptConnectionThatTheUpstreamClosedIsReplaced(t *testing.T) {
	u, tr := newUpstream(t, func(p *peer) { p.next(); p.send(good) }, answering(good)), newTransport(t)
	if _, err := call(t, tr, u.url); err != nil {
		t.Fatal(err)
	}
	until(t, "the upstream closes", func() bool { return !tr.AllQuiet() })
	if got, err := call(t, tr, u.url); got != "good" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestCancelledCallGivesUpItsConnection, at each point where it may be cancelled.
func TestCancelledCallGivesUpItsConnection(t *testing.T) {
	for name, sent := range map[string]string{
		"before the response": "",
		"within the header":   "HTTP/1.1 200 OK\r\nContent-",
		"within the body":     "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nevil",
		"within the chunks":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			closed := make(chan struct{})
			u, tr := newUpstream(t, func(p *peer) {
				p.next()
				if p.send(sent); !strings.Contains(sent, "\r\n\r\n") {
					cancel()
				}
				p.gone()
				close(closed)
			}, answering(good)), newTransport(t)
			resp, err := tr.RoundTrip(post(ctx, t, u.url, "{}"))
			if err == nil {
				cancel()
				_, err = io.ReadAll(resp.Body)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want it to be cancelled", err)
			}
			<-closed
			if got, err := call(t, tr, u.url); got != "good" || err != nil {
				t.Errorf("the next caller got %q, %v", got, err)
			}
		})
	}
}

// TestConnectionThatACancellationMayHaveTouchedIsNotKept: the deadline that it sets would
// hit the next caller.
func TestConnectionThatACancellationMayHaveTouchedIsNotKept(t *testing.T) {
	u, tr := newUpstream(t, answering(good)), newTransport(t)
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := tr.RoundTrip(post(ctx, t, u.url, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_, _ = io.ReadAll(resp.Body)
	if n := tr.Idle(); n != 0 {
		t.Errorf("%d connections are kept, want none", n)
	}
}

func TestDeadlineEndsACall(t *testing.T) {
	u, tr := newUpstream(t, func(p *peer) { p.gone() }), newTransport(t)
	for _, left := range []time.Duration{-time.Second, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), left)
		if _, err := tr.RoundTrip(post(ctx, t, u.url, "{}")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with %v left: got %v", left, err)
		}
		cancel()
	}
}

func TestBodyThatWasNotReadCostsTheConnection(t *testing.T) {
	u, tr := newUpstream(t, answering(evil), answering(good)), newTransport(t)
	resp, err := tr.RoundTrip(post(t.Context(), t, u.url, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read after close: %v", err)
	}
	if got, err := call(t, tr, u.url); got != "good" || err != nil {
		t.Errorf("the next caller got %q, %v", got, err)
	}
}

// TestBodyAfterItsEndDoesNotReadTheNextResponse: a body that somebody still holds is not
// a tap on the connection.
func TestBodyAfterItsEndDoesNotReadTheNextResponse(t *testing.T) {
	u, tr := newUpstream(t, answering(good)), newTransport(t)
	resp, err := tr.RoundTrip(post(t.Context(), t, u.url, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	second, err := tr.RoundTrip(post(t.Context(), t, u.url, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := resp.Body.Read(make([]byte, 8)); n != 0 || err != io.EOF {
		t.Errorf("read %d bytes, %v", n, err)
	}
	_ = resp.Body.Close() // must not close it either
	if got, err := io.ReadAll(second.Body); string(got) != "good" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestHeaderCannotSplitTheRequest: a value with a line break in it.
func TestHeaderCannotSplitTheRequest(t *testing.T) {
	u, tr := newUpstream(t, answering(good)), newTransport(t)
	req := post(t.Context(), t, u.url, "{}")
	req.Header.Set("A", "b\r\nContent-Length: 0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return // refused is as good
	}
	_, _ = io.ReadAll(resp.Body)
	if got, err := call(t, tr, u.url); got != "good" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if n := u.seen.Load(); n != 2 {
		t.Errorf("the upstream saw %d requests, want 2", n)
	}
}
