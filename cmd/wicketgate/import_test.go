package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// importerToken is of somebody who may import, and nothing else.
func importerToken(t *testing.T, v *vaulttest.Vault) string {
	t.Helper()
	policy, err := os.ReadFile("../../deploy/vault/policies/wicketgate-import.hcl")
	if err != nil {
		t.Fatal(err)
	}
	v.Do(t, http.MethodPost, "sys/auth/jwt", map[string]any{"type": "jwt"})
	v.Do(t, http.MethodPut, "sys/policies/acl/wicketgate-import", map[string]any{"policy": string(policy)})
	made := v.Do(t, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"wicketgate-import"}})
	auth, _ := made["auth"].(map[string]any)
	token, _ := auth["client_token"].(string)
	return token
}

// importFolder is what somebody has before they import: a gateway without servers, and the file of a client.
func importFolder(t *testing.T, vault *vaulttest.Vault, mcpJSON string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"wicketgate.yaml": `# ours
issuer: http://127.0.0.1:8420
data: data # kept
policy: access.yaml
vault:
  address: ` + vault.URL + `
  login: {method: jwt, role: wicketgate}
servers:
    # the first one
    - name: mail
      url: http://127.0.0.1:9999/mcp
`,
		"access.yaml": "version: 1\nroles:\n  reader: # of mail\n    who: {users: [bob]}\n    servers:\n      mail: {tools: [list]}\n",
		"mcp.json":    mcpJSON,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func runImport(t *testing.T, dir string, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	args = append([]string{"import", "--mcp-json", filepath.Join(dir, "mcp.json"), "--config", filepath.Join(dir, "wicketgate.yaml")}, args...)
	code = run(context.WithoutCancel(t.Context()), args, &b, &b)
	return code, b.String()
}

const (
	importedToken = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
	importedKeyOf = "s3cr3t-of-the-weather-service"
)

const importFile = `{
  "theme": "dark",
  "mcpServers": {
    "GitHub": {"command": "sh", "args": ["-c", "true"], "env": {"LOG_LEVEL": "debug", "GITHUB_TOKEN": "` + importedToken + `"}},
    "weather": {"type": "http", "url": "http://127.0.0.1:9998/mcp", "headers": {"Authorization": "Bearer ` + importedKeyOf + `", "X-Region": "eu"}},
    "plain": {"command": "cat", "autoApprove": ["x"]},
    "args": {"command": "sh", "args": ["postgres://app:hunter22222@db/app"]}
  },
  "other": [1, 2]
}`

// TestImportMovesServersAndKeys: nothing happens before --apply; then the keys are in Vault and nowhere else,
// the three files say so, and a second run has nothing to do.
func TestImportMovesServersAndKeys(t *testing.T) {
	v := vaulttest.Start(t)
	dir := importFolder(t, v, importFile)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := read("wicketgate.yaml") + read("access.yaml") + read("mcp.json")
	code, out := runImport(t, dir, "--allow", "alice")
	if code != 0 || read("wicketgate.yaml")+read("access.yaml")+read("mcp.json") != before {
		t.Fatalf("without --apply: exit %d, or a file was changed\n%s", code, out)
	}
	for _, want := range []string{"secret/data/wicketgate/github", "GITHUB_TOKEN", "server args stays as it is: argument 1", "Nothing was changed", "imported-weather"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	}
	t.Setenv("VAULT_TOKEN", importerToken(t, v))
	code, done := runImport(t, dir, "--allow", "alice", "--apply")
	if code != 0 {
		t.Fatalf("--apply: exit %d\n%s", code, done)
	}
	if s := v.Do(t, http.MethodGet, "secret/data/wicketgate/weather", nil); !strings.Contains(fmt.Sprint(s), importedKeyOf) {
		t.Errorf("Vault has %v", s)
	}
	for _, text := range []string{out, done, read("wicketgate.yaml"), read("access.yaml"), read("mcp.json")} {
		if strings.Contains(text, importedToken) || strings.Contains(text, importedKeyOf) {
			t.Errorf("a key is still in\n%s", text)
		}
	}
	for file, wants := range map[string][]string{
		"wicketgate.yaml": {"# ours\n", "data: data # kept\n", "    # the first one\n", "    - name: github\n", `sandbox: {"connect":["53","443"]} #`, "sandbox: {} #", `value: "Bearer {{.key_authorization}}"`, `{name: "X-Region", value: "eu"}`, `{name: "LOG_LEVEL", value: "debug"}`},
		"access.yaml":     {"  reader: # of mail\n", `  imported-weather:`, `who: {users: ["alice"]}`},
		"mcp.json":        {`"theme": "dark"`, `"autoApprove"`, `"url": "http://127.0.0.1:8420/mcp/github"`, "hunter22222", `"other"`},
	} {
		for _, want := range wants {
			if !strings.Contains(read(file), want) {
				t.Errorf("%s lacks %q:\n%s", file, want, read(file))
			}
		}
	}
	if code, out := runImport(t, dir, "--allow", "alice", "--apply"); code != 0 || !strings.Contains(out, "There is no server to move") {
		t.Errorf("again: exit %d\n%s", code, out)
	}
}

// TestImportGoesOnWhereItStopped: a run that wrote to Vault and no further is repeated, and one that would
// overwrite other keys is refused with all files as they were.
func TestImportGoesOnWhereItStopped(t *testing.T) {
	v := vaulttest.Start(t)
	t.Setenv("VAULT_TOKEN", importerToken(t, v))
	dir := importFolder(t, v, importFile)
	v.Do(t, http.MethodPost, "secret/data/wicketgate/github", map[string]any{"data": map[string]string{"GITHUB_TOKEN": importedToken}})
	v.Do(t, http.MethodPost, "secret/data/wicketgate/weather", map[string]any{"data": map[string]string{"key_authorization": "another"}})
	code, out := runImport(t, dir, "--apply")
	b, err := os.ReadFile(filepath.Join(dir, "mcp.json"))
	if code == 0 || !strings.Contains(out, "weather holds other keys already") || err != nil || string(b) != importFile {
		t.Fatalf("exit %d, %v\n%s", code, err, out)
	}
	v.Do(t, http.MethodDelete, "secret/metadata/wicketgate/weather", nil)
	if code, out := runImport(t, dir, "--apply"); code != 0 || !strings.Contains(out, "nobody may call them yet") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestImportedCommandReadsItsOwnCode, and no folder with what is ours; it connects to what its variables name.
func TestImportedCommandReadsItsOwnCode(t *testing.T) {
	dir := t.TempDir()
	write := func(elements ...string) string {
		path := filepath.Join(append([]string{dir}, elements...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config, program, code, beside := write("etc", "wicketgate.yaml"), write("bin", "server"), write("lib", "code", "index.js"), write("etc", "server.js")
	p := &importPlan{flags: importFlags{config: config}, settings: &settings{house: houseConfig{Data: filepath.Join(dir, "data")}}}
	s := importedServer{mcpServer: mcpServer{Command: []string{program, code, beside, "/usr/lib", "relative", dir, filepath.Join(dir, "etc")}, Env: []string{"A=postgres://u:p@db/app", "B=http://127.0.0.1:8080", "C=https://db:5432", "D=text", "E=host:1"}}}
	want := `{"connect":["53","5432","8080"],"read":["` + program + `","` + filepath.Dir(code) + `","` + beside + `"]}`
	if got := p.sandbox(s); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestImportThatCannotBe: each says what to do, and changes nothing.
func TestImportThatCannotBe(t *testing.T) {
	v := vaulttest.Start(t)
	for _, c := range []struct{ name, in, want string }{
		{"a key in a URL", `{"mcpServers":{"a":{"url":"http://127.0.0.1:1/mcp?api_key=0123456789"}}}`, "its URL holds a key"},
		{"a short key", `{"mcpServers":{"a":{"command":"cat","env":{"TOKEN":"hush"}}}}`, "shorter than 8"},
		{"headers without a key", `{"mcpServers":{"a":{"url":"http://127.0.0.1:1/mcp","headers":{"X-Region":"eu"}}}}`, "hold no key"},
		{"what is here already", `{"mcpServers":{"a":{"url":"http://127.0.0.1:8420/mcp/a"}}}`, "behind this gateway already"},
		{"a name that is taken", `{"mcpServers":{"mail":{"command":"cat","env":{"TOKEN":"0123456789"}}}}`, "has a server mail already"},
		{"a name that another server without a key has", `{"mcpServers":{"mail":{"command":"cat"}}}`, "has a server mail already"},
		{"a command that the sandbox does not let work", `{"mcpServers":{"a":{"command":"npx","args":["-y","a"],"env":{"TOKEN":"0123456789"}}}}`, "server a stays as it is: npx does not work in the sandbox"},
		{"a command that is not there", `{"mcpServers":{"a":{"command":""}}}`, "either command or url"},
	} {
		dir := importFolder(t, v, c.in)
		_, out := runImport(t, dir)
		if !strings.Contains(out, c.want) || strings.Contains(out, "hush") || strings.Contains(out, "0123456789") {
			t.Errorf("%s: want %q and no value:\n%s", c.name, c.want, out)
		}
	}
	t.Setenv("VAULT_TOKEN", "")
	if code, out := runImport(t, importFolder(t, v, importFile), "--apply"); code == 0 || !strings.Contains(out, "VAULT_TOKEN is not set") {
		t.Errorf("without a token: exit %d\n%s", code, out)
	}
}

func TestImportGrantsToAClientAsToOne(t *testing.T) {
	dir := importFolder(t, &vaulttest.Vault{URL: "http://127.0.0.1:8200"}, importFile)
	for name, text := range map[string]string{"wicketgate.yaml": "clients:\n  - {id: agent, secret_file: agent.secret}\n", "agent.secret": strings.Repeat("s", 64)} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for who, kind := range map[string]string{"agent": "clients", "alice": "users"} {
		if code, out := runImport(t, dir, "--allow", who); code != 0 || !strings.Contains(out, "role imported-weather of "+who+" ("+kind+")") {
			t.Errorf("--allow %s: exit %d\n%s", who, code, out)
		}
	}
}
