//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package audit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/audit"
)

func TestMain(m *testing.M) {
	switch dir := os.Getenv("AUDIT_TEST_DIR"); os.Getenv("AUDIT_TEST_CHILD") {
	case "writes":
		childWrites(dir)
	case "full disk":
		childFillsDisk(dir)
	default:
		os.Exit(m.Run())
	}
}

// childWrites is the process that TestKillMinus9 kills: it prints each call that
// Record has acknowledged. Its key is its own: the parent checks the chain.
func childWrites(dir string) {
	l := childOpens(dir)
	for g := range 4 {
		go func() {
			for i := 0; ; i++ {
				call := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if l.Record(context.Background(), audit.Event{Kind: audit.Intent, Call: call}) == nil {
					fmt.Println(call)
				}
			}
		}()
	}
	select {}
}

func TestKillMinus9LosesNothingThatWasAcknowledged(t *testing.T) {
	d := newLogs(t)
	for round := range 3 {
		acked := killedChild(t, filepath.Dir(d.path), 200+round*137)
		seen := map[string]bool{}
		for _, e := range d.events() {
			seen[e.Call] = true
		}
		for _, call := range acked {
			if !seen[call] {
				t.Fatalf("round %d: call %s was acknowledged and is not in the log", round, call)
			}
		}
	}
	l := d.open() // checks chain and stored head over all rounds
	closeLog(t, l)
	if diff := cmp.Diff(4, countKind(d.events(), audit.Start)); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
}

func countKind(list []audit.Line, k audit.Kind) (n int) {
	for _, l := range list {
		if l.Kind == k {
			n++
		}
	}
	return n
}

// killedChild runs a child that writes, kills it after it acknowledged n calls,
// and returns all that it acknowledged.
func killedChild(t *testing.T, dir string, n int) []string {
	t.Helper()
	cmd := child("writes", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []string
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if err != nil { // a line without its end was not acknowledged to us
			break
		}
		acked = append(acked, strings.TrimSuffix(line, "\n"))
		if len(acked) == n {
			_ = cmd.Process.Kill()
		}
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	if len(acked) < n {
		t.Fatalf("the child acknowledged %d calls, want %d", len(acked), n)
	}
	return acked
}

func child(mode, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "AUDIT_TEST_CHILD="+mode, "AUDIT_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func childOpens(dir string) *audit.Log {
	l, err := audit.Open(context.Background(), audit.Config{
		Path: filepath.Join(dir, "audit.jsonl"), Signer: signer{"k1", key}, Every: 16,
		Heads: &store{path: filepath.Join(dir, "heads.json")},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return l
}

// childFillsDisk records until the file may not grow, then frees space and goes on.
func childFillsDisk(dir string) {
	l := childOpens(dir)
	limit := syscall.Rlimit{Cur: 50_000, Max: 1 << 30}
	fail(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	n := recordAtOnce(l, "before", 1000)
	if recordAtOnce(l, "while full", 200) > 0 {
		fail(errors.New("Record() = nil on a full disk"))
	}
	limit.Cur = limit.Max
	fail(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	fail(l.Record(context.Background(), audit.Event{Kind: audit.Intent, Call: "after"}))
	fail(l.Close())
	fmt.Println(n)
}

// recordAtOnce has 16 writers record n events each; it returns how many were
// acknowledged. The lines that wait while a write fails must fail with it.
func recordAtOnce(l *audit.Log, call string, n int) int64 {
	var acked atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range n {
				if l.Record(context.Background(), audit.Event{Kind: audit.Intent, Call: call}) == nil {
					acked.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return acked.Load()
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A16.
func TestFullDiskDeniesAndLeavesNoHalfLine(t *testing.T) {
	d := newLogs(t)
	out, err := child("full disk", filepath.Dir(d.path)).Output()
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]int{}
	for _, e := range d.events() {
		calls[e.Call]++
	}
	delete(calls, "") // the log's own lines
	before, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"before": before, "after": 1}, calls); diff != "" {
		t.Errorf("events in the log (-want +got):\n%s", diff)
	}
	closeLog(t, d.open())
}
