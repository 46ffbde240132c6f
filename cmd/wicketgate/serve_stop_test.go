package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// gate holds tools/call at the mail server until it is opened.
type gate struct{ arrived, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if strings.Contains(string(b), `"tools/call"`) {
			close(g.arrived)
			<-g.open
		}
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		h.ServeHTTP(w, r)
	})
}

// call begins a call that stays at the gate.
func (w *world) call(g gate) <-chan error {
	w.t.Helper()
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		w.t.Fatal(refused)
	}
	s := w.connect(raw)
	done := make(chan error, 1)
	go func() {
		res, err := s.CallTool(w.t.Context(), &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{}})
		if err == nil && res.IsError {
			err = errors.New("the tool failed")
		}
		done <- err
	}()
	select {
	case <-g.arrived:
	case err := <-done:
		w.t.Fatalf("the call ended early: %v", err)
	}
	return done
}

// untilStopping waits until readyz says so.
func (w *world) untilStopping() {
	w.t.Helper()
	for {
		if status, body := w.get(w.admin + "/readyz"); status == http.StatusServiceUnavailable {
			if body != `{"status":"stopping"}` {
				w.t.Errorf("readyz: %s", body)
			}
			return
		}
	}
}

func TestStopLetsCallsFinish(t *testing.T) {
	g := newGate()
	w := newWorld(t, g.around)
	stop := w.start(w.config(withTLS + withAgent + "stop: {finish: 1m}\n"))
	called := w.call(g)
	code := make(chan int)
	go func() { code <- stop() }()
	w.untilStopping()
	select {
	case <-code:
		t.Fatal("it stopped before the call had ended")
	default:
	}
	close(g.open)
	if err := <-called; err != nil {
		t.Errorf("the call: %v", err)
	}
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
}

func TestStopCutsOffWhatDoesNotFinish(t *testing.T) {
	g := newGate()
	w := newWorld(t, g.around)
	stop := w.start(w.config(withTLS + withAgent + "stop: {finish: 1s}\n"))
	called := w.call(g)
	if c := stop(); c != 1 || !strings.Contains(w.log.String(), "requests did not finish within 1s and were cut off") {
		t.Errorf("exit code %d", c)
	}
	if err := <-called; err == nil {
		t.Error("the call was not cut off")
	}
	close(g.open)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	g := newGate()
	w := newWorld(t, g.around)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: self, Args: []string{"wicketgate", "serve", "--config", w.config(withTLS + withAgent + "stop: {finish: 10m}\n")}, Stderr: w.log}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Log(w.log)
		}
	})
	w.await(out)
	called := w.call(g)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.untilStopping()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("it ended with %v", err)
	}
	if err := <-called; err == nil {
		t.Error("the call went on without a server")
	}
	close(g.open)
}

// TestStopEndsTheListenersForClientsTogether: while a call of one of them finishes,
// neither takes new connections, and the operators' listener still answers.
func TestStopEndsTheListenersForClientsTogether(t *testing.T) {
	g := newGate()
	w := newWorld(t, g.around)
	stop := w.start(w.config(withTLS + withMutualTLS + withAgent + "stop: {finish: 1m}\n"))
	open := sync.OnceFunc(func() { close(g.open) })
	t.Cleanup(open)     // or the end would wait for the call
	called := w.call(g) // at the ordinary listener
	code := make(chan int)
	go func() { code <- stop() }()
	for _, address := range []string{w.front, w.mutual} {
		w.untilClosed(address)
	}
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusServiceUnavailable || body != `{"status":"stopping"}` {
		t.Errorf("readyz: %d %s", status, body)
	}
	open()
	if err := <-called; err != nil {
		t.Errorf("the call: %v", err)
	}
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
	w.untilClosed(strings.TrimPrefix(w.admin, "http://"))
}

// untilClosed waits until nobody listens there.
func (w *world) untilClosed(address string) {
	w.t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); ; {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		c.Close()
		select {
		case <-tick:
		case <-deadline:
			w.t.Fatalf("%s still takes connections", address)
		}
	}
}
