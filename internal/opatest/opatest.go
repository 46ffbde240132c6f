// Package opatest gives tests a real OPA: opa run --server, of the version that
// tools/opa pins.
//
// It does NOT restart one that was ended: what is asked after that meets nobody.
package opatest

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/needed"
)

// startTimeout bounds a start on a machine that is busy.
const startTimeout = 30 * time.Second

// Server is a running OPA.
type Server struct {
	URL string

	process *os.Process
	ended   chan struct{}
}

// Program is the path of opa. The test ends where it is not built.
func Program(t testing.TB) string {
	t.Helper()
	return needed.Built(t, "opa", "github.com/open-policy-agent/opa", "make unit-tools")
}

// Start runs an OPA with the further arguments until the end of the test.
func Start(t testing.TB, arguments ...string) *Server {
	t.Helper()
	address := "127.0.0.1:" + freeport.Port(t)
	command := exec.Command(Program(t), append([]string{"run", "--server", "--addr", address, "--skip-version-check", "--log-level", "error"}, arguments...)...)
	var log strings.Builder
	command.Stderr, command.Stdout = &log, io.Discard
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s := &Server{"http://" + address, command.Process, make(chan struct{})}
	go func() { _ = command.Wait(); close(s.ended) }()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Log("opa:", log.String())
		}
	})
	s.await(t)
	return s
}

// await asks until it answers.
func (s *Server) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); ; <-tick {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			return
		}
		select {
		case <-s.ended:
			t.Fatal("opa ended at once")
		case <-ctx.Done():
			t.Fatal("opa does not answer: ", err)
		default:
		}
	}
}

// Kill ends it, in the middle of what it does, and waits for that.
func (s *Server) Kill() {
	_ = s.process.Signal(syscall.SIGCONT)
	_ = s.process.Kill() // it may have ended
	<-s.ended
}

// Pause stops it: connections stay open, and nothing is answered until Resume.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	for tick := time.Tick(time.Millisecond); ; <-tick { // its threads stop one after the other
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.process.Pid), "stat"))
		if err != nil {
			t.Fatal(err)
		}
		if _, state, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(state, "T") {
			return
		}
	}
}

// Resume undoes Pause.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, which os.Signal) {
	t.Helper()
	if err := s.process.Signal(which); err != nil {
		t.Fatal(err)
	}
}
