package exchange_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// claims is what a test puts into a token.
type claims map[string]any

// fataler is a test, of testing or of rapid.
type fataler interface{ Fatal(args ...any) }

// forge signs an access token of ours with whatever claims, as the AS could.
func forge(t fataler, edits claims) string {
	c := claims{"iss": issuer, "sub": "alice", "aud": mail, "client_id": "editor", "scope": "mcp:tools mcp:prompts", "jti": "root", "txn": "grant-1",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	for name, v := range edits {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", "k1"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// delegation is a request of the client for a delegated access token.
func delegation(client, subjectToken string, params ...string) oauth.TokenRequest {
	r := oauth.TokenRequest{Client: oauth.Client{ID: client, Confidential: true}, Source: "192.0.2.1", Trace: &oauth.Trace{}, Form: url.Values{
		"grant_type": {oauth.GrantTokenExchange}, "subject_token": {subjectToken}, "subject_token_type": {oauth.TokenTypeAccessToken}, "resource": {mail}}}
	for i := 0; i+1 < len(params); i += 2 {
		r.Form.Set(params[i], params[i+1])
	}
	return r
}

// delegated is the claims of what the client gets.
func (w *world) delegated(t *testing.T, r oauth.TokenRequest) (string, map[string]any) {
	t.Helper()
	resp, err := w.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return resp.AccessToken, claimsOf(t, resp.AccessToken)
}

func actor(name string, act ...map[string]any) map[string]any {
	a := map[string]any{"iss": issuer, "sub": name, "client_id": name}
	for _, next := range act {
		a["act"] = next
	}
	return a
}

// agents lets agent act for the users of editor, and sub-agent for those of agent.
func agents(c *exchange.Config) {
	agent, editor, sub := identity.MustClientID("agent"), identity.MustClientID("editor"), identity.MustClientID("sub-agent")
	c.ActsFor = map[identity.ClientID]exchange.Principals{agent: {Clients: []identity.ClientID{editor}}, sub: {All: true}}
}

// TestWhoIsWho is the claims table of DESIGN.md section 1: each case's access token,
// and what the upstream is sent for it.
func TestWhoIsWho(t *testing.T) {
	w := newWorld(t, agents)
	editor := forge(t, nil) // alice in the MCP client editor
	forAlice, _ := w.delegated(t, delegation("agent", editor))
	own := forge(t, claims{"sub": "agent", "client_id": "agent"})
	ofWorkload, _ := w.delegated(t, delegation("sub-agent", own))
	deeper, _ := w.delegated(t, delegation("sub-agent", forAlice))
	tests := []struct {
		name, raw      string
		access, callTo claims
	}{
		{"alice in an MCP client", editor,
			claims{"sub": "alice", "client_id": "editor", "act": nil}, claims{"sub": "alice", "act": actor("editor")}},
		{"a workload for itself", own,
			claims{"sub": "agent", "client_id": "agent", "act": nil}, claims{"sub": "agent", "act": nil}},
		{"an agent for alice, who used an MCP client", forAlice,
			claims{"sub": "alice", "client_id": "agent", "act": actor("agent", actor("editor"))}, claims{"sub": "alice", "act": actor("agent", actor("editor"))}},
		{"a sub-agent of that agent", deeper,
			claims{"sub": "alice", "client_id": "sub-agent", "act": actor("sub-agent", actor("agent", actor("editor")))},
			claims{"sub": "alice", "act": actor("sub-agent", actor("agent", actor("editor")))}},
		{"an agent for a workload", ofWorkload,
			claims{"sub": "agent", "client_id": "sub-agent", "workload": true, "act": actor("sub-agent")}, claims{"sub": "agent", "act": actor("sub-agent")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			access := claimsOf(t, tt.raw)
			parent, err := w.verifier.ParseAccess(t.Context(), tt.raw, mail, token.Confirmation{})
			if err != nil {
				t.Fatal(err)
			}
			read, _ := token.ToolScope("read_message")
			call, err := w.Call(t.Context(), parent, token.CallSpec{Audience: upstream, Presenter: identity.MustClientID("gateway"), Scope: read, Details: token.Details{Server: "mail", ArgumentsDigest: "d"}})
			if err != nil {
				t.Fatal(err)
			}
			sent := claimsOf(t, call.Bearer())
			for name, want := range tt.access {
				if diff := cmp.Diff(want, access[name]); diff != "" {
					t.Errorf("access token, %s: %s", name, diff)
				}
			}
			tt.callTo["client_id"], tt.callTo["aud"], tt.callTo["txn"] = "gateway", upstream, "grant-1"
			for name, want := range tt.callTo {
				if diff := cmp.Diff(want, sent[name]); diff != "" {
					t.Errorf("call token, %s: %s", name, diff)
				}
			}
		})
	}
}

func TestDelegatedAccessToken(t *testing.T) {
	w := newWorld(t, agents)
	r := delegation("agent", forge(t, nil), "scope", "tool:read_message")
	resp, err := w.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	got := claimsOf(t, resp.AccessToken)
	want := map[string]any{"iss": issuer, "sub": "alice", "aud": mail, "client_id": "agent", "scope": "tool:read_message", "jti": got["jti"], "txn": "grant-1",
		"iat": float64(now.Unix()), "exp": float64(now.Add(2 * time.Minute).Unix()), "act": actor("agent", actor("editor")), "ancestors": []any{"root"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got)\n%s", diff)
	}
	wantResp := oauth.TokenResponse{AccessToken: resp.AccessToken, IssuedTokenType: oauth.TokenTypeAccessToken, TokenType: "Bearer", ExpiresIn: 120, Scope: "tool:read_message"}
	if diff := cmp.Diff(wantResp, resp); diff != "" {
		t.Errorf("response (-want +got)\n%s", diff)
	}
	wantEvent := audit.Event{Kind: audit.Token, Action: oauth.GrantTokenExchange, Subject: "alice", Client: "agent", Actors: []string{"agent", "editor"}, Txn: "grant-1",
		TokenID: "root", Source: "192.0.2.1", Server: "mail", Resource: mail, Scope: "tool:read_message", PolicyDigest: w.pdp.Digest(), Decision: "allow", Reason: "allowed",
		Rule: w.audit.events[0].Rule}
	if diff := cmp.Diff([]audit.Event{wantEvent}, w.audit.events); diff != "" {
		t.Errorf("audit (-want +got)\n%s", diff)
	}
	if *r.Trace != (oauth.Trace{Subject: "alice", TokenID: "root", Txn: "grant-1", Server: "mail"}) {
		t.Errorf("trace %+v", r.Trace)
	}
}

// TestScopeOfADelegation: what is asked for is granted or refused; what is not asked
// for is what both have.
func TestScopeOfADelegation(t *testing.T) {
	w := newWorld(t, agents)
	tests := []struct {
		name, parent, wanted string
		client               []string
		want                 string // "": refused
	}{
		{"all of the parent's", "mcp:tools mcp:prompts", "", nil, "mcp:tools mcp:prompts"},
		{"less", "mcp:tools mcp:prompts", "mcp:prompts", nil, "mcp:prompts"},
		{"one tool of all", "mcp:tools", "tool:read_message", nil, "tool:read_message"},
		{"more than the parent's", "tool:read_message", "mcp:tools", nil, ""},
		{"another tool than the parent's", "tool:other", "tool:read_message", nil, ""},
		{"something of the parent's and something not", "mcp:tools", "mcp:tools mcp:prompts", nil, ""},
		{"a parent without scope", "", "", nil, ""},
		{"what the client may have of the parent's", "mcp:tools mcp:prompts", "", []string{"tool:read_message", "mcp:resources"}, "tool:read_message"},
		{"more than the client may have", "mcp:tools", "mcp:tools", []string{"tool:read_message"}, ""},
		{"nothing in common", "mcp:prompts", "", []string{"mcp:tools"}, ""},
		{"a tool that policy denies", "mcp:tools", "tool:delete_message", nil, ""},
		{"a session's scope", "mcp:tools", "mcp:session", nil, ""},
		{"a quotation mark", "mcp:tools", `mcp:tools "`, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := delegation("agent", forge(t, claims{"scope": tt.parent}))
			if tt.wanted != "" {
				r.Form.Set("scope", tt.wanted)
			}
			r.Client.Scope = tt.client
			resp, err := w.Issue(t.Context(), r)
			var oe *oauth.Error
			if tt.want == "" {
				if !errors.As(err, &oe) || oe.Code != oauth.InvalidScope {
					t.Errorf("Issue = %q, %v, want %s", resp.Scope, err, oauth.InvalidScope)
				}
				return
			}
			if err != nil || resp.Scope != tt.want || claimsOf(t, resp.AccessToken)["scope"] != tt.want {
				t.Errorf("Issue = %q, %v, want %q", resp.Scope, err, tt.want)
			}
		})
	}
}

// TestNoPathOfExchangesProlongsTheRoot: RFC 8693 says nothing of it, and others let a
// token live for ever by exchanging it again and again.
func TestNoPathOfExchangesProlongsTheRoot(t *testing.T) {
	w := newWorld(t, agents)
	root := now.Add(5 * time.Minute).Unix()
	raw := forge(t, nil)
	for _, client := range []string{"agent", "sub-agent", "sub-agent", "sub-agent"} {
		w.advance(100 * time.Second)
		r := delegation(client, raw)
		resp, err := w.Issue(t.Context(), r)
		if w.clock.Unix() >= root {
			var oe *oauth.Error
			if !errors.As(err, &oe) || oe.Code != oauth.InvalidRequest {
				t.Errorf("after the root's end: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if exp := int64(claimsOf(t, resp.AccessToken)["exp"].(float64)); exp > root || exp > w.clock.Add(2*time.Minute).Unix() {
			t.Errorf("expires at %d, the root at %d", exp, root)
		}
		raw = resp.AccessToken
	}
	t.Error("the root never expired")
}

// TestChainIsNotLaundered: without an actor_token the chain stays, and grows
// (keycloak#52691).
func TestChainIsNotLaundered(t *testing.T) {
	w := newWorld(t, agents)
	long := actor("a7", actor("a6", actor("a5", actor("a4", actor("a3", actor("a2", actor("a1")))))))
	if _, got := w.delegated(t, delegation("sub-agent", forge(t, claims{"act": long, "client_id": "a7"}))); cmp.Diff(actor("sub-agent", long), got["act"]) != "" {
		t.Errorf("act %v", got["act"])
	}
	full := actor("a8", long)
	w.refuseAs(t, delegation("sub-agent", forge(t, claims{"act": full, "client_id": "a8"})), oauth.InvalidRequest)
	if _, got := w.delegated(t, delegation("agent", forge(t, claims{"act": actor("agent", actor("editor")), "client_id": "agent"}))); cmp.Diff(actor("agent", actor("editor")), got["act"]) != "" {
		t.Errorf("an agent that narrows its own token: act %v", got["act"])
	}
}

// refuseAs wants the request to be refused with the code.
func (w *world) refuseAs(t *testing.T, r oauth.TokenRequest, code oauth.ErrorCode) {
	t.Helper()
	resp, err := w.Issue(t.Context(), r)
	var oe *oauth.Error
	if !errors.As(err, &oe) || oe.Code != code || resp.AccessToken != "" {
		t.Errorf("Issue = %+v, %v, want %s", resp, err, code)
	}
}
