package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Tools of the soak's upstream.
const (
	toolEcho   = "echo"   // says the payload back
	toolStream = "stream" // says it in the progress of the call before
	toolHang   = "hang"   // says it once, and then waits to be cancelled
)

const (
	soakSteps  = 3
	hangsFor   = 5 * time.Second // a call that nobody cancels
	betweenSay = 5 * time.Millisecond
)

type said struct {
	Payload string `json:"payload" jsonschema:"what to say back"`
}

// newSoakUpstream is an MCP server that says everything back: without sessions under
// /stateless, with them under /sessions.
func newSoakUpstream(*url.URL) (http.Handler, string, error) {
	mux := http.NewServeMux()
	for path, stateless := range map[string]bool{"/stateless": true, "/sessions": false} {
		srv := soakServer()
		mux.Handle(path, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return srv }, &mcp.StreamableHTTPOptions{Stateless: stateless}))
	}
	return mux, "", nil
}

func soakServer() *mcp.Server {
	srv := mcp.NewServer(&mcp.Implementation{Name: "soak", Version: "1"}, nil)
	for name, do := range map[string]func(ctx context.Context, r *mcp.CallToolRequest, payload string) error{
		toolEcho: func(context.Context, *mcp.CallToolRequest, string) error { return nil }, toolStream: sayInSteps, toolHang: sayAndHang,
	} {
		mcp.AddTool(srv, &mcp.Tool{Name: name, Description: name + " the payload"}, func(ctx context.Context, r *mcp.CallToolRequest, in said) (*mcp.CallToolResult, any, error) {
			err := do(ctx, r, in.Payload)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: in.Payload}}}, nil, err
		})
	}
	return srv
}

func sayInSteps(ctx context.Context, r *mcp.CallToolRequest, payload string) error {
	for i := range soakSteps {
		if err := say(ctx, r, payload, i+1); err != nil {
			return err
		}
		if err := pause(ctx, betweenSay); err != nil {
			return err
		}
	}
	return nil
}

func sayAndHang(ctx context.Context, r *mcp.CallToolRequest, payload string) error {
	if err := say(ctx, r, payload, 1); err != nil {
		return err
	}
	return pause(ctx, hangsFor)
}

func say(ctx context.Context, r *mcp.CallToolRequest, payload string, step int) error {
	err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Message: payload, Progress: float64(step)})
	if err != nil {
		return fmt.Errorf("say: %w", err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
