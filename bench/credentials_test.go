package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// credentialNames are what is measured on this machine, which may have no Vault.
func credentialNames(t *testing.T) []string {
	t.Helper()
	root, err := repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	program, err := vaultProgram(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if program == "" || postgresBinaries() == "" {
		return nil
	}
	return legacyNames
}

// requestsPerCall are those to Vault: login, mint, the end of the lease, the end of the token.
var requestsPerCall = map[string]float64{legacyToken: 0, legacyCall: 4, legacyKV: 3, legacyCommand: 0, legacyCommandPer: 3}

func checkCredentials(t *testing.T, c *credentialResults) {
	t.Helper()
	names := credentialNames(t)
	if len(names) == 0 {
		return
	}
	if c == nil || len(c.Rounds) != 2 || len(c.Rows) != len(names) {
		t.Fatalf("credentials: %+v, want two rounds and a row for each of %q", c, names)
	}
	for i, rd := range c.Rounds {
		for _, samples := range []map[string]credentialSample{rd.One, rd.Many} {
			for _, name := range names {
				s := samples[name]
				if s.Calls == 0 || s.P50 <= 0 || s.P99 < s.P50 {
					t.Errorf("round %d, %s: %+v", i+1, name, s)
				}
				// The gateway itself logs in now and then.
				if want, ok := requestsPerCall[name]; ok && (s.Requests < want || s.Requests > want+1) {
					t.Errorf("round %d, %s: %.2f requests to Vault per call, want %.0f", i+1, name, s.Requests, want)
				}
			}
		}
	}
}

// TestAddedIsTakenWithinARound: a round on a busy machine does not make credentials dear.
func TestAddedIsTakenWithinARound(t *testing.T) {
	rd := func(token, with float64) credentialRound {
		return credentialRound{One: map[string]credentialSample{legacyToken: {sample: sample{P50: token, P99: 2 * token}}, legacyKV: {sample: sample{P50: with, P99: 2 * with}}}}
	}
	row := newCredentialRow(legacyKV, connections, []credentialRound{rd(1, 4), rd(100, 103)})
	if row.AddedP50 != (spread{3, 3, 3}) || row.AddedP99 != (spread{6, 6, 6}) {
		t.Errorf("added %v and %v, want 3 and 6 in both rounds", row.AddedP50, row.AddedP99)
	}
}

// TestVaultsOwnTimes are those between the two lines of a request in its audit file.
func TestVaultsOwnTimes(t *testing.T) {
	v := &vaultServer{log: filepath.Join(t.TempDir(), "audit.jsonl")}
	line := func(kind, id, path, at string) string {
		return fmt.Sprintf(`{"type":"%s","time":"2026-01-01T00:00:%sZ","request":{"id":"%s","path":"%s"}}`+"\n", kind, at, id, path)
	}
	earlier := line("request", "0", "auth/jwt/login", "00.5") + line("response", "0", "auth/jwt/login", "00.6")
	log := earlier + line("request", "a", "auth/jwt/login", "01.000") + line("request", "b", "database/creds/reports-x", "01.001") +
		line("response", "b", "database/creds/reports-x", "01.021") + line("response", "a", "auth/jwt/login", "01.002") + line("request", "c", "sys/leases/revoke", "02")
	if err := os.WriteFile(v.log, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	took, err := v.audited(int64(len(earlier)))
	if got, want := fmt.Sprint(took), "map[login:[2] mint:[20]]"; err != nil || got != want {
		t.Errorf("audited() = %s, %v; want %s", got, err, want)
	}
}

// TestCredentialsThatWereNotMeasured have no row: a machine without Vault must not report
// that credentials cost nothing.
func TestCredentialsThatWereNotMeasured(t *testing.T) {
	var out strings.Builder
	(&results{}).print(&out)
	if strings.Contains(out.String(), legacyKV) {
		t.Errorf("printed %s", &out)
	}
}
