package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// unwritten is the audit log of another process.
type unwritten struct{}

func (unwritten) Record(context.Context, audit.Event) error { return nil }

// approver decides in another process, with the same store.
func (w *world) approver() func(id string) error {
	w.t.Helper()
	store, err := openStore(w.t.Context(), storeConfig{SQLite: filepath.Join(w.dir, "data", fileStore)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = store.Close() })
	ann, err := identity.ParseSubject("ann")
	if err != nil {
		w.t.Fatal(err)
	}
	service := approval.New(approval.Config{Store: store, Audit: unwritten{}, Now: time.Now})
	return func(id string) error {
		_, err := service.Decide(context.Background(), approval.Decision{ID: id, Approve: true, By: ann, Client: identity.MustClientID("console")})
		return err
	}
}

// TestRealClientWaitsForAnApproval: a real client of each era that can be sent to a page,
// and one that cannot, at a whole server whose policy asks for an approval.
func TestRealClientWaitsForAnApproval(t *testing.T) {
	w := newWorld(t, nil)
	w.write("access.yaml", `version: 1
roles:
  billing:
    who: {clients: [`+agentID+`]}
    servers:
      mail: {tools: {list_messages: {risk: high, approval: {by: [approver], within: 15m}}}}
  approver:
    who: {users: [ann]}
`)
	w.start(w.config(withTLS + withAgent))
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	approve := w.approver()
	client := w.client()
	client.Transport = bearer{client.Transport, raw}
	connect := func(version string, o *mcp.ClientOptions) *mcp.ClientSession {
		t.Helper()
		s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, o).Connect(t.Context(),
			&mcp.StreamableClientTransport{Endpoint: w.issuer + "/mcp/mail", HTTPClient: client, DisableStandaloneSSE: true}, &mcp.ClientSessionOptions{ProtocolVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	call := func() *mcp.CallToolParams { // the SDK writes into it
		return &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{"limit": 2}}
	}
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		pages := make(chan string, 8)
		s := connect(version, &mcp.ClientOptions{
			Capabilities: &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{URL: &mcp.URLElicitationCapabilities{}}},
			ElicitationHandler: func(_ context.Context, q *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
				pages <- q.Params.URL
				_, id, ok := strings.Cut(q.Params.URL, w.issuer+"/console/approvals/")
				if !ok || q.Params.Mode != "url" {
					return &mcp.ElicitResult{Action: "decline"}, nil
				}
				return &mcp.ElicitResult{Action: "accept"}, approve(id)
			}})
		if got := s.InitializeResult().ProtocolVersion; got != version {
			t.Fatalf("it speaks %s", got)
		}
		r, err := s.CallTool(t.Context(), call())
		if err != nil || r.IsError || len(pages) != 1 {
			t.Fatalf("%s: %v, %+v, sent to %d pages", version, err, r, len(pages))
		}
	}
	s := connect("", nil)
	_, err := s.CallTool(t.Context(), call())
	if err == nil || !strings.Contains(err.Error(), "this call waits for an approval: request ") {
		t.Fatalf("a client that cannot be sent to a page: %v", err)
	}
	id, _, _ := strings.Cut(strings.SplitAfter(err.Error(), "request ")[1], ",")
	if err := approve(id); err != nil {
		t.Fatal(err)
	}
	if r, err := s.CallTool(t.Context(), call()); err != nil || r.IsError {
		t.Errorf("once it is approved: %v, %+v", err, r)
	}
}

// TestNoCallWaitsWhereNobodyCanApprove: without the console a caller is not sent to a page
// that is not there, and nobody is told by a webhook.
func TestNoCallWaitsWhereNobodyCanApprove(t *testing.T) {
	w := newWorld(t, nil)
	w.write("access.yaml", "version: 1\nroles:\n  billing:\n    who: {clients: ["+agentID+"]}\n    servers:\n      mail: {tools: {list_messages: {approval: {by: [approver]}}}}\n  approver: {who: {users: [ann]}}\n")
	w.start(w.config(withTLS + withAgent + "console: {enabled: false}\n"))
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	s, _ := w.listening(raw)
	_, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{"limit": 2}})
	if err == nil || !strings.Contains(err.Error(), `access denied by policy: it must be approved by "approver"`) || strings.Contains(err.Error(), "console") {
		t.Errorf("the call is answered %v", err)
	}
}
