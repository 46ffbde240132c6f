package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startDev runs development mode in this process until stop is called, and
// returns what it printed up to ready.
func startDev(t *testing.T, args ...string) (printed string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, append([]string{"dev", "--listen", "127.0.0.1:0"}, args...), in, io.Discard)
		in.Close()
	}()
	var b strings.Builder
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		b.WriteString(sc.Text() + "\n")
		if strings.HasPrefix(sc.Text(), "ready ") {
			break
		}
	}
	go io.Copy(io.Discard, out)
	var code int
	stopped := false
	stop = func() int {
		if !stopped {
			stopped = true
			cancel()
			code = <-done
		}
		return code
	}
	t.Cleanup(func() { stop() })
	return b.String(), stop
}

func TestDevSaysWhereEverythingIsAndStopsCleanly(t *testing.T) {
	dir := t.TempDir()
	printed, stop := startDev(t, "--data", dir, "--upstream", "files=http://127.0.0.1:9/mcp")
	for _, want := range []string{"claude mcp add --transport http mail http://127.0.0.1:", "code --add-mcp", "mcp.json", "inspector",
		"/mcp/files", "no role names server files yet", "\nready http://127.0.0.1:"} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is not in the output:\n%s", want, printed)
		}
	}
	if code := stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for name, mode := range map[string]os.FileMode{fileKEK: 0o600, fileStore: 0o600, devAgent + ".secret": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, error %v", name, info, err)
		}
	}
}

func TestSecondProcessOnTheSameDataIsRefused(t *testing.T) {
	dir := t.TempDir()
	startDev(t, "--data", dir)
	var stderr strings.Builder
	if code := run(t.Context(), []string{"dev", "--listen", "127.0.0.1:0", "--data", dir}, io.Discard, &stderr); code == 0 || !strings.Contains(stderr.String(), "audit") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

func TestDataThatWasTamperedWithDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	_, stop := startDev(t, "--data", dir)
	stop()
	path := filepath.Join(dir, fileAudit)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	if err := os.WriteFile(path, []byte(strings.Join(lines[:len(lines)-3], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	if code := run(t.Context(), []string{"dev", "--listen", "127.0.0.1:0", "--data", dir}, io.Discard, &stderr); code == 0 || !strings.Contains(stderr.String(), "tampered") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	var out strings.Builder
	if code := run(t.Context(), []string{"audit", "verify", "--data", dir}, &out, &out); code == 0 {
		t.Errorf("audit verify: %s", out.String())
	}
}

// TestDevFollowsItsPolicy: what somebody writes who tries it out counts without a restart.
func TestDevFollowsItsPolicy(t *testing.T) {
	dir := t.TempDir()
	_, stop := startDev(t, "--data", dir)
	replaceFile(t, filepath.Join(dir, fileAccess), []byte("version: 1\n"))
	audited := func() bool {
		return strings.Contains(readText(t, filepath.Join(dir, fileAudit)), `"action":"policy/reload"`)
	}
	for tick := time.Tick(10 * time.Millisecond); !audited(); <-tick {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	if code := stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
