package vaulttest_test

import (
	"net/http"
	"testing"

	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// TestVaultKeepsWhatItKnows: killed and sealed, it has what was written before.
func TestVaultKeepsWhatItKnows(t *testing.T) {
	v := vaulttest.Start(t)
	v.Do(t, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"k": "v"}})
	v.Kill()
	v.Run(t)
	v.Seal(t)
	if _, err := v.Ask(t.Context(), http.MethodGet, "secret/data/x", nil); err == nil {
		t.Error("a sealed Vault answered")
	}
	v.UnsealAgain(t)
	got := v.Do(t, http.MethodGet, "secret/data/x", nil)
	if data, _ := got["data"].(map[string]any); data["data"] == nil {
		t.Errorf("after kill, start, seal and unseal: %v", got)
	}
}
