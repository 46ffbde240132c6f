package e2e_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestAServerOfOnesOwnGoesBehindTheGateway is wicketgate dev --upstream: an
// ordinary MCP server that knows nothing of tokens.
func TestAServerOfOnesOwnGoesBehindTheGateway(t *testing.T) {
	type who struct {
		Name string `json:"name" jsonschema:"who to greet"`
	}
	srv := mcp.NewServer(&mcp.Implementation{Name: "greeter", Version: "1"}, nil)
	for _, name := range []string{"greet", "insult"} {
		mcp.AddTool(srv, &mcp.Tool{Name: name, Description: name}, func(_ context.Context, _ *mcp.CallToolRequest, in who) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name + " " + in.Name}}}, nil, nil
		})
	}
	own := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return srv }, nil))
	t.Cleanup(own.Close)
	data := t.TempDir()
	policy := "version: 1\nroles:\n  friend:\n    who: {users: [carol]}\n    servers: {greeter: {tools: [greet]}}\n"
	if err := os.WriteFile(filepath.Join(data, "access.yaml"), []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	h := startHouseWith(t, data, "0", "--upstream", "greeter="+own.URL)
	c, _ := goLoginAt(t, h.url+"/mcp/greeter", newRobot("carol", "approve"))
	ctx := deadline(t)
	if names, err := c.list(ctx); err != nil || len(names) != 1 || names[0] != "greet" {
		t.Fatalf("list: %v, error %v", names, err)
	}
	if res, err := c.call(ctx, "greet", map[string]any{"name": "you"}); err != nil || res.Text != "greet you" {
		t.Errorf("greet: %+v, error %v", res, err)
	}
	if res, err := c.call(ctx, "insult", map[string]any{"name": "you"}); err == nil || !strings.Contains(err.Error(), "Unknown tool") {
		t.Errorf("insult: %+v, error %v, want Unknown tool", res, err)
	}
}
