package vaulttest

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/wicketgate/wicketgate/internal/needed"
)

// Keys sets up what docs/operate.md says for keys in Vault, by deploy/vault/setup.sh: the
// transit engine with the key wicketgate, and an AppRole of our own that may use it.
func (v *Vault) Keys(t testing.TB) (roleID, secretID string) {
	t.Helper()
	v.SetUp(t, "approle", filepath.Join(t.TempDir(), "wrapped"))
	v.KeysPolicy(t)
	role := v.Do(t, http.MethodGet, "auth/approle/role/wicketgate/role-id", nil)["data"].(map[string]any)
	secret := v.Do(t, http.MethodPost, "auth/approle/role/wicketgate/secret-id", nil)["data"].(map[string]any)
	return role["role_id"].(string), secret["secret_id"].(string)
}

// KeysPolicy writes the policy of Keys, again after a test has changed it.
func (v *Vault) KeysPolicy(t testing.TB) { t.Helper(); v.SetUp(t, "keys") }

// SetUp runs deploy/vault/setup.sh as an operator does.
func (v *Vault) SetUp(t testing.TB, arguments ...string) {
	t.Helper()
	root, err := needed.Repository()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(root, "deploy", "vault", "setup.sh"), arguments...)
	c.Env = append(os.Environ(), "VAULT_ADDR="+v.URL, "VAULT_TOKEN="+RootToken)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("setup.sh %v: %v\n%s", arguments, err, out)
	}
}
