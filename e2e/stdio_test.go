package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// modules is where the servers' own code is.
func modules(t *testing.T) string {
	t.Helper()
	needPrograms(t)
	path, err := filepath.Abs("clients/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// nodePath is the Node.js that they run on, as itself and not as a script that starts it.
func nodePath(t *testing.T) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(filepath.Join(modules(t), ".bin", "node"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// allow writes a policy by which carol may call all tools of the server.
func allow(t *testing.T, server string) (data string) {
	t.Helper()
	data = t.TempDir()
	writeFile(t, filepath.Join(data, "access.yaml"), "version: 1\nroles:\n  all:\n    who: {users: [carol]}\n    servers: {"+server+": {tools: [\"*\"]}}\n")
	return data
}

func writeFile(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAStdioServerIsHeldToItsFolder: it is told that it may read everything, and the
// sandbox gives it one folder.
func TestAStdioServerIsHeldToItsFolder(t *testing.T) {
	t.Parallel()
	folder, other := t.TempDir(), t.TempDir()
	inside, outside := writeFile(t, filepath.Join(folder, "a.txt"), "what is inside"), writeFile(t, filepath.Join(other, "b.txt"), "what is outside")
	server := filepath.Join(modules(t), "@modelcontextprotocol", "server-filesystem", "dist", "index.js")
	h := startHouseWith(t, allow(t, "files"), "0", "--upstream", fmt.Sprintf("files=stdio:%s '%s' /", nodePath(t), server),
		"--sandbox", "files=read:"+folder, "--sandbox", "files=read:"+modules(t))
	c, _ := goLoginAt(t, h.url+"/mcp/files", newRobot("carol", "approve"))
	ctx := deadline(t)
	if res, err := c.call(ctx, "read_text_file", map[string]any{"path": inside}); err != nil || res.Text != "what is inside" {
		t.Errorf("inside: %+v, error %v", res, err)
	}
	for _, path := range []string{outside, "/etc/shadow", h.data + "/kek", folder + "/../" + filepath.Base(other) + "/b.txt", "/proc/1/cmdline"} {
		if res, err := c.call(ctx, "read_text_file", map[string]any{"path": path}); err == nil && !strings.Contains(res.Text, "EACCES") {
			t.Errorf("%s: %+v", path, res)
		}
	}
	if res, err := c.call(ctx, "write_file", map[string]any{"path": inside, "content": "changed"}); err == nil && !strings.Contains(res.Text, "EACCES") {
		t.Errorf("write: %+v", res)
	}
	if b, err := os.ReadFile(inside); err != nil || string(b) != "what is inside" {
		t.Errorf("the file has %q, error %v", b, err)
	}
}

// TestAStdioServerConnectsToNobody, and knows nothing of our environment.
func TestAStdioServerConnectsToNobody(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	engine, err := net.Listen("unix", filepath.Join(t.TempDir(), "engine"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	arrived := make(chan string, 2)
	for _, l := range []net.Listener{l, engine} {
		go func() {
			if c, err := l.Accept(); err == nil {
				arrived <- c.LocalAddr().String()
				_ = c.Close()
			}
		}()
	}
	probe, err := filepath.Abs("clients/probe.mjs")
	if err != nil {
		t.Fatal(err)
	}
	h := startHouseWith(t, allow(t, "probe"), "0", "--upstream", fmt.Sprintf("probe=stdio:%s '%s'", nodePath(t), probe),
		"--sandbox", "probe=read:"+probe, "--sandbox", "probe=write:"+filepath.Dir(engine.Addr().String()))
	c, _ := goLoginAt(t, h.url+"/mcp/probe", newRobot("carol", "approve"))
	ctx := deadline(t)
	port := l.Addr().(*net.TCPAddr).Port
	for tool, arguments := range map[string]map[string]any{"tcp": {"port": port}, "udp": {"port": port}, "unix": {"path": engine.Addr().String()}} {
		if res, err := c.call(ctx, tool, arguments); err != nil || res.Text != "EACCES" {
			t.Errorf("%s: %+v, error %v, want EACCES", tool, res, err)
		}
	}
	select {
	case where := <-arrived:
		t.Errorf("a connection arrived at %s", where)
	default:
	}
	res, err := c.call(ctx, "environment", map[string]any{})
	var env map[string]string
	if err != nil || json.Unmarshal([]byte(res.Text), &env) != nil || len(env) != 4 || env["PATH"] == "" || env["HOME"] == "" || env["HOME"] != env["TMPDIR"] || env["LANG"] == "" {
		t.Errorf("environment: %+v, error %v", res, err)
	}
}

// TestServersOfAnotherClientsFile is dev --mcp-json.
func TestServersOfAnotherClientsFile(t *testing.T) {
	t.Parallel()
	server := filepath.Join(modules(t), "@modelcontextprotocol", "server-everything", "dist", "index.js")
	file, err := json.Marshal(map[string]any{"mcpServers": map[string]any{"Every Thing": map[string]any{"command": nodePath(t), "args": []string{server, "stdio"},
		"env": map[string]string{"API_KEY": "s3cret-of-mine"}, "alwaysAllow": []string{}}}})
	if err != nil {
		t.Fatal(err)
	}
	h := startHouseWith(t, allow(t, "every-thing"), "0", "--mcp-json", writeFile(t, filepath.Join(t.TempDir(), "mcp.json"), string(file)), "--sandbox", "every-thing=read:"+modules(t))
	c, _ := goLoginAt(t, h.url+"/mcp/every-thing", newRobot("carol", "approve"))
	if res, err := c.call(deadline(t), "echo", map[string]any{"message": "hello"}); err != nil || res.Text != "Echo: hello" {
		t.Errorf("echo: %+v, error %v", res, err)
	}
	if out := h.stdout.String(); !strings.Contains(out, `server every-thing: not used: ["alwaysAllow"]`) {
		t.Errorf("what is not used is not said: %s", out)
	}
	if strings.Contains(h.stdout.String()+h.stderr.String(), "s3cret-of-mine") {
		t.Error("a secret of the file is in the output")
	}
}
