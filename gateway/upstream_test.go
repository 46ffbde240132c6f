package gateway_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// mailTools are the definitions that the upstream lists.
const mailTools = `{"name":"list_messages","description":"List","inputSchema":{"type":"object","properties":{"limit":{"type":"integer","minimum":1,"maximum":100}}}},` +
	`{"name":"read_message","inputSchema":{"type":"object","properties":{"id":{"type":"string"}},"required":["id"]},"outputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}},` +
	`{"name":"send_message","inputSchema":{"type":"object","properties":{"to":{"type":"string"}}}},` +
	`{"name":"delete_message","inputSchema":{"type":"object","properties":{"id":{"type":"string"}}}}`

// received is a request that reached the upstream.
type received struct {
	method string // JSON-RPC method
	header http.Header
	body   string
}

// upstream is a real HTTP server that answers what the test says.
type upstream struct {
	*httptest.Server
	mu    sync.Mutex // guards what follows
	got   []received
	tools string
	// answer overrides the answer to a JSON-RPC method.
	answer map[string]http.HandlerFunc // each may read the body again
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{tools: mailTools, answer: map[string]http.HandlerFunc{}}
	u.Server = httptest.NewServer(http.HandlerFunc(u.serve))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	_ = json.Unmarshal(body, &m)
	if r.Method == http.MethodDelete {
		m.Method = "DELETE"
	}
	u.mu.Lock()
	u.got = append(u.got, received{m.Method, r.Header.Clone(), string(body)})
	answer, tools := u.answer[m.Method], u.tools
	u.mu.Unlock()
	if answer != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(w, r)
		return
	}
	result := `{"content":[{"type":"text","text":"done"}],"structuredContent":{"text":"hello"}}`
	switch m.Method {
	case "initialize":
		w.Header().Set("Mcp-Session-Id", "upstream-session-1")
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{},"logging":{}},"serverInfo":{"name":"mail","version":"1"},"instructions":"be kind"}`
	case "tools/list":
		result = `{"cacheScope":"public","tools":[` + tools + `],"_meta":{"x":1}}`
	}
	if len(m.ID) == 0 {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	u.json(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+result+`}`)
}

func (*upstream) json(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

// on sets the answer to a method.
func (u *upstream) on(method string, h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer[method] = h
}

// onJSON answers a method with a fixed body.
func (u *upstream) onJSON(method, body string) {
	u.on(method, func(w http.ResponseWriter, _ *http.Request) { u.json(w, body) })
}

// onSSE answers a method with events.
func (u *upstream) onSSE(method string, events ...string) {
	u.on(method, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			_, _ = io.WriteString(w, "event: message\ndata: "+e+"\n\n")
		}
	})
}

func (u *upstream) setTools(definitions string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tools = definitions
}

// calls returns the requests with that JSON-RPC method.
func (u *upstream) calls(method string) []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []received
	for _, r := range u.got {
		if r.method == method {
			out = append(out, r)
		}
	}
	return out
}

// bearer is the token of a request.
func (r received) bearer() string {
	_, t, _ := strings.Cut(r.header.Get("Authorization"), " ")
	return t
}

// definition is one that the upstream lists.
type definition struct {
	name string
	json json.RawMessage
}

func toolDefinitions(t *testing.T, u *upstream) (all []definition) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []json.RawMessage
	if err := json.Unmarshal([]byte("["+u.tools+"]"), &list); err != nil {
		t.Fatal(err)
	}
	for _, raw := range list {
		var d struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		all = append(all, definition{d.Name, raw})
	}
	return all
}
