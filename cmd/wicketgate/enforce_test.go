package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// plainServer is an MCP server of the Go SDK that looks at no token. It notes the headers
// of every message.
type plainServer struct {
	*httptest.Server
	mcp *mcp.Server

	mu   sync.Mutex // guards seen
	seen []http.Header
}

type addParams struct {
	A int `json:"a" jsonschema:"the first"`
	B int `json:"b"`
}

func newPlainServer(t *testing.T, o *mcp.StreamableHTTPOptions) *plainServer {
	t.Helper()
	s := &plainServer{mcp: mcp.NewServer(&mcp.Implementation{Name: "sums", Version: "1"}, nil)}
	mcp.AddTool(s.mcp, &mcp.Tool{Name: "add", Description: "Adds two numbers"}, func(_ context.Context, _ *mcp.CallToolRequest, p addParams) (*mcp.CallToolResult, any, error) {
		text, err := json.Marshal(p.A + p.B)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(text)}}}, nil, err
	})
	h := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s.mcp }, o)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Header.Clone())
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// startEnforce runs wicketgate enforce in this process, and returns its log and what stops it.
func startEnforce(t *testing.T, flags ...string) (log *lockedBuffer, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan int, 1)
	log = newLog()
	go func() {
		done <- run(ctx, append([]string{"enforce", "--admin", "127.0.0.1:0"}, flags...), in, log)
		in.Close()
	}()
	stop = sync.OnceValue(func() int { cancel(); return <-done })
	t.Cleanup(func() { stop() })
	if sc := bufio.NewScanner(out); !sc.Scan() || !strings.HasPrefix(sc.Text(), "ready ") {
		t.Fatalf("not ready: %q\n%s", sc.Text(), log)
	}
	go io.Copy(io.Discard, out)
	return log, stop
}

// enforced is development mode with an enforcer between the gateway and a server of the
// Go SDK.
type enforced struct {
	t        *testing.T
	server   *plainServer
	resource string // the enforcer's
	issuer   string
	data     string // of the enforcer
	dev      string // folder of development mode
}

func newEnforced(t *testing.T, o *mcp.StreamableHTTPOptions, flags ...string) *enforced {
	t.Helper()
	e := &enforced{t: t, server: newPlainServer(t, o), data: t.TempDir(), dev: t.TempDir()}
	at, front := freeport.Address(t), freeport.Address(t)
	e.resource, e.issuer = "http://"+at+"/mcp", "http://"+front
	access := "version: 1\nroles:\n  adder:\n    who: {clients: [" + devAgent + "]}\n    servers:\n      sums: {tools: [add]}\n"
	if err := os.WriteFile(filepath.Join(e.dev, fileAccess), []byte(access), 0o600); err != nil {
		t.Fatal(err)
	}
	log, _ := startEnforce(t, append(flags, "--listen", at, "--issuer", e.issuer, "--resource", e.resource, "--upstream", e.server.URL, "--data", e.data)...)
	startDev(t, "--listen", front, "--data", e.dev, "--upstream", "sums="+e.resource)
	e.awaitReady(log)
	return e
}

// awaitReady waits until no token that is issued can be from before the start.
func (e *enforced) awaitReady(log *lockedBuffer) {
	e.t.Helper()
	_, after, _ := strings.Cut(log.with("msg=enforcing"), " admin=")
	admin, _, _ := strings.Cut(after, " ")
	tick := time.Tick(50 * time.Millisecond)
	for status := 0; status != http.StatusOK; <-tick {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			e.t.Fatal(err)
		}
		status = resp.StatusCode
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// token is an access token of the agent for the gateway's resource.
func (e *enforced) token() string {
	e.t.Helper()
	secret := strings.TrimSpace(readText(e.t, filepath.Join(e.dev, devAgent+".secret")))
	req, err := http.NewRequest(http.MethodPost, e.issuer+"/oauth2/token", strings.NewReader(url.Values{"grant_type": {oauth.GrantClientCredentials}, "resource": {e.issuer + "/mcp/sums"}}.Encode()))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(devAgent, secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer oauth.TokenResponse
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		e.t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	return answer.AccessToken
}

// connect is a session of the Go SDK's client at the gateway.
func (e *enforced) connect() *mcp.ClientSession {
	e.t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	s, err := c.Connect(e.t.Context(), &mcp.StreamableClientTransport{Endpoint: e.issuer + "/mcp/sums", DisableStandaloneSSE: true,
		HTTPClient: &http.Client{Transport: bearer{http.DefaultTransport, e.token()}}}, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = s.Close() })
	return s
}

// lines are those of a kind in an audit log.
func auditLines(t *testing.T, data, kind, tool string) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(readText(t, filepath.Join(data, fileAudit))) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l["kind"] == kind && l["tool"] == tool {
			lines = append(lines, l)
		}
	}
	return lines
}

// TestCallGoesThroughGatewayAndEnforcer to a server of the Go SDK that looks at no token,
// in the session era and in the stateless one; the two audit logs tell of the same call,
// and the server sees no token.
func TestCallGoesThroughGatewayAndEnforcer(t *testing.T) {
	for name, o := range map[string]*mcp.StreamableHTTPOptions{"with sessions": nil, "stateless": {Stateless: true}, "one JSON body": {JSONResponse: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnforced(t, o)
			s := e.connect()
			tools, err := s.ListTools(t.Context(), nil)
			if err != nil || len(tools.Tools) != 1 {
				t.Fatalf("tools: %v, %v", tools, err)
			}
			for _, want := range []string{"3", "3"} { // the same call again is another token
				res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "add", Arguments: map[string]any{"a": 1, "b": 2}})
				if err != nil || res.Content[0].(*mcp.TextContent).Text != want {
					t.Fatalf("add: %v, %v", res, err)
				}
			}
			e.checkCall()
			e.checkSeen()
		})
	}
}

func (e *enforced) checkCall() {
	e.t.Helper()
	here, there := auditLines(e.t, e.data, "intent", "add"), auditLines(e.t, e.dev, "intent", "add")
	if len(here) != 2 || len(there) != 2 {
		e.t.Fatalf("%d intents at the enforcer, %d at the gateway", len(here), len(there))
	}
	for _, name := range []string{"subject", "txn", "arguments_digest", "definition_digest", "policy_digest", "server"} {
		if diff := cmp.Diff(there[0][name], here[0][name]); diff != "" {
			e.t.Errorf("%s, at the gateway and at the enforcer:\n%s", name, diff)
		}
	}
	var out strings.Builder
	if outcome := auditLines(e.t, e.dev, "outcome", "add"); outcome[0]["call_token_id"] != here[0]["token_id"] {
		e.t.Errorf("the gateway's outcome is about call token %v, the enforcer's intent about %v", outcome[0]["call_token_id"], here[0]["token_id"])
	}
	if code := run(e.t.Context(), []string{"audit", "verify", "--data", e.data}, &out, &out); code != 0 {
		e.t.Errorf("audit verify: %s", out.String())
	}
}

func (e *enforced) checkSeen() {
	e.t.Helper()
	e.server.mu.Lock()
	defer e.server.mu.Unlock()
	for _, h := range e.server.seen {
		for name, values := range h {
			if name == "Authorization" || strings.Contains(strings.Join(values, " "), "eyJ") {
				e.t.Errorf("the server saw %s: %v", name, values)
			}
		}
	}
	if len(e.server.seen) < 4 {
		e.t.Errorf("the server saw %d messages", len(e.server.seen))
	}
}
