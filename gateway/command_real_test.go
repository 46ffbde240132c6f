//go:build linux

package gateway_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/sandbox"
	"github.com/wicketgate/wicketgate/internal/stdio"
)

const commandVariable = "WICKETGATE_TEST_GATEWAY_COMMAND"

// TestMain is an MCP server on standard input and output, too, by the SDK.
func TestMain(m *testing.M) {
	if mine, err := sandbox.Run(os.Args); mine {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if os.Getenv(commandVariable) == "" {
		os.Exit(m.Run())
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "command", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "list_messages", Description: "says who it runs for"}, func(ctx context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		password := os.Getenv("PASSWORD")
		if token := r.Params.GetProgressToken(); token != nil {
			_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Progress: 1})
		}
		text := fmt.Sprintf("%x, which is %s, in process %d", sha256.Sum256([]byte(password)), password, os.Getpid())
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "read_message", Description: "ends the process"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		os.Exit(1)
		return nil, nil, nil
	})
	if err := s.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// passwords stands for package vaultbridge, whose tests have the real Vault: each call has a
// password of its own.
type passwords struct {
	mu    sync.Mutex // guards given
	given map[string][]string
}

func (p *passwords) Obtain(_ context.Context, r credential.Request) (*credential.Credential, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	who := r.Call.Subject().String()
	password := fmt.Sprintf("hunter2-of-%s-%d", who, len(p.given[who]))
	p.given[who] = append(p.given[who], password)
	t, err := credential.Compile(credential.Injection{Env: []credential.Field{{Name: "PASSWORD", Value: "{{.password}}"}}})
	if err != nil {
		return nil, err
	}
	c, err := t.Render(map[string]string{"password": password})
	return c.Live("lease", nil, nil), err
}

func (p *passwords) EndSession(string) {}

// perCall is a world whose server is a command with a process for each call. owners has the
// subjects of its processes, sorted, each once.
func perCall(t *testing.T) (w *world, from *passwords, owners func() []string) {
	from = &passwords{given: map[string][]string{}}
	var mu sync.Mutex
	var seen []string
	var transport *stdio.Transport
	w = newWorld(t, func(c *gateway.Config) {
		var err error
		if transport, err = stdio.New(stdio.Config{Name: "mail", Command: []string{"/proc/self/exe"}, Env: []string{commandVariable + "=1", "PASSWORD=placeholder", "GORACE=atexit_sleep_ms=0"},
			PerCall: true, Log: slog.New(slog.DiscardHandler), Now: c.Now, Owner: func(ctx context.Context) string {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, gateway.SubjectOf(ctx))
				return gateway.SubjectOf(ctx)
			}}); err != nil {
			t.Fatal(err)
		}
		u := &c.Upstreams[0]
		u.URL, u.Transport, u.Credentials = "stdio://mail", transport, from
	})
	t.Cleanup(func() { _ = transport.Close() })
	return w, from, func() []string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(seen)
		return slices.Compact(slices.Clone(seen))
	}
}

// TestSecretOfOneCallerIsInNoProcessOfAnother: clients of both eras, at a server that is
// started anew for each call.
func TestSecretOfOneCallerIsInNoProcessOfAnother(t *testing.T) {
	w, from, owners := perCall(t)
	bob := w.session(tokenSpec{subject: "bob"})
	alice := w.token(tokenSpec{subject: "alice"})
	calls := map[string]func() reply{
		"bob": func() reply { return bob.call(`{"name":"list_messages","arguments":{}}`) },
		"alice": func() reply {
			return w.ask(request{bearer: alice, method: "tools/call", params: `"name":"list_messages","arguments":{},`})
		},
	}
	for range 2 {
		for who, call := range calls {
			r := call()
			given := from.given[who]
			if len(given) == 0 {
				t.Fatalf("%s has no credential: %s", who, r)
			}
			password := given[len(given)-1]
			if want := fmt.Sprintf("%x, which is [credential]", sha256.Sum256([]byte(password))); !strings.Contains(r.body, want) || strings.Contains(r.body, "hunter2") {
				t.Errorf("%s got %s, want %s", who, r, want)
			}
		}
	}
	if len(from.given["alice"]) != 2 || len(from.given["bob"]) != 2 || len(from.given) != 2 {
		t.Errorf("credentials: %v", from.given)
	}
	if got := owners(); !slices.Equal(got, []string{"alice", "bob", "gateway"}) {
		t.Errorf("the processes are those of %v", got)
	}
	if strings.Contains(w.log(), "hunter2") {
		t.Errorf("log: %s", w.log())
	}
}

func TestProgressOfACommandForEachCall(t *testing.T) {
	w, _, _ := perCall(t)
	r := w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: `"name":"list_messages","arguments":{},`, meta: `"progressToken":"p",`})
	if !strings.Contains(r.body, `"progressToken":"p"`) || !strings.Contains(r.body, `"resultType":"complete"`) {
		t.Errorf("got %s", r)
	}
}

// TestCommandThatEndsSaysSo to clients of both eras, and a client that asks for what one
// process for each call cannot do is told so.
func TestCommandThatEndsSaysSo(t *testing.T) {
	w, _, _ := perCall(t)
	alice := w.token(tokenSpec{subject: "alice"})
	r := w.ask(request{bearer: alice, method: "tools/call", params: `"name":"read_message","arguments":{},`})
	if !strings.Contains(r.body, "process_ended") {
		t.Errorf("stateless: %s", r)
	}
	if r := w.session(tokenSpec{subject: "alice"}).call(`{"name":"read_message","arguments":{}}`); !strings.Contains(r.body, "process_ended") {
		t.Errorf("session: %s", r)
	}
	if r := w.session(tokenSpec{subject: "alice"}).call(`{"name":"list_messages","arguments":{}}`); !strings.Contains(r.body, "in process") {
		t.Errorf("after that: %s", r)
	}
}
