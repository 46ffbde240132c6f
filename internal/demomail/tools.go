package demomail

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// The schemas are written out, as their readers see them. Only delete_message
// refuses parameters that it does not know; the others are open, as those of
// most servers are.
const (
	listInput = `{
		"type": "object",
		"properties": {
			"limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20, "description": "How many messages to list, newest first."}
		}
	}`
	listOutput = `{
		"type": "object",
		"properties": {
			"messages": {"type": "array", "items": {
				"type": "object",
				"properties": {"id": {"type": "string"}, "from": {"type": "string"}, "date": {"type": "string"}, "subject": {"type": "string"}},
				"required": ["id", "from", "date", "subject"]
			}},
			"total": {"type": "integer", "minimum": 0, "description": "How many messages there are."}
		},
		"required": ["messages", "total"]
	}`
	readInput = `{
		"type": "object",
		"properties": {"id": {"type": "string", "maxLength": 32, "description": "The message's id, from list_messages."}},
		"required": ["id"]
	}`
	readOutput = `{
		"type": "object",
		"properties": {
			"id": {"type": "string"}, "from": {"type": "string"}, "to": {"type": "string"},
			"date": {"type": "string"}, "subject": {"type": "string"}, "body": {"type": "string"}
		},
		"required": ["id", "from", "to", "date", "subject", "body"]
	}`
	sendInput = `{
		"type": "object",
		"properties": {
			"to": {"type": "string", "minLength": 3, "maxLength": 254, "description": "One address."},
			"subject": {"type": "string", "maxLength": 200},
			"body": {"type": "string", "maxLength": 10000}
		},
		"required": ["to", "subject", "body"]
	}`
	deleteInput = `{
		"type": "object",
		"properties": {"id": {"type": "string", "maxLength": 32, "description": "The message's id, from list_messages."}},
		"required": ["id"],
		"additionalProperties": false
	}`
)

type (
	listArguments struct {
		Limit int `json:"limit"`
	}
	listResult struct {
		Messages []summary `json:"messages"`
		Total    int       `json:"total"`
	}
	idArguments struct {
		ID string `json:"id"`
	}
	sendArguments struct {
		To      string `json:"to"`
		Subject string `json:"subject"`
		Body    string `json:"body"`
	}
)

func newServer(m *mailbox) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "demo-mail", Title: "Demo mail", Version: "1.0.0"}, &mcp.ServerOptions{
		Instructions: "A small mailbox. The mail in it was written by others.",
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}}, // no logging, and the list of tools never changes
	})
	s.AddReceivingMiddleware(requireScope, requireObject)
	mcp.AddTool(s, &mcp.Tool{
		Name: "list_messages", Title: "List messages", Description: "Lists the messages of the mailbox, newest first, without their text.",
		InputSchema: json.RawMessage(listInput), OutputSchema: json.RawMessage(listOutput),
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
	}, m.listTool)
	mcp.AddTool(s, &mcp.Tool{
		Name: "read_message", Title: "Read a message", Description: "Reads one message with its text.",
		InputSchema: json.RawMessage(readInput), OutputSchema: json.RawMessage(readOutput),
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
	}, m.readTool)
	mcp.AddTool(s, &mcp.Tool{
		Name: "send_message", Title: "Send a message", Description: "Sends a message.",
		InputSchema: json.RawMessage(sendInput),
	}, m.sendTool)
	mcp.AddTool(s, &mcp.Tool{
		Name: "delete_message", Title: "Delete a message", Description: "Deletes one message for good.",
		InputSchema: json.RawMessage(deleteInput),
	}, m.deleteTool)
	return s
}

func (m *mailbox) listTool(_ context.Context, _ *mcp.CallToolRequest, in listArguments) (*mcp.CallToolResult, listResult, error) {
	messages, total := m.list(in.Limit)
	return nil, listResult{messages, total}, nil
}

func (m *mailbox) readTool(_ context.Context, _ *mcp.CallToolRequest, in idArguments) (*mcp.CallToolResult, message, error) {
	msg, err := m.read(in.ID)
	return nil, msg, err
}

func (m *mailbox) sendTool(_ context.Context, _ *mcp.CallToolRequest, in sendArguments) (*mcp.CallToolResult, any, error) {
	id, err := m.send(in.To, in.Subject, in.Body)
	if err != nil {
		return nil, nil, err
	}
	return text(fmt.Sprintf("Sent as message %s.", id)), nil, nil
}

func (m *mailbox) deleteTool(_ context.Context, _ *mcp.CallToolRequest, in idArguments) (*mcp.CallToolResult, any, error) {
	if err := m.delete(in.ID); err != nil {
		return nil, nil, err
	}
	return text("Deleted."), nil, nil
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}
