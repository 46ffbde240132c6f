package e2e_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// How many call at once: two by each identity, so that neither two people nor two windows of
// one person may be taken for one another.
const (
	crowdSize       = 200
	crowdIdentities = crowdSize / 2
	crowdRounds     = 3
)

// TestCollidingIDsNeverCross is A8 of the attacks on gateways: what has been answered under
// the id of a request went to another client that uses the same id. All clients of this test
// use the same JSON-RPC ids and progress tokens, call the same tool, and wait there for one
// another; each may see what it said itself, and nothing else.
func TestCollidingIDsNeverCross(t *testing.T) {
	t.Parallel()
	meeting := &rendezvous{want: crowdSize, open: make(chan struct{}), off: make(chan struct{})}
	upstreams := map[string]string{"stateless": startEcho(t, true, meeting), "sessions": startEcho(t, false, meeting)}
	t.Cleanup(func() { close(meeting.off) }) // before the servers are closed, which wait for their calls
	crowd := newCrowd(t, upstreams)
	for _, c := range []cell{{modern, "stateless"}, {legacy, "sessions"}, {modern, "sessions"}, {legacy, "stateless"}} {
		if !t.Run(c.String(), func(t *testing.T) { crowd.call(t, c) }) {
			return // some still wait for whom will not come
		}
	}
}

// rendezvous lets nobody on before all have come.
type rendezvous struct {
	mu   sync.Mutex // guards what follows
	here int
	want int
	open chan struct{} // closed for those who wait, and made anew

	off chan struct{} // closed when nobody else will come
}

func (r *rendezvous) meet(ctx context.Context) error {
	r.mu.Lock()
	open := r.open
	if r.here++; r.here == r.want {
		r.here, r.open = 0, make(chan struct{})
		close(open)
	}
	r.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-r.off:
		return errors.New("the meeting is off")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startEcho starts a server that says everything back: in the progress of the call, outside of
// it where there is a session, and once all have called in the result.
func startEcho(t *testing.T, stateless bool, meeting *rendezvous) string {
	t.Helper()
	type said struct {
		Payload string `json:"payload" jsonschema:"what to say back"`
	}
	srv := mcp.NewServer(&mcp.Implementation{Name: "echo", Version: "1"}, nil)
	mcp.AddTool(srv, &mcp.Tool{Name: "echo", Description: "says it back"}, func(ctx context.Context, r *mcp.CallToolRequest, in said) (*mcp.CallToolResult, any, error) {
		progress := &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Message: in.Payload, Progress: 1}
		err := r.Session.NotifyProgress(ctx, progress)
		if !stateless { // the stream of the session, and not of the call
			_ = r.Session.NotifyProgress(context.Background(), progress) // where nobody listens, nobody is told
		}
		err = errors.Join(err, meeting.meet(ctx))
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: in.Payload}}}, nil, err
	})
	s := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return srv }, &mcp.StreamableHTTPOptions{Stateless: stateless}))
	t.Cleanup(s.Close)
	return s.URL
}

// crowd is many clients of one gateway.
type crowd struct {
	url    string
	tokens map[string][]string // by upstream and identity
	client *http.Client
}

func newCrowd(t *testing.T, upstreams map[string]string) *crowd {
	t.Helper()
	listen := freeport.Address(t)
	var names []string
	clients, servers, granted := "", "", ""
	for i := range crowdIdentities {
		names = append(names, fmt.Sprint("caller-", i))
		clients += fmt.Sprintf("  - {id: %s, secret_sha256: %x, grant_types: [client_credentials]}\n", names[i], sha256.Sum256([]byte(names[i]+workloadSecret)))
	}
	for name, at := range upstreams {
		servers += "  - {name: " + name + `, url: "` + at + "\"}\n"
		granted += "      " + name + ": {tools: [echo]}\n"
	}
	replica := newServe(t, listen, map[string]string{
		"access.yaml": "version: 1\nroles:\n  all:\n    who: {clients: [" + strings.Join(names, ", ") + "]}\n    servers:\n" + granted,
		"wicketgate.yaml": "issuer: http://" + listen + "\nlisten: " + listen + "\nadmin: {listen: \"" + freeport.Address(t) +
			"\"}\ndata: data\npolicy: access.yaml\ntrust: first-use\nservers:\n" + servers + "clients:\n" + clients,
	})
	replica.start(t)
	c := &crowd{url: "http://" + listen, tokens: map[string][]string{}, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * crowdSize}}}
	t.Cleanup(c.client.CloseIdleConnections)
	for upstream := range upstreams {
		for _, name := range names {
			c.tokens[upstream] = append(c.tokens[upstream], c.token(t, name, upstream))
		}
	}
	return c
}

func (c *crowd) token(t *testing.T, name, upstream string) string {
	t.Helper()
	form := url.Values{"grant_type": {oauth.GrantClientCredentials}, "client_id": {name}, "client_secret": {name + workloadSecret}, "resource": {c.url + "/mcp/" + upstream}}
	_, body := send(t, http.MethodPost, c.url+"/oauth2/token", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode())
	var answer tokenAnswer
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("token of %s: %s", name, body)
	}
	return answer.AccessToken
}

// call has everybody call in the same rounds.
func (c *crowd) call(t *testing.T, at cell) {
	ctx, cancel := context.WithCancel(deadline(t))
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	failures := make(chan error, crowdSize)
	for i := range crowdSize {
		m := &member{crowd: c, cell: at, token: c.tokens[at.upstream][i%crowdIdentities], number: i}
		done.Go(func() { failures <- m.run(ctx) })
	}
	for range crowdSize {
		if err := <-failures; err != nil {
			cancel() // nobody else will meet the one that failed
			t.Error(err)
			return
		}
	}
}

// member is one client of the crowd.
type member struct {
	*crowd
	cell
	token   string
	number  int
	session string
}

func (m *member) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var beside io.ReadCloser // what the session is told outside of calls
	if m.revision == legacy {
		if err := m.open(ctx); err != nil {
			return fmt.Errorf("member %d: open: %w", m.number, err)
		}
		if m.upstream == "sessions" {
			resp, err := m.do(ctx, http.MethodGet, "")
			if err != nil {
				return fmt.Errorf("member %d: stream: %w", m.number, err)
			}
			defer resp.Body.Close()
			beside = resp.Body
		}
	}
	var own []string
	for round := range crowdRounds {
		own = append(own, fmt.Sprintf("said-%d-%d-%s", m.number, round, rand.Text()[:8]))
		if err := m.say(ctx, round, own[round]); err != nil {
			return fmt.Errorf("member %d, round %d: %w", m.number, round, err)
		}
	}
	if beside == nil {
		return nil
	}
	if err := hears(beside, own); err != nil {
		return fmt.Errorf("member %d beside its calls: %w", m.number, err)
	}
	return nil
}

// open begins a session.
func (m *member) open(ctx context.Context) error {
	resp, err := m.do(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+legacy+`","capabilities":{},"clientInfo":{"name":"crowd","version":"1"}}}`)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if m.session = resp.Header.Get("Mcp-Session-Id"); m.session == "" {
		return errors.New("initialize gave no session")
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	told, err := m.do(ctx, http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if err != nil {
		return err
	}
	return told.Body.Close()
}

// say calls under the id that everybody uses.
func (m *member) say(ctx context.Context, round int, payload string) error {
	meta := fmt.Sprintf(`{"progressToken":%d}`, round)
	if m.revision == modern {
		meta = fmt.Sprintf(`{"progressToken":%d,"io.modelcontextprotocol/protocolVersion":%q,"io.modelcontextprotocol/clientCapabilities":{}}`, round, modern)
	}
	resp, err := m.do(ctx, http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"payload":%q},"_meta":%s}}`, round, payload, meta))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	text := string(body)
	if !strings.Contains(text, fmt.Sprintf(`"id":%d`, round)) || !strings.Contains(text, `"text":"`+payload+`"`) {
		return fmt.Errorf("answered %s, want %s under id %d", text, payload, round)
	}
	if !strings.Contains(text, `"message":"`+payload+`"`) {
		return fmt.Errorf("answered %s, want progress before the result", text)
	}
	return onlyOwn(text, payload)
}

// hears reads an event stream until it has said everything that is one's own.
func hears(stream io.Reader, own []string) error {
	s := bufio.NewScanner(stream)
	for heard := 0; heard < len(own); {
		if !s.Scan() {
			return fmt.Errorf("the stream ended after %d of %d: %w", heard, len(own), errors.Join(s.Err(), io.ErrUnexpectedEOF))
		}
		if err := onlyOwn(s.Text(), own...); err != nil {
			return err
		}
		heard += strings.Count(s.Text(), "said-")
	}
	return nil
}

var saidByAnybody = regexp.MustCompile(`said-\d+-\d+-\w+`)

func onlyOwn(text string, own ...string) error {
	for _, said := range saidByAnybody.FindAllString(text, -1) {
		if !strings.Contains(strings.Join(own, " "), said) {
			return fmt.Errorf("was told %s, which another client said; its own are %v", said, own)
		}
	}
	return nil
}

// do sends a message, or asks for the session's stream.
func (m *member) do(ctx context.Context, method, message string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, m.url+"/mcp/"+m.upstream, strings.NewReader(message))
	if err != nil {
		return nil, err
	}
	req.Header = mcpHeader(m.token)
	switch {
	case m.revision == modern:
		req.Header.Set("MCP-Protocol-Version", modern)
		req.Header.Set("Mcp-Method", "tools/call")
		req.Header.Set("Mcp-Name", "echo")
	case m.session != "":
		req.Header.Set("MCP-Protocol-Version", legacy)
		req.Header.Set("Mcp-Session-Id", m.session)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return nil, errors.Join(fmt.Errorf("%s %s: status %d %s", method, message, resp.StatusCode, body), err)
	}
	return resp, nil
}
