package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/policies"
)

const listMessages = `{"name":"list_messages"}`

// doorman holds requests at the upstream until it opens.
type doorman struct {
	arrived chan *http.Request
	gone    chan struct{} // one for each whose connection was given up
	open    chan struct{}
	let     func() // opens
}

// hold has the upstream keep every request with that method waiting.
func (u *upstream) hold(t *testing.T, method string) doorman {
	d := doorman{arrived: make(chan *http.Request, 1000), gone: make(chan struct{}, 1000), open: make(chan struct{})}
	d.let = sync.OnceFunc(func() { close(d.open) })
	t.Cleanup(d.let)
	u.on(method, func(w http.ResponseWriter, r *http.Request) {
		d.arrived <- r
		select {
		case <-d.open:
			u.json(w, `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`)
		case <-r.Context().Done():
			d.gone <- struct{}{}
		}
	})
	return d
}

// fail has the upstream answer with a status.
func (u *upstream) fail(method string, status int) {
	u.on(method, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

// timeout is what an upstream of a test gets: as long as nothing hangs, nobody waits for it.
func timeout(d time.Duration) func(*gateway.Config) {
	return func(c *gateway.Config) { c.Upstreams[0].Timeout = d }
}

// withFiles adds a second server, and returns where it is.
func withFiles(t *testing.T) (*upstream, func(*gateway.Config)) {
	files := newUpstream(t)
	return files, func(c *gateway.Config) {
		c.Upstreams = append(c.Upstreams, gateway.Upstream{Name: "files", Resource: must(oauth.ParseResource(issuer + "/mcp/files"))(t), URL: files.URL, Audience: c.Upstreams[0].Audience})
		c.PDP = must(policies.New(t.Context(), policies.Config{Access: []byte(strings.ReplaceAll(accessYAML, "      mail: {tools: [list_messages, read_message]}\n", "      mail: {tools: [list_messages]}\n      files: {tools: [list_messages]}\n"))}))(t)
	}
}

// at is the world as seen by a client of another server.
func (w *world) at(server string) *world {
	other := *w
	other.url = w.base + "/mcp/" + server
	return &other
}

// A26: one hung server costs the callers of others nothing, and after a few calls its own
// callers no more than a refusal.
func TestHungServerCostsNobodyElseAnything(t *testing.T) {
	_, files := withFiles(t)
	w := newWorld(t, files, timeout(time.Second))
	mail, other := w.session(tokenSpec{subject: "alice"}), w.at("files").session(tokenSpec{subject: "alice", audience: issuer + "/mcp/files"})
	if r := mail.call(listMessages); r.status != 200 { // the definitions are known from here
		t.Fatal(r)
	}
	d := w.up.hold(t, "tools/call")
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if r := mail.call(listMessages); !strings.Contains(r.body, "upstream_timeout") {
				t.Errorf("a call of the server that hangs: %s", r)
			}
		})
		<-d.arrived
	}
	if r := other.call(listMessages); !strings.Contains(r.body, `"result"`) {
		t.Errorf("a call of the other server: %s", r)
	}
	if r := other.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); !strings.Contains(r.body, "list_messages") {
		t.Errorf("a list of the other server: %s", r)
	}
	wg.Wait()
	if r := mail.call(listMessages); !strings.Contains(r.body, "upstream_circuit_open") || len(d.arrived) > 0 {
		t.Errorf("after five timeouts: %s, and %d more at the server", r, len(d.arrived))
	}
	if e := w.last(); e.Reason != "upstream_circuit_open" || e.Server != "mail" {
		t.Errorf("audit: %+v", e)
	}
	if r := other.call(listMessages); !strings.Contains(r.body, `"result"`) {
		t.Errorf("a call of the other server: %s", r)
	}
}

func TestServerThatFailsIsLeftAloneAndTriedByOneCallAtATime(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) { c.Pause = time.Nanosecond })
	g := w.gateway
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	w.up.fail("tools/call", http.StatusBadGateway)
	for range 5 {
		if r := s.call(listMessages); !strings.Contains(r.body, "upstream_failed") {
			t.Fatal(r)
		}
	}
	d := w.up.hold(t, "tools/call")
	done := make(chan reply)
	go func() { done <- s.call(listMessages) }()
	<-d.arrived
	if got := g.Stats()[0].Circuit; got != "half-open" {
		t.Errorf("circuit %s", got)
	}
	if r := s.call(listMessages); !strings.Contains(r.body, "upstream_circuit_open") || len(d.arrived) > 0 {
		t.Errorf("a second call while the first tries: %s", r)
	}
	d.let()
	if r := <-done; !strings.Contains(r.body, `"result"`) {
		t.Errorf("the call that tried: %s", r)
	}
	if r := s.call(listMessages); !strings.Contains(r.body, `"result"`) || g.Stats()[0].Circuit != "closed" {
		t.Errorf("afterwards: %s, circuit %s", r, g.Stats()[0].Circuit)
	}
	if logs := w.log(); !strings.Contains(logs, "server does not answer") || !strings.Contains(logs, "server answers again") {
		t.Errorf("log: %s", logs)
	}
}

func TestWhatAServerSaysNeverOpensItsCircuit(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			(*upstream)(nil).json(w, `{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}`)
		},
		"nonsense": func(w http.ResponseWriter, _ *http.Request) { (*upstream)(nil).json(w, `<html>`) },
		"HTTP 403": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"HTTP 429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"a failed result": func(w http.ResponseWriter, _ *http.Request) {
			(*upstream)(nil).json(w, `{"jsonrpc":"2.0","id":7,"result":{"isError":true,"content":[]}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.session(tokenSpec{subject: "alice"})
			s.call(listMessages)
			w.up.on("tools/call", answer)
			for range 7 {
				s.call(listMessages)
			}
			if n, c := len(w.up.calls("tools/call")), w.gateway.Stats()[0].Circuit; n != 8 || c != "closed" {
				t.Errorf("the server got %d calls, circuit %s", n, c)
			}
		})
	}
}

// stateless sends a request of the stateless era.
func (w *world) stateless(ctx context.Context, bearer, method, params string, headers ...string) (*http.Response, error) {
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	body := `{"jsonrpc":"2.0","id":7,"method":"` + method + `","params":{` + params + meta + `}}`
	req := must(http.NewRequestWithContext(ctx, "POST", w.url, strings.NewReader(body)))(w.t)
	for name, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + bearer, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method} {
		req.Header.Set(name, v)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return http.DefaultClient.Do(req)
}

// callStateless calls list_messages in the stateless era.
func (w *world) callStateless(ctx context.Context, bearer string) (*http.Response, error) {
	return w.stateless(ctx, bearer, "tools/call", `"name":"list_messages","arguments":{},`, "Mcp-Name", "list_messages")
}

// sessionsOnly has the upstream speak the session era only, and answer requests with their
// own ids.
func (u *upstream) sessionsOnly() { u.fail("server/discover", http.StatusBadRequest) }

func TestClientsThatGoAwayOpenNoCircuit(t *testing.T) {
	w := newWorld(t)
	w.up.sessionsOnly()
	bearer := w.token(tokenSpec{subject: "alice"})
	read(t, must(w.callStateless(t.Context(), bearer))(t))
	d := w.up.hold(t, "tools/call")
	for range 7 {
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := w.callStateless(ctx, bearer)
			done <- err
		}()
		<-d.arrived
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		<-d.gone
	}
	if c := w.gateway.Stats()[0].Circuit; c != "closed" {
		t.Errorf("circuit %s", c)
	}
}

// flaky is a transport of which some connections fail, each in its own way.
type flaky struct {
	real http.RoundTripper
	mu   sync.Mutex // guards what follows
	errs []error    // of the next requests with tools/call; nil: it works
	sent int        // how many of them came
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.Body = io.NopCloser(strings.NewReader(string(body))); !strings.Contains(string(body), "tools/call") {
		return f.real.RoundTrip(r)
	}
	f.mu.Lock()
	f.sent++
	if len(f.errs) > 0 {
		err, f.errs = f.errs[0], f.errs[1:]
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.real.RoundTrip(r)
}

// Nobody knows what a server has done with a call that broke: it is never sent twice.
func TestCallIsSentAgainOnlyWhereItNeverLeft(t *testing.T) {
	noConnection, broken := &net.OpError{Op: "dial", Err: errors.New("refused")}, &net.OpError{Op: "read", Err: errors.New("reset")}
	for name, c := range map[string]struct {
		errs []error
		sent int
		ok   bool
	}{
		"no connection, then one":  {[]error{noConnection}, 2, true},
		"no connection twice":      {[]error{noConnection, noConnection}, 2, false},
		"a connection that breaks": {[]error{broken}, 1, false},
		"the same, after none":     {[]error{noConnection, broken}, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := &flaky{real: http.DefaultTransport, errs: c.errs}
			w := newWorld(t, func(cfg *gateway.Config) { cfg.Transport = f })
			s := w.session(tokenSpec{subject: "alice"})
			r := s.call(listMessages)
			if ok := strings.Contains(r.body, `"result"`); ok != c.ok || f.sent != c.sent {
				t.Errorf("%s, sent %d times", r, f.sent)
			}
		})
	}
}

// A stream that is open for hours is no slow call, but it must open in time.
func TestStreamHasNoTimeoutButToOpen(t *testing.T) {
	w := newWorld(t, timeout(time.Second))
	s := w.session(tokenSpec{subject: "alice"})
	var opened atomic.Int32
	w.up.on("", func(rw http.ResponseWriter, r *http.Request) { // GET
		if opened.Add(1) > 1 {
			<-r.Context().Done()
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	first := s.listen(ctx)
	if first.StatusCode != 200 {
		t.Fatal(first.Status)
	}
	if second := read(t, s.listen(ctx)); !strings.Contains(second.body, "upstream_timeout") { // the first is older than that now
		t.Errorf("a stream that does not open: %s", second)
	}
	if n := w.gateway.Stats()[0].Streams; n != 1 {
		t.Errorf("%d streams are open, want the first", n)
	}
}

// listen opens the GET stream of the session.
func (s session) listen(ctx context.Context) *http.Response {
	s.t.Helper()
	req := must(http.NewRequestWithContext(ctx, "GET", s.url, nil))(s.t)
	for name, v := range map[string]string{"Accept": "text/event-stream", "Authorization": "Bearer " + s.bearer, "Mcp-Session-Id": s.id} {
		req.Header.Set(name, v)
	}
	return must(http.DefaultClient.Do(req))(s.t)
}
