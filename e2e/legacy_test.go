package e2e_test

import (
	"bufio"
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/freeport"
)

// A20: TestLegacyPostgresCallRunsAsAUserMadeForIt: over HTTP and as a command, a legacy
// server's call is that of a user of PostgreSQL who was made for it and is gone when it is
// over; Vault's audit log says for whom and by whom, and ours which lease it was.
func TestLegacyPostgresCallRunsAsAUserMadeForIt(t *testing.T) {
	t.Parallel()
	h := startLegacy(t, legacySetup{})
	for _, server := range []string{"reports", "ledger"} {
		raw, seen := h.token("alice", server, true), map[string]bool{}
		for range 3 {
			said, err := h.query(deadline(t), raw, server, "SELECT count(*) FROM pg_roles WHERE rolname = current_user")
			if err != nil {
				t.Fatalf("%s: %v", server, err)
			}
			if !strings.HasPrefix(said.User, "v-jwt-alic-"+server) || seen[said.User] || len(said.Rows) != 1 || said.Rows[0]["count"] != 1.0 {
				t.Errorf("%s ran as %+v, after %v", server, said, seen)
			}
			seen[said.User] = true
		}
		lines := h.vaultLines("database/creds/" + server + "-alice")
		if len(lines) != 3 {
			t.Errorf("Vault's audit log has %d requests of %s, want 3", len(lines), server)
		}
		for _, l := range lines {
			if l.Auth.DisplayName != "jwt-alice" || l.Auth.Metadata["actor"] != agent || l.Auth.Metadata["tool"] != "query" || l.Auth.Metadata["txn"] == "" {
				t.Errorf("Vault's audit log has %+v", l)
			}
		}
	}
	h.nothingIsLeft(h.sqliteRecords)
	h.checkLeaseLines(6)
}

// checkLeaseLines checks that each lease is in the audit log with its call, twice: minted
// and revoked.
func (h *legacyHouse) checkLeaseLines(n int) {
	h.t.Helper()
	called, status := map[string]string{}, map[string][]string{}
	for _, l := range h.audit(h.t) {
		if l.Kind == "intent" && l.Tool == "query" {
			called[l.Call] = l.Server
		}
	}
	for _, l := range h.leaseLines() {
		status[l.Lease] = append(status[l.Lease], l.Status)
		if server := called[l.Call]; server == "" || server != l.Server || l.Subject != "alice" || len(l.Actors) != 1 || l.Actors[0] != agent || !strings.HasPrefix(l.Lease, "database/creds/"+server+"-alice/") {
			h.t.Errorf("a line of ours: %+v", l)
		}
	}
	for lease, s := range status {
		if got := strings.Join(s, " "); got != "minted revoked" {
			h.t.Errorf("%s was %s", lease, got)
		}
	}
	if len(status) != n {
		h.t.Errorf("%d leases in our audit log, want %d", len(status), n)
	}
}

// A20: TestLegacyPostgresGivesEachSubjectItsOwnRights: bob may write and alice may not,
// which PostgreSQL itself says, with clients of both eras.
func TestLegacyPostgresGivesEachSubjectItsOwnRights(t *testing.T) {
	t.Parallel()
	h := startLegacy(t, legacySetup{})
	const insert = "INSERT INTO orders (what) VALUES ('tea') RETURNING what"
	for _, server := range []string{"reports", "ledger"} {
		for _, era := range []string{modern, legacy} {
			for who, refused := range map[string]string{"alice": "permission denied for table orders", "bob": ""} {
				c, err := connectGo(deadline(t), t, &mcp.StreamableClientTransport{Endpoint: h.issuer + "/mcp/" + server, DisableStandaloneSSE: true,
					HTTPClient: &http.Client{Transport: withToken(h.token(who, server, false))}}, era)
				if err != nil {
					t.Fatal(err)
				}
				res, err := c.call(deadline(t), "query", object{"sql": insert})
				switch {
				case err != nil:
					t.Errorf("%s, %s, %s: %v", server, era, who, err)
				case res.IsError != (refused != "") || !strings.Contains(res.Text, refused):
					t.Errorf("%s, %s, %s: %+v, want %q", server, era, who, res, refused)
				case !res.IsError && !strings.Contains(string(res.Structured), `"user":"v-jwt-bob-`):
					t.Errorf("%s, %s: bob's call ran as %s", server, era, res.Structured)
				}
			}
		}
	}
	h.nothingIsLeft(h.sqliteRecords)
}

// withToken is a transport that adds the access token.
type withToken string

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(w))
	return http.DefaultTransport.RoundTrip(r)
}

// TestLegacyPostgresDemonstration is what README.md of the example says, by its own script.
func TestLegacyPostgresDemonstration(t *testing.T) {
	t.Parallel()
	h := newLegacyHouse(t, legacySetup{})
	env := append(h.environment(), "WORK="+t.TempDir(), "REPORTS="+freeport.Address(t), "WICKETGATE="+binary, "LEGACY_POSTGRES="+legacyProgram(t))
	run := exec.CommandContext(t.Context(), filepath.Join(example, "run.sh"))
	run.Env = env
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := newOutput()
	run.Stderr = said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-run.Process.Pid, syscall.SIGTERM)
		_ = run.Wait()
		if t.Failed() {
			t.Log(said)
		}
	}()
	for s := bufio.NewScanner(out); !strings.Contains(s.Text(), "It runs"); {
		if !s.Scan() {
			t.Fatalf("run.sh has ended: %s", said)
		}
	}
	h.forget()
	query := func(server, who, sql string) (rows, error) {
		ctx, cancel := context.WithTimeout(t.Context(), testWithin)
		defer cancel()
		c := exec.CommandContext(ctx, filepath.Join(example, "run.sh"), "query", server, who, sql)
		c.Env = env
		b, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("run.sh query: %v: %s", err, b)
		}
		return readRows(b)
	}
	first, err1 := query("reports", "alice", `SELECT 'say "\' AS said`)
	second, err2 := query("reports", "alice", "SELECT 1")
	if err1 != nil || err2 != nil || first.User == second.User || first.Rows[0]["said"] != `say "\` {
		t.Errorf("alice's calls: %+v, %+v, errors %v, %v", first, second, err1, err2)
	}
	const insert = "INSERT INTO orders (what) VALUES ('tea') RETURNING what"
	if said, err := query("ledger", "bob", insert); err != nil || said.Rows[0]["what"] != "tea" {
		t.Errorf("bob: %+v, error %v", said, err)
	}
	if said, err := query("ledger", "alice", insert); err == nil || !strings.Contains(err.Error(), "permission denied for table orders") {
		t.Errorf("alice: %+v, error %v", said, err)
	}
	eventually(t, "nobody is left", func() bool { return len(h.users()) == 0 })
}
