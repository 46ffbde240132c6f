package vaultbridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

// TestSecretsAreNowhere: not in the log, the audit log, errors or the values that code
// prints by mistake, whether it went well or not.
func TestSecretsAreNowhere(t *testing.T) {
	w := newWorld(t)
	b := w.bridge(nil)
	r := w.alice()
	c := w.obtain(b, r)
	said := fmt.Sprintf("%v %+v %#v %+v %+v %+v", c, c, c, r, b.Status(), w.left())
	w.vault.Seal(t)
	said += fmt.Sprint(w.refused(b, w.alice(), "vault_sealed"))
	c.End()
	w.failed(b)
	w.vault.UnsealAgain(t)
	w.role(map[string]any{"bound_audiences": []string{"https://elsewhere.test"}})
	said += fmt.Sprint(w.refused(b, w.alice(), "vault_login_failed"))
	said += w.log.String() + w.minted()
	for _, secret := range append(c.Secrets(), "hvs.", "eyJ", r.Call.Bearer()) {
		if strings.Contains(said, secret) {
			t.Errorf("%.4s… is in what was said:\n%s", secret, said)
		}
	}
	if len(c.Secrets()) == 0 {
		t.Error("there was nothing to look for")
	}
}

// TestServersThatCannotBeServed are refused at the start.
func TestServersThatCannotBeServed(t *testing.T) {
	good := vaultbridge.Server{Name: "a", Engine: vaultbridge.Database, Path: "database/creds/a", Role: "r", Limit: limit, Inject: keyHeader}
	kept, endless, nobody := good, good, good
	kept.Per, endless.Limit, nobody.Role = vaultbridge.PerSubject, 0, ""
	for want, servers := range map[string][]vaultbridge.Server{"ttl": {kept}, "limit": {endless}, "role": {nobody}, "two": {good, good}} {
		if _, err := vaultbridge.New(vaultbridge.Config{JWTMount: "jwt", Servers: servers}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New() = %v, want one about %s", err, want)
		}
	}
}
