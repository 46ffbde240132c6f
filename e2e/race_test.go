package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/pgtest"
)

const (
	raceRounds  = 1000
	raceCallers = 32
)

// A12: TestToolTokenIsUsedOnceOverTwoProcesses is a tool token that was copied: in each
// round 32 callers present one at once, half of them to either of two processes that
// have nothing in common but PostgreSQL. One call is made.
func TestToolTokenIsUsedOnceOverTwoProcesses(t *testing.T) {
	var made atomic.Int64
	upstream := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return bookings(&made) }, &mcp.StreamableHTTPOptions{Stateless: true}))
	t.Cleanup(upstream.Close)
	r := newRace(t, upstream.URL)
	for round := range raceRounds {
		if round%100 == 0 {
			r.login(t)
		}
		raw := r.exchange(t, round)
		before, won := made.Load(), 0
		for i, a := range r.present(raw, round) {
			switch {
			case a.err != nil:
				t.Fatalf("round %d, caller %d: %v", round, i, a.err)
			case a.status == http.StatusOK && strings.Contains(a.body, fmt.Sprintf("booked %d", round)):
				won++
			case a.status != http.StatusForbidden || !strings.Contains(a.body, "the tool token has been used"):
				t.Errorf("round %d, caller %d lost with %d %s", round, i, a.status, a.body)
			}
		}
		if calls := made.Load() - before; won != 1 || calls != 1 {
			t.Fatalf("round %d: %d callers of %d succeeded, the upstream got %d calls, want one", round, won, raceCallers, calls)
		}
	}
	r.checkRecorded(t)
}

// bookings is a server whose tool has an effect that nobody wants twice.
func bookings(made *atomic.Int64) *mcp.Server {
	type seat struct {
		Number int `json:"number" jsonschema:"of the seat"`
	}
	srv := mcp.NewServer(&mcp.Implementation{Name: "bookings", Version: "1"}, nil)
	mcp.AddTool(srv, &mcp.Tool{Name: "book", Description: "book a seat"}, func(_ context.Context, _ *mcp.CallToolRequest, in seat) (*mcp.CallToolResult, any, error) {
		made.Add(1)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprint("booked ", in.Number)}}}, nil, nil
	})
	return srv
}

// race is a client of two replicas, to which it goes past any balancer.
type race struct {
	replicas []*replica
	host     string // of the issuer, whichever replica is asked
	client   *http.Client
	parent   string // access token
	session  string // that it opened
}

func newRace(t *testing.T, upstream string) *race {
	t.Helper()
	listens := []string{freeport.Address(t), freeport.Address(t)}
	database := pgtest.Migrated(t)
	r := &race{host: listens[0], client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: raceCallers}}}
	t.Cleanup(r.client.CloseIdleConnections)
	for i, listen := range listens {
		replica := newServe(t, listen, map[string]string{
			"kek": sharedKEK, "secret": workloadSecret,
			"access.yaml": "version: 1\nroles:\n  booker:\n    who: {clients: [billing-agent]}\n    servers: {seats: {tools: [book]}}\n",
			"wicketgate.yaml": `issuer: http://` + r.host + `
listen: ` + listen + `
admin: {listen: "` + freeport.Address(t) + `"}
data: data
key_encryption_key: kek
policy: access.yaml
trust: first-use
store: {postgres: {url: "` + database + `"}}
audit: {name: replica-` + fmt.Sprint(i) + `}
servers:
  - {name: seats, url: "` + upstream + `"}
clients:
  - {id: billing-agent, secret_file: secret, grant_types: [client_credentials, "` + oauth.GrantTokenExchange + `"]}
`})
		replica.start(t)
		r.replicas = append(r.replicas, replica)
	}
	return r
}

// reply is what a replica answered.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// to posts the body to the replica.
func (r *race) to(i int, path string, h http.Header, body string) (a reply) {
	req, err := http.NewRequest(http.MethodPost, "http://"+r.replicas[i].listen+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	req.Host, req.Header = r.host, h
	resp, err := r.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(b), err}
}

// token asks the first replica for one as billing-agent.
func (r *race) token(t *testing.T, form url.Values) string {
	t.Helper()
	form.Set("client_id", "billing-agent")
	form.Set("client_secret", workloadSecret)
	form.Set("resource", "http://"+r.host+"/mcp/seats")
	var answer tokenAnswer
	a := r.to(0, "/oauth2/token", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode())
	if err := errors.Join(a.err, json.Unmarshal([]byte(a.body), &answer)); err != nil || answer.AccessToken == "" {
		t.Fatalf("token endpoint: %d %s, error %v", a.status, a.body, err)
	}
	return answer.AccessToken
}

// login gets an access token, and opens the session with it once.
func (r *race) login(t *testing.T) {
	t.Helper()
	r.parent = r.token(t, url.Values{"grant_type": {oauth.GrantClientCredentials}})
	if r.session != "" {
		return
	}
	a := r.to(0, "/mcp/seats", mcpHeader(r.parent), `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+protocolVersion+
		`","capabilities":{},"clientInfo":{"name":"race","version":"1"}}}`)
	if r.session = a.header.Get("Mcp-Session-Id"); a.err != nil || r.session == "" {
		t.Fatalf("initialize: %d %s, error %v", a.status, a.body, a.err)
	}
}

// exchange makes a tool token for the round's seat.
func (r *race) exchange(t *testing.T, round int) string {
	t.Helper()
	return r.token(t, url.Values{"grant_type": {oauth.GrantTokenExchange}, "subject_token": {r.parent}, "subject_token_type": {oauth.TokenTypeAccessToken}, "scope": {"tool:book"},
		"authorization_details": {fmt.Sprintf(`[{"type":"mcp_tool_call","server":"seats","tool":"book","arguments":{"number":%d}}]`, round)}})
}

// present has all callers present the tool token at once.
func (r *race) present(raw string, round int) []reply {
	h := mcpHeader(raw)
	h.Set("Mcp-Session-Id", r.session)
	h.Set("MCP-Protocol-Version", protocolVersion)
	message := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"book","arguments":{"number":%d}}}`, round)
	answers := make([]reply, raceCallers)
	var ready, done sync.WaitGroup
	ready.Add(raceCallers)
	for i := range answers {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			answers[i] = r.to(i%len(r.replicas), "/mcp/seats", h, message)
		})
	}
	done.Wait()
	return answers
}

// checkRecorded checks that every caller is in the audit log of whom it asked, and
// that nobody but the winners got anywhere.
func (r *race) checkRecorded(t *testing.T) {
	t.Helper()
	count := map[string]int{}
	for i, replica := range r.replicas {
		lines := about(replica.audit(t), "billing-agent", "book")
		if len(lines) < raceRounds*raceCallers/len(r.replicas) {
			t.Errorf("replica %d recorded %d lines", i, len(lines))
		}
		for _, l := range lines {
			if l.Kind == "outcome" {
				count[l.Status+" "+l.Reason]++
			}
		}
	}
	if spent := raceRounds * (raceCallers - 1); count["ok "] != raceRounds || count["error token_spent"] != spent || len(count) != 2 {
		t.Errorf("outcomes in the audit logs: %v, want %d ok and %d token_spent", count, raceRounds, spent)
	}
}
