package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// TestImportOfAServerThatIsNamedLikeOurPolicies: the file of a client, which may come with
// somebody's repository, names its servers as it likes. None of them replaces what
// deploy/vault made for Wicketgate itself.
func TestImportOfAServerThatIsNamedLikeOurPolicies(t *testing.T) {
	v := vaulttest.Start(t)
	ours := []string{"wicketgate-call", "wicketgate-children", "wicketgate-keys", "wicketgate-import"}
	var entries []string
	for i, policy := range ours {
		v.Do(t, http.MethodPut, "sys/policies/acl/"+policy, map[string]any{"policy": `path "ours/` + policy + `" { capabilities = ["read"] }`})
		entries = append(entries, fmt.Sprintf(`%q: {"url": "http://127.0.0.1:%d/mcp", "headers": {"X-Api-Key": "key-of-the-server"}}`, strings.TrimPrefix(policy, "wicketgate-"), 9000+i))
	}
	t.Setenv("VAULT_TOKEN", importerToken(t, v)) // writes wicketgate-import as it is
	dir := importFolder(t, v, `{"mcpServers": {`+strings.Join(entries, ",")+`}}`)
	if code, out := runImport(t, dir, "--apply"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	for _, policy := range ours {
		if s := fmt.Sprint(v.Do(t, http.MethodGet, "sys/policies/acl/"+policy, nil)); strings.Contains(s, "secret/data/wicketgate/"+strings.TrimPrefix(policy, "wicketgate-")) {
			t.Errorf("%s was replaced: %s", policy, s)
		}
	}
}

// TestImporterRewritesOurPolicies: who may import may write nothing that our own login has.
func TestImporterRewritesOurPolicies(t *testing.T) {
	v := vaulttest.Start(t)
	importer := importerToken(t, v)
	client, err := vault.New(vault.Config{Address: v.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, path := range []string{"sys/policies/acl/wicketgate-call", "sys/policies/acl/wicketgate-children", "sys/policies/acl/wicketgate-keys", "sys/policies/acl/wicketgate-import",
		"sys/policies/acl/wicketgate", "auth/jwt/role/wicketgate", "auth/jwt/role/wicketgate-reports"} {
		_, err := client.Write(t.Context(), vault.NewToken(importer), path, map[string]any{"policy": `path "*" { capabilities = ["sudo"] }`})
		if refused := (*vault.Error)(nil); !errors.As(err, &refused) || refused.Why != vault.Denied {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestImportOfNamesThatAreYAML: the name of a variable adds nothing to wicketgate.yaml.
func TestImportOfNamesThatAreYAML(t *testing.T) {
	v := vaulttest.Start(t)
	for _, name := range []string{`A, value: b}\ncredential: vault\nvault: {engine: kv, path: secret/data/wicketgate/other, per: session, role: wicketgate-other, inject: {env: [{name: X, value: \"{{.k}}\"}]}}\ndir: {a`, `A, value: b} # `, `A: b`, `A\nB`} {
		dir := importFolder(t, v, `{"mcpServers": {"evil": {"command": "sh", "env": {"`+name+`": "plain"}}}}`)
		before, err := os.ReadFile(filepath.Join(dir, "wicketgate.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		code, out := runImport(t, dir, "--apply")
		after, err := os.ReadFile(filepath.Join(dir, "wicketgate.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if code == 0 || string(after) != string(before) {
			t.Errorf("%s: exit %d\n%s\n%s", name, code, out, after)
		}
	}
}

// TestImportOfAKeyBeforeASpace: only a scheme of authentication is no secret; whatever else
// stands before a space is part of the key, and no template.
func TestImportOfAKeyBeforeASpace(t *testing.T) {
	v := vaulttest.Start(t)
	t.Setenv("VAULT_TOKEN", importerToken(t, v))
	for server, value := range map[string]string{"first": "first-half-of-a-secret second-half-of-it", "second": "{{.key_x_api_key}} second-half-of-it"} {
		dir := importFolder(t, v, fmt.Sprintf(`{"mcpServers": {%q: {"url": "http://127.0.0.1:9998/mcp", "headers": {"Authorization": %q, "X-Api-Key": "another-secret"}}}}`, server, value))
		code, out := runImport(t, dir, "--apply")
		text, err := os.ReadFile(filepath.Join(dir, "wicketgate.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if half, _, _ := strings.Cut(value, " "); code != 0 || strings.Contains(out+string(text), half+" ") {
			t.Errorf("exit %d\n%s\n%s", code, out, text)
		}
		if s := fmt.Sprint(v.Do(t, http.MethodGet, "secret/data/wicketgate/"+server, nil)); !strings.Contains(s, value) {
			t.Errorf("Vault has %s", s)
		}
	}
}

// TestImportOfTwoHeadersOfOneField: both keys are in Vault, and each goes where it went.
func TestImportOfTwoHeadersOfOneField(t *testing.T) {
	v := vaulttest.Start(t)
	t.Setenv("VAULT_TOKEN", importerToken(t, v))
	dir := importFolder(t, v, `{"mcpServers": {"two": {"url": "http://127.0.0.1:9998/mcp", "headers": {"X-Api-Key": "the-first-secret", "X_Api_Key": "the-second-secret", "X-Api-Key-2": "the-third-secret"}}}}`)
	if code, out := runImport(t, dir, "--apply"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	s := fmt.Sprint(v.Do(t, http.MethodGet, "secret/data/wicketgate/two", nil))
	for _, key := range []string{"the-first-secret", "the-second-secret", "the-third-secret"} {
		if !strings.Contains(s, key) {
			t.Errorf("%s is lost: Vault has %s", key, s)
		}
	}
}

// TestImportedKeyIsForItsServerAlone: where we log in ourselves, our own login needs no
// policy of an imported server to make tokens for its calls, and those read nothing else.
func TestImportedKeyIsForItsServerAlone(t *testing.T) {
	v := vaulttest.Start(t)
	t.Setenv("VAULT_TOKEN", importerToken(t, v))
	v.SetUp(t, "approle", filepath.Join(t.TempDir(), "secret-id"))
	dir := importFolder(t, v, `{"mcpServers": {"one": {"url": "http://127.0.0.1:9998/mcp", "headers": {"X-Api-Key": "key-of-the-server"}},
		"other": {"url": "http://127.0.0.1:9997/mcp", "headers": {"X-Api-Key": "key-of-the-other"}}}}`)
	file := filepath.Join(dir, "wicketgate.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	approle := strings.Replace(string(text), "{method: jwt, role: wicketgate}", "{method: approle, role_id: r, secret_id_file: secret-id}", 1)
	if err := os.WriteFile(file, []byte(approle), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret-id"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := runImport(t, dir, "--apply"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	client, err := vault.New(vault.Config{Address: v.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	own, err := client.Child(t.Context(), vault.NewToken(vaulttest.RootToken), vault.ChildSpec{Policies: []string{"wicketgate", "wicketgate-children"}, NoDefaultPolicy: true, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	call, err := client.Child(t.Context(), own.Token, vault.ChildSpec{Role: "wicketgate-imported-one", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(t.Context(), call.Token, "secret/data/wicketgate/one", nil); err != nil {
		t.Error(err)
	}
	for _, of := range []vault.Token{call.Token, own.Token} {
		if s, err := client.Read(t.Context(), of, "secret/data/wicketgate/other", nil); err == nil {
			t.Errorf("the key of another server was read: %v", s.Data)
		}
	}
}

// TestImportedRoleTakesTokensOfOthers: it must bind what the role of deploy/vault binds.
func TestImportedRoleTakesTokensOfOthers(t *testing.T) {
	const audience = "https://vault.example.com"
	resource, err := oauth.ParseResource(audience)
	if err != nil {
		t.Fatal(err)
	}
	p := &importPlan{settings: &settings{house: houseConfig{Vault: &vaultConfig{Audience: resource}}}}
	b, err := json.Marshal(p.jwtRole(importedServer{mcpServer: mcpServer{Name: "one"}}))
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	deployed := strings.NewReplacer("@SERVER@", "one", "@AUDIENCE@", audience).Replace(readText(t, "../../deploy/vault/roles/jwt-server.json"))
	if err := errors.Join(json.Unmarshal(b, &got), json.Unmarshal([]byte(deployed), &want)); err != nil {
		t.Fatal(err)
	}
	for _, m := range []map[string]any{got, want} {
		delete(m, "token_policies")
		delete(m, "token_explicit_max_ttl")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
