package vaulttest

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// Keys sets up what docs/operate.md says for keys in Vault: the transit engine with the key
// wicketgate, and an AppRole that may do what the policy of deploy/vault says and no more.
func (v *Vault) Keys(t testing.TB) (roleID, secretID string) {
	t.Helper()
	v.Do(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	v.Do(t, http.MethodPost, "transit/keys/wicketgate", map[string]any{"type": "aes256-gcm96"})
	v.Do(t, http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"})
	v.KeysPolicy(t)
	v.Do(t, http.MethodPost, "auth/approle/role/wicketgate", map[string]any{"token_policies": "wicketgate-keys", "token_no_default_policy": false, "token_ttl": "20m", "token_max_ttl": "1h"})
	role := v.Do(t, http.MethodGet, "auth/approle/role/wicketgate/role-id", nil)["data"].(map[string]any)
	secret := v.Do(t, http.MethodPost, "auth/approle/role/wicketgate/secret-id", nil)["data"].(map[string]any)
	return role["role_id"].(string), secret["secret_id"].(string)
}

// KeysPolicy writes the policy of Keys, again after a test has changed it.
func (v *Vault) KeysPolicy(t testing.TB) {
	t.Helper()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	policy, err := os.ReadFile(filepath.Join(root, "deploy", "vault", "policies", "wicketgate-keys.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	v.Do(t, http.MethodPut, "sys/policies/acl/wicketgate-keys", map[string]any{"policy": string(policy)})
}
