package pgtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/pgtest"
)

// endVariable makes this test binary one that ends badly.
const endVariable = "WICKETGATE_TEST_END"

func TestMain(m *testing.M) {
	if os.Getenv(endVariable) != "" { // in it, every other test would end badly too
		os.Args = append(os.Args, "-test.run=^TestEndBadly$")
	}
	os.Exit(m.Run())
}

// TestEndBadly is run by TestServerEndsWithTheTestHoweverItEnds.
func TestEndBadly(t *testing.T) {
	how := os.Getenv(endVariable)
	if how == "" {
		t.Skip("for another test")
	}
	url := pgtest.Bounced(t, pgtest.Migrated(t))
	_, dir, _ := strings.Cut(url, "host=")
	dir, _, _ = strings.Cut(dir, "&")
	fmt.Println("folder " + dir)
	switch how {
	case "panic":
		panic("on purpose")
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "exit":
		os.Exit(1)
	}
}

func TestServerEndsWithTheTestHoweverItEnds(t *testing.T) {
	pgtest.Bounced(t, pgtest.Empty(t)) // skips where there is none
	for _, how := range []string{"panic", "kill", "exit", "well"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), endVariable+"="+how)
		out, err := cmd.CombinedOutput()
		if (err == nil) != (how == "well") {
			t.Errorf("%s: %v\n%s", how, err, out)
		}
		_, rest, ok := strings.Cut(string(out), "folder ")
		if !ok {
			t.Fatalf("%s: no folder in\n%s", how, out)
		}
		dir, _, _ := strings.Cut(rest, "\n")
		waitUntilGone(t, dir)
	}
}

// waitUntilGone looks again and again, since the processes are nobody's children any more.
func waitUntilGone(t *testing.T, dir string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; {
		_, err := os.Stat(dir)
		using := users(t, dir)
		if os.IsNotExist(err) && len(using) == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: %v, still used by processes %v", dir, err, using)
		case <-tick:
		}
	}
}

// users are the processes with the folder in their command line or as their
// working directory.
func users(t *testing.T, dir string) (pids []int) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		command, _ := os.ReadFile(p + "/cmdline") // it may have ended meanwhile
		cwd, _ := os.Readlink(p + "/cwd")
		if strings.Contains(string(command), dir) || strings.HasPrefix(cwd, dir) {
			pid, _ := strconv.Atoi(filepath.Base(p))
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestDatabasesAreSeparate(t *testing.T) {
	if a, b := pgtest.Migrated(t), pgtest.Migrated(t); a == b {
		t.Errorf("two tests share %s", a)
	}
}
