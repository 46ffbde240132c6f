package vaulttest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// TestUserOfACallMakesItselfStay: what a user of deploy/vault came to own goes with it, or
// it could not be dropped.
func TestUserOfACallMakesItselfStay(t *testing.T) {
	v, db := vaulttest.Start(t), pgtest.Empty(t)
	u, err := url.Parse(db)
	if err != nil {
		t.Fatal(err)
	}
	group := "group_of_" + strings.TrimPrefix(u.Path, "/")
	pgtest.Query(t, db, "CREATE ROLE "+group)
	t.Cleanup(func() { pgtest.Query(t, db, "DROP ROLE "+group) })
	t.Setenv("DATABASE_USER", "postgres")
	v.SetUp(t, "database", "reports", db)
	v.SetUp(t, "person", "reports", "alice", group)
	for name, sql := range map[string]string{
		"nothing":        "SELECT 1",
		"a large object": "SELECT lo_create(0)",
		"a right":        "SELECT lo_create(4242); GRANT SELECT ON LARGE OBJECT 4242 TO PUBLIC",
		"defaults":       "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
	} {
		made := v.Do(t, http.MethodGet, "database/creds/reports-alice", nil)
		user := made["data"].(map[string]any)["username"].(string)
		u.User = url.User(user)
		pgtest.Query(t, u.String(), sql)
		if _, err := v.Ask(t.Context(), http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": made["lease_id"], "sync": true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := pgtest.Query(t, db, "SELECT count(*) FROM pg_roles WHERE rolname = '"+user+"'"); n != "0" {
			t.Errorf("%s: its user is still there", name)
		}
	}
}
