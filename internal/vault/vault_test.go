package vault_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

func client(t *testing.T, url string) *vault.Client {
	t.Helper()
	c, err := vault.New(vault.Config{Address: url, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var root = vault.NewToken(vaulttest.RootToken)

// TestChildDiesWithItsParent also shows what a child is, and that revoking twice is no error.
func TestChildDiesWithItsParent(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	v.Do(t, http.MethodPut, "sys/policies/acl/kv", map[string]any{"policy": `path "secret/data/*" { capabilities = ["read"] }`})
	v.Do(t, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"k": "v"}})
	parent, err := c.Child(t.Context(), root, vault.ChildSpec{Policies: []string{"kv", "root"}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	child, err := c.Child(t.Context(), parent.Token, vault.ChildSpec{Policies: []string{"kv"}, NoDefaultPolicy: true, TTL: 30 * time.Second, DisplayName: "x", Meta: map[string]string{"subject": "alice"}})
	if err != nil || child.TTL != 30*time.Second || child.Accessor == "" || child.Batch {
		t.Fatalf("Child = %+v, %v", child, err)
	}
	if s, err := c.Read(t.Context(), child.Token, "secret/data/x", nil); err != nil || s.Data["data"] == nil || s.LeaseID != "" {
		t.Fatalf("Read = %v, %v", s, err)
	}
	for range 2 {
		if err := c.RevokeAccessor(t.Context(), root, parent.Accessor); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Read(t.Context(), child.Token, "secret/data/x", nil); !errors.Is(err, vault.ErrInvalidToken) {
		t.Errorf("after the parent was revoked: %v", err)
	}
	if err := c.RevokeToken(t.Context(), child.Token); err != nil {
		t.Errorf("revoke what is gone: %v", err)
	}
}
