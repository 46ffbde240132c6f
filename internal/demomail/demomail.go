// Package demomail is the demo upstream: an ordinary MCP server over streamable
// HTTP with a small mailbox, so that there is something to protect.
//
// It does what any careful MCP server does with the token it is sent: verify it
// for its own resource URI, and hold the scope against what is asked. It knows
// nothing of the gateway and does NOT look at authorization_details, the actor
// chain or policy, and it does not count a jti. Its schemas are as open and its
// mail as untrustworthy as those of other servers. The mailbox is in memory and
// starts anew with each server.
package demomail

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	scopeSession = "mcp:session" // for all but tools/call
	toolPrefix   = "tool:"

	methodCallTool = "tools/call"

	sessionIdle = 8 * time.Hour // then a session is closed, so that they do not pile up
	wellKnown   = "/.well-known/oauth-protected-resource"
)

// Verifier checks call tokens. Any error refuses the token. It must be safe for
// concurrent use; *token.Verifier is one.
type Verifier interface {
	ParseCall(ctx context.Context, raw, audience string) (token.Call, error)
}

// Config configures New.
type Config struct {
	Verifier Verifier
	Resource string       // this server's URI: the only accepted aud, and the path it serves
	Issuer   string       // the authorization server named in the metadata (RFC 9728 §2)
	Log      *slog.Logger // why a token was refused; nil: nothing is logged
}

// New makes the server with a fresh mailbox, for the whole of its own listener.
// It panics when Resource is no URL.
func New(cfg Config) http.Handler {
	resource, err := url.Parse(cfg.Resource)
	if err != nil {
		panic(fmt.Sprintf("demomail: resource: %v", err))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	metadata := *resource
	metadata.Path = wellKnown + resource.Path // RFC 9728 §3.1

	server := newServer(newMailbox())
	streamable := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{SessionTimeout: sessionIdle})
	bearer := auth.RequireBearerToken(cfg.verify, &auth.RequireBearerTokenOptions{ResourceMetadataURL: metadata.String()})

	mux := http.NewServeMux()
	mux.Handle(resource.Path, bearer(requireSessionScope(streamable)))
	mux.Handle(metadata.Path, auth.ProtectedResourceMetadataHandler(&oauthex.ProtectedResourceMetadata{
		Resource:             cfg.Resource,
		AuthorizationServers: []string{cfg.Issuer},
		ResourceName:         "Demo mail",
	}))
	return mux
}

// verify is an auth.TokenVerifier. The reason of a refusal is for our log, not
// for the caller.
func (c Config) verify(ctx context.Context, raw string, _ *http.Request) (*auth.TokenInfo, error) {
	call, err := c.Verifier.ParseCall(ctx, raw, c.Resource)
	if err != nil {
		c.Log.WarnContext(ctx, "call token refused", "error", err)
		return nil, auth.ErrInvalidToken
	}
	return &auth.TokenInfo{
		Scopes:     call.Scope().Fields(),
		Expiration: call.Expiry(),
		UserID:     call.Subject().String(), // the SDK holds a session to its first subject
	}, nil
}

// requireSessionScope is for what reaches no method: the event stream (GET) and
// the end of a session (DELETE).
func requireSessionScope(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost && !hasExactly(auth.TokenInfoFromContext(r.Context()), scopeSession) {
			http.Error(w, "insufficient scope", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// requireScope is an mcp.Middleware: a tool is called with a token for exactly
// that tool, everything else is asked with a token for the session.
func requireScope(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		want := scopeSession
		if method == methodCallTool {
			params, ok := req.GetParams().(*mcp.CallToolParamsRaw)
			if !ok {
				return nil, fmt.Errorf("parameters of %s are a %T", method, req.GetParams())
			}
			want = toolPrefix + params.Name
		}
		if extra := req.GetExtra(); extra == nil || !hasExactly(extra.TokenInfo, want) {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "insufficient scope: the token is not for this"}
		}
		return next(ctx, method, req)
	}
}

// requireObject is an mcp.Middleware that refuses "arguments":null, which is no
// object and panics the SDK (v1.8.0) where a schema has a default.
func requireObject(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		if params, ok := req.GetParams().(*mcp.CallToolParamsRaw); ok && params != nil && string(params.Arguments) == "null" {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "arguments must be an object"}
		}
		return next(ctx, method, req)
	}
}

func hasExactly(t *auth.TokenInfo, scope string) bool {
	return t != nil && slices.Equal(t.Scopes, []string{scope})
}
