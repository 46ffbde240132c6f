//go:build linux

package stdio_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/stdio"
)

func TestASessionEndsWithItsProcess(t *testing.T) {
	for _, method := range []string{"exit", "long"} {
		w := newWorld(t, nil)
		s := w.open()
		_, held := w.hold(t.Context(), s, "1")
		if got := w.status("POST", s, `{"jsonrpc":"2.0","id":2,"method":"`+method+`"}`); got != http.StatusBadGateway {
			t.Errorf("%s: HTTP %d, want 502", method, got)
		}
		if err := held.end(); err == nil {
			t.Errorf("%s: an open request saw a good end", method)
		}
		w.Wait()
		if got := w.status("POST", s, `{"jsonrpc":"2.0","id":3,"method":"pid"}`); got != http.StatusNotFound {
			t.Errorf("%s: the session lives on: HTTP %d", method, got)
		}
	}
}

func TestAServerThatIsNoMCPServer(t *testing.T) {
	w := newWorld(t, func(c *stdio.Config) { c.Env = []string{serverVariable + "=dumb"} })
	if got := w.status("POST", "", initialize); got != http.StatusBadGateway {
		t.Errorf("HTTP %d, want 502", got)
	}
	w.Wait()
}

func TestARefusedInitializeLeavesNoProcess(t *testing.T) {
	w := newWorld(t, nil)
	resp := w.must("POST", "", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"text":"refuse"}}`)
	if got := all(t, resp); !strings.Contains(got, `"error"`) || resp.Header.Get("Mcp-Session-Id") != "" {
		t.Errorf("got %s, session %q", got, resp.Header.Get("Mcp-Session-Id"))
	}
	w.Wait()
}

// TestAStubbornServerIsKilledWithItsChildren: it ignores the end of its input and
// SIGTERM, and has a child that does too.
func TestAStubbornServerIsKilledWithItsChildren(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	var pid int
	if _, err := fmt.Sscanf(w.ask(s, `{"jsonrpc":"2.0","id":1,"method":"child"}`), `{"jsonrpc":"2.0","id":1,"result":%d}`, &pid); err != nil {
		t.Fatal(err)
	}
	w.ask(s, `{"jsonrpc":"2.0","id":2,"method":"stubborn"}`)
	w.status("DELETE", s, "")
	w.Wait()
	until(t, func() bool { return zombie(pid) }) // it was killed with its parent
}

// TestWhatAServerLeavesBehindIsKilled: it ends by itself, and its child does not.
func TestWhatAServerLeavesBehindIsKilled(t *testing.T) {
	w := newWorld(t, nil)
	s := w.open()
	var pid int
	if _, err := fmt.Sscanf(w.ask(s, `{"jsonrpc":"2.0","id":1,"method":"child"}`), `{"jsonrpc":"2.0","id":1,"result":%d}`, &pid); err != nil {
		t.Fatal(err)
	}
	w.status("POST", s, `{"jsonrpc":"2.0","id":2,"method":"exit"}`)
	w.Wait()
	until(t, func() bool { return zombie(pid) })
}

// zombie: dead, and nobody has asked how.
func zombie(pid int) bool {
	b, err := readFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(b, ") Z ")
}

func readFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	return string(b), err
}
