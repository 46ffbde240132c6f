package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/needed"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

const (
	example = "../examples/legacy-postgres"
	agent   = "agent" // who acts for persons there
)

// subjects are the example's, and two more.
var subjects = []string{"alice", "bob", "carol", "dave"}

// eventWithin bounds the wait for what a busy machine does in its own time, and for what a
// Vault token's end takes away.
const eventWithin = 3 * time.Minute

// legacyHouse is what examples/legacy-postgres sets up, with a real Vault and a real
// PostgreSQL: the gateway is the replica.
type legacyHouse struct {
	*replica
	t      *testing.T
	vault  *vaulttest.Vault
	log    string // Vault's audit file
	db     string // URL of the database, as its owner
	name   string // of the database
	pg     string // HOST:PORT of PostgreSQL
	issuer string
	admin  string // URL
	server string // URL of the legacy server over HTTP
}

// legacySetup is what differs between the tests.
type legacySetup struct {
	vault   func(address string) string // what the gateway takes for Vault; nil: Vault itself
	reports func(server string) string  // what it takes for the server over HTTP; nil: the server
	command string                      // in the place of the example's; empty: it
	change  []string                    // further replacements in wicketgate.yaml
	servers string                      // further ones of it
	tools   string                      // of those, in access.yaml
	extra   string                      // further lines of it
	files   map[string]string           // further ones
}

// legacyProgram is the example's server.
func legacyProgram(t *testing.T) string {
	t.Helper()
	return needed.Built(t, "../examples/legacy-postgres", "github.com/wicketgate/wicketgate/examples/legacy-postgres", "make test-tools")
}

// newLegacyHouse makes everything but the gateway's process.
func newLegacyHouse(t *testing.T, c legacySetup) *legacyHouse {
	t.Helper()
	h := &legacyHouse{t: t, vault: vaulttest.Start(t), db: pgtest.Empty(t)}
	u, err := url.Parse(h.db)
	if err != nil {
		t.Fatal(err)
	}
	h.name, h.pg = strings.TrimPrefix(u.Path, "/"), forward(t, filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432"))
	h.log = h.vault.Audit(t)
	h.server = h.startServer()
	listen := freeport.Address(t)
	h.issuer, h.admin = "http://"+listen, "http://"+freeport.Address(t)
	h.replica = newServe(t, listen, h.files(listen, c))
	return h
}

// startLegacy is newLegacyHouse with a gateway that serves, and a Vault that is set up.
func startLegacy(t *testing.T, c legacySetup) *legacyHouse {
	t.Helper()
	h := newLegacyHouse(t, c)
	h.start(t)
	h.setUp()
	return h
}

// startServer runs the example's server over HTTP.
func (h *legacyHouse) startServer() string {
	h.t.Helper()
	listen := freeport.Address(h.t)
	host, port, _ := net.SplitHostPort(h.pg)
	c := exec.Command(legacyProgram(h.t), "-listen", listen, "-database", fmt.Sprintf("host=%s port=%s dbname=%s", host, port, h.name))
	if err := c.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	eventually(h.t, "the legacy server listens", func() bool {
		conn, err := net.Dial("tcp", listen)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "http://" + listen + "/mcp"
}

// files are those of the example, with the addresses and paths of this test.
func (h *legacyHouse) files(listen string, c legacySetup) map[string]string {
	h.t.Helper()
	same := func(s string) string { return s }
	toVault, toServer := c.vault, c.reports
	if toVault == nil {
		toVault = same
	}
	if toServer == nil {
		toServer = same
	}
	command := c.command
	if command == "" {
		command = legacyProgram(h.t)
	}
	_, port, _ := net.SplitHostPort(h.pg)
	everybody := strings.Join(subjects, ", ")
	yaml := strings.NewReplacer(append([]string{"127.0.0.1:8420", listen, "127.0.0.1:8421", strings.TrimPrefix(h.admin, "http://"), "http://127.0.0.1:8200", toVault(h.vault.URL) + "\n  audience: " + h.vault.URL,
		"http://127.0.0.1:9000/mcp", toServer(h.server), "127.0.0.1:5432/app", h.pg + "/" + h.name, `"5432"`, `"` + port + `"`, "/usr/local/bin/legacy-postgres", command,
		"  login:", "  timeout: 1m\n  login:", "acts_for: [alice, bob]", "acts_for: [" + everybody + "]",
		"clients:\n", "clients:\n  - {id: carol, secret_file: carol.secret}\n  - {id: dave, secret_file: dave.secret}\n"}, c.change...)...).Replace(strings.Replace(readFile(h.t, filepath.Join(example, "wicketgate.yaml")), "\n# Two persons", c.servers+"\n# Two persons", 1))
	files := map[string]string{"wicketgate.yaml": yaml + "log: {level: debug}\n" + c.extra,
		"access.yaml": strings.ReplaceAll(readFile(h.t, filepath.Join(example, "access.yaml")), "[alice, bob]", "["+everybody+"]") + c.tools}
	for _, who := range append(subjects, agent) {
		files[who+".secret"] = who + workloadSecret
	}
	maps.Copy(files, c.files)
	return files
}

// environment is what run.sh takes.
func (h *legacyHouse) environment() []string {
	host, port, _ := net.SplitHostPort(h.pg)
	return append(os.Environ(), "VAULT_ADDR="+h.vault.URL, "VAULT_TOKEN="+vaulttest.RootToken, "PGHOST="+host, "PGPORT="+port, "PGDATABASE="+h.name,
		"PGUSER=postgres", "PGPASSWORD=unused-on-a-unix-socket", "LISTEN="+strings.TrimPrefix(h.issuer, "http://"), "ADMIN="+strings.TrimPrefix(h.admin, "http://"))
}

// forget drops what run.sh makes in the whole PostgreSQL, and not in the database alone.
func (h *legacyHouse) forget() {
	h.t.Helper()
	h.t.Cleanup(func() {
		pgtest.Query(h.t, h.db, fmt.Sprintf("DROP OWNED BY %[1]s_readers, %[1]s_writers; DROP ROLE %[1]s_readers, %[1]s_writers", h.name))
	})
}

// setUp sets the database and Vault up, by the example's run.sh, for the gateway that runs.
func (h *legacyHouse) setUp() {
	h.t.Helper()
	c := exec.CommandContext(h.t.Context(), filepath.Join(example, "run.sh"), "setup")
	c.Env = h.environment()
	if out, err := c.CombinedOutput(); err != nil {
		h.t.Fatalf("run.sh setup: %v\n%s", err, out)
	}
	h.forget()
	for _, server := range []string{"reports", "ledger"} {
		for _, who := range subjects[2:] {
			h.vault.SetUp(h.t, "person", server, who, h.name+"_readers")
		}
	}
}

// alike has Vault give the calls of a server what those of another get.
func (h *legacyHouse) alike(server, other string) {
	h.t.Helper()
	role := h.vault.Do(h.t, http.MethodGet, "auth/jwt/role/"+other, nil)["data"].(map[string]any)
	role["bound_claims"] = map[string]any{"client_id": "wicketgate-gateway", "/authorization_details/0/server": server}
	h.vault.Do(h.t, http.MethodPost, "auth/jwt/role/"+server, role)
}

// shortTokens has Vault's tokens live no longer than a test can wait, our own login's too:
// they are renewed while somebody needs them.
func (h *legacyHouse) shortTokens(servers ...string) {
	h.t.Helper()
	for _, role := range append(servers, "wicketgate") {
		path := "auth/jwt/role/" + role
		role := h.vault.Do(h.t, http.MethodGet, path, nil)["data"].(map[string]any)
		role["token_ttl"] = "20s"
		h.vault.Do(h.t, http.MethodPost, path, role)
	}
	h.revoke("jwt-wicketgate-gateway")
}

// revoke has an operator revoke the tokens of those names.
func (h *legacyHouse) revoke(names ...string) (n int) {
	h.t.Helper()
	for _, accessor := range h.keys("auth/token/accessors") {
		body := map[string]any{"accessor": accessor}
		answer, err := h.vault.Ask(h.t.Context(), http.MethodPost, "auth/token/lookup-accessor", body)
		if err != nil || !slices.Contains(names, answer["data"].(map[string]any)["display_name"].(string)) {
			continue
		}
		if _, err := h.vault.Ask(h.t.Context(), http.MethodPost, "auth/token/revoke-accessor", body); err == nil {
			n++
		}
	}
	return n
}

// forward makes a way by TCP to a Unix socket, until the end of the test.
func forward(t *testing.T, socket string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	half := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_, _ = to.Close(), from.Close()
	}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", socket)
			if err != nil {
				_ = from.Close()
				continue
			}
			go half(to, from)
			go half(from, to)
		}
	}()
	return l.Addr().String()
}

// users are those of the database that Vault has made and not ended.
func (h *legacyHouse) users() []string {
	h.t.Helper()
	return strings.Fields(pgtest.Query(h.t, h.db, fmt.Sprintf(`SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%%' AND (pg_has_role(oid, '%[1]s_readers', 'member') OR pg_has_role(oid, '%[1]s_writers', 'member'))`, h.name)))
}

// leases are those that Vault has of its database engine.
func (h *legacyHouse) leases() []string {
	h.t.Helper()
	return h.below("sys/leases/lookup/database/creds")
}

func (h *legacyHouse) below(path string) (out []string) {
	h.t.Helper()
	for _, name := range h.keys(path) {
		if folder, ok := strings.CutSuffix(name, "/"); ok {
			out = append(out, h.below(path+"/"+folder)...)
		} else {
			out = append(out, path+"/"+name)
		}
	}
	return out
}

// keys lists a path of Vault's: nothing where there is nothing.
func (h *legacyHouse) keys(path string) (out []string) {
	h.t.Helper()
	answer, err := h.vault.Ask(h.t.Context(), "LIST", path, nil)
	if err != nil && strings.Contains(err.Error(), "HTTP 404") {
		return nil
	}
	if err != nil {
		h.t.Fatal(err)
	}
	for _, key := range answer["data"].(map[string]any)["keys"].([]any) {
		out = append(out, key.(string))
	}
	return out
}

// tokens are the names of Vault's tokens, but for the root's and our own login's.
func (h *legacyHouse) tokens() (out []string) {
	h.t.Helper()
	own := 0
	for _, accessor := range h.keys("auth/token/accessors") {
		answer, err := h.vault.Ask(h.t.Context(), http.MethodPost, "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
		if err != nil { // it has ended meanwhile
			continue
		}
		switch name := answer["data"].(map[string]any)["display_name"].(string); {
		case name == "token": // the root
		case name == "jwt-wicketgate-gateway" && own == 0:
			own++
		default:
			out = append(out, name)
		}
	}
	return out
}

// nothingIsLeft waits until nothing of any call is.
func (h *legacyHouse) nothingIsLeft(records func() int) {
	h.t.Helper()
	var users, leases, tokens []string
	var recorded int
	ctx, cancel := context.WithTimeout(h.t.Context(), eventWithin)
	defer cancel()
	for tick := time.Tick(100 * time.Millisecond); ; <-tick {
		users, leases, tokens, recorded = h.users(), h.leases(), h.tokens(), records()
		if len(users)+len(leases)+len(tokens)+recorded == 0 {
			return
		}
		if ctx.Err() != nil {
			h.t.Fatalf("left: the users %v, the leases %v, the tokens %v and %d records", users, leases, tokens, recorded)
		}
	}
}

// leaseLine is what these tests read of a line of the audit log that is about a lease.
type leaseLine struct {
	line
	Lease string `json:"lease"`
}

// leaseLines are those of our audit log.
func (h *legacyHouse) leaseLines() (out []leaseLine) {
	h.t.Helper()
	for text := range strings.Lines(readFile(h.t, h.auditFile())) {
		var l leaseLine
		if !strings.HasSuffix(text, "\n") {
			break // it is being written
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			h.t.Fatal(err)
		}
		if l.Kind == "lease" {
			out = append(out, l)
		}
	}
	return out
}

// vaultLines are the requests of the path in Vault's audit log.
func (h *legacyHouse) vaultLines(path string) (out []vaulttest.AuditLine) {
	h.t.Helper()
	return slices.DeleteFunc(vaulttest.ReadAudit(h.t, h.log), func(l vaulttest.AuditLine) bool { return l.Type != "request" || l.Request.Path != path })
}

// sqliteRecords counts what the store has of leases.
func (h *legacyHouse) sqliteRecords() int {
	h.t.Helper()
	s, err := sqlite.OpenReadOnly(h.t.Context(), filepath.Join(h.data, "wicketgate.db"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Close()
	records, err := s.Leases(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return len(records)
}
