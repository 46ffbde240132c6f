package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/storetest"
)

// wholeTables are the statements that read all of a table on purpose.
var wholeTables = regexp.MustCompile(`FROM (clients ORDER BY id|tool_pins ORDER BY server|keys ORDER BY|audit_heads WHERE \?1 = ''|vault_leases ORDER BY|goose_db_version|sqlite_schema|pragma_application_id)|UPDATE vault_leases SET ended_by`)

// TestNoStatementScansATable keeps the price of a request from growing with what
// is stored.
func TestNoStatementScansATable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	open(t, path)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	statements := storetest.Statements(t)
	if len(statements) < 40 {
		t.Fatalf("only %d statements found", len(statements))
	}
	listed := 0
	for _, s := range statements {
		if wholeTables.MatchString(s) {
			listed++
			continue
		}
		for _, step := range plan(t, db, s) {
			// Of clients_unused only what is counted is there.
			if strings.HasPrefix(step, "SCAN") && step != "SCAN CONSTANT ROW" && step != "SCAN clients USING COVERING INDEX clients_unused" {
				t.Errorf("%s: %s", s, step)
			}
		}
	}
	if listed > 9 {
		t.Errorf("%d statements may read all of a table", listed)
	}
}

var parameter = regexp.MustCompile(`\?(\d*)`)

// plan explains a statement whose parameters are all NULL.
func plan(t *testing.T, db *sql.DB, statement string) (steps []string) {
	t.Helper()
	n := 0
	for _, m := range parameter.FindAllStringSubmatch(statement, -1) {
		if number, err := strconv.Atoi(m[1]); err == nil {
			n = max(n, number)
		} else {
			n++
		}
	}
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement, make([]any, n)...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	for rows.Next() {
		var step string
		if err := rows.Scan(new(any), new(any), new(any), &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}

// TestGrownDatabaseIsLikeAnother: what Grow adds is neither removed nor in the way.
func TestGrownDatabaseIsLikeAnother(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "wicketgate.db"))
	hash := insertCode(t, s, "code")
	for range 2 {
		if err := sqlite.Grow(t.Context(), s, 150); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.AllClients(t.Context()); err != nil || len(all) != 30 {
		t.Errorf("%d clients, %v, want 30", len(all), err)
	}
	if n, err := s.DeleteExpired(t.Context(), at); n != 0 || err != nil {
		t.Errorf("DeleteExpired = %d, %v, want 0", n, err)
	}
	if err := s.RedeemCode(t.Context(), hash, at); err != nil {
		t.Error(err)
	}
}
