package spiretest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Agent is a SPIRE agent.
type Agent struct {
	Socket string // the address of its Workload API: unix:///...

	server  *Server
	dir     string
	process *process
}

// StartAgent starts an agent that joins as Node. It is stopped at the end of the test.
func (s *Server) StartAgent(t testing.TB) *Agent {
	t.Helper()
	s.agents++
	a := &Agent{server: s, dir: filepath.Join(s.dir, fmt.Sprint("agent", s.agents))}
	a.Socket = "unix://" + a.socket()
	if err := os.Mkdir(a.dir, 0o711); err != nil { // not readable, but on the way to the socket
		t.Fatal(err)
	}
	write(t, filepath.Join(a.dir, "bundle.pem"), s.command(t, "bundle", "show", "-format", "pem"))
	var token struct{ Value string }
	s.ask(t, &token, "token", "generate", "-spiffeID", s.Node())
	write(t, filepath.Join(a.dir, "join_token"), []byte(token.Value))
	f := readConf(t, "agent.conf")
	f.set("server_address", `"127.0.0.1"`)
	f.set("server_port", quote(s.port))
	f.set("trust_domain", quote(s.TrustDomain)+"\n  experimental { sync_interval = \"200ms\" }")
	for _, dir := range []string{"/etc/spire", "/var/lib/spire/agent", "/run/spire/agent"} {
		f.replace(dir, a.dir)
	}
	f.write(a.conf())
	a.Restart(t)
	return a
}

// Node is the SPIFFE ID that every agent has, and the parent of workloads' entries.
func (s *Server) Node() string { return "spiffe://" + s.TrustDomain + "/node/one" }

// Stop kills the agent.
func (a *Agent) Stop() { a.process.stop() }

// Restart starts the agent again on the same socket, after Stop or at once. It is itself
// again, unless its own SVID has ended. The server has to run.
func (a *Agent) Restart(t testing.TB) {
	t.Helper()
	a.Stop()
	a.process = start(t, a.dir, a.server.programs.agent, "run", "-config", a.conf())
	a.process.await(t, func() error {
		return exec.Command(a.server.programs.agent, "healthcheck", "-socketPath", a.socket()).Run()
	})
}

func (a *Agent) conf() string   { return filepath.Join(a.dir, "agent.conf") }
func (a *Agent) socket() string { return filepath.Join(a.dir, "api.sock") }

// WaitForSVIDs waits until the agent gives processes of a user X.509-SVIDs with exactly
// these SPIFFE IDs. Without any: until it says that they have no identity.
func (a *Agent) WaitForSVIDs(t testing.TB, uid int, want ...string) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	a.process.await(t, func() error {
		got, err := a.svids(t, uid)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("user %d has %v, not %v", uid, got, want)
		}
		return err
	})
}

// svids asks as another process does.
func (a *Agent) svids(t testing.TB, uid int) (ids []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.program(t, uid), "api", "fetch", "x509", "-socketPath", a.socket(), "-output", "json")
	cmd.Dir = a.server.dir
	As(t, cmd, uid)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if strings.Contains(stderr.String(), "code = PermissionDenied") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	var answer struct {
		SVIDs []struct {
			ID string `json:"spiffe_id"`
		}
	}
	err = json.Unmarshal(out, &answer)
	for _, svid := range answer.SVIDs {
		ids = append(ids, svid.ID)
	}
	slices.Sort(ids)
	return ids, err
}

// program is spire-agent where that user can reach it, which need not be true of the
// cache that it was built into.
func (a *Agent) program(t testing.TB, uid int) string {
	t.Helper()
	built, reachable := a.server.programs.agent, filepath.Join(a.server.dir, "spire-agent")
	if uid == os.Getuid() {
		return built
	}
	if _, err := os.Stat(reachable); err == nil {
		return reachable
	}
	if err := copyProgram(reachable, built); err != nil {
		t.Fatal(err)
	}
	return reachable
}

func copyProgram(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	copied, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(copied, source); err != nil {
		_ = copied.Close()
		return err
	}
	return copied.Close()
}
