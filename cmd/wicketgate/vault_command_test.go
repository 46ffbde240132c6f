package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

var perSubject = legacyConfig{login: loginByJWT.login, method: "jwt", server: "role: NAME\n      per: subject"}

// command runs wicketgate vault beside the process.
func (w *legacyWorld) command(args ...string) (code int, out string) {
	w.t.Helper()
	var b bytes.Buffer
	args = append([]string{"vault"}, append(args, "--config", filepath.Join(w.dir, "wicketgate.yaml"))...)
	code = run(context.WithoutCancel(w.t.Context()), args, &b, &b)
	return code, b.String()
}

// wants is for output that must match all of the patterns.
func wants(t *testing.T, what, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(out) {
			t.Errorf("%s does not match %q:\n%s", what, p, out)
		}
	}
}

// TestOperatorSeesAndEndsWhatIsInUse: in the status, in metrics, and by one command that
// the process writes down.
func TestOperatorSeesAndEndsWhatIsInUse(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(perSubject)
	if _, err := w.query("alice", whose); err != nil {
		t.Fatal(err)
	}
	code, out := w.command("status", "--leases")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	wants(t, "status", out, "^Vault "+w.vault.URL+": ok$", "^login by jwt: ok$", `^reports +database +subject +database/creds/reports-\{\{\.subject\}\} +1 +0 +-$`,
		"^notes +kv .* 0 +0 +unknown: each subject has another one$", "^[A-Z0-9]+ +database/creds/reports-alice/[^ ]+ +reports +alice +- +held ")
	w.loggedIn()
	_, body := w.get(w.admin + "/metrics")
	wants(t, "metrics", body, `^wicketgate_vault_leases\{server="reports",state="held"\} 1$`, `^wicketgate_vault_leases\{server="reports",state="failed"\} 0$`,
		`^wicketgate_vault_requests_total\{operation="mint",result="ok",server="reports"\} 1$`, `^wicketgate_vault_request_duration_seconds_count\{operation="mint",server="reports"\} 1$`)
	if strings.Contains(body, "alice") {
		t.Error("a metric names a caller")
	}
	if code, out := w.command("revoke", "--subject", "bob"); code != 0 || !strings.Contains(out, "nothing to end") || len(w.users()) != 1 {
		t.Errorf("revoke of bob: %d, %s", code, out)
	}
	if code, out := w.command("revoke", "--subject", "alice"); code != 0 || out != "ended: 1 of 1 leases\n" || len(w.users()) != 0 {
		t.Errorf("revoke of alice: %d, %s; users %v", code, out, w.users())
	}
	by, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "the audit log", readText(t, filepath.Join(w.dir, "data", fileAudit)), `"kind":"revocation".*"operator":"`+regexp.QuoteMeta(by.Username)+`".*"lease":"database/creds/reports-alice/`)
	if said, err := w.query("alice", whose); err != nil {
		t.Errorf("the next call: %q, %v", said, err)
	}
}

// TestNobodyRaisesAWarningByBeingRefused: Vault has nothing for bob.
func TestNobodyRaisesAWarningByBeingRefused(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(loginByJWT)
	w.loggedIn()
	if _, err := w.call(w.token("bob", "notes", false), "notes", "whoami", map[string]any{}); err == nil {
		t.Fatal("bob has a note")
	}
	w.until("it is counted", func() bool {
		return strings.Contains(second(w.get(w.admin+"/metrics")), `wicketgate_vault_requests_total{operation="mint",result="vault_not_found",server="notes"} 1`)
	})
	wants(t, "readyz", second(w.get(w.admin+"/readyz")), `\{"name":"vault","ok":true\}`)
}

// TestSealedVaultIsAWarning: other servers go on, operators are told, and what could not be
// ended is when Vault is back.
func TestSealedVaultIsAWarning(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(perSubject)
	if _, err := w.query("alice", whose); err != nil {
		t.Fatal(err)
	}
	w.vault.Seal(t)
	w.until("/readyz warns", func() bool {
		status, body := w.get(w.admin + "/readyz")
		return status == http.StatusOK && regexp.MustCompile(`"name":"vault","ok":true,"warning":"vault: health: vault_sealed`).MatchString(body)
	})
	_, body := w.get(w.admin + "/metrics")
	wants(t, "metrics", body, "^wicketgate_vault_up 0$")
	code, out := w.command("revoke", "--server", "reports", "--timeout", "2s")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	wants(t, "revoke", out, "^ended: 0 of 1 leases$", "of server reports: it failed [0-9]+ times \\(vault_sealed\\), and is tried again")
	code, out = w.command("status")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	wants(t, "status", out, "^Vault .*: vault: health: vault_sealed: ", "^login by jwt: not tried: Vault does not serve$", "^reports .* 0 +1 +-$", "^not ended, and tried again:$",
		"^[A-Z0-9]+ +reports +alice .* vault_sealed ")
	wants(t, "readyz", second(w.get(w.admin+"/readyz")), "server reports: 1 leases could not be ended and are tried again")
	if _, err := w.call(w.token("alice", "mail", false), "mail", "whoami", map[string]any{}); err != nil {
		t.Errorf("another server: %v", err)
	}
	w.vault.UnsealAgain(t)
	w.until("the lease is ended", func() bool {
		_, out := w.command("status", "--json")
		var r struct {
			Health string
			Failed []any
		}
		return json.Unmarshal([]byte(out), &r) == nil && r.Health == "ok" && len(r.Failed) == 0
	})
	if users := w.users(); len(users) != 0 {
		t.Errorf("users %v are left", users)
	}
	w.until("/readyz warns no more", func() bool { return strings.Contains(second(w.get(w.admin+"/readyz")), `{"name":"vault","ok":true}`) })
}

func second(_ int, body string) string { return body }

// TestStatusReadsKeysAndShowsNone: what it says of them is their age.
func TestStatusReadsKeysAndShowsNone(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(loginByJWT)
	w.sql(`DROP ROLE IF EXISTS ` + w.group("ledger") + `; CREATE ROLE ` + w.group("ledger") + ` LOGIN PASSWORD 'before'`)
	t.Cleanup(func() { w.sql("DROP ROLE " + w.group("ledger")) })
	w.vault.Do(t, http.MethodPost, "database/static-roles/reports-ledger", map[string]any{"db_name": "reports", "username": w.group("ledger"), "rotation_period": "24h"})
	w.vault.Do(t, http.MethodPost, "secret/data/crm", map[string]any{"data": map[string]string{"key": noteOfAlice}})
	for name, path := range map[string]string{"crm": "secret/data/crm", "ledger": "database/static-creds/reports-ledger"} {
		w.vault.Do(t, http.MethodPost, "sys/policies/acl/"+name, map[string]any{"policy": `path "` + path + `" { capabilities = ["read"] }`})
		w.vault.Do(t, http.MethodPost, "auth/jwt/role/"+name, map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{vaultAudience},
			"bound_claims": map[string]any{"/authorization_details/0/server": name}, "token_policies": []string{name}, "token_type": "service", "token_ttl": "60s", "token_explicit_max_ttl": "60s"})
	}
	yaml := readText(t, filepath.Join(w.dir, "wicketgate.yaml"))
	w.write("wicketgate.yaml", strings.Replace(yaml, "  - {name: mail,", `  - name: crm
    url: http://127.0.0.1:9/crm
    credential: vault
    vault: {engine: kv, path: secret/data/crm, role: crm, inject: {header: [{name: X-Key, value: "{{.key}}"}]}}
  - name: ledger
    url: http://127.0.0.1:9/ledger
    credential: vault
    vault: {engine: database-static, path: database/static-creds/reports-ledger, role: ledger, inject: {basic: {username: "{{.username}}", password: "{{.password}}"}}}
  - name: gone
    url: http://127.0.0.1:9/gone
    credential: vault
    vault: {engine: kv, path: secret/data/gone, role: gone, inject: {header: [{name: X-Key, value: "{{.key}}"}]}}
  - {name: mail,`, 1))
	code, out := w.command("status")
	if code != 0 || strings.Contains(out, noteOfAlice) {
		t.Errorf("exit code %d\n%s", code, out)
	}
	wants(t, "status", out, `^crm +kv +call +secret/data/crm +0 +0 +[0-9]+m?[0-9]*s$`, `^ledger +database-static .* 0 +0 +[0-9]+m?[0-9]*s$`, `^gone .* unknown: vault: login jwt at auth/jwt: vault_login_failed: `)

	code, out = w.command("rotate", "ledger")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	wants(t, "rotate", out, "vault_permission_denied: .*give the policy of our own login update on database/rotate-role/reports-ledger")
	read := func() any {
		return w.vault.Do(t, http.MethodGet, "database/static-creds/reports-ledger", nil)["data"].(map[string]any)["password"]
	}
	before := read()
	t.Setenv("VAULT_TOKEN", vaulttest.RootToken)
	if code, out := w.command("rotate", "ledger"); code != 0 || !strings.Contains(out, "rotated: the key of server ledger") || read() == before {
		t.Errorf("rotate: %d, %s", code, out)
	}
	if code, out := w.command("rotate", "crm"); code != 1 || !strings.Contains(out, "vault kv put") {
		t.Errorf("rotate of what Vault does not rotate: %d, %s", code, out)
	}
	if w.vault.Do(t, http.MethodGet, "auth/token/lookup-self", nil) == nil {
		t.Error("a token that was only lent was revoked")
	}
}

// loggedIn waits until the process has logged in: it began before Vault knew it.
func (w *legacyWorld) loggedIn() {
	w.t.Helper()
	w.until("the process has logged in", func() bool { return strings.Contains(second(w.get(w.admin+"/metrics")), "\nwicketgate_vault_up 1\n") })
}

// TestStatusLeavesNoLoginBehind: what it logs in as it logs out again.
func TestStatusLeavesNoLoginBehind(t *testing.T) {
	w := newLegacyWorld(t)
	w.begin(loginByJWT)
	tokens := func() int {
		return len(w.vault.Do(t, "LIST", "auth/token/accessors", nil)["data"].(map[string]any)["keys"].([]any))
	}
	w.loggedIn()
	before := tokens()
	if code, out := w.command("status"); code != 0 || !strings.Contains(out, "login by jwt: ok") || tokens() != before {
		t.Errorf("%d tokens, %d before; %s", tokens(), before, out)
	}
}

// TestSchemaBeforeRefusesCallsWithCredentials, and no others, until it is migrated.
func TestSchemaBeforeRefusesCallsWithCredentials(t *testing.T) {
	w := newLegacyWorld(t)
	store := pgtest.Empty(t)
	migrateBehind(t, store)
	c := loginByJWT
	c.extra = withPostgres(store, "gateway-1")
	w.begin(c)
	if _, err := w.query("alice", whose); err == nil || len(w.users()) != 0 {
		t.Errorf("a call without a record of its lease: %v, users %v", err, w.users())
	}
	if _, err := w.call(w.token("alice", "mail", false), "mail", "whoami", map[string]any{}); err != nil {
		t.Errorf("another server: %v", err)
	}
	code, out := w.command("status")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	wants(t, "status", out, "^leases: .* wicketgate migrate up$", `^reports .* \? +\? +-$`)
	if err := migrate(t.Context(), storeConfigOf(t, w)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.query("alice", whose); err != nil {
		t.Errorf("after the migration: %v", err)
	}
}

func storeConfigOf(t *testing.T, w *legacyWorld) storeConfig {
	t.Helper()
	s, err := loadConfig(t.Context(), filepath.Join(w.dir, "wicketgate.yaml"), roleAny)
	if err != nil {
		t.Fatal(err)
	}
	return s.house.Store
}

func TestAgeOfAKeyInWords(t *testing.T) {
	day := 24 * time.Hour
	l := legacyServer{ServerVaultConfig: ServerVaultConfig{WarnAge: duration(60 * day), MaxAge: duration(90 * day)}}
	tooOld := errors.New("too old")
	for _, test := range []struct {
		key         keyAge
		state, want string
	}{
		{keyAge{}, "good", "0s"},
		{keyAge{age: 59 * day}, "good", "59d"},
		{keyAge{age: 60 * day}, "old", "60d: rotate it, it is refused from 90d"},
		{keyAge{age: 91 * day, err: tooOld}, "refused", "91d: refused since 90d, rotate it"},
		{keyAge{err: tooOld}, "unknown", "unknown: too old"},
	} {
		var s serverReport
		if s.aged(l, test.key); s.KeyState != test.state || s.Key != test.want {
			t.Errorf("%+v is %q, %q; want %q, %q", test.key, s.KeyState, s.Key, test.state, test.want)
		}
	}
}
