package vaulttest

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Policy writes an ACL policy in HCL.
func (v *Vault) Policy(t testing.TB, name, hcl string) {
	t.Helper()
	v.Do(t, http.MethodPut, "sys/policies/acl/"+name, map[string]any{"policy": hcl})
}

// Auth enables a way of logging in, at a mount of its name.
func (v *Vault) Auth(t testing.TB, kind string) {
	t.Helper()
	v.Do(t, http.MethodPost, "sys/auth/"+kind, map[string]any{"type": kind})
}

// Mount enables an engine, at a mount of its name.
func (v *Vault) Mount(t testing.TB, kind string) {
	t.Helper()
	v.Do(t, http.MethodPost, "sys/mounts/"+kind, map[string]any{"type": kind})
}

// JWT enables JWT auth that takes what is signed with a key.
func (v *Vault) JWT(t testing.TB, keys ...crypto.PublicKey) {
	t.Helper()
	v.Auth(t, "jwt")
	var pems []string
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		pems = append(pems, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	}
	v.Do(t, http.MethodPost, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": pems})
}

// JWKS enables JWT auth that takes what is signed with a key of a URL.
func (v *Vault) JWKS(t testing.TB, url string) {
	t.Helper()
	v.Auth(t, "jwt")
	v.Do(t, http.MethodPost, "auth/jwt/config", map[string]any{"jwks_url": url})
}

// Database enables the database engine with a connection pg to a database of pgtest. Its
// users exist in the whole server, so the names of two tests' roles must not meet.
func (v *Vault) Database(t testing.TB, database string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	v.Mount(t, "database")
	v.Do(t, http.MethodPost, "database/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": u.User.Username(), "password": "unused on a Unix socket",
		"connection_url": "postgres://{{username}}:{{password}}@" + u.Host + u.Path + "?" + u.RawQuery,
	})
}

// DatabaseRole makes a role of Database: its users may log in, and what the further
// statements grant to {{name}}.
func (v *Vault) DatabaseRole(t testing.TB, name string, ttl time.Duration, statements ...string) {
	t.Helper()
	create := append([]string{`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`}, statements...)
	v.Do(t, http.MethodPost, "database/roles/"+name, map[string]any{
		"db_name": "pg", "creation_statements": create, "default_ttl": ttl.String(), "max_ttl": (2 * ttl).String(),
	})
}

// Audit turns on the audit file, and returns its path. Values that are secret are hashed
// in it (HMAC).
func (v *Vault) Audit(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vault-audit.jsonl")
	v.Do(t, http.MethodPut, "sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": path}})
	return path
}

// AuditLine is a line of the audit file, as far as tests look at it.
type AuditLine struct {
	Type string `json:"type"` // request or response
	Auth struct {
		DisplayName string            `json:"display_name"`
		Policies    []string          `json:"policies"`
		Metadata    map[string]string `json:"metadata"`
	} `json:"auth"`
	Request struct {
		Operation string `json:"operation"`
		Path      string `json:"path"`
	} `json:"request"`
	Error string `json:"error"`
}

// ReadAudit reads the file of Audit as far as it is written. A request has its line before
// it is answered, and so has its answer.
func ReadAudit(t testing.TB, path string) (lines []AuditLine) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := b[:bytes.LastIndexByte(b, '\n')+1]
	for line := range bytes.Lines(whole) {
		var l AuditLine
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		lines = append(lines, l)
	}
	return lines
}
