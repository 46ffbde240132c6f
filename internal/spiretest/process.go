package spiretest

import (
	_ "embed" // for the script
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/needed"
)

// within bounds whatever is waited for.
const within = 30 * time.Second

//go:embed run.sh
var runScript string

// programs are SPIRE's two binaries, where tools/build.sh puts them.
type programs struct{ server, agent string }

// need returns the binaries. They take minutes to build, so a test does not.
func need(t testing.TB) programs {
	t.Helper()
	built := func(name string) string {
		return needed.Built(t, "spire", "github.com/spiffe/spire/cmd/"+name, "make test-tools")
	}
	return programs{built("spire-server"), built("spire-agent")}
}

// As has a command run as a user, in the group of the same number and no other. That
// user must be able to reach the program, so not in a folder of t.TempDir. Only root
// can be somebody else: a test that needs it is not run without.
func As(t testing.TB, cmd *exec.Cmd, uid int) {
	t.Helper()
	if uid == os.Getuid() {
		return
	}
	if os.Getuid() != 0 {
		needed.Missing(t, "two workloads are two users, so this test has to run as root")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
}

// process is a program that runs until it is stopped.
type process struct {
	log      string // the file's name
	lifeline io.Closer
	ended    chan struct{} // closed once it has
}

// start runs a command, at the latest until the test ends, and however that does.
// What it prints goes to a file in the folder.
func start(t testing.TB, dir string, command ...string) *process {
	t.Helper()
	log, err := os.CreateTemp(dir, filepath.Base(command[0])+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("sh", append([]string{"-c", runScript, "sh"}, command...)...)
	cmd.Stdout, cmd.Stderr = log, log
	lifeline, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &process{log: log.Name(), lifeline: lifeline, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // killed, as a rule
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop()
		p.show(t)
	})
	return p
}

// stop kills it, unless it never ran or has ended, and waits for that.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.lifeline.Close() // fails when it has ended
	<-p.ended
}

// await waits until the process is ready, which it tells nobody.
func (p *process) await(t testing.TB, ready func() error) {
	t.Helper()
	deadline := time.After(within)
	for tick := time.Tick(20 * time.Millisecond); ; {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("it has ended, and %s says why", p.log)
		case <-deadline:
			t.Fatalf("not ready within %s: %v; its log is %s", within, err, p.log)
		case <-tick:
		}
	}
}

// show prints what the process said, if the test failed.
func (p *process) show(t testing.TB) {
	b, err := os.ReadFile(p.log)
	if !t.Failed() {
		return
	}
	lines := slices.DeleteFunc(strings.SplitAfter(string(b), "\n"), func(line string) bool { return strings.Contains(line, "API accessed") }) // many a second
	t.Logf("%s (error %v):\n%s", p.log, err, strings.Join(lines, ""))
}
