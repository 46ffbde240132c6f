package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/freeport"
)

// inspector is the MCP Inspector's command line: a process for each request, which
// share what they keep.
type inspector struct {
	h        *house
	era      string // legacy, its default, or modern
	env      []string
	callback string
	printed  *output // standard error of all
}

// run makes one request and reads what it printed.
func (i inspector) run(ctx context.Context, t *testing.T, printed any, args ...string) error {
	t.Helper()
	cmd := program(ctx, t, i.env, "mcp-inspector",
		append([]string{"--cli", i.h.resource(), "--transport", "http", "--protocol-era", i.era, "--format", "json", "--callback-url", i.callback, "--method"}, args...)...)
	cmd.Stderr = i.printed
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, i.printed)
	}
	if err := json.Unmarshal(out, printed); err != nil {
		return fmt.Errorf("read %s: %w", out, err)
	}
	return nil
}

func TestInspectorOfAReader(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	for name, era := range map[string]string{"legacy": legacy, "modern": modern} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inspectAsAReader(t, name, era)
		})
	}
}

func inspectAsAReader(t *testing.T, name, era string) {
	h, ctx, storage := startHouseWith(t, t.TempDir(), "0", "--verbose"), deadline(t), t.TempDir()
	browser, seen := browse(ctx, t, newRobot("alice", "approve"))
	i := inspector{h, name, []string{browser, "MCP_AUTO_OPEN_ENABLED=true", "MCP_STORAGE_DIR=" + storage, "MCP_INSPECTOR_SECRET_STORE=file"},
		"http://127.0.0.1:" + freeport.Port(t) + "/oauth/callback", newOutput()}

	var list struct {
		Result struct{ Tools []struct{ Name string } }
	}
	if err := i.run(ctx, t, &list, "tools/list"); err != nil {
		t.Fatalf("tools/list: %v", err)
	}
	if diff := cmp.Diff([]struct{ Name string }{{"list_messages"}, {"read_message"}}, list.Result.Tools); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
	checkConsent(t, h, <-seen, "MCP Inspector")

	var message struct {
		Result struct {
			IsError           bool
			StructuredContent struct{ ID, Subject string }
		}
	}
	if err := i.run(ctx, t, &message, "tools/call", "--tool-name", "read_message", "--tool-arg", "id=m1"); err != nil {
		t.Errorf("tools/call read_message: %v", err)
	}
	if got := message.Result; got.IsError || got.StructuredContent.ID != "m1" || got.StructuredContent.Subject != "Berth plan for this week" {
		t.Errorf("read_message(m1) = %+v", message)
	}
	if err := i.run(ctx, t, &message, "tools/call", "--tool-name", "delete_message", "--tool-arg", "id=m1"); err == nil {
		t.Error("tools/call delete_message: no error, want an unknown tool")
	}
	if len(seen) > 0 {
		t.Errorf("a later request opened the browser, although the first one kept its tokens")
	}
	checkEra(t, h, "alice", era)
	checkKept(t, storage)
	checkSilent(t, h, i.printed)
}
