package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/freeport"
)

// conformanceCheck is one check of the suite's checks.json.
type conformanceCheck struct {
	ID           string `json:"id"`
	Status       string `json:"status"`
	ErrorMessage string `json:"errorMessage"`

	Details json.RawMessage `json:"details"`
}

// A30: TestConformanceOfTheAuthorizationServer is MCP's own suite: every check succeeds,
// without a list of expected failures.
func TestConformanceOfTheAuthorizationServer(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	h, ctx, results, port := startHouseWith(t, t.TempDir(), "0", "--verbose"), deadline(t), t.TempDir(), freeport.Port(t)
	c := registerAs(t, h, "Conformance suite", "http://127.0.0.1:"+port+"/callback")
	printed := newOutput()
	cmd := program(ctx, t, nil, "conformance", "authorization", "--url", h.url, "--client-id", c.id, "--resource", h.resource(), "--port", port, "--output-dir", results)
	cmd.Stderr = printed
	if err := runWithRobot(ctx, cmd, printed, h.url+"/oauth2/authorize?", newRobot("alice", "approve")); err != nil {
		t.Errorf("conformance authorization: %v\n%s", err, printed)
	}
	want := map[string]string{
		"authorization-server-metadata":      "SUCCESS",
		"authorization-server-metadata-cimd": "SUCCESS",
		"authorization-code-grant":           "SUCCESS",
	}
	if diff := cmp.Diff(want, conformanceResults(t, results)); diff != "" {
		t.Errorf("checks (-want +got):\n%s\n%s", diff, printed)
	}
	checkSilent(t, h, printed)
}

// runWithRobot runs the program and opens each URL with that beginning that it
// prints on a line of its own. Where that fails the program is ended, which would
// wait for the person.
func runWithRobot(ctx context.Context, cmd *exec.Cmd, printed *output, beginning string, r *robot) error {
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		return err
	}
	for s := bufio.NewScanner(out); err == nil && s.Scan(); {
		_, _ = printed.Write([]byte(s.Text() + "\n"))
		if strings.HasPrefix(s.Text(), beginning) {
			if _, err = r.deliver(ctx, s.Text()); err != nil {
				_ = cmd.Process.Kill()
			}
		}
	}
	return errors.Join(err, cmd.Wait())
}

// conformanceResults is the status of each check, with what was wrong.
func conformanceResults(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		var checks []conformanceCheck
		if err := json.Unmarshal([]byte(readFile(t, f)), &checks); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, c := range checks {
			got[c.ID] = strings.TrimSpace(c.Status + " " + c.ErrorMessage)
		}
	}
	return got
}

// TestClientsOfTheseTestsPassTheSuite has the suite look at the clients that log in here
// in TestTypeScript2…: what our server takes from them is what it says a client sends.
func TestClientsOfTheseTestsPassTheSuite(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	for scenario, want := range map[string]string{
		"auth/client-credentials-jwt":           "client-credentials-jwt-verified",
		"auth/client-credentials-basic":         "client-credentials-basic-auth",
		"auth/enterprise-managed-authorization": "complete-flow-jwt-bearer",
		"auth/wif-jwt-bearer":                   "wif-assertion-verified",
		"auth/dpop":                             "sep-1932-client-fresh-proof",
		"auth/dpop-nonce":                       "sep-1932-client-rs-nonce",
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			results, printed := t.TempDir(), newOutput()
			cmd := program(deadline(t), t, nil, "conformance", "client", "--command", "node scenario.mjs", "--scenario", scenario, "--output-dir", results)
			cmd.Stdout, cmd.Stderr = printed, printed
			if err := cmd.Run(); err != nil {
				t.Errorf("conformance client: %v\n%s", err, printed)
			}
			got := conformanceResults(t, filepath.Join(results, "auth"))
			if got[want] != "SUCCESS" {
				t.Errorf("checks %v, want %s among those that succeed\n%s", got, want, printed)
			}
		})
	}
}
