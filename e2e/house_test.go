// Package e2e_test drives the real binary with real MCP clients: what a person
// and their client do, over sockets, with nothing replaced.
package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/needed"
)

const (
	startWithin = 30 * time.Second
	stopWithin  = 15 * time.Second
	testWithin  = 90 * time.Second // a test's own deadline, so that a hang names its test
)

// binary is the wicketgate under test.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds the binary once. WICKETGATE_BINARY names one that is built already.
func run(m *testing.M) int {
	if binary = os.Getenv("WICKETGATE_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "wicketgate-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // workloads are users of their own
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "wicketgate")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/wicketgate").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build wicketgate: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// missing ends a test whose component is not installed.
func missing(t *testing.T, what string) {
	t.Helper()
	needed.Missing(t, what+": run make test-tools")
}

var (
	readyLine = regexp.MustCompile(`(?m)^ready (http://127\.0\.0\.1:(\d+))$`)
	mailLine  = regexp.MustCompile(`(?m)^\s*mail\s+(http\S+)`)
)

// house is one running `wicketgate dev`.
type house struct {
	url  string // of the authorization server and gateway; the issuer
	port string
	mail string // of the demo mail server, behind the gateway
	data string // its data folder

	cmd    *exec.Cmd
	stdout *output
	stderr *output
	exited chan struct{} // closed after err was set
	err    error         // of cmd.Wait
}

// resource is the protected resource that clients connect to.
func (h *house) resource() string { return h.url + "/mcp/mail" }

// startHouse starts a house with fresh data on a port of its own.
func startHouse(t *testing.T) *house {
	t.Helper()
	return startHouseWith(t, t.TempDir(), "0")
}

// startHouseWith starts a house and returns once it serves. It is stopped at the
// end of the test.
func startHouseWith(t *testing.T, data, port string, flags ...string) *house {
	t.Helper()
	h := &house{data: data, stdout: newOutput(), stderr: newOutput(), exited: make(chan struct{})}
	h.cmd = exec.Command(binary, append([]string{"dev", "--listen", "127.0.0.1:" + port, "--data", data}, flags...)...)
	h.cmd.Stdout, h.cmd.Stderr = h.stdout, h.stderr
	if err := h.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	go func() {
		h.err = h.cmd.Wait()
		close(h.exited)
	}()
	t.Cleanup(func() {
		h.end()
		if t.Failed() {
			t.Logf("stdout of the house:\n%s\nstderr:\n%s", h.stdout, h.stderr)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	ready, mail := h.waitFor(ctx, t, readyLine), h.waitFor(ctx, t, mailLine)
	h.url, h.port, h.mail = ready[1], ready[2], mail[1]
	return h
}

// waitFor waits for a line on stdout and returns its submatches.
func (h *house) waitFor(ctx context.Context, t *testing.T, line *regexp.Regexp) []string {
	t.Helper()
	for {
		changed := h.stdout.changed()
		if m := line.FindStringSubmatch(h.stdout.String()); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-h.exited:
			t.Fatalf("wicketgate ended before it printed %s: %v", line, h.err)
		case <-ctx.Done():
			t.Fatalf("wicketgate did not print %s in time", line)
		}
	}
}

// stop does what Ctrl-C does, and wants a clean end.
func (h *house) stop(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatalf("interrupt: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), stopWithin)
	defer cancel()
	select {
	case <-h.exited:
	case <-ctx.Done():
		t.Fatalf("wicketgate did not stop within %s of an interrupt", stopWithin)
	}
	if h.err != nil {
		t.Errorf("wicketgate after an interrupt: %v, want exit code 0", h.err)
	}
}

// end ends what stop did not: politely first.
func (h *house) end() {
	_ = h.cmd.Process.Signal(os.Interrupt) // fails when it has ended
	select {
	case <-h.exited:
	case <-time.After(stopWithin):
		_ = h.cmd.Process.Kill()
		<-h.exited
	}
}

// line is what these tests read of a line of the audit log.
type line struct {
	Kind            string   `json:"kind"`
	Call            string   `json:"call"`
	Subject         string   `json:"subject"`
	Client          string   `json:"client"`
	Actors          []string `json:"actors"`
	Server          string   `json:"server"`
	Action          string   `json:"action"`
	Tool            string   `json:"tool"`
	ArgumentsDigest string   `json:"arguments_digest"`
	PolicyDigest    string   `json:"policy_digest"`
	Decision        string   `json:"decision"`
	Reason          string   `json:"reason"`
	Status          string   `json:"status"`
}

func (h *house) auditFile() string { return filepath.Join(h.data, "audit.jsonl") }

// audit reads the log as it stands.
func (h *house) audit(t *testing.T) []line {
	t.Helper()
	b, err := os.ReadFile(h.auditFile())
	if err != nil {
		t.Fatalf("read audit log: %v", err)
	}
	var lines []line
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("audit line %d: %v\n%s", len(lines)+1, err, s.Bytes())
		}
		lines = append(lines, l)
	}
	return lines
}

// about picks the lines on one tool.
func about(lines []line, subject, tool string) []line {
	var out []line
	for _, l := range lines {
		if l.Subject == subject && l.Tool == tool {
			out = append(out, l)
		}
	}
	return out
}

// command runs another command of the binary and returns its exit code and
// everything that it printed.
func command(t *testing.T, args ...string) (code int, printed string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), string(out)
	}
	if err != nil {
		t.Fatalf("run wicketgate %v: %v", args, err)
	}
	return 0, string(out)
}

// deadline is the context of one test.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testWithin)
	t.Cleanup(cancel)
	return ctx
}

// output collects what a process prints and tells who waits of each change. It
// is safe for concurrent use.
type output struct {
	mu    sync.Mutex // guards what follows
	text  bytes.Buffer
	event chan struct{} // closed at the next write
}

var _ io.Writer = (*output)(nil)

func newOutput() *output { return &output{event: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.event)
	o.event = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.event
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
