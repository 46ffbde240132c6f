package exchange_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

const (
	issuer   = "https://as.example"
	mail     = "https://as.example/mcp/mail"
	files    = "https://as.example/mcp/files"
	upstream = "http://127.0.0.1:9000/mcp"

	access = `version: 1
roles:
  reader:
    who: {users: [alice], clients: [agent]}
    servers:
      mail: {tools: [read_message, unapproved, undigested]}
`
	details = `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":{"id":"m1","n":1.0}}]`
)

var (
	now     = time.Unix(1_800_000_000, 0)
	key     *ecdsa.PrivateKey
	another *ecdsa.PrivateKey // signs nothing that counts
)

func TestMain(m *testing.M) {
	key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	another, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	os.Exit(m.Run())
}

// signer is a token.Signer, and the token.KeySet of its public half.
type signer struct{ key *ecdsa.PrivateKey }

func (s signer) SigningKey() token.SigningKey {
	return token.SigningKey{KeyID: "k1", Algorithm: "ES256", Key: s.key}
}

func (s signer) Key(_ context.Context, kid string) (token.PublicKey, error) {
	if kid != "k1" {
		return token.PublicKey{}, token.ErrUnknownKey
	}
	return token.PublicKey{Algorithm: "ES256", Key: s.key.Public()}, nil
}

// recorder is an audit.Recorder that keeps what it is told, or fails.
type recorder struct {
	mu     sync.Mutex // guards events
	events []audit.Event
	err    error
}

func (r *recorder) Record(_ context.Context, e audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return r.err
}

// definitions is an exchange.Definitions by tool of the server mail.
type definitions map[string]string

func (d definitions) Definition(_ context.Context, server, tool string) (string, bool) {
	digest, ok := d[tool]
	return digest, ok && server == "mail"
}

// asked is a PDP that notes what it was asked.
type asked struct {
	*policies.PDP
	mu       sync.Mutex // guards requests
	requests []policies.Request
	change   func(policies.Request, policies.Decision) policies.Decision // of its answers; nil: none
	approval string                                                      // a tool that needs one
}

func (a *asked) Decide(ctx context.Context, q policies.Request) policies.Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, q)
	if q.Tool == a.approval && q.Arguments != nil {
		return policies.Decision{Reason: policies.ReasonApproval, Needs: policies.Needs{Rule: "r", By: [][]string{{"approver"}}, Within: time.Minute}}
	}
	d := a.PDP.Decide(ctx, q)
	if a.change != nil {
		d = a.change(q, d)
	}
	return d
}

// world is an Exchanger among real parts.
type world struct {
	*exchange.Exchanger
	minter   *token.Minter
	verifier *token.Verifier
	pdp      *asked
	audit    recorder
	clock    time.Time
}

func (w *world) now() time.Time          { return w.clock }
func (w *world) advance(d time.Duration) { w.clock = w.clock.Add(d) }

// newWorld is one in which each option may change the Config before.
func newWorld(t *testing.T, options ...func(*exchange.Config)) *world {
	t.Helper()
	pdp, err := policies.New(t.Context(), policies.Config{Access: []byte(access)})
	if err != nil {
		t.Fatal(err)
	}
	return buildWorld(pdp, options...)
}

func buildWorld(pdp *policies.PDP, options ...func(*exchange.Config)) *world {
	w := &world{pdp: &asked{PDP: pdp}, clock: now}
	w.minter = token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: signer{key}, Now: w.now})
	w.verifier = token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: signer{key}, Now: w.now})
	cfg := exchange.Config{
		Issuer:    issuer,
		Resources: oauth.NewResources([]oauth.Resource{must(oauth.ParseResource(mail)), must(oauth.ParseResource(files))}, []oauth.Resource{must(oauth.ParseResource(upstream))}),
		Servers:   map[oauth.Resource]string{must(oauth.ParseResource(mail)): "mail", must(oauth.ParseResource(files)): "files"},
		Upstreams: exchange.Upstreams{must(oauth.ParseResource(upstream)): {must(oauth.ParseResource(mail))}},
		Verifier:  w.verifier, Minter: w.minter, PDP: w.pdp,
		Definitions: definitions{"read_message": "def-read", "delete_message": "def-delete", "undigested": ""},
		Audit:       &w.audit, Now: w.now, Lifetime: 2 * time.Minute,
	}
	for _, o := range options {
		o(&cfg)
	}
	w.Exchanger = exchange.New(cfg)
	return w
}

func resource(t *testing.T, s string) oauth.Resource {
	t.Helper()
	r, err := oauth.ParseResource(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// grant is an access token for alice in agent, good for an hour, but for the edits.
func (w *world) grant(t *testing.T, edits ...func(*token.AccessSpec)) (string, token.Access) {
	t.Helper()
	alice, err := identity.ParseSubject("alice")
	if err != nil {
		t.Fatal(err)
	}
	spec := token.AccessSpec{Subject: alice, ClientID: identity.MustClientID("agent"), Audience: mail, Scope: scope(t, "mcp:tools"), Txn: "grant-1", Lifetime: time.Hour}
	for _, e := range edits {
		e(&spec)
	}
	raw, a, err := w.minter.Access(spec)
	if err != nil {
		t.Fatal(err)
	}
	return raw, a
}

func scope(t *testing.T, s string) token.Scope {
	t.Helper()
	v, err := token.ParseScope(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// request is a good request of the confidential client agent.
func request(subjectToken string) oauth.TokenRequest {
	return oauth.TokenRequest{Client: oauth.Client{ID: "agent", Confidential: true}, Source: "192.0.2.1", RequestID: "r1", Form: url.Values{
		"grant_type": {oauth.GrantTokenExchange}, "subject_token": {subjectToken}, "subject_token_type": {oauth.TokenTypeAccessToken},
		"resource": {mail}, "scope": {"tool:read_message"}, "authorization_details": {details},
	}}
}

// set changes one parameter; without values it is missing.
func set(name string, values ...string) func(*oauth.TokenRequest) {
	return func(r *oauth.TokenRequest) { r.Form[name] = values }
}

// post answers like the token endpoint.
func (w *world) post(t *testing.T, r oauth.TokenRequest) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	web.JSON(slog.New(slog.DiscardHandler), func(rw http.ResponseWriter, _ *http.Request) error {
		resp, err := w.Issue(t.Context(), r)
		if err != nil {
			return err
		}
		return web.WriteJSON(rw, http.StatusOK, resp)
	}).ServeHTTP(rec, httptest.NewRequest("POST", "/oauth2/token", nil))
	return rec.Code, rec.Body.String()
}

// claimsOf reads a token without verifying it.
func claimsOf(t *testing.T, raw string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExchangeForOneCall(t *testing.T) {
	w := newWorld(t)
	raw, parent := w.grant(t)
	resp, err := w.Issue(t.Context(), request(raw))
	if err != nil {
		t.Fatal(err)
	}
	call, err := w.verifier.ParseTool(t.Context(), resp.AccessToken, mail, token.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := token.Digest(jsontext.Value(`{"n":1,"id":"m1"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": issuer, "sub": "alice", "aud": mail, "client_id": "agent", "scope": "tool:read_message", "jti": call.ID(), "txn": "grant-1",
		"iat": float64(now.Unix()), "exp": float64(now.Unix() + 60), "act": map[string]any{"iss": issuer, "sub": "agent", "client_id": "agent"},
		"authorization_details": []any{map[string]any{"type": "mcp_tool_call", "server": "mail", "tool": "read_message",
			"arguments_digest": digest, "definition_digest": "def-read", "policy_digest": w.pdp.Digest()}},
		"ancestors": []any{parent.ID()},
	}
	if diff := cmp.Diff(want, claimsOf(t, resp.AccessToken)); diff != "" {
		t.Errorf("claims (-want +got)\n%s", diff)
	}
	wantResp := oauth.TokenResponse{AccessToken: resp.AccessToken, IssuedTokenType: oauth.TokenTypeAccessToken, TokenType: "Bearer", ExpiresIn: 60, Scope: "tool:read_message"}
	if diff := cmp.Diff(wantResp, resp); diff != "" {
		t.Errorf("response (-want +got)\n%s", diff)
	}
	wantEvent := audit.Event{Kind: audit.Token, Action: oauth.GrantTokenExchange, Subject: "alice", Client: "agent", Actors: []string{"agent"}, Txn: "grant-1",
		TokenID: parent.ID(), Source: "192.0.2.1", RequestID: "r1", Server: "mail", Tool: "read_message", Resource: mail, Scope: "tool:read_message", ArgumentsDigest: digest,
		DefinitionDigest: "def-read", PolicyDigest: w.pdp.Digest(), Decision: "allow", Reason: "allowed",
		Rule: w.audit.events[0].Rule}
	if diff := cmp.Diff([]audit.Event{wantEvent}, w.audit.events); diff != "" || wantEvent.Rule == "" {
		t.Errorf("audit (-want +got)\n%s", diff)
	}
	wantQuestion := policies.Request{Subject: parent.Subject(), ClientID: parent.ClientID(), Actors: []identity.ClientID{parent.ClientID()},
		Action: policies.ActionCallTool, Server: "mail", Tool: "read_message", Arguments: jsontext.Value(`{"id":"m1","n":1.0}`), DefinitionDigest: "def-read", Time: now}
	if diff := cmp.Diff([]policies.Request{wantQuestion}, w.pdp.requests, cmpopts.IgnoreUnexported(policies.Request{}), cmp.Comparer(func(a, b identity.Subject) bool { return a == b }),
		cmp.Comparer(func(a, b identity.ClientID) bool { return a == b })); diff != "" {
		t.Errorf("question to the PDP (-want +got)\n%s", diff)
	}
}

func TestExchangesThatAreGranted(t *testing.T) {
	w := newWorld(t)
	long, _ := w.grant(t)
	short, _ := w.grant(t, func(s *token.AccessSpec) { s.Lifetime = 20 * time.Second })
	one, _ := w.grant(t, func(s *token.AccessSpec) { s.Scope = scope(t, "tool:read_message") })
	own, _ := w.grant(t, func(s *token.AccessSpec) { s.Subject, _ = s.ClientID.Subject() })
	tests := []struct {
		name    string
		token   string
		edits   []func(*oauth.TokenRequest)
		expires int64
	}{
		{"for a subject_token that covers only that tool", one, nil, 60},
		{"for a workload itself", own, nil, 60},
		{"for the rest of the subject_token's life", short, nil, 20},
		{"with a trailing slash after the resource", long, []func(*oauth.TokenRequest){set("resource", mail+"/")}, 60},
		{"with requested_token_type", long, []func(*oauth.TokenRequest){set("requested_token_type", oauth.TokenTypeAccessToken)}, 60},
		{"for a client that may have that scope", long, []func(*oauth.TokenRequest){func(r *oauth.TokenRequest) { r.Client.Scope = []string{"mcp:prompts", "mcp:tools"} }}, 60},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(tt.token)
			r.Form = maps.Clone(r.Form)
			for _, e := range tt.edits {
				e(&r)
			}
			resp, err := w.Issue(t.Context(), r)
			if err != nil || resp.ExpiresIn != tt.expires {
				t.Fatalf("Issue: expires in %d, %v, want %d", resp.ExpiresIn, err, tt.expires)
			}
			if c := claimsOf(t, resp.AccessToken); c["aud"] != mail || c["exp"].(float64) != float64(now.Unix()+tt.expires) {
				t.Errorf("claims %v", c)
			}
		})
	}
}

// TestExchangeDecidesByTheLoginOfItsOwnSubjectToken: two tokens of alice in agent,
// of which one has the group and the claim, are two questions.
func TestExchangeDecidesByTheLoginOfItsOwnSubjectToken(t *testing.T) {
	w := newWorld(t)
	var err error
	w.pdp.PDP, err = policies.New(t.Context(), policies.Config{Access: []byte("version: 1\nroles:\n  reader:\n    who: {groups: [staff]}\n" +
		"    when: {department: finance}\n    servers: {mail: {tools: [read_message]}}\n")})
	if err != nil {
		t.Fatal(err)
	}
	grant := func(groups []string, department string) string {
		raw, _ := w.grant(t, func(s *token.AccessSpec) {
			s.Groups, s.Claims, s.ACR, s.AuthTime = groups, map[string]any{"department": department}, "mfa", now
		})
		return raw
	}
	good, noGroup, noClaim := grant([]string{"staff"}, "finance"), grant(nil, "finance"), grant([]string{"staff"}, "sales")
	for range 2 {
		if _, err := w.Issue(t.Context(), request(good)); err != nil {
			t.Fatal(err)
		}
		for _, raw := range []string{noGroup, noClaim} {
			var oe *oauth.Error
			if _, err := w.Issue(t.Context(), request(raw)); !errors.As(err, &oe) || oe.Code != oauth.InvalidScope {
				t.Errorf("Issue = %v, want %s", err, oauth.InvalidScope)
			}
		}
	}
	q := w.pdp.requests[0]
	if q.ACR != "mfa" || !q.AuthTime.Equal(now) {
		t.Errorf("the PDP was asked with acr %q, auth_time %v", q.ACR, q.AuthTime)
	}
}

// TestWorkloadForItselfHasNoActor: DESIGN.md section 1, who is who.
func TestWorkloadForItselfHasNoActor(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.grant(t, func(s *token.AccessSpec) { s.Subject, _ = s.ClientID.Subject() })
	resp, err := w.Issue(t.Context(), request(raw))
	if err != nil {
		t.Fatal(err)
	}
	if c := claimsOf(t, resp.AccessToken); c["sub"] != "agent" || c["act"] != nil {
		t.Errorf("claims %v", c)
	}
}
