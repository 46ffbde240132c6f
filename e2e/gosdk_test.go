package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// Nobody listens here: the robot stops before it.
const callback = "http://127.0.0.1:33418/callback"

const goClientName = "Go SDK under test"

// goClient is the Go SDK's client.
type goClient struct {
	session *mcp.ClientSession
	told    <-chan float64 // the progress that it was told of
}

// connectGo opens a session over the transport, in the era or else in the newest.
func connectGo(ctx context.Context, t *testing.T, transport mcp.Transport, era string) (goClient, error) {
	t.Helper()
	told := make(chan float64, 100)
	c := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { told <- r.Params.Progress },
	})
	session, err := c.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: era})
	if err == nil {
		t.Cleanup(func() { _ = session.Close() })
	}
	return goClient{session, told}, err
}

// goLogin connects as the robot's user: discovery, registration, login and
// consent all happen because the first request is answered with 401.
func goLogin(t *testing.T, h *house, r *robot) (goClient, visit) {
	t.Helper()
	return goLoginAt(t, h.resource(), r)
}

// goLoginAt is for another endpoint, in the era that the SDK finds.
func goLoginAt(t *testing.T, endpoint string, r *robot) (goClient, visit) {
	t.Helper()
	return goLoginIn(t, "", endpoint, r)
}

// goLoginIn speaks one era.
func goLoginIn(t *testing.T, era, endpoint string, r *robot) (goClient, visit) {
	t.Helper()
	var seen visit
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		RedirectURL: callback,
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: goClientName, RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code", "refresh_token"},
			TokenEndpointAuthMethod: "none",
		}},
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			var err error
			if seen, err = r.authorize(ctx, args.URL); err != nil {
				return nil, err
			}
			q := seen.redirect.Query()
			if code := q.Get("error"); code != "" {
				return nil, errors.New(code)
			}
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := goConnectIn(t, era, endpoint, handler)
	if err != nil {
		t.Fatalf("connect as %s: %v", r.user, err)
	}
	return c, seen
}

// goConnect opens a session, for which the handler logs in.
func goConnect(t *testing.T, endpoint string, handler auth.OAuthHandler) (goClient, error) {
	t.Helper()
	return goConnectIn(t, "", endpoint, handler)
}

func goConnectIn(t *testing.T, era, endpoint string, handler auth.OAuthHandler) (goClient, error) {
	t.Helper()
	return connectGo(deadline(t), t, &mcp.StreamableClientTransport{Endpoint: endpoint, OAuthHandler: handler}, era)
}

func (c goClient) list(ctx context.Context) ([]string, error) {
	var names []string
	for tool, err := range c.session.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		names = append(names, tool.Name)
	}
	return names, nil
}

func (c goClient) call(ctx context.Context, tool string, arguments map[string]any) (result, error) {
	params := &mcp.CallToolParams{Name: tool}
	if arguments != nil { // a nil map would be sent as null
		params.Arguments = arguments
	}
	r, err := c.session.CallTool(ctx, params)
	if e := (*jsonrpc.Error)(nil); errors.As(err, &e) {
		return result{}, &rpcError{e.Code, e.Message}
	}
	if err != nil {
		return result{}, err
	}
	structured, err := json.Marshal(r.StructuredContent)
	return result{IsError: r.IsError, Text: contentText(r), Structured: structured}, err
}

func (c goClient) resources(ctx context.Context) (uris []string, err error) {
	for r, err := range c.session.Resources(ctx, nil) {
		if err != nil {
			return nil, err
		}
		uris = append(uris, r.URI)
	}
	return uris, nil
}

func (c goClient) prompts(ctx context.Context) (names []string, err error) {
	for p, err := range c.session.Prompts(ctx, nil) {
		if err != nil {
			return nil, err
		}
		names = append(names, p.Name)
	}
	return names, nil
}

func (c goClient) read(ctx context.Context, uri string) (string, error) {
	r, err := c.session.ReadResource(ctx, &mcp.ReadResourceParams{URI: uri})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, part := range r.Contents {
		b.WriteString(part.Text)
	}
	return b.String(), nil
}

func (c goClient) prompt(ctx context.Context, name string, arguments map[string]string) (string, error) {
	r, err := c.session.GetPrompt(ctx, &mcp.GetPromptParams{Name: name, Arguments: arguments})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, m := range r.Messages {
		if text, ok := m.Content.(*mcp.TextContent); ok {
			b.WriteString(text.Text)
		}
	}
	return b.String(), nil
}

func (c goClient) progress(ctx context.Context, tool string, arguments object, steps int) ([]float64, error) {
	params := &mcp.CallToolParams{Name: tool, Arguments: arguments}
	params.SetProgressToken("progress of " + tool)
	if _, err := c.session.CallTool(ctx, params); err != nil {
		return nil, err
	}
	var told []float64
	for len(told) < steps { // the SDK may hand them out after the answer
		select {
		case p := <-c.told:
			told = append(told, p)
		case <-ctx.Done():
			return told, ctx.Err()
		}
	}
	return told, nil
}

func contentText(r *mcp.CallToolResult) string {
	var b strings.Builder
	for _, c := range r.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			b.WriteString(t.Text)
		}
	}
	return b.String()
}

func TestGoClientOfAReader(t *testing.T) {
	t.Parallel()
	inEachEra(t, func(t *testing.T, era string) {
		h := startHouse(t)
		c, seen := goLoginIn(t, era, h.resource(), newRobot("alice", "approve"))
		checkConsent(t, h, seen, goClientName)
		checkReader(t, c)
		checkEra(t, h, "alice", era)
	})
}

func TestGoClientOfAnOperator(t *testing.T) {
	t.Parallel()
	inEachEra(t, func(t *testing.T, era string) {
		h := startHouse(t)
		c, _ := goLoginIn(t, era, h.resource(), newRobot("bob", "approve"))
		checkOperator(t, c)
		checkEra(t, h, "bob", era)
	})
}

// Left to itself the SDK asks for the newest era first, and stays there.
func TestGoClientFindsTheNewestEra(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	c, _ := goLogin(t, h, newRobot("alice", "approve"))
	checkReader(t, c)
	checkEra(t, h, "alice", modern)
}

func TestGoClientOfSomebodyWithoutARoleSeesNothing(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	c, _ := goLogin(t, h, newRobot("carol", "approve"))
	checkTools(t, c)
	checkLooksUnknown(t, c, "list_messages")
}

// Two people at one house at once: neither gets the other's rights.
func TestGoClientsOfTwoPeopleKeepApart(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	alice, _ := goLogin(t, h, newRobot("alice", "approve"))
	bob, _ := goLogin(t, h, newRobot("bob", "approve"))
	checkTools(t, alice, "list_messages", "read_message")
	checkTools(t, bob, "list_messages", "read_message", "send_message")
	checkLooksUnknown(t, alice, "send_message")
}

// A second client in the same browser must be consented to as well: a login is
// no consent.
func TestSecondClientInTheSameBrowserAsksAgain(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	browser := newRobot("alice", "approve")
	goLogin(t, h, browser)
	_, seen := goLogin(t, h, browser)
	checkConsent(t, h, seen, goClientName)
}

var _ fullClient = goClient{}
