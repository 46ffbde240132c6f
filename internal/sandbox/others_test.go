//go:build linux

package sandbox_test

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/sandbox"
)

// victim starts a confined command that has a secret in its environment and in a file by
// descriptor, and returns its id.
func victim(t *testing.T, on sandbox.Support) int {
	t.Helper()
	cmd := command(t, on, sandbox.Spec{}, "sleep")
	cmd.Env = append(cmd.Env, "PASSWORD=of-the-victim")
	secret, err := os.Open(write(t, t.TempDir()+"/secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	cmd.ExtraFiles = []*os.File{secret}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stay := make(chan struct{}) // the thread that starts it has to live
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		<-stay
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		close(stay)
	})
	if l, err := bufio.NewReader(out).ReadString('\n'); l != "up\n" {
		t.Fatalf("the victim said %q, error %v", l, err)
	}
	return cmd.Process.Pid
}

// TestAServerReadsTheCredentialOfAnotherProcess, by the ways there are into a process of the
// same user: with all defences, without namespaces, and without Landlock.
func TestAServerReadsTheCredentialOfAnotherProcess(t *testing.T) {
	on := full(t)
	noNamespaces, noLandlock := on, on
	noNamespaces.Namespaces, noLandlock.Landlock = false, 0
	for name, support := range map[string]sandbox.Support{"all": on, "no namespaces": noNamespaces, "no Landlock": noLandlock} {
		pid := victim(t, support)
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || !strings.Contains(string(env), "of-the-victim") {
			t.Errorf("%s: we cannot read it ourselves: the test shows nothing: %v", name, err)
		}
		for _, way := range []string{"read /proc/%d/environ", "read /proc/%d/fd/3", "read /proc/%d/mem", "read /proc/%d/maps", "trace %d", "peek %d"} {
			if got := try(t, support, sandbox.Spec{}, fmt.Sprintf(way, pid)); !strings.Contains(got, "permission denied") && !strings.Contains(got, "no such process") {
				t.Errorf("%s: %s: %s", name, fmt.Sprintf(way, pid), got)
			}
		}
	}
}

// TestACrashLeavesNoCredentialInACoreDump: neither a confined process nor another writes one.
func TestACrashLeavesNoCredentialInACoreDump(t *testing.T) {
	if got := try(t, full(t), sandbox.Spec{}, "core"); got != good {
		t.Errorf("confined: %s", got)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := sandbox.Bare(self)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.Env = []string{actVariable + "=core", "GORACE=atexit_sleep_ms=0"}
	if out, err := cmd.CombinedOutput(); !strings.Contains(string(out), good) {
		t.Errorf("bare: %v %s", err, out)
	}
}
