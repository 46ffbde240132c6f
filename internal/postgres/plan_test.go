package postgres_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/postgres"
	"github.com/wicketgate/wicketgate/internal/storetest"
)

// wholeTables are the statements that read all of a table on purpose.
var wholeTables = regexp.MustCompile(`FROM (clients ORDER BY id|tool_pins ORDER BY server|keys ORDER BY|audit_heads WHERE \$1 = ''|approvals WHERE created_at > 0 AND \(\$2|vault_leases ORDER BY|wicketgate_)|UPDATE vault_leases SET ended_by`)

// TestNoStatementScansATable keeps the price of a request from growing with what
// is stored: with plans made while tables were small and kept, and with plans made
// anew for full ones.
func TestNoStatementScansATable(t *testing.T) {
	url := pgtest.Migrated(t)
	conn := connect(t, url)
	execute(t, conn, "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off")
	noScans(t, conn)
	if err := postgres.Grow(t.Context(), open(t, url), 20_000); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, `INSERT INTO revocations (kind, name, not_before, frozen, lifted, reason, by_whom, created_at, expires_at, seq)
		SELECT 'grant', i, 1, false, false, '', '', 1, 9000000000000000 + i, 9000000000000000 + i FROM generate_series(1, 20000) AS i`)
	execute(t, conn, "ANALYZE revocations")
	noScans(t, conn)
	execute(t, conn, "SET plan_cache_mode = force_custom_plan; SET enable_seqscan = on")
	noScans(t, conn)
}

func noScans(t *testing.T, conn *pgx.Conn) {
	t.Helper()
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
		if text, p := plan(t, conn, s); p.scans(strings.Contains(s, "DELETE FROM client_documents")) {
			t.Errorf("%s:\n%s", s, text)
		}
	}
	if listed > 9 {
		t.Errorf("%d statements may read all of a table", listed)
	}
}

// node is a part of a plan.
type node struct {
	Type      string `json:"Node Type"`
	Relation  string `json:"Relation Name"`
	Index     string `json:"Index Name"`
	IndexCond string `json:"Index Cond"`
	Plans     []node
}

// scans reports whether a part reads all of a table, or of an index; of
// clients_unused only what is counted is there. Documents are few.
func (n node) scans(documents bool) bool {
	if documents && n.Relation == "client_documents" {
		return false
	}
	if n.Type == "Seq Scan" && !slices.Contains(small, n.Relation) || n.Index != "" && n.Index != "clients_unused" && n.IndexCond == "" {
		return true
	}
	return slices.ContainsFunc(n.Plans, func(part node) bool { return part.scans(documents) })
}

// small are tables that are read whole whatever the statement: they are one page.
var small = []string{"tool_pins", "tool_candidates", "tool_orders", "keys", "audit_heads", "revocation_counter"}

var limited = regexp.MustCompile(`LIMIT \$(\d+)`)

// plan explains a statement, with parameters like those that it has.
func plan(t *testing.T, conn *pgx.Conn, statement string) (string, node) {
	t.Helper()
	execute(t, conn, "PREPARE p AS "+statement)
	defer execute(t, conn, "DEALLOCATE p")
	kinds := ask(t, conn, "SELECT array_to_string(parameter_types, ',') FROM pg_prepared_statements WHERE name = 'p'")
	var values []string
	if kinds != "" {
		for i, kind := range strings.Split(kinds, ",") {
			if m := limited.FindStringSubmatch(statement); m != nil && m[1] == fmt.Sprint(i+1) {
				kind = "limit"
			}
			values = append(values, map[string]string{"limit": "1000", "bigint": fmt.Sprint(at.UnixMicro()), "text": "'x'", "bytea": `'\x00'`,
				"text[]": "'{}'", "boolean": "false", "integer": "1"}[kind])
		}
	}
	execution := "EXECUTE p"
	if len(values) > 0 {
		execution += "(" + strings.Join(values, ", ") + ")"
	}
	text := ask(t, conn, "EXPLAIN (FORMAT JSON) "+execution)
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	return text, plans[0].Plan
}
