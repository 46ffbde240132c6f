package vaulttest_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/pgtest"
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

// TestRelayHolds what is asked, or what is answered, and lets it go.
func TestRelayHolds(t *testing.T) {
	v := vaulttest.StartTLS(t)
	file := v.Audit(t)
	r := vaulttest.NewRelay(t, v)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: v.CAs}}}
	t.Cleanup(c.CloseIdleConnections)
	ask := func(ctx context.Context, path string) chan error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/v1/secret/data/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", vaulttest.RootToken)
		done := make(chan error, 1)
		go func() {
			resp, err := c.Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body) // or the connection is not used again
				_ = resp.Body.Close()
			}
			done <- err
		}()
		return done
	}
	if err := <-ask(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	r.Mute()
	muted := ask(t.Context(), "muted")
	for asked := false; !asked && t.Context().Err() == nil; <-time.After(time.Millisecond) {
		asked = slices.ContainsFunc(vaulttest.ReadAudit(t, file), func(l vaulttest.AuditLine) bool { return l.Request.Path == "secret/data/muted" })
	}
	select {
	case err := <-muted:
		t.Error("what is muted was answered: ", err)
	default:
	}
	r.Go()
	if err := <-muted; err != nil {
		t.Error("after Go: ", err)
	}
	r.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := <-ask(ctx, "stopped"); err == nil {
		t.Error("what is stopped was answered")
	}
}

// TestDatabaseMakesUsers and drops them with their lease.
func TestDatabaseMakesUsers(t *testing.T) {
	v := vaulttest.Start(t)
	v.Database(t, pgtest.Empty(t))
	v.DatabaseRole(t, "vaulttest", time.Minute)
	got := v.Do(t, http.MethodGet, "database/creds/vaulttest", nil)
	if data, _ := got["data"].(map[string]any); data["username"] == "" || data["password"] == "" || got["lease_id"] == "" {
		t.Fatalf("creds = %v", got)
	}
	v.Do(t, http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": got["lease_id"], "sync": true})
}
