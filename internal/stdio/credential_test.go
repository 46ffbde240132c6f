//go:build linux

package stdio_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/sandbox"
	"github.com/wicketgate/wicketgate/internal/stdio"
)

// passwordOf is the secret of somebody: no word of it is in any other text.
func passwordOf(who string) string { return "hunter2-" + who + "-0123456789abcdef" }

// credentialOf is in an environment as PASSWORD and DSN, and in a file in PGPASSFILE.
func credentialOf(who string, done <-chan struct{}) *credential.Credential {
	c, err := credential.Compile(credential.Injection{
		Env:   []credential.Field{{Name: "PASSWORD", Value: "{{.password}}"}, {Name: "DSN", Value: "postgres://" + who + ":{{.password}}@db/app"}},
		Files: []credential.FileField{{Env: "PGPASSFILE", Name: "pgpass", Content: "*:*:*:" + who + ":{{.password}}"}, {Env: "OTHER", Name: "other", Content: "of " + who}}})
	if err != nil {
		panic(err)
	}
	rendered, err := c.Render(map[string]string{"password": passwordOf(who)})
	if err != nil {
		panic(err)
	}
	return rendered.Live("database/creds/"+who+"/1", done, nil)
}

func mask(secrets []string, text string) string {
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "[credential]")
	}
	return text
}

// openFor opens a session with the credential.
func (w *world) openFor(c *credential.Credential) string {
	w.t.Helper()
	resp, err := w.do(credential.With(w.t.Context(), c), "POST", "", initialize)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("initialize: %+v, error %v", resp, err)
	}
	return resp.Header.Get("Mcp-Session-Id")
}

func (w *world) method(session, method, text string) string {
	w.t.Helper()
	return w.ask(session, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"text":%q}}`, method, text))
}

// worlds are one whose processes are confined, and one without.
func worlds(t *testing.T, change func(*stdio.Config)) map[string]*world {
	with := func(c *stdio.Config) {
		c.Mask = mask
		if change != nil {
			change(c)
		}
	}
	return map[string]*world{"not confined": newWorld(t, with), "confined": confinedWith(t, sandbox.Spec{}, with)}
}

func TestCredentialOfOneCallerIsInNoProcessOfAnother(t *testing.T) {
	for name, w := range worlds(t, func(c *stdio.Config) { c.Env = append(c.Env, "DSN=placeholder", "PGPASSFILE=/none") }) {
		alice, bob, nobody := w.openFor(credentialOf("alice", nil)), w.openFor(credentialOf("bob", nil)), w.open()
		for who, session := range map[string]string{"alice": alice, "bob": bob} {
			other := map[string]string{"alice": "bob", "bob": "alice"}[who]
			env := w.method(session, "environment", "")
			if !strings.Contains(env, `"DSN=postgres://`+who+":"+passwordOf(who)+"@db/app") || strings.Contains(env, other) || strings.Contains(env, "placeholder") {
				t.Errorf("%s: environment of %s's process: %s", name, who, env)
			}
			if got := w.method(session, "file", "PGPASSFILE"); !strings.Contains(got, "*:*:*:"+who+":"+passwordOf(who)+" -r-------- true") {
				t.Errorf("%s: %s's file: %s", name, who, got)
			}
			if got := w.method(session, "file", "OTHER"); !strings.Contains(got, "of "+who) {
				t.Errorf("%s: %s's second file: %s", name, who, got)
			}
			if got := w.method(session, "overwrite", "PGPASSFILE"); strings.Contains(got, "nil") || !strings.Contains(w.method(session, "file", "PGPASSFILE"), passwordOf(who)) {
				t.Errorf("%s: the file was changed: %s", name, got)
			}
			if got := w.method(session, "descriptors", ""); strings.Count(got, "memfd:") != 2 {
				t.Errorf("%s: descriptors of %s's process: %s", name, who, got)
			}
		}
		env := w.method(nobody, "environment", "")
		if !strings.Contains(env, "DSN=placeholder") || strings.Contains(env, "hunter2") || strings.Contains(w.method(nobody, "descriptors", ""), "memfd:") {
			t.Errorf("%s: a process without a credential has %s", name, env)
		}
		nothingHere(t)
	}
}

// nothingHere looks for what of a credential may have stayed in this process, which is the
// parent of the others.
func nothingHere(t *testing.T) {
	t.Helper()
	if env := strings.Join(os.Environ(), "\n"); strings.Contains(env, "hunter2") || os.Getenv("PGPASSFILE") != "" {
		t.Errorf("environment of the parent: %s", env)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(to, "memfd:pgpass") {
			t.Errorf("the parent still has %s", to)
		}
	}
}

// TestCredentialThatEndsLeavesNoProcessAlive: it ignores the end of its input and SIGTERM,
// and has all the time of the world.
func TestCredentialThatEndsLeavesNoProcessAlive(t *testing.T) {
	w := newWorld(t, func(c *stdio.Config) { c.Grace = time.Hour })
	done := make(chan struct{})
	s := w.openFor(credentialOf("alice", done))
	other := w.openFor(credentialOf("bob", nil))
	resp := w.must("POST", s, `{"jsonrpc":"2.0","id":1,"method":"mute"}`)
	stream := eventsOf(t, resp)
	stream.next()
	answers := make(chan *http.Response)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "stdio://files", strings.NewReader(`{"jsonrpc":"2.0","id":2,"method":"pid"}`))
		req.Header.Set("Mcp-Session-Id", s)
		resp, _ := w.RoundTrip(req)
		answers <- resp
	}()
	close(done)
	var reason interface{ Reason() string }
	if err := stream.end(); !errors.As(err, &reason) || reason.Reason() != "credential_ended" {
		t.Errorf("an open stream ended with %v", err)
	}
	if resp := <-answers; resp.StatusCode != http.StatusNotFound { // it came too late
		if got := all(t, resp); resp.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(got, "credential_ended: ") {
			t.Errorf("an open request: HTTP %d: %s", resp.StatusCode, got)
		}
	}
	until(t, func() bool { return w.Processes() == 1 }) // that of bob stays
	if got := w.status("POST", s, `{"jsonrpc":"2.0","id":3,"method":"pid"}`); got != http.StatusNotFound {
		t.Errorf("the session lives on: HTTP %d", got)
	}
	w.method(other, "pid", "")
}

// TestServerWritesItsCredentialToStandardError at every distance from where a line is cut,
// in a line that nobody reads whole, in one without an end, and where messages belong.
func TestServerWritesItsCredentialToStandardError(t *testing.T) {
	for name, masker := range map[string]func([]string, string) string{"masked": mask, "by nobody": nil} {
		log := newSyncBuffer()
		var minutes atomic.Int64
		w := newWorld(t, func(c *stdio.Config) {
			c.Mask, c.Log = masker, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			c.Now = func() time.Time { return time.Unix(60*minutes.Add(1), 0) } // each line has a minute of its own
			c.Life, c.Idle, c.Grace = 1<<62, 1<<62, time.Minute
		})
		s := w.openFor(credentialOf("alice", nil))
		w.method(s, "leak", "")
		w.Wait()
		password := passwordOf("alice")
		for n := range len(password) - 6 {
			if strings.Contains(log.String(), password[n:n+6]) {
				t.Errorf("%s: %q of the password is in the log", name, password[n:n+6])
			}
		}
		if n := strings.Count(log.String(), "stderr="); n != stdio.MaxLogged+2 {
			t.Errorf("%s: %d lines are in the log: the test shows nothing", name, n)
		}
	}
}

// gateway is the parent of the test below: it has a process with a credential, and is killed.
func gateway() {
	w, err := stdio.New(stdio.Config{Name: "files", Command: []string{"/proc/self/exe"}, Env: []string{serverVariable + "=lines"}, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		panic(err)
	}
	ask := func(session, body string) *http.Response {
		req, _ := http.NewRequestWithContext(credential.With(context.Background(), credentialOf("alice", nil)), "POST", "stdio://files", strings.NewReader(body))
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
		}
		resp, err := w.RoundTrip(req)
		if err != nil {
			panic(err)
		}
		return resp
	}
	s := ask("", initialize).Header.Get("Mcp-Session-Id")
	for _, method := range []string{"litter", "pid"} {
		b, _ := io.ReadAll(ask(s, `{"jsonrpc":"2.0","id":1,"method":"`+method+`"}`).Body)
		fmt.Println(string(b))
	}
	sleep()
}

// TestKilledGatewayLeavesNoCredential: neither a process nor a file outlives kill -9, but
// for what the server has written itself, which the next start removes.
func TestKilledGatewayLeavesNoCredential(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serverVariable+"=gateway")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	litter, _ := r.ReadString('\n')
	line, _ := r.ReadString('\n')
	var pid int
	if _, err := fmt.Sscanf(line, `{"jsonrpc":"2.0","id":1,"result":%d}`, &pid); err != nil {
		t.Fatalf("%s%s: %v", litter, line, err)
	}
	used := newWorld(t, nil).open() // whose folder is in use
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	until(t, func() bool { return zombie(pid) }) // the kernel kills it
	if n := found(t, temporary, passwordOf("alice")); n != 1 {
		t.Errorf("the password is in %d files, want the one that the server wrote", n)
	}
	if n := found(t, "/dev/shm", passwordOf("alice")); n != 0 {
		t.Errorf("the password is in %d files of shared memory", n)
	}
	newWorld(t, nil)
	folders, err := filepath.Glob(temporary + "/wicketgate-process-*")
	if err != nil || len(folders) != 1 {
		t.Errorf("after the next start there are %q, error %v: want the one that is in use", folders, err)
	}
	_ = used
}

// until waits for what nothing tells.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it did not come")
		}
	}
}

// found counts the files below dir with the text.
func found(t *testing.T, dir, text string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), text) {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestProcessServesNoOtherCredential: of the same caller it may be another one, newer or of
// other actors, whose right is not that of the process. It has to begin a session anew.
func TestProcessServesNoOtherCredential(t *testing.T) {
	w := newWorld(t, nil)
	done := make(chan struct{})
	defer close(done)
	mine := credentialOf("alice", done)
	s, bare := w.openFor(mine), w.open()
	again := mine.Live("", mine.Done(), nil) // of each call another one, of the same lease
	pid := `{"jsonrpc":"2.0","id":1,"method":"pid"}`
	for name, tt := range map[string]struct {
		session, method string
		credential      *credential.Credential
		want            int
	}{
		"the same":                    {s, "POST", again, http.StatusOK},
		"another":                     {s, "POST", credentialOf("alice", make(chan struct{})), http.StatusNotFound},
		"another, to listen":          {s, "GET", credentialOf("alice", make(chan struct{})), http.StatusNotFound},
		"one for a process with none": {bare, "POST", mine, http.StatusNotFound},
	} {
		ctx, body := credential.With(t.Context(), tt.credential), pid
		if tt.method == "GET" {
			body = ""
		}
		resp, err := w.do(ctx, tt.method, tt.session, body)
		if err != nil || resp.StatusCode != tt.want {
			t.Errorf("%s: %+v, %v, want HTTP %d", name, resp, err, tt.want)
		}
	}
	if resp, err := w.do(t.Context(), "DELETE", s, ""); err != nil || resp.StatusCode != http.StatusNoContent { // whoever may end it
		t.Errorf("DELETE: %+v, %v", resp, err)
	}
}
