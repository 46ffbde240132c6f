//go:build linux

package stdio_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/needed"
	"github.com/wicketgate/wicketgate/internal/sandbox"
	"github.com/wicketgate/wicketgate/internal/stdio"
)

// confined is a world whose processes are in a sandbox.
func confined(t *testing.T, spec sandbox.Spec) *world { return confinedWith(t, spec, nil) }

func confinedWith(t *testing.T, spec sandbox.Spec, change func(*stdio.Config)) *world {
	t.Helper()
	on := sandbox.Probe()
	if on.Landlock == 0 || !on.Namespaces {
		needed.Missing(t, fmt.Sprintf("needs Landlock and namespaces: %+v", on))
	}
	box, err := sandbox.New(spec, on)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(c *stdio.Config) {
		if c.Sandbox, c.Command = box, []string{self}; change != nil {
			change(c)
		}
	})
}

func TestAConfinedServerReadsWhatItIsGiven(t *testing.T) {
	given, other := t.TempDir(), t.TempDir()
	for _, f := range []string{given, other} {
		if err := os.WriteFile(f+"/a", []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := confined(t, sandbox.Spec{Read: []string{given}})
	s := w.open()
	if got := w.ask(s, `{"jsonrpc":"2.0","id":1,"method":"read","params":{"text":"`+given+`/a"}}`); !strings.Contains(got, "nil") {
		t.Errorf("inside: %s", got)
	}
	if got := w.ask(s, `{"jsonrpc":"2.0","id":2,"method":"read","params":{"text":"`+other+`/a"}}`); !strings.Contains(got, "permission denied") {
		t.Errorf("outside: %s", got)
	}
}

// TestAProcessCannotOutliveItsSession: the child leaves the process group, and holds the
// output open. Close would wait for it for ever.
func TestAProcessCannotOutliveItsSession(t *testing.T) {
	w := confined(t, sandbox.Spec{})
	s := w.open()
	mark := rand.Text()
	w.ask(s, `{"jsonrpc":"2.0","id":1,"method":"child","params":{"text":"`+mark+`"}}`)
	if n := sleepers(t, mark); n != 1 {
		t.Errorf("%d processes before the end: the test shows nothing", n)
	}
	w.status("DELETE", s, "")
	w.Wait()
	if n := sleepers(t, mark); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

func TestAServerThatTakesTooMuchIsKilled(t *testing.T) {
	w := confined(t, sandbox.Spec{Tasks: 60})
	if got := w.status("POST", w.open(), `{"jsonrpc":"2.0","id":1,"method":"many"}`); got != http.StatusBadGateway {
		t.Errorf("HTTP %d, want 502", got)
	}
	w.Wait()
	if log := w.log.String(); !strings.Contains(log, "takes too much") && !strings.Contains(log, "resource temporarily unavailable") {
		t.Errorf("log: %s", log)
	}
}

// sleepers counts the children with the mark that live.
func sleepers(t *testing.T, mark string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		env, err := readFile("/proc/" + e.Name() + "/environ")
		if err == nil && strings.Contains(env, "MARK="+mark) {
			n++
		}
	}
	return n
}
