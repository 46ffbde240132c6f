package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// vaultWorld is a world with a Vault, set up as docs/operate.md says.
type vaultWorld struct {
	*world
	vault  *vaulttest.Vault
	roleID string
}

func newVaultWorld(t *testing.T) *vaultWorld {
	t.Helper()
	w := &vaultWorld{world: newWorld(t, nil), vault: vaulttest.Start(t)}
	role, secret := w.vault.Keys(t)
	w.roleID = role
	w.write("secret-id", secret+"\n")
	return w
}

// inVault is a configuration with keys.transit.
func (w *vaultWorld) inVault(transit string) string {
	return w.config(withTLS + withAgent + "vault: {address: \"" + w.vault.URL + "\", login: {method: approle, role_id: " + w.roleID + ", secret_id_file: secret-id}}\n" +
		"keys: {transit: {key: wicketgate" + transit + "}}\n")
}

// fails starts, and returns what was said when that failed.
func (w *vaultWorld) fails(config string) string {
	w.t.Helper()
	log := newLog()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if code := run(ctx, []string{"serve", "--config", config}, io.Discard, log); code != 1 {
		w.t.Errorf("exit code %d, want 1", code)
	}
	return log.String()
}

// works has a token issued and used, and returns its kid.
func (w *vaultWorld) works() string {
	w.t.Helper()
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		w.t.Fatalf("no access token: %s", refused)
	}
	_ = w.connect(raw).Close()
	return kidOf(w.t, raw)
}

// lines are those of the audit log about keys that were wrapped anew.
func (w *vaultWorld) lines() (reasons []string) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "data", fileAudit))
	if err != nil {
		w.t.Fatal(err)
	}
	by, err := user.Current()
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, `"kind":"`+string(audit.Key)+`"`) {
			continue
		}
		if !strings.Contains(line, `"operator":"`+by.Username+`"`) || !strings.Contains(line, `"action":"rewrap"`) {
			w.t.Errorf("who did what? %s", line)
		}
		reasons = append(reasons, regexp.MustCompile(`from [^"]*`).FindString(line))
	}
	return reasons
}

// wrapped are the records of the store.
func (w *vaultWorld) wrapped() []keys.Record {
	w.t.Helper()
	records, err := storedKeys(w.t.Context(), houseConfig{Store: storeConfig{SQLite: filepath.Join(w.dir, "data", fileStore)}})
	if err != nil {
		w.t.Fatal(err)
	}
	return records
}

func (w *vaultWorld) rewrap(args ...string) string {
	w.t.Helper()
	out, _, err := keysRun(w.t, append([]string{"rewrap"}, args...)...)
	if err != nil {
		w.t.Fatalf("rewrap %q: %v", args, err)
	}
	return out
}

// TestKeysMoveToVaultAndBack: no key changes, no token becomes invalid, and each step that
// is missing is told.
func TestKeysMoveToVaultAndBack(t *testing.T) {
	w := newVaultWorld(t)
	stop := w.start(w.config(withTLS + withAgent))
	kid := w.works()
	stop()
	config, kek := w.inVault(""), filepath.Join(w.dir, "data", fileKEK)
	if said := w.fails(config); !strings.Contains(said, "wrapped by a key-encryption key in a file, and vault:transit/wicketgate is configured (wicketgate keys rewrap moves keys)") {
		t.Errorf("keys that are wrapped by a file: %s", said)
	}
	if out := w.rewrap("--config", config, "--from", kek); strings.Count(out, ": wrapped by vault:transit/wicketgate now\n") != 6 {
		t.Errorf("rewrap printed %q", out)
	}
	if got := w.lines(); len(got) != 6 || got[0] != "from file to vault:transit/wicketgate" {
		t.Errorf("the audit log has %q", got)
	}
	if out := w.rewrap("--config", config, "--from", kek); out != "" {
		t.Errorf("a second time: %q", out)
	}
	if err := os.Remove(kek); err != nil {
		t.Fatal(err)
	}
	stop = w.restart(config)
	if got := w.works(); got != kid {
		t.Errorf("signed by %s, before by %s", got, kid)
	}
	stop()
	back := filepath.Join(w.dir, "kek-new")
	w.rewrap("--config", config, "--to", back)
	if said := w.fails(config); !strings.Contains(said, "was wrapped by vault") && !strings.Contains(said, "wrapped by a key-encryption key in a file") {
		t.Errorf("keys that are wrapped by a file again: %s", said)
	}
	w.restart(w.config(withTLS + withAgent + "key_encryption_key: kek-new\n"))
	if got := w.works(); got != kid {
		t.Errorf("signed by %s, before by %s", got, kid)
	}
	out, _, err := keysRun(t, "list", "--config", filepath.Join(w.dir, "wicketgate.yaml"))
	if err != nil || strings.Count(out, " file\n") != 6 {
		t.Errorf("list: %v\n%s", err, out)
	}
}

// TestStartWithoutVaultIsRefused, and says who has the keys. What runs goes on without it.
func TestStartWithoutVaultIsRefused(t *testing.T) {
	w := newVaultWorld(t)
	config := w.inVault("")
	stop := w.start(config)
	w.vault.Kill()
	w.works()
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	stop()
	said := w.fails(config)
	if !strings.Contains(said, "Vault has what opens them (keys.transit)") || !strings.Contains(said, "vault_unreachable") {
		t.Errorf("without Vault: %s", said)
	}
	w.vault.Run(t)
	w.restart(config)
	w.works()
}

// TestTokensAreSignedInVault: from the rotation after sign: true on. Without Vault there is
// no token, which is told; when it is back, so are tokens.
func TestTokensAreSignedInVault(t *testing.T) {
	w := newVaultWorld(t)
	stop := w.start(w.inVault(""))
	local := w.works()
	stop()
	config := w.inVault(", sign: true")
	stop = w.restart(config)
	if got := w.works(); got != local {
		t.Errorf("signed by %s before the rotation, want %s", got, local)
	}
	stop()
	if _, _, err := keysRun(t, "rotate", "--config", config, "--use", "token", "--force"); err != nil {
		t.Fatal(err)
	}
	stop = w.restart(config)
	kid := w.works()
	if _, err := w.vault.Ask(t.Context(), http.MethodGet, "transit/keys/wicketgate-"+kid, nil); err != nil || kid == local {
		t.Errorf("signed by %s, which Vault does not have: %v", kid, err)
	}
	raw, _ := w.accessToken(w.client())
	w.vault.Kill()
	if got, refused := w.accessToken(w.client()); got != "" || !strings.Contains(refused, "server_error") {
		t.Errorf("without Vault: %q, %q", got, refused)
	}
	client := w.client()
	client.Transport = bearer{client.Transport, raw}
	if status, body := w.post(client, w.issuer+"/mcp/mail", nil); status/100 == 2 {
		t.Errorf("a call without Vault: %d %s", status, body)
	}
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK || !strings.Contains(body, "a token could not be signed") {
		t.Errorf("readyz without Vault: %d %s", status, body)
	}
	w.vault.Run(t)
	w.works()
	if _, body := w.get(w.admin + "/readyz"); strings.Contains(body, "could not be signed") {
		t.Errorf("readyz with Vault again: %s", body)
	}
	stop()
	if _, _, err := keysRun(t, "rewrap", "--config", config, "--to", filepath.Join(w.dir, "kek-new")); err == nil || !strings.Contains(err.Error(), "wicketgate keys rotate --use token") {
		t.Errorf("the key that signs in Vault was moved away from it: %v", err)
	}
	for _, r := range w.wrapped() {
		if r.WrappedBy() != "vault:transit/wicketgate" {
			t.Errorf("key %s is wrapped by %s", r.KeyID, r.WrappedBy())
		}
	}
}

// TestKeyInVaultIsRotated beside a running server, which writes down who had its keys
// wrapped anew. Then the old version can go.
func TestKeyInVaultIsRotated(t *testing.T) {
	w := newVaultWorld(t)
	config := w.inVault("")
	stop := w.start(config)
	w.vault.Do(t, http.MethodPost, "transit/keys/wicketgate/rotate", nil)
	w.works()
	w.rewrap("--config", config)
	for _, r := range w.wrapped() {
		if !strings.Contains(string(r.Wrapped), "\nvault:v2:") {
			t.Errorf("key %s is wrapped as before", r.KeyID)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.Tick(50 * time.Millisecond); len(w.lines()) < 6; {
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatalf("the audit log has %q", w.lines())
		}
	}
	w.works()
	stop()
	w.vault.Do(t, http.MethodPost, "transit/keys/wicketgate/config", map[string]any{"min_decryption_version": 2, "min_encryption_version": 2})
	w.restart(config)
	w.works()
	if got := w.lines(); len(got) != 6 {
		t.Errorf("the audit log has %q, want each once", got)
	}
}

// TestOneLoginForKeysAndCalls: a wrapped secret-id can be unwrapped once, and is.
func TestOneLoginForKeysAndCalls(t *testing.T) {
	w := newVaultWorld(t)
	w.vault.SetUp(t, "approle", filepath.Join(w.dir, "wrapped"))
	config := w.inVault("")
	legacy := strings.Replace(read(t, config), "servers:\n", `servers:
  - {name: old, url: "http://127.0.0.1:1/mcp", credential: vault, vault: {engine: kv, path: secret/data/x, policies: [x], inject: {header: [{name: X-Key, value: "{{.key}}"}]}}}
`, 1)
	legacy = strings.Replace(legacy, "secret_id_file: secret-id", "secret_id_file: wrapped, wrapped: true", 1)
	stop := w.start(w.write("wicketgate.yaml", legacy))
	w.works()
	stop()
	if said := w.fails(w.write("wicketgate.yaml", legacy)); !strings.Contains(said, "the wrapping token is not valid") {
		t.Errorf("with the wrapping token that was used: %s", said)
	}
}

// TestAnotherKeyInVaultIsTold from one that is not allowed, and from one that is gone.
func TestAnotherKeyInVaultIsTold(t *testing.T) {
	w := newVaultWorld(t)
	config := w.inVault("")
	w.start(config)()
	w.vault.Do(t, http.MethodPost, "transit/keys/other", map[string]any{"type": "aes256-gcm96"})
	w.vault.Do(t, http.MethodPost, "transit/keys/wicketgate/config", map[string]any{"deletion_allowed": true})
	other := w.write("other.yaml", strings.Replace(read(t, config), "key: wicketgate", "key: other", 1))
	if said := w.fails(other); !strings.Contains(said, "vault_permission_denied") {
		t.Errorf("not allowed: %s", said)
	}
	w.vault.Do(t, http.MethodPut, "sys/policies/acl/wicketgate-keys", map[string]any{"policy": `path "transit/*" { capabilities = ["read", "update"] }`})
	if said := w.fails(other); !strings.Contains(said, "was wrapped by vault:transit/wicketgate, and vault:transit/other is configured") {
		t.Errorf("another key: %s", said)
	}
	w.vault.Do(t, http.MethodDelete, "transit/keys/wicketgate", nil)
	if said := w.fails(config); !strings.Contains(said, "there is no such key") {
		t.Errorf("deleted: %s", said)
	}
	w.vault.Do(t, http.MethodPost, "transit/keys/wicketgate", map[string]any{"type": "aes256-gcm96"})
	if said := w.fails(config); !strings.Contains(said, keys.ErrWrongKEK.Error()) {
		t.Errorf("made anew: %s", said)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
