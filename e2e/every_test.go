package e2e_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestEveryServerAtOneURL: a real client logs in at /mcp, finds the tools of both servers
// under their names there, and calls one of each; what its roles do not name is not there.
func TestEveryServerAtOneURL(t *testing.T) {
	t.Parallel()
	srv := mcp.NewServer(&mcp.Implementation{Name: "greeter", Version: "1"}, nil)
	for _, name := range []string{"greet", "insult"} {
		mcp.AddTool(srv, &mcp.Tool{Name: name, Description: name}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name}}}, nil, nil
		})
	}
	own := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return srv }, nil))
	t.Cleanup(own.Close)
	data := t.TempDir()
	policy := "version: 1\nroles:\n  friend:\n    who: {users: [carol]}\n    servers: {greeter: {tools: [greet]}, mail: {tools: [list_messages]}}\n"
	if err := os.WriteFile(filepath.Join(data, "access.yaml"), []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	h := startHouseWith(t, data, "0", "--upstream", "greeter="+own.URL)
	c, _ := goLoginAt(t, h.url+"/mcp", newRobot("carol", "approve"))
	ctx := deadline(t)
	names, err := c.list(ctx)
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"greeter__greet", "mail__list_messages"}) {
		t.Fatalf("list: %v, error %v", names, err)
	}
	if res, err := c.call(ctx, "greeter__greet", map[string]any{}); err != nil || res.Text != "greet" {
		t.Errorf("greet: %+v, error %v", res, err)
	}
	if res, err := c.call(ctx, "mail__list_messages", map[string]any{"limit": 2}); err != nil || res.IsError {
		t.Errorf("list_messages: %+v, error %v", res, err)
	}
	for _, name := range []string{"greeter__insult", "mail__send_message", "nobody__greet", "greet"} {
		if res, err := c.call(ctx, name, map[string]any{}); err == nil || !strings.Contains(err.Error(), "Unknown tool") {
			t.Errorf("%s: %+v, error %v, want Unknown tool", name, res, err)
		}
	}
}
