package main

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// TestSetUpSaysWhatIsWrong: nothing is written that lets nobody in and looks as if it did,
// and Vault's own words are shown.
func TestSetUpSaysWhatIsWrong(t *testing.T) {
	v := vaulttest.Start(t)
	for arguments, want := range map[string]string{
		"server tickets child":                       "policies/tickets.hcl: write there",
		"server reports other":                       "usage:",
		"server reports jwt":                         "run that first",
		"jwt http://127.0.0.1:1 https://vault":       "error checking jwks URL",
		"database reports postgresql://nowhere/app?": "error verifying connection",
	} {
		out, err := setUpCommand(t, v.URL, strings.Fields(arguments)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("setup.sh %s: %v, want %q:\n%s", arguments, err, want, out)
		}
	}
	c := setUpCommand(t, "", "keys")
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "VAULT_ADDR") || !strings.Contains(string(out), "is the address of Vault") {
		t.Errorf("without an address: %v\n%s", err, out)
	}
}
