package e2e_test

import (
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// startMCPRemote starts the bridge from standard input and output to the endpoint,
// with a client in front of it that knows nothing of OAuth. Which era it speaks there
// is its own affair: the protocol is legacy, its default, or auto.
func startMCPRemote(t *testing.T, endpoint, protocol, browser, config string) (goClient, *output) {
	t.Helper()
	ctx, stderr := deadline(t), newOutput()
	cmd := program(ctx, t, []string{browser, "MCP_REMOTE_CONFIG_DIR=" + config}, "mcp-remote", endpoint, "--protocol", protocol)
	cmd.Stderr = stderr
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("stderr of mcp-remote:\n%s", stderr)
		}
	})
	c, err := connectGo(ctx, t, &mcp.CommandTransport{Command: cmd, TerminateDuration: stopWithin}, "")
	if err != nil {
		t.Fatalf("connect through mcp-remote: %v\n%s", err, stderr)
	}
	return c, stderr
}

func TestMCPRemoteBridgesAReader(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	for protocol, era := range map[string]string{"legacy": legacy, "auto": modern} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			h, config := startHouseWith(t, t.TempDir(), "0", "--verbose"), t.TempDir()
			browser, seen := browse(deadline(t), t, newRobot("alice", "approve"))
			c, stderr := startMCPRemote(t, h.resource(), protocol, browser, config)
			checkConsent(t, h, <-seen, "MCP CLI Proxy")
			checkReader(t, c)

			again, stderrAgain := startMCPRemote(t, h.resource(), protocol, browser, config)
			checkTools(t, again, "list_messages", "read_message")
			if len(seen) > 0 {
				t.Error("the second start opened the browser again, although the first one kept its tokens")
			}
			checkEra(t, h, "alice", era)
			checkKept(t, config)
			checkSilent(t, h, stderr, stderrAgain)
		})
	}
}
