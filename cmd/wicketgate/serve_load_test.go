package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/sqlite"
)

// load is clients at work: each gets a token and calls a tool with it, again and
// again.
type load struct {
	w     *world
	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	rounds  int
	token   string // the newest
	err     error  // the first
}

// startLoad returns once each client has been round.
func (w *world) startLoad(clients int) *load {
	w.t.Helper()
	l := &load{w: w}
	l.ctx, l.stop = context.WithCancel(w.t.Context())
	l.changed.L = &l.mu
	for range clients {
		raw, refused := w.accessToken(w.client())
		if raw == "" {
			w.t.Fatal(refused)
		}
		c := &changing{RoundTripper: w.client().Transport}
		c.token.Store(&raw)
		session := w.connectBy(&http.Client{Transport: c})
		l.tasks.Go(func() {
			for l.ctx.Err() == nil {
				l.note(l.round(c, session))
			}
		})
	}
	w.t.Cleanup(func() { l.end() })
	l.more(clients)
	return l
}

// changing sends the token that is there at the moment.
type changing struct {
	http.RoundTripper
	token atomic.Pointer[string]
}

func (c *changing) RoundTrip(r *http.Request) (*http.Response, error) {
	return bearer{c.RoundTripper, *c.token.Load()}.RoundTrip(r)
}

func (l *load) round(c *changing, s *mcp.ClientSession) (string, error) {
	resp, err := tokenRequest(l.ctx, l.w, c.RoundTripper)
	if err != nil {
		return "", err
	}
	c.token.Store(&resp)
	res, err := s.CallTool(l.ctx, &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{}})
	if err == nil && res.IsError {
		err = fmt.Errorf("the tool failed: %v", res.Content)
	}
	return resp, err
}

// tokenRequest is accessToken for where a test cannot be ended.
func tokenRequest(ctx context.Context, w *world, rt http.RoundTripper) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, serveIssuer+"/oauth2/token", strings.NewReader(w.credentials().Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(agentID, agentSecret)
	status, body, err := roundTrip(rt, req)
	if err != nil {
		return "", err
	}
	raw, refused := tokenIn(status, body)
	if raw == "" {
		return "", fmt.Errorf("token endpoint: %d %s", status, refused)
	}
	return raw, nil
}

func (l *load) note(token string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.changed.Broadcast()
	if l.ctx.Err() != nil { // it was told to end
		return
	}
	if l.rounds++; err != nil && l.err == nil {
		l.err = err
	}
	l.token = token
}

// more waits for further rounds, and returns the newest token.
func (l *load) more(rounds int) string {
	l.w.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for until := l.rounds + rounds; l.rounds < until && l.err == nil; {
		l.changed.Wait()
	}
	return l.token
}

// end ends the load and says whether a request failed.
func (l *load) end() error {
	l.stop()
	l.tasks.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// TestKeysRotateUnderLoad: no request fails, and the new key signs within seconds.
func TestKeysRotateUnderLoad(t *testing.T) {
	w := newWorld(t, nil)
	config := w.config(withTLS + withAgent)
	w.keysOf(time.Now().Add(-2 * keys.Settle)) // so that the next one is known to everybody
	w.start(config)
	l := w.startLoad(4)
	before := kidOf(t, l.more(20))
	out, _, err := keysRun(t, "rotate", "--config", config)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range keys.Uses() {
		w.log.with(`"msg":"key rotated","use":"` + string(u) + `"`)
	}
	after := kidOf(t, l.more(40))
	if err := l.end(); err != nil {
		t.Errorf("a request failed: %v", err)
	}
	if after == before || !strings.Contains(out, "token: "+after+" is in use now\n") {
		t.Errorf("signed by %s, before by %s; rotate printed\n%s", after, before, out)
	}
}

// keysOf makes the keys as they were made then.
func (w *world) keysOf(then time.Time) {
	w.t.Helper()
	data := filepath.Join(w.dir, "data")
	mkdir(w.t, data)
	store, err := sqlite.Open(w.t.Context(), filepath.Join(data, fileStore))
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	kek, err := keys.LoadKEK(filepath.Join(data, fileKEK))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := keys.Open(w.t.Context(), store, kek, func() time.Time { return then }); err != nil {
		w.t.Fatal(err)
	}
}
