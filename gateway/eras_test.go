package gateway_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/policies"
)

// request is one of the stateless era; zero fields are ordinary.
type request struct {
	bearer, id, method string
	params             string // members, each with its comma
	version            string // in _meta
	capabilities       string
	meta               string // more members of _meta, each with its comma
	headers            []string
}

// send sends it. A header with the value "-" is left out.
func (w *world) send(ctx context.Context, q request) *http.Response {
	w.t.Helper()
	return must(http.DefaultClient.Do(w.newRequest(ctx, q)))(w.t)
}

func (w *world) newRequest(ctx context.Context, q request) *http.Request {
	w.t.Helper()
	or := func(s *string, otherwise string) {
		if *s == "" {
			*s = otherwise
		}
	}
	or(&q.id, "7")
	or(&q.version, "2026-07-28")
	or(&q.capabilities, "{}")
	meta := `"_meta":{` + q.meta + `"io.modelcontextprotocol/protocolVersion":"` + q.version + `","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":` + q.capabilities + `}`
	body := `{"jsonrpc":"2.0","id":` + q.id + `,"method":"` + q.method + `","params":{` + q.params + meta + `}}`
	req := must(http.NewRequestWithContext(ctx, "POST", w.url, strings.NewReader(body)))(w.t)
	ordinary := []string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream", "Authorization", "Bearer " + q.bearer,
		"MCP-Protocol-Version", q.version, "Mcp-Method", q.method}
	var named struct{ Name, URI string }
	if err := json.Unmarshal([]byte("{"+strings.TrimSuffix(q.params, ",")+"}"), &named); err == nil && named.Name+named.URI != "" {
		ordinary = append(ordinary, "Mcp-Name", named.Name+named.URI)
	}
	set(req.Header, ordinary)
	set(req.Header, q.headers)
	return req
}

// set sets headers, given as name, value pairs. A name that comes again right away is
// there twice, and "-" takes it away.
func set(h http.Header, headers []string) {
	for i := 0; i+1 < len(headers); i += 2 {
		switch again := i > 1 && headers[i-2] == headers[i]; {
		case headers[i+1] == "-":
			h.Del(headers[i])
		case again:
			h.Add(headers[i], headers[i+1])
		default:
			h.Set(headers[i], headers[i+1])
		}
	}
}

// ask is send, and reads the answer.
func (w *world) ask(q request) reply {
	w.t.Helper()
	return read(w.t, w.send(w.t.Context(), q))
}

// idOf is the id of the message that came to the upstream.
func idOf(r *http.Request) string { return memberOf(r, "id") }

// memberOf is a member of the message that came to the upstream, as JSON; of its params
// if the name begins with a dot.
func memberOf(r *http.Request, name string) string {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return memberIn(string(body), name)
}

func memberIn(body, name string) string {
	var m map[string]json.RawMessage
	_ = json.Unmarshal([]byte(body), &m)
	if inner, ok := strings.CutPrefix(name, "."); ok {
		return memberIn(string(m["params"]), inner)
	}
	return string(m[name])
}

// onResult answers requests of that method with the result, whatever their ids.
func (u *upstream) onResult(method, result string) {
	u.on(method, func(w http.ResponseWriter, r *http.Request) { u.result(w, r, result) })
}

func (u *upstream) result(w http.ResponseWriter, r *http.Request, result string) {
	u.json(w, `{"jsonrpc":"2.0","id":`+idOf(r)+`,"result":`+result+`}`)
}

// statelessOnly has the upstream speak the stateless era only.
func (u *upstream) statelessOnly() {
	u.onResult("server/discover", `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"resources":{"subscribe":true},"prompts":{},"logging":{},"completions":{}},"serverInfo":{"name":"mail","version":"2"},"instructions":"be kind","ttlMs":100000000}`)
	u.on("initialize", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+idOf(r)+`,"error":{"code":-32601,"message":"Method not found"}}`)
	})
}

// events begins an event stream, and returns what writes to it.
func events(w http.ResponseWriter) func(event string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	say := func(event string) {
		_, _ = io.WriteString(w, event)
		_ = http.NewResponseController(w).Flush()
	}
	say("")
	return say
}

// event is one, with an id if there is one.
func event(id, data string) string {
	if id != "" {
		id = "id: " + id + "\n"
	}
	return fmt.Sprintf("%sdata: %s\n\n", id, data)
}

// metronome is Ticks that the test beats.
type metronome struct {
	mu   sync.Mutex // guards open
	open map[chan time.Time]chan struct{}
}

func (m *metronome) config(c *gateway.Config) { c.Ticks = m.ticks }

func (m *metronome) ticks(time.Duration) (<-chan time.Time, func()) {
	ch, done := make(chan time.Time), make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == nil {
		m.open = map[chan time.Time]chan struct{}{}
	}
	m.open[ch] = done
	return ch, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.open, ch)
		close(done)
	}
}

// beat hands two ticks to whatever waits for them: the second is taken when what the
// first caused has been done.
func (m *metronome) beat() {
	for range 2 {
		m.mu.Lock()
		open := map[chan time.Time]chan struct{}{}
		for ch, done := range m.open {
			open[ch] = done
		}
		m.mu.Unlock()
		for ch, done := range open {
			select {
			case ch <- time.Time{}:
			case <-done:
			}
		}
	}
}

// running reports whether so many streams are waiting for ticks.
func (m *metronome) running(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.open) == n
}

// policy replaces the PDP.
func policy(t *testing.T, access string) func(*gateway.Config) {
	pdp := must(policies.New(t.Context(), policies.Config{Access: []byte(access)}))(t)
	return func(c *gateway.Config) { c.PDP = pdp }
}

// wide lets alice do most of everything, and bob some.
const wide = `
version: 1
roles:
  reader:
    who: {users: [alice], clients: [robot]}
    servers:
      mail:
        tools: [list_messages, read_message]
        resources: ["mail://inbox/*"]
        prompts: [summarize]
  operator:
    who: {users: [bob]}
    servers:
      mail: {tools: [list_messages, send_message]}
`

const allScopes = "mcp:tools mcp:resources mcp:prompts"

// lines of a stream.
func lines(r *http.Response) *bufio.Scanner { return bufio.NewScanner(r.Body) }

func base64of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// allOf is the endpoint over all servers.
func allOf(t *testing.T) oauth.Resource { return must(oauth.ParseResource(issuer + "/mcp"))(t) }

// everywhere is the world as seen by a client of that endpoint.
func (w *world) everywhere() *world {
	other := *w
	other.url = w.base + "/mcp"
	return &other
}
