package main

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// vaultWrite is one thing that goes to Vault.
type vaultWrite struct {
	verb, path, what string
	data             map[string]any
	once             bool // it must not be there yet, unless it is the same
}

// vaultWrites are those for one server: its keys, and who may read them. The keys come
// last: nobody else can read them before.
func (p *importPlan) vaultWrites(s importedServer) []vaultWrite {
	if len(s.keys) == 0 {
		return nil
	}
	data, names := map[string]any{}, ""
	for _, k := range s.keys {
		data[k.field] = k.value
		names += " " + k.field
	}
	path := p.path(s)
	writes := []vaultWrite{{verb: "policy", path: "sys/policies/acl/" + vaultName(s.Name), what: "may read the path below, and nothing else",
		data: map[string]any{"policy": importedPolicy(path)}}}
	role := vaultWrite{verb: "role", path: "auth/token/roles/" + vaultName(s.Name), what: "for calls to " + s.Name + " alone", data: tokenRole(s)}
	if l := p.settings.house.Vault.Login; l.Method == loginJWT {
		role.path, role.data = "auth/"+l.Mount+"/role/"+vaultName(s.Name), p.jwtRole(s)
	}
	return append(writes, role, vaultWrite{verb: "keys", path: path, what: fmt.Sprintf("%d:%s", len(s.keys), names), once: true,
		data: map[string]any{"data": data, "options": map[string]any{"cas": 0}}})
}

// importedPolicy is the least that a call needs.
func importedPolicy(path string) string {
	return fmt.Sprintf(`path %q { capabilities = ["read"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "auth/token/renew-self" { capabilities = ["update"] }
`, path)
}

// jwtRole is deploy/vault/roles/jwt-server.json for one server, with a shorter life: a key is
// read once, and its Vault token ends with that.
func (p *importPlan) jwtRole(s importedServer) map[string]any {
	return map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{p.settings.house.Vault.Audience.String()},
		"bound_claims":            map[string]any{"client_id": gatewayID.String(), "/authorization_details/0/server": s.Name},
		"claim_mappings":          map[string]any{"/act/sub": "actor", "/authorization_details/0/tool": "tool", "txn": "txn"},
		"clock_skew_leeway":       "5s",
		"token_policies":          []string{vaultName(s.Name)},
		"token_no_default_policy": true, "token_type": "service",
		"token_ttl": "1m", "token_explicit_max_ttl": "2m",
	}
}

// tokenRole is the same where we log in ourselves: without one, our login would need every
// policy of an imported server.
func tokenRole(s importedServer) map[string]any {
	return map[string]any{
		"allowed_policies": []string{vaultName(s.Name)}, "orphan": false, "renewable": true,
		"token_no_default_policy": true, "token_type": "service", "token_explicit_max_ttl": "2m",
	}
}

// writeVault writes all of it, with the token of who imports.
func (p *importPlan) writeVault(ctx context.Context, operator string) error {
	client, err := vault.New(p.settings.house.Vault.Config)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, s := range p.servers {
		for _, w := range p.vaultWrites(s) {
			if err := w.do(ctx, client, vault.NewToken(operator)); err != nil {
				return fmt.Errorf("nothing but Vault was changed, and what was written there is found at the next run: %w", err)
			}
		}
	}
	return nil
}

func (w vaultWrite) do(ctx context.Context, client *vault.Client, t vault.Token) error {
	_, err := client.Write(ctx, t, w.path, w.data)
	if !w.once || err == nil {
		return err
	}
	there, readErr := client.Read(ctx, t, w.path, nil)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	have, ok := there.Data["data"].(map[string]any)
	want, _ := w.data["data"].(map[string]any)
	if !ok || !maps.EqualFunc(have, want, func(a, b any) bool { return a == b }) {
		return fmt.Errorf("%s holds other keys already: move them, or use another --kv", w.path)
	}
	return nil
}
