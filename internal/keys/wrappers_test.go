package keys_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/transit"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// The variables that have this program run its tests with keys in Vault.
const (
	envVault  = "KEYS_TEST_VAULT" // its URL
	envRole   = "KEYS_TEST_ROLE"
	envSecret = "KEYS_TEST_SECRET"
	envSign   = "KEYS_TEST_SIGN" // not empty: token keys are there too
)

// TestRingsWithKeysInVault runs the tests of this package again, with keys that a real
// Vault wraps, and with token keys that are in it.
func TestRingsWithKeysInVault(t *testing.T) {
	if os.Getenv(envVault) != "" {
		t.Skip("this is it")
	}
	v := vaulttest.Start(t)
	role, secret := v.Keys(t)
	for name, sign := range map[string]string{"wrapped": "", "signed": "1"} {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.skip=KEK|UnderLoad") // which are of files, and long
			c.Env = append(os.Environ(), envVault+"="+v.URL, envRole+"="+role, envSecret+"="+secret, envSign+"="+sign)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// kek is what the keys of the tests are wrapped with.
var kek = wrapper()

func wrapper() keys.Wrapper {
	address := os.Getenv(envVault)
	if address == "" {
		return keys.KEK{1, 2, 3}
	}
	c, err := vault.New(vault.Config{Address: address, Timeout: time.Minute})
	if err != nil {
		panic(err)
	}
	own := vault.NewOwn(vault.OwnConfig{Client: c, Login: func(ctx context.Context) (vault.Auth, error) {
		return c.LoginAppRole(ctx, "approle", os.Getenv(envRole), os.Getenv(envSecret))
	}})
	return transit.New(transit.Config{Client: c, Own: own, Mount: "transit", Key: "wicketgate"})
}

// wrapped completes a configuration.
func wrapped(cfg keys.Config) keys.Config {
	cfg.Wrapper = kek
	cfg.Remote, _ = kek.(keys.Remote)
	cfg.Sign = os.Getenv(envSign) != ""
	return cfg
}
