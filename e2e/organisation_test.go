package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/spiretest"
)

// TestOrganisation is the real thing as an organisation runs it: two replicas of
// wicketgate serve behind a load balancer, one PostgreSQL, people who log in at an
// OIDC provider, roles from their groups and claims.
func TestOrganisation(t *testing.T) {
	balancer := newBalancer(t)
	issuer := "http://" + balancer.Addr().String()
	idp := startIDP(t, issuer+"/oauth2/callback")
	tickets := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return ticketServer() }, nil))
	t.Cleanup(tickets.Close)
	database := pgtest.Empty(t)
	var replicas []*replica
	for i := range 2 {
		replicas = append(replicas, newReplica(t, i, issuer, idp, database, tickets.URL))
	}
	if code, printed := command(t, "serve", "--config", replicas[0].config, "--check-config"); code != 0 || !strings.Contains(printed, "ok") {
		t.Fatalf("check-config: %d %s", code, printed)
	}
	if code, printed := command(t, "migrate", "status", "--config", replicas[0].config); code != 0 || !strings.Contains(printed, "schema 0 of") {
		t.Errorf("migrate status: %d %s", code, printed)
	}
	if code, printed := command(t, "migrate", "up", "--config", replicas[0].config); code != 0 || !strings.Contains(printed, "up to date") {
		t.Fatalf("migrate up: %d %s", code, printed)
	}
	for _, r := range replicas {
		r.start(t)
		balancer.add(r.listen)
	}
	resource := issuer + "/mcp/tickets"
	for user, want := range map[string][]string{"alice": {"close", "read"}, "bob": {"read"}, "mallory": nil} {
		r := newRobot(user, "approve")
		r.idp = idp
		c, _ := goLoginAt(t, resource, r)
		names, err := c.list(deadline(t))
		slices.Sort(names)
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%s sees %v, error %v, want %v", user, names, err, want)
		}
		res, err := c.call(deadline(t), "close", map[string]any{"number": 7})
		if user == "alice" && (err != nil || res.Text != "closed 7") {
			t.Errorf("alice closes: %+v, error %v", res, err)
		}
		if user != "alice" && (err == nil || !strings.Contains(err.Error(), "Unknown tool")) {
			t.Errorf("%s closes: %+v, error %v, want Unknown tool", user, res, err)
		}
	}
	for i, r := range replicas {
		if b, err := os.ReadFile(filepath.Join(r.dir, "data", "audit.jsonl")); err != nil || strings.Count(string(b), "\n") < 5 {
			t.Errorf("replica %d took no part: %v\n%s", i, err, b)
		}
		if code, printed := command(t, "audit", "verify", "--config", r.config); code != 0 {
			t.Errorf("audit verify of replica %d: %s", i, printed)
		}
	}
	if code, printed := command(t, "clients", "list", "--config", replicas[0].config); code != 0 || !strings.Contains(printed, goClientName) {
		t.Errorf("clients list: %d %s", code, printed)
	}
	if code, printed := command(t, "keys", "list", "--config", replicas[1].config); code != 0 || !strings.Contains(printed, "current") {
		t.Errorf("keys list: %d %s", code, printed)
	}
}

// ticketServer is an ordinary MCP server that knows nothing of tokens.
func ticketServer() *mcp.Server {
	type ticket struct {
		Number int `json:"number" jsonschema:"of the ticket"`
	}
	srv := mcp.NewServer(&mcp.Implementation{Name: "tickets", Version: "1"}, nil)
	for name, done := range map[string]string{"read": "read", "close": "closed"} {
		mcp.AddTool(srv, &mcp.Tool{Name: name, Description: name + " a ticket"}, func(_ context.Context, _ *mcp.CallToolRequest, in ticket) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprint(done, " ", in.Number)}}}, nil, nil
		})
	}
	return srv
}

// replica is one wicketgate serve.
type replica struct {
	dir, config string
	listen      string
	user        int      // who runs it; 0: whoever runs the tests
	env         []string // besides that of the tests
	args        []string // further ones
	*house
}

func newReplica(t *testing.T, i int, issuer, idp, database, tickets string) *replica {
	t.Helper()
	listen := freeport.Address(t)
	return newServe(t, listen, map[string]string{
		"kek":        sharedKEK,
		"idp.secret": idpSecret,
		"access.yaml": `version: 1
roles:
  reader:
    who: {groups: [engineering, finance]}
    servers: {tickets: {tools: [read]}}
  engineer:
    who: {groups: [engineering]}
    when: {department: Engineering, cost_centre: [4711, 4712]}
    servers: {tickets: {tools: [read, close]}}
`,
		"wicketgate.yaml": `issuer: ` + issuer + `
listen: ` + listen + `
admin: {listen: "` + freeport.Address(t) + `"}
data: data
key_encryption_key: kek
policy: access.yaml
store:
  postgres: {url: "` + database + `"}
login:
  issuer: ` + idp + `
  client_id: wicketgate
  client_secret_file: idp.secret
  scopes: [openid, profile, groups, org]
  claims: [department, cost_centre]
servers:
  - {name: tickets, url: "` + tickets + `"}
trust: first-use
audit: {name: replica-` + fmt.Sprint(i) + `}
`,
	})
}

// sharedKEK is what replicas of one house must have in common.
const sharedKEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"

// newServe writes the files of a wicketgate serve, one of which is wicketgate.yaml.
func newServe(t *testing.T, listen string, files map[string]string) *replica {
	t.Helper()
	r := &replica{dir: t.TempDir(), listen: listen}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.config = filepath.Join(r.dir, "wicketgate.yaml")
	return r
}

func (r *replica) start(t *testing.T) {
	t.Helper()
	r.house = &house{data: filepath.Join(r.dir, "data"), stdout: newOutput(), stderr: newOutput(), exited: make(chan struct{})}
	r.cmd = exec.Command(binary, append([]string{"serve", "--config", r.config}, r.args...)...)
	r.cmd.Stdout, r.cmd.Stderr = r.stdout, r.stderr
	r.cmd.Env = append(os.Environ(), r.env...)
	if r.user != 0 {
		spiretest.As(t, r.cmd, r.user)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.err = r.cmd.Wait()
		close(r.exited)
	}()
	t.Cleanup(func() {
		r.end()
		if t.Failed() {
			t.Logf("stderr of the replica at %s:\n%s", r.listen, r.stderr)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	r.waitFor(ctx, t, readyLine)
}

// balancer gives each connection to the next backend, whatever is in it.
type balancer struct {
	net.Listener
	backends chan string // a ring
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{Listener: l, backends: make(chan string, 8)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

func (b *balancer) add(address string) { b.backends <- address }

func (b *balancer) serve(conn net.Conn) {
	defer conn.Close()
	address := <-b.backends
	b.backends <- address
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	go func() { _, _ = io.Copy(to, conn); to.Close() }()
	_, _ = io.Copy(conn, to)
}

const idpSecret = "the-secret-of-wicketgate-at-its-idp"

// startIDP starts the real OIDC provider; e2e/idp/idp.mjs says who is there.
func startIDP(t *testing.T, redirectURI string) (issuer string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join("idp", "node_modules", "oidc-provider")); err != nil {
		missing(t, "oidc-provider is not installed")
	}
	options, err := json.Marshal(map[string]any{"port": 0, "redirectURIs": []string{redirectURI}, "clientSecret": idpSecret})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "idp.mjs", string(options))
	cmd.Dir = "idp"
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var ready struct{ Issuer string }
		if json.Unmarshal(lines.Bytes(), &ready) == nil && ready.Issuer != "" {
			if _, err := url.Parse(ready.Issuer); err != nil {
				t.Fatal(err)
			}
			return ready.Issuer
		}
	}
	t.Fatal("the IdP did not start")
	return ""
}
