package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// session is how an MCP client presents an access token. It is sent there
// and nowhere else, and an answer that is lost is not asked for again.
func (r route) session(accessToken string) *mcp.StreamableClientTransport {
	client := *r.client
	client.Transport = presenting{client.Transport, accessToken}
	return &mcp.StreamableClientTransport{Endpoint: r.mcp, HTTPClient: &client, DisableStandaloneSSE: true, MaxRetries: -1}
}

// presenting sends an access token with every request (RFC 6750 §2.1).
type presenting struct {
	http.RoundTripper
	accessToken string
}

// RoundTrip implements http.RoundTripper. A refusal is an error, since the MCP client
// would not say why.
func (p presenting) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+p.accessToken)
	resp, err := p.RoundTripper.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	_ = resp.Body.Close()
	return nil, &unpresentable{challenged(resp.Header)}
}

// unpresentable says that the gateway does not take the token.
type unpresentable struct{ error }

// challenged reads why (RFC 6750 §3).
func challenged(h http.Header) error {
	challenges, _ := oauthex.ParseWWWAuthenticate(h.Values("WWW-Authenticate"))
	for _, c := range challenges {
		if code := c.Params["error"]; code != "" {
			return refusal(oauth.Error{Code: oauth.ErrorCode(code), Description: c.Params["error_description"]})
		}
	}
	return errors.New("it answers with HTTP 401, and does not say why")
}

// callTool calls the tool once.
func (w *workload) callTool(ctx context.Context, t *mcp.StreamableClientTransport, o callOrder) (*mcp.CallToolResult, error) {
	s, err := mcp.NewClient(&mcp.Implementation{Name: "wicketgate", Version: version()}, nil).Connect(ctx, t, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Endpoint, brief(err))
	}
	defer s.Close()
	tool, err := w.findTool(ctx, s, o.tool)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Endpoint, brief(err))
	}
	typed, err := typedArguments(tool.InputSchema, o.arguments)
	if err != nil {
		return nil, err
	}
	w.log.Info("call", "mcp", t.Endpoint, "tool", o.tool)
	result, err := s.CallTool(ctx, &mcp.CallToolParams{Name: o.tool, Arguments: typed})
	if err != nil {
		return nil, fmt.Errorf("%s does not call %s for %s: %w", t.Endpoint, o.tool, w.id, brief(err))
	}
	return result, nil
}

// brief leaves out of an error by which steps of the MCP client it came.
func brief(err error) error {
	var refused *unpresentable
	var answer *jsonrpc.Error
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &answer):
		return fmt.Errorf("it answers %s (%d)", shown(answer.Message), answer.Code)
	}
	return err
}

func (w *workload) findTool(ctx context.Context, s *mcp.ClientSession, name string) (*mcp.Tool, error) {
	var others []string
	for t, err := range s.Tools(ctx, nil) {
		switch {
		case err != nil:
			return nil, err
		case t.Name == name:
			return t, nil
		}
		others = append(others, t.Name)
	}
	if len(others) == 0 {
		return nil, fmt.Errorf("it has no tool for %s: no role in access.yaml gives it one, or an operator has approved none", w.id)
	}
	return nil, fmt.Errorf("it has no tool %s for %s: it is unknown or not allowed; there are %s", shown(name), w.id, strings.Join(others, ", "))
}

// printResult prints what the tool answered.
func printResult(c *cobra.Command, r *mcp.CallToolResult, whole bool) error {
	out, stderr := c.OutOrStdout(), c.ErrOrStderr()
	if r.IsError && !whole {
		out = stderr
		fmt.Fprint(out, "wicketgate: the tool reports an error: ")
	}
	texts := texts(r)
	if whole || len(texts) == 0 {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		texts = []string{string(b)}
	} else if others := len(r.Content) - len(texts); others > 0 {
		fmt.Fprintf(stderr, "note: %d more that are no text: --json prints them\n", others)
	}
	if _, err := fmt.Fprintln(out, strings.Join(texts, "\n")); err != nil {
		return err
	}
	if r.IsError {
		return errReported
	}
	return nil
}

func texts(r *mcp.CallToolResult) (out []string) {
	for _, c := range r.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			out = append(out, text.Text)
		}
	}
	return out
}
