package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

const (
	vaultAudience = "https://vault.example.com:8200"
	noteOfAlice   = "alice-has-a-key-of-her-own"
)

// legacyWorld is a world with a real Vault, set up by deploy/vault, a real PostgreSQL and
// two servers that know nothing of tokens. alice and bob are subjects; the agent acts for
// either.
type legacyWorld struct {
	*world
	vault    *vaulttest.Vault
	audit    string // Vault's
	db       string // URL of the database, as its owner
	database string // its name
	reports  *httptest.Server
	stop     func() int

	transport http.RoundTripper // of clients; nil: to the listener
}

// legacyConfig is what differs between the tests.
type legacyConfig struct {
	login  string // vault.login
	method string // jwt or child: what setup.sh server sets up
	server string // of each server's vault: role, or token_role; NAME is the server
	extra  string // further lines of wicketgate.yaml
	also   string // further servers
}

var loginByJWT = legacyConfig{login: `{method: jwt, role: wicketgate}`, method: "jwt", server: "role: NAME"}

func newLegacyWorld(t *testing.T) *legacyWorld {
	t.Helper()
	return newLegacyWorldWith(t, vaulttest.Start(t))
}

func newLegacyWorldWith(t *testing.T, v *vaulttest.Vault) *legacyWorld {
	t.Helper()
	w := &legacyWorld{world: &world{t: t, dir: t.TempDir(), issuer: "http://127.0.0.1:" + freeport.Port(t), served: make(chan struct{}), log: newLog()},
		vault: v, db: pgtest.Empty(t)}
	w.prepare()
	return w
}

func (w *legacyWorld) prepare() {
	u, err := url.Parse(w.db)
	if err != nil {
		w.t.Fatal(err)
	}
	w.audit, w.database = w.vault.Audit(w.t), strings.TrimPrefix(u.Path, "/")
	w.sql(fmt.Sprintf(`CREATE TABLE salaries (who text, amount int); INSERT INTO salaries VALUES ('carol', 7);
		CREATE ROLE %[1]s NOLOGIN; CREATE ROLE %[2]s NOLOGIN; GRANT SELECT ON salaries TO %[1]s`, w.group("analysts"), w.group("clerks")))
	w.t.Cleanup(func() {
		w.sql(fmt.Sprintf("DROP TABLE salaries; DROP ROLE %s; DROP ROLE %s", w.group("analysts"), w.group("clerks")))
	})
	w.reports = httptest.NewServer(legacyServers(w.db))
	w.t.Cleanup(w.reports.Close)
	w.write("agent.secret", agentSecret+"\n")
	for _, who := range []string{"alice", "bob"} {
		w.write(who+".secret", who+agentSecret+"\n")
	}
	w.write("access.yaml", `version: 1
roles:
  staff:
    who: {clients: [alice, bob], users: [alice, bob]}
    servers:
      reports: {tools: [query]}
      notes: {tools: [whoami]}
      mail: {tools: [whoami]}
`)
}

// group is a role of the database that only this test has: all databases share them.
func (w *legacyWorld) group(name string) string { return name + "_" + w.database }

func (w *legacyWorld) sql(statement string) string {
	w.t.Helper()
	return pgtest.Query(w.t, w.db, statement)
}

// query runs one statement, and says as whom.
func query(ctx context.Context, cfg *pgx.ConnConfig, sql string) (string, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var user, answer string
	if err := conn.QueryRow(ctx, "SELECT current_user").Scan(&user); err != nil {
		return "", err
	}
	err = conn.QueryRow(ctx, sql).Scan(&answer)
	return user + " " + answer, err
}

// legacyStdio is such a server as a command: it has the DSN in its environment, and tells
// its standard error.
func legacyStdio() {
	s := mcp.NewServer(&mcp.Implementation{Name: "legacy", Version: "1"}, nil)
	type arguments struct {
		SQL string `json:"sql"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "query"}, func(ctx context.Context, _ *mcp.CallToolRequest, in arguments) (*mcp.CallToolResult, any, error) {
		cfg, err := pgx.ParseConfig(os.Getenv("DSN"))
		if err != nil {
			return nil, nil, err
		}
		fmt.Fprintln(os.Stderr, "connecting with", os.Getenv("DSN"))
		said, err := query(ctx, cfg, in.SQL)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf("%s process %d %s", said, os.Getpid(), os.Getenv("DSN"))}}}, nil, err
	})
	_ = s.Run(context.Background(), &mcp.StdioTransport{})
}

// legacyServers are reports, which connects to the database as whom two headers say, and
// notes and mail, which say what they were sent.
func legacyServers(db string) http.Handler {
	mux := http.NewServeMux()
	add := func(path, tool string, do func(context.Context, http.Header, string) (string, error)) {
		s := mcp.NewServer(&mcp.Implementation{Name: "legacy", Version: "1"}, nil)
		type arguments struct {
			SQL string `json:"sql,omitempty"`
		}
		mcp.AddTool(s, &mcp.Tool{Name: tool}, func(ctx context.Context, r *mcp.CallToolRequest, in arguments) (*mcp.CallToolResult, any, error) {
			text, err := do(ctx, r.Extra.Header, in.SQL)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, err
		})
		mux.Handle(path, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, nil))
	}
	add("/reports", "query", func(ctx context.Context, h http.Header, sql string) (string, error) {
		cfg, err := pgx.ParseConfig(db)
		if err != nil {
			return "", err
		}
		cfg.User, cfg.Password = h.Get("X-Db-User"), h.Get("X-Db-Password")
		said, err := query(ctx, cfg, sql)
		return said + " " + h.Get("Authorization"), err
	})
	say := func(_ context.Context, h http.Header, _ string) (string, error) {
		return fmt.Sprintf("key %d, authorization %q", len(h.Get("X-Key")), h.Get("Authorization")), nil
	}
	add("/notes", "whoami", say)
	add("/mail", "whoami", say)
	return mux
}

// yaml writes wicketgate.yaml.
func (w *legacyWorld) yaml(c legacyConfig) string {
	w.t.Helper()
	at := func(name string) string { return strings.ReplaceAll(c.server, "NAME", name) }
	return w.write("wicketgate.yaml", fmt.Sprintf(`issuer: %s
listen: %s
admin: {listen: "127.0.0.1:0"}
data: data
policy: access.yaml
trust: first-use
vault:
  address: %s
%s%s  login: %s
servers:
%s
clients:
%slog: {level: debug, format: json}
%s`, w.issuer, strings.TrimPrefix(w.issuer, "http://"), w.vault.URL, map[bool]string{true: "  audience: " + vaultAudience + "\n"}[c.method == "jwt"], map[bool]string{true: "  ca: " + w.vault.CAFile + "\n"}[w.vault.CAFile != ""], c.login, w.servers(at)+c.also, legacyClients, c.extra))
}

const legacyClients = `  - {id: alice, secret_file: alice.secret}
  - {id: bob, secret_file: bob.secret}
  - {id: ` + agentID + `, secret_file: agent.secret, grant_types: ["` + oauth.GrantTokenExchange + `"], acts_for: [alice, bob]}
`

// servers are the servers; at is what each one's vault has besides.
func (w *legacyWorld) servers(at func(string) string) string {
	return strings.ReplaceAll(`  - name: reports
    url: URL/reports
    credential: vault
    vault:
      engine: database
      path: "database/creds/reports-{{.subject}}"
      `+at("reports")+`
      inject:
        header: [{name: X-Db-User, value: "{{.username}}"}, {name: X-Db-Password, value: "{{.password}}"}]
  - name: notes
    url: URL/notes
    credential: vault
    vault:
      engine: kv
      path: "secret/data/notes/{{.subject}}"
      `+at("notes")+`
      inject:
        header: [{name: X-Key, value: "{{.key}}"}]
  - {name: mail, url: "URL/mail"}`, "URL", w.reports.URL)
}

// setUp runs deploy/vault/setup.sh as an operator does.
func (w *legacyWorld) setUp(arguments ...string) string {
	w.t.Helper()
	c := setUpCommand(w.t, w.vault.URL, arguments...)
	c.Env = append(c.Env, "VAULT_CACERT="+w.vault.CAFile)
	out, err := c.CombinedOutput()
	if err != nil {
		w.t.Fatalf("setup.sh %v: %v\n%s", arguments, err, out)
	}
	return string(out)
}

func setUpCommand(t *testing.T, address string, arguments ...string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), "../../deploy/vault/setup.sh", arguments...)
	c.Env = append(os.Environ(), "VAULT_ADDR="+address, "VAULT_TOKEN="+vaulttest.RootToken)
	return c
}

// both sets up what the two servers need of Vault.
func (w *legacyWorld) both(method string) {
	w.t.Helper()
	for range 2 { // what is there is written again
		w.setUp("database", "reports", w.db)
		w.setUp("person", "reports", "alice", w.group("analysts"))
		w.setUp("person", "reports", "bob", w.group("clerks"))
		w.setUp("server", "reports", method)
		w.setUp("server", "notes", method)
	}
	w.vault.Do(w.t, http.MethodPost, "secret/data/notes/alice", map[string]any{"data": map[string]string{"key": noteOfAlice}})
}

// begin serves, and has Vault trust it.
func (w *legacyWorld) begin(c legacyConfig) {
	w.t.Helper()
	w.stop = w.start(w.yaml(c))
	w.setUp("jwt", w.issuer, vaultAudience)
	w.both(c.method)
}

// token is an access token for the subject: its own, or by an agent that acts for it.
func (w *legacyWorld) token(subject, server string, agent bool) string {
	w.t.Helper()
	resource := w.issuer + "/mcp/" + server
	raw, refused := tokenIn(w.post(w.client(), w.issuer+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "resource": {resource}}, subject, subject+agentSecret))
	if raw != "" && agent {
		raw, refused = tokenIn(w.post(w.client(), w.issuer+"/oauth2/token", url.Values{"grant_type": {oauth.GrantTokenExchange}, "subject_token": {raw},
			"subject_token_type": {oauth.TokenTypeAccessToken}, "resource": {resource}}, agentID, agentSecret))
	}
	if raw == "" {
		w.t.Fatalf("a token of %s: %s", subject, refused)
	}
	return raw
}

// client goes to the listener in the clear.
func (w *legacyWorld) client() *http.Client {
	if w.transport != nil {
		return &http.Client{Transport: w.transport}
	}
	t := &http.Transport{}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// call is one call of a tool in a session of its own.
func (w *legacyWorld) call(raw, server, tool string, arguments map[string]any) (string, error) {
	w.t.Helper()
	client := w.client()
	client.Transport = bearer{client.Transport, raw}
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(w.t.Context(),
		&mcp.StreamableClientTransport{Endpoint: w.issuer + "/mcp/" + server, HTTPClient: client, DisableStandaloneSSE: true}, nil)
	if err != nil {
		return "", err
	}
	defer s.Close()
	res, err := s.CallTool(w.t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return "", err
	}
	text := res.Content[0].(*mcp.TextContent).Text
	if res.IsError {
		return "", fmt.Errorf("the tool: %s", text)
	}
	return text, nil
}

// query calls the database as the subject, for whom the agent acts.
func (w *legacyWorld) query(subject, sql string) (string, error) {
	w.t.Helper()
	return w.call(w.token(subject, "reports", true), "reports", "query", map[string]any{"sql": sql})
}

// users are those that Vault has made and not ended.
func (w *legacyWorld) users() []string {
	w.t.Helper()
	return strings.Fields(w.sql(`SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%' AND pg_has_role(rolname, '` + w.group("analysts") + `', 'member') OR rolname LIKE 'v-%' AND pg_has_role(rolname, '` + w.group("clerks") + `', 'member')`))
}

// until waits for an event.
func (w *legacyWorld) until(what string, f func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); !f(); <-tick {
		if ctx.Err() != nil {
			w.t.Fatalf("it never came: %s", what)
		}
	}
}

// vaultLines are the requests of a path in Vault's audit file: whose token it was.
func (w *legacyWorld) vaultLines(path string) (lines []vaulttest.AuditLine) {
	w.t.Helper()
	for _, l := range vaulttest.ReadAudit(w.t, w.audit) {
		if l.Type == "request" && l.Request.Path == path {
			lines = append(lines, l)
		}
	}
	return lines
}

// leaseLines are those of our audit log about credentials.
func (w *legacyWorld) leaseLines(of *world) (lines []map[string]any) {
	w.t.Helper()
	for line := range strings.Lines(readText(w.t, filepath.Join(of.dir, "data", fileAudit))) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			w.t.Fatal(err)
		}
		if l["kind"] == "lease" {
			lines = append(lines, l)
		}
	}
	return lines
}
