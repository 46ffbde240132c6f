package e2e_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/freeport"
)

// fullClient is a client that uses more than tools.
type fullClient interface {
	client
	resources(ctx context.Context) (uris []string, err error)
	prompts(ctx context.Context) (names []string, err error)
	read(ctx context.Context, uri string) (text string, err error)
	prompt(ctx context.Context, name string, arguments map[string]string) (text string, err error)
	// progress calls a tool and returns what it was told meanwhile, in so many steps.
	progress(ctx context.Context, tool string, arguments object, steps int) ([]float64, error)
}

// startServerEverything starts @modelcontextprotocol/server-everything, which speaks the era
// of sessions, and returns its URL.
func startServerEverything(t *testing.T) string {
	t.Helper()
	ctx, port, printed := deadline(t), freeport.Port(t), newOutput()
	cmd := program(ctx, t, []string{"PORT=" + port}, "mcp-server-everything", "streamableHttp")
	cmd.Stdout, cmd.Stderr = printed, printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("server-everything printed:\n%s", printed)
		}
	})
	listening(ctx, t, "127.0.0.1:"+port)
	return "http://127.0.0.1:" + port + "/mcp"
}

// TestServerEverything is a server that nobody here wrote and that has a bit of everything,
// behind the gateway, for clients of either era.
func TestServerEverything(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	h := startHouseBefore(t, "{users: [alice]}", map[string]string{"everything": startServerEverything(t)})
	endpoint := h.url + "/mcp/everything"
	for _, test := range []struct {
		name, era string
		login     func(t *testing.T, r *robot) fullClient
	}{
		{"Go SDK, stateless", modern, func(t *testing.T, r *robot) fullClient {
			c, _ := goLoginIn(t, modern, endpoint, r)
			return c
		}},
		{"Go SDK, sessions", legacy, func(t *testing.T, r *robot) fullClient {
			c, _ := goLoginIn(t, legacy, endpoint, r)
			return c
		}},
		{"TypeScript SDK 2, stateless", modern, func(t *testing.T, r *robot) fullClient {
			c, _, _ := sdk2Login(t, endpoint, "auto", r)
			return sdk2Client{c}
		}},
		{"TypeScript SDK 2, sessions", legacy, func(t *testing.T, r *robot) fullClient {
			c, _, _ := sdk2Login(t, endpoint, "legacy", r)
			return sdk2Client{c}
		}},
		{"mcp-remote, stateless", modern, func(t *testing.T, r *robot) fullClient {
			browser, _ := browse(deadline(t), t, r)
			c, _ := startMCPRemote(t, endpoint, "auto", browser, t.TempDir())
			return c
		}},
		{"mcp-remote, sessions", legacy, func(t *testing.T, r *robot) fullClient {
			browser, _ := browse(deadline(t), t, r)
			c, _ := startMCPRemote(t, endpoint, "legacy", browser, t.TempDir())
			return c
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := len(h.audit(t))
			checkEverything(t, test.login(t, newRobot("alice", "approve")))
			checkEraSince(t, h, from, "alice", test.era)
		})
	}
}

func checkEverything(t *testing.T, c fullClient) {
	t.Helper()
	ctx := deadline(t)
	tools, err := c.list(ctx)
	checkHas(t, "tools", tools, err, "echo", "get-sum", "trigger-long-running-operation")
	uris, err := c.resources(ctx)
	checkHas(t, "resources", uris, err, "demo://resource/static/document/features.md")
	prompts, err := c.prompts(ctx)
	checkHas(t, "prompts", prompts, err, "simple-prompt", "args-prompt")

	if r, err := c.call(ctx, "echo", object{"message": "ahoy"}); err != nil || r.Text != "Echo: ahoy" {
		t.Errorf("echo = %+v, %v", r, err)
	}
	if text, err := c.read(ctx, "demo://resource/static/document/features.md"); err != nil || !strings.HasPrefix(text, "# Everything Server") {
		t.Errorf("read of features.md = %.100q, %v", text, err)
	}
	if text, err := c.prompt(ctx, "args-prompt", map[string]string{"city": "Bergen"}); err != nil || !strings.Contains(text, "Bergen") {
		t.Errorf("args-prompt = %q, %v", text, err)
	}
	told, err := c.progress(ctx, "trigger-long-running-operation", object{"duration": 0.03, "steps": 3}, 3)
	if diff := cmp.Diff([]float64{1, 2, 3}, told); err != nil || diff != "" {
		t.Errorf("progress: %v (-want +got):\n%s", err, diff)
	}
}

func checkHas(t *testing.T, what string, got []string, err error, want ...string) {
	t.Helper()
	for _, name := range want {
		if err != nil || !slices.Contains(got, name) {
			t.Errorf("%s = %v, %v, want %s among them", what, got, err, name)
			return
		}
	}
}
