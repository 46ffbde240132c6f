package main

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/sandbox"
)

// TestSandboxThatIsRequiredAndCannotBeHad: a machine that can enforce nothing.
func TestSandboxThatIsRequiredAndCannotBeHad(t *testing.T) {
	for mode, want := range map[string]string{sandboxRequired: "files are not limited", sandboxBestEffort: "", sandboxOff: ""} {
		var log strings.Builder
		c := commandServer{Command: []string{"true"}, Mode: mode}
		transport, err := c.transport("files", sandbox.Support{}, slog.New(slog.NewTextHandler(&log, nil)))
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", mode, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := transport.Close(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "server=files") || !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%s: no warning: %s", mode, log.String())
		}
	}
	c := commandServer{Command: []string{"true"}, Mode: sandboxRequired}
	c.Sandbox.Read = []string{"/no/such"}
	if _, err := c.transport("files", sandbox.Probe(), slog.New(slog.NewTextHandler(io.Discard, nil))); err == nil {
		t.Error("a folder that is not there was accepted")
	}
}
