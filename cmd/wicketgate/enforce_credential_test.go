package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// TestEnforcerCallsWithACredential: the server behind it gets a key of the subject's for calls, and no token,
// while the gateway knows nothing of Vault; the audit log has the lease, and no folder the key.
func TestEnforcerCallsWithACredential(t *testing.T) {
	const key = "the-key-of-the-agent-of-development"
	v, dir := vaulttest.Start(t), t.TempDir()
	v.SetUp(t, "server", "notes", "child")
	v.Do(t, http.MethodPost, "secret/data/notes/"+devAgent, map[string]any{"data": map[string]string{"key": key}})
	c := setUpCommand(t, v.URL, "approle", filepath.Join(dir, "secret-id"))
	said, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	file := filepath.Join(dir, "credential.yaml")
	text := fmt.Sprintf(`vault:
  address: %s
  login: {method: approle, role_id: %s, secret_id_file: secret-id, wrapped: true}
server:
  name: sums
  vault:
    engine: kv
    path: "secret/data/notes/{{.subject}}"
    token_role: wicketgate-notes
    inject:
      header: [{name: X-Key, value: "{{.key}}"}]
`, v.URL, regexp.MustCompile(`role_id: (\S+)`).FindSubmatch(said)[1])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e := newEnforced(t, nil, "--credential", file)
	s := e.connect()
	if res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "add", Arguments: map[string]any{"a": 1, "b": 2}}); err != nil || res.Content[0].(*mcp.TextContent).Text != "3" {
		t.Fatalf("add: %v, %v", res, err)
	}
	e.checkSeen()
	with := 0
	e.server.mu.Lock()
	for _, h := range e.server.seen {
		if h.Get("X-Key") == key {
			with++
		}
	}
	e.server.mu.Unlock()
	if with != 1 {
		t.Errorf("%d messages had the key, want the one call", with)
	}
	if lines := auditLines(t, e.data, "outcome", "add"); len(lines) != 1 || !strings.HasPrefix(fmt.Sprint(lines[0]["lease"]), "secret/data/notes/"+devAgent) {
		t.Errorf("outcomes: %v", lines)
	}
	for _, folder := range []string{e.data, e.dev} {
		for _, name := range filesBelow(t, folder) {
			if strings.Contains(readText(t, name), key) {
				t.Errorf("%s has the key", name)
			}
		}
	}
}

// filesBelow are the files of a folder.
func filesBelow(t *testing.T, folder string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has %d files: %v", folder, len(names), err)
	}
	return names
}
