package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const tsClientName = "TypeScript SDK under test"

// tsClient is the TypeScript SDK's client, in a process of its own: ts/client.mjs
// says what is spoken.
type tsClient struct {
	in  io.Writer
	out *bufio.Scanner
}

// tsMessage is a line that the process prints.
type tsMessage struct {
	Authorize string    `json:"authorize"`
	Connected bool      `json:"connected"`
	Tools     []string  `json:"tools"`
	Result    *result   `json:"result"`
	Refreshed bool      `json:"refreshed"`
	Stolen    *stolen   `json:"stolen"` // by drive.mjs only
	Error     *rpcError `json:"error"`

	// Of drive.mjs only.
	Names    []string  `json:"names"`
	Text     string    `json:"text"`
	Progress []float64 `json:"progress"`
}

// stolen is what somebody has who reads the client's memory, but for its keys.
type stolen struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
}

// needNode skips where the Node packages are not installed, unless CI or the
// person wants every test.
func needNode(t *testing.T) {
	t.Helper()
	_, nodeErr := exec.LookPath("node")
	_, packagesErr := os.Stat("ts/node_modules/@modelcontextprotocol/sdk/package.json")
	err := errors.Join(nodeErr, packagesErr)
	if err == nil {
		return
	}
	missing(t, fmt.Sprintf("the TypeScript client is not installed: %v", err))
}

// tsLogin starts the process and logs in as the robot's user.
func tsLogin(t *testing.T, h *house, r *robot) (tsClient, visit) {
	t.Helper()
	needNode(t)
	ctx := deadline(t)
	cmd := exec.CommandContext(ctx, "node", "client.mjs", h.resource(), tsClientName, callback)
	cmd.Dir = "ts"
	c, seen, _ := startTS(ctx, t, cmd, r)
	return c, seen
}

// startTS starts a process that speaks as ts/client.mjs does, and logs in. It
// returns the process's standard error as well.
func startTS(ctx context.Context, t *testing.T, cmd *exec.Cmd, r *robot) (tsClient, visit, *output) {
	t.Helper()
	c, stderr := startLines(t, cmd)
	return c, c.login(ctx, t, r), stderr
}

// startLines starts the process only.
func startLines(t *testing.T, cmd *exec.Cmd) (tsClient, *output) {
	t.Helper()
	stderr := newOutput()
	cmd.Stderr = stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatalf("start node: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close() // the process ends with its input
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("stderr of node:\n%s", stderr)
		}
	})
	c := tsClient{in, bufio.NewScanner(out)}
	c.out.Buffer(nil, 4<<20)
	return c, stderr
}

func (c tsClient) login(ctx context.Context, t *testing.T, r *robot) visit {
	t.Helper()
	m, err := c.read()
	if err != nil || m.Authorize == "" {
		t.Fatalf("the client did not ask for a login: %+v, %v", m, err)
	}
	seen, err := r.authorize(ctx, m.Authorize)
	if err != nil {
		t.Fatalf("log in as %s: %v", r.user, err)
	}
	if m, err = c.ask(object{"redirect": seen.redirect.String()}); err != nil || !m.Connected {
		t.Fatalf("connect as %s: %+v, %v", r.user, m, err)
	}
	return seen
}

// ask sends a line and reads the one that answers it.
func (c tsClient) ask(command object) (tsMessage, error) {
	b, err := json.Marshal(command)
	if err != nil {
		return tsMessage{}, err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return tsMessage{}, err
	}
	return c.read()
}

func (c tsClient) read() (tsMessage, error) {
	var m tsMessage
	if !c.out.Scan() {
		return m, fmt.Errorf("the node process has ended: %w", errors.Join(c.out.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(c.out.Bytes(), &m); err != nil {
		return m, err
	}
	if m.Error != nil {
		return m, m.Error
	}
	return m, nil
}

func (c tsClient) list(context.Context) ([]string, error) {
	m, err := c.ask(object{"list": true})
	return m.Tools, err
}

func (c tsClient) call(_ context.Context, tool string, arguments map[string]any) (result, error) {
	params := object{"name": tool}
	if arguments != nil {
		params["arguments"] = arguments
	}
	m, err := c.ask(object{"call": params})
	if err != nil {
		return result{}, err
	}
	if m.Result == nil {
		return result{}, fmt.Errorf("no result in %+v", m)
	}
	return *m.Result, nil
}

func TestTypeScriptClientOfAReader(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := startHouse(t)
	c, seen := tsLogin(t, h, newRobot("alice", "approve"))
	checkConsent(t, h, seen, tsClientName)
	checkReader(t, c)
}

func TestTypeScriptClientOfAnOperator(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := startHouse(t)
	c, _ := tsLogin(t, h, newRobot("bob", "approve"))
	checkOperator(t, c)
}

// A23.
func TestTypeScriptClientGoesOnAfterARefresh(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := startHouse(t)
	c, _ := tsLogin(t, h, newRobot("alice", "approve"))
	if m, err := c.ask(object{"refresh": true}); err != nil || !m.Refreshed {
		t.Fatalf("refresh = %+v, %v, want another access token", m, err)
	}
	checkReader(t, c)
}

// Whoever installs uses their own registry; npm writes none where .npmrc says so.
func TestPackageLocksNameNoRegistry(t *testing.T) {
	t.Parallel()
	locks, err := filepath.Glob("*/package-lock.json")
	if err != nil || len(locks) < 2 {
		t.Fatalf("package locks: %v, error %v, want those of ts and clients", locks, err)
	}
	for _, name := range locks {
		if lock := readFile(t, name); strings.Contains(lock, `"resolved"`) || strings.Contains(lock, "registry.") {
			t.Errorf("%s has the addresses of a registry: make it again with npm install --package-lock-only in e2e/%s", name, filepath.Dir(name))
		}
	}
}

var _ client = tsClient{}
