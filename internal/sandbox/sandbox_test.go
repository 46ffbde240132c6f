//go:build linux

package sandbox_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/needed"
	"github.com/wicketgate/wicketgate/internal/sandbox"
)

// full ends the test where the machine cannot do what it is about.
func full(t *testing.T) sandbox.Support {
	t.Helper()
	s := sandbox.Probe()
	if s.Landlock < 4 || !s.Filter {
		needed.Missing(t, fmt.Sprintf("needs Landlock ABI 4 and seccomp: %+v", s))
	}
	return s
}

// command is this program, confined, doing one thing.
func command(t *testing.T, on sandbox.Support, spec sandbox.Spec, act string) *exec.Cmd {
	t.Helper()
	s, err := sandbox.New(spec, on)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd, err := s.Command(home, self)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir, cmd.Env = home, []string{actVariable + "=" + act, "HOME=" + home, "GORACE=atexit_sleep_ms=0"} // with -race it waits a second
	return cmd
}

// try returns what came of it.
func try(t *testing.T, on sandbox.Support, spec sandbox.Spec, act string) string {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := command(t, on, spec, act).CombinedOutput()
	result, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "came of it: ")
	if !ok {
		return fmt.Sprintf("%v: %.300s", err, out)
	}
	return result
}

func write(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const good = "<nil>"

func TestFiles(t *testing.T) {
	on := full(t)
	readable, writable, other := t.TempDir(), t.TempDir(), t.TempDir()
	spec := sandbox.Spec{Read: []string{readable}, Write: []string{writable}}
	if err := os.Symlink(write(t, other+"/secret"), readable+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		act     string
		allowed bool
	}{
		{"read " + write(t, readable+"/a"), true},
		{"read " + write(t, writable+"/a"), true},
		{"write " + writable + "/b", true},
		{"remove " + write(t, writable+"/c"), true},
		{"list " + readable, true},
		{"write /dev/null", true},
		{"run /bin/true", true},
		{"interfaces", true},
		{"capabilities", true},
		{"write " + readable + "/b", false},
		{"write " + readable + "/a", false},
		{"remove " + readable + "/a", false},
		{"link " + readable + "/x", false},
		{"read " + other + "/secret", false},
		{"read " + readable + "/link", false},
		{"read " + readable + "/../" + filepath.Base(other) + "/secret", false},
		{"list " + other, false},
		{"list /root", false},
		{"list /home", false},
		{"read /etc/shadow", false},
		{"read /proc/1/cmdline", false},
		{"list /proc", false},
		{"write /usr/wicketgate-test", false},
	} {
		if got := try(t, on, spec, c.act); (got == good) != c.allowed || !c.allowed && !strings.Contains(got, "permission denied") {
			t.Errorf("%s: %s", c.act, got)
		}
	}
}

// listener counts on nothing having come once the command has ended.
type listener struct {
	*net.TCPListener
	t *testing.T
}

func listen(t *testing.T) listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return listener{l.(*net.TCPListener), t}
}

func (l listener) arrived() bool {
	l.t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		l.t.Fatal(err)
	}
	return pending(l.t, raw)
}

func (l listener) port() uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

// TestNoConnectionLeavesTheSandbox tries every kind of socket, each with all that this
// machine has and without namespaces, where only the filter is in its way.
func TestNoConnectionLeavesTheSandbox(t *testing.T) {
	on := full(t)
	bare := on
	bare.Namespaces = false
	l := listen(t)
	datagrams, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	engine, err := net.Listen("unix", filepath.Join(t.TempDir(), "engine"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	for name, support := range map[string]sandbox.Support{"with namespaces": on, "without": bare} {
		for _, act := range []string{"tcp " + l.Addr().String(), "mptcp " + l.Addr().String(), "udp " + l.Addr().String(), "fastopen " + l.Addr().String(),
			"unix " + engine.Addr().String(), "pair " + datagrams.LocalAddr().String()} {
			spec := sandbox.Spec{Write: []string{filepath.Dir(engine.Addr().String()), filepath.Dir(datagrams.LocalAddr().String())}}
			if got := try(t, support, spec, act); !strings.Contains(got, "permission denied") {
				t.Errorf("%s: %s: %s", name, act, got)
			}
		}
	}
	if l.arrived() {
		t.Error("a connection arrived")
	}
}

// TestOnlyAllowedPortsAreReached, and by nothing but TCP as Landlock knows it.
func TestOnlyAllowedPortsAreReached(t *testing.T) {
	on := full(t)
	open, shut := listen(t), listen(t)
	spec := sandbox.Spec{Connect: []uint16{open.port()}}
	if got := try(t, on, spec, "tcp "+open.Addr().String()); got != good {
		t.Errorf("an allowed port: %s", got)
	}
	for _, act := range []string{"tcp", "mptcp", "fastopen", "udp"} {
		if got := try(t, on, spec, act+" "+shut.Addr().String()); !strings.Contains(got, "permission denied") {
			t.Errorf("%s to another port: %s", act, got)
		}
	}
	engine, err := net.Listen("unix", filepath.Join(t.TempDir(), "engine"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	spec.Write = []string{filepath.Dir(engine.Addr().String())}
	if got := try(t, on, spec, "unix "+engine.Addr().String()); !strings.Contains(got, "permission denied") {
		t.Errorf("a Unix socket: %s", got)
	}
	if shut.arrived() {
		t.Error("a connection arrived at a port that is not allowed")
	}
	if !open.arrived() {
		t.Error("no connection arrived at the allowed port: the test shows nothing")
	}
}

func TestOtherProcessesAreOutOfReach(t *testing.T) {
	on := full(t)
	bare := on
	bare.Namespaces = false
	for name, support := range map[string]sandbox.Support{"with namespaces": on, "without": bare} {
		if got := try(t, support, sandbox.Spec{}, fmt.Sprint("signal ", os.Getpid())); got == good {
			t.Errorf("%s: it can send us signals", name)
		}
	}
}

func TestLimits(t *testing.T) {
	on := full(t)
	for _, c := range []struct {
		name, act string
		spec      sandbox.Spec
		want      string
	}{
		{"CPU time", "spin", sandbox.Spec{CPU: time.Second}, "signal: "},
		{"size of a file", "file out", sandbox.Spec{FileSize: 4096}, "file too large"},
	} {
		if got := try(t, on, c.spec, c.act); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestMemoryIsLimited with a program that keeps a line of 64 MiB: with -race, this one here
// takes more than any limit.
func TestMemoryIsLimited(t *testing.T) {
	on := full(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for limit, want := range map[int64]string{32 << 20: "memory exhausted", 256 << 20: "67108864"} {
		s, err := sandbox.New(sandbox.Spec{Memory: limit}, on)
		if err != nil {
			t.Fatal(err)
		}
		cmd, err := s.Command(t.TempDir(), "/bin/sh", "-c", "head -c 67108864 /dev/zero | tail -n 1 | wc -c")
		if err != nil {
			t.Fatal(err)
		}
		if out, err := cmd.CombinedOutput(); !strings.Contains(string(out), want) {
			t.Errorf("%d bytes: %v %s, want %s", limit, err, out, want)
		}
	}
}

// TestTooMuchTogetherIsNoticed: the tasks of the command and its children.
func TestTooMuchTogetherIsNoticed(t *testing.T) {
	on := full(t)
	on.Namespaces = false // else the rlimit is in the way
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spec := sandbox.Spec{Tasks: 40}
	cmd := command(t, on, spec, "tasks 100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s, err := sandbox.New(spec, on)
	if err != nil {
		t.Fatal(err)
	}
	var why string
	s.Watch(t.Context(), cmd.Process.Pid, func(reason string) { why = reason; _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if !strings.HasPrefix(why, "tasks: ") {
		t.Errorf("exceeded: %q", why)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Watch(ctx, os.Getpid(), func(string) { t.Error("called after the end") })
}

// TestWhatCannotBeConfinedDoesNotRun: it fails closed.
func TestWhatCannotBeConfinedDoesNotRun(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"no JSON": {"{", self}, "no command": {"{}"}, "a port that is none": {`{"Landlock":7,"Spec":{"Connect":[-1]}}`, self}} {
		cmd := exec.Command(self, append([]string{"sandbox-exec"}, args...)...)
		cmd.Env = []string{actVariable + "=read /dev/null"}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || strings.Contains(string(out), "came of it") {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

// TestTheCommandEndsWithUs: whoever kills Wicketgate leaves no server behind.
func TestTheCommandEndsWithUs(t *testing.T) {
	full(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{actVariable + "=parent " + t.TempDir()}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	if l, err := r.ReadString('\n'); l != "up\n" {
		t.Errorf("the command said %q, error %v", l, err)
	}
	_ = cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, r) // the output ends when the last that has it does
	_ = cmd.Wait()
}

func TestGaps(t *testing.T) {
	for _, c := range []struct {
		name string
		on   sandbox.Support
		spec sandbox.Spec
		want string
	}{
		{"all there is", sandbox.Support{Landlock: 7, Filter: true, Namespaces: true}, sandbox.Spec{Tasks: 1}, ""},
		{"no Landlock", sandbox.Support{Filter: true, Namespaces: true}, sandbox.Spec{}, "files are not limited"},
		{"nothing", sandbox.Support{}, sandbox.Spec{}, "the network is not limited"},
		{"ports without Landlock's", sandbox.Support{Landlock: 3, Filter: true, Namespaces: true}, sandbox.Spec{Connect: []uint16{443}}, "not limited to ports"},
		{"DNS", sandbox.Support{Landlock: 7, Filter: true, Namespaces: true}, sandbox.Spec{Connect: []uint16{53}}, "not limited to port 53"},
		{"tasks without namespaces", sandbox.Support{Landlock: 7, Filter: true}, sandbox.Spec{Tasks: 1}, "processes is watched"},
	} {
		s, err := sandbox.New(c.spec, c.on)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(s.Gaps(), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNewRefusesBadPaths(t *testing.T) {
	for _, path := range []string{"relative", "/no/such/folder", ""} {
		if _, err := sandbox.New(sandbox.Spec{Read: []string{path}}, sandbox.Support{}); err == nil {
			t.Errorf("%q was accepted", path)
		}
	}
}
