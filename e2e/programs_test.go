package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// programs is the folder with the clients that nobody here wrote, and with the
// Node.js that they need.
const programs = "clients"

// needPrograms skips where they are not installed, unless CI or the person wants
// every test. That Node.js is for Linux, where BROWSER is what opens a page.
func needPrograms(t *testing.T) {
	t.Helper()
	_, stampErr := os.Stat(filepath.Join(programs, "node_modules", ".wicketgate-stamp"))
	_, nodeErr := os.Stat(filepath.Join(programs, "node_modules", ".bin", "node"))
	if err := errors.Join(stampErr, nodeErr); err != nil {
		missing(t, fmt.Sprintf("the programs of e2e/clients are not installed: %v", err))
	}
}

// program is a command of theirs, in a home of its own: nothing of the person's
// own configuration, display and browser reaches it.
func program(ctx context.Context, t *testing.T, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	needPrograms(t)
	bin, err := filepath.Abs(filepath.Join(programs, "node_modules", ".bin"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Dir = programs
	cmd.Env = append(env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+t.TempDir())
	cmd.WaitDelay = stopWithin // a child of its own may hold its output open
	return cmd
}

// browse is the robot as BROWSER: it returns the line for the environment of a
// program, and where what the robot saw arrives each time that the program opens a
// page.
func browse(ctx context.Context, t *testing.T, r *robot) (env string, seen <-chan visit) {
	t.Helper()
	dir := t.TempDir()
	pipe, script := filepath.Join(dir, "url"), filepath.Join(dir, "browser")
	err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(script, []byte("#!/bin/sh\nprintf '%s\\n' \"$1\" >'"+pipe+"'\n"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	urls, err := os.OpenFile(pipe, os.O_RDWR, 0) // for writing too, so that no writer's end ends it
	if err != nil {
		t.Fatal(err)
	}
	visits, done := make(chan visit, 10), make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(urls); s.Scan(); {
			v, err := r.deliver(ctx, s.Text())
			if err != nil {
				t.Errorf("the robot as a browser: %v", err)
				return
			}
			visits <- v
		}
	}()
	t.Cleanup(func() {
		_ = urls.Close()
		<-done
	})
	return "BROWSER=" + script, visits
}

// deliver is authorize, and then goes on to the program that waits at the redirect
// URI: at some programs not yet when they open the browser.
func (r *robot) deliver(ctx context.Context, authorizeURL string) (visit, error) {
	v, err := r.authorize(ctx, authorizeURL)
	if err != nil {
		return v, err
	}
	for {
		err := arrive(ctx, v.redirect)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func arrive(ctx context.Context, at *url.URL) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{CheckRedirect: stay}).Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("the program answered its redirect URI with %d", resp.StatusCode)
	}
	return nil
}

// secretForm is how everything looks that the house issues and that lets somebody
// in: a signed token, or a random one with a prefix. wg_c_ is a client_id.
var secretForm = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+|\bwg_[a-z]+_[\w-]+`)

func secretsIn(text string) []string {
	return slices.DeleteFunc(secretForm.FindAllString(text, -1), func(s string) bool { return strings.HasPrefix(s, "wg_c_") })
}

// checkSilent checks that no secret is in what the house printed and recorded, nor
// in what else was printed.
func checkSilent(t *testing.T, h *house, printed ...*output) {
	t.Helper()
	texts := []string{h.stdout.String(), h.stderr.String(), readFile(t, h.auditFile())}
	for _, p := range printed {
		texts = append(texts, p.String())
	}
	agent := strings.TrimSpace(readFile(t, filepath.Join(h.data, "dev-agent.secret")))
	for i, text := range texts {
		if found := secretsIn(text); len(found) > 0 || strings.Contains(text, agent) {
			t.Errorf("output %d of the house's stdout, stderr and audit log, then the client's, has the secrets %v or the agent's", i, found)
		}
	}
}

// checkKept checks that the folder, where a program keeps its tokens, has what
// checkSilent looks for: or that would look for the wrong thing.
func checkKept(t *testing.T, dir string) {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found = append(found, secretsIn(readFile(t, path))...)
		return nil
	})
	accessToken := func(s string) bool { return strings.HasPrefix(s, "eyJ") }
	refreshToken := func(s string) bool { return strings.HasPrefix(s, "wg_rt_") }
	if err != nil || !slices.ContainsFunc(found, accessToken) || !slices.ContainsFunc(found, refreshToken) {
		t.Errorf("the client keeps %d secrets in %s, want an access token and a refresh token; error %v", len(found), dir, err)
	}
}
