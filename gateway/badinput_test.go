package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// stranger signs with a key that is not the issuer's, under the issuer's kid.
type stranger struct{ kid string }

func (s stranger) SigningKey() token.SigningKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return token.SigningKey{KeyID: s.kid, Algorithm: "ES256", Key: k}
}

// A7: a token for another resource, or of another issuer or type, admits nobody.
func TestTokenThatIsNotOursForThisIsRefused(t *testing.T) {
	w := newWorld(t)
	good, access := w.access(tokenSpec{subject: "alice"})
	call := must(w.minter.Call(access, token.CallSpec{Audience: resource, Presenter: mcpClient, Scope: token.SessionScope(), Details: token.Details{Server: "mail"}}))(t)
	spec := token.AccessSpec{Subject: access.Subject(), ClientID: mcpClient, Audience: resource, Scope: access.Scope(), Lifetime: time.Minute}
	forged, _, err := token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: stranger{w.ring.SigningKey().KeyID}, Now: w.now.Now}).Access(spec)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := token.NewMinter(token.MinterConfig{Issuer: "https://other.test", Signer: w.ring, Now: w.now.Now}).Access(spec)
	if err != nil {
		t.Fatal(err)
	}
	expired := w.token(tokenSpec{subject: "bob", lifetime: time.Second})
	w.now.Advance(2 * time.Second)
	part := strings.Split(good, ".")
	header := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	tests := []struct{ name, token, reason, says string }{
		{"missing", "", "token_missing", "an access token for this resource is needed"},
		{"garbage", "x", "token_malformed", "the access token is not valid"},
		{"expired", expired, "token_expired", "the access token has expired"},
		{"for another resource", w.token(tokenSpec{subject: "alice", audience: resource + "2"}), "token_for_another_resource", "the access token is for another resource"},
		{"for the upstream", w.token(tokenSpec{subject: "alice", audience: w.up.URL}), "token_for_another_resource", "the access token is for another resource"},
		{"unsigned", header(`{"alg":"none","typ":"at+jwt","kid":"`+w.ring.SigningKey().KeyID+`"}`) + "." + part[1] + ".", "token_signature", "the access token is not valid"},
		{"signed by another key", forged, "token_signature", "the access token is not valid"},
		{"of another issuer", other, "token_of_another_issuer", "the access token is not valid"},
		{"of another typ", header(`{"alg":"ES256","typ":"JWT","kid":"`+w.ring.SigningKey().KeyID+`"}`) + "." + part[1] + "." + part[2], "token_of_another_type", "this is not an access token"},
		{"a call token", call.Bearer(), "token_of_another_type", "this is not an access token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{"POST", "GET", "DELETE"} {
				r := w.do(method, w.url, tt.token, initialize)
				challenge := r.header.Get("WWW-Authenticate")
				if r.status != http.StatusUnauthorized || !strings.Contains(r.body, tt.says) || !strings.HasPrefix(challenge, "Bearer ") ||
					!strings.Contains(challenge, `resource_metadata="https://as.test/.well-known/oauth-protected-resource/mcp/mail"`) {
					t.Errorf("%s: %s %q", method, r, challenge)
				}
				if (tt.token == "") == strings.Contains(challenge, "invalid_token") {
					t.Errorf("%s: challenge %q", method, challenge)
				}
			}
			w.wantRefused(t, tt.reason)
		})
	}
	w.wantNothingForwarded(t)
}

// wantRefused looks for the refusal among the audit lines.
func (w *world) wantRefused(t *testing.T, reason string) {
	t.Helper()
	for _, e := range w.lines() {
		if e.Kind == audit.Refusal && e.Reason == reason && e.Decision == "deny" {
			return
		}
	}
	t.Errorf("no refusal with reason %s in the audit log", reason)
}

func (w *world) wantNothingForwarded(t *testing.T) {
	t.Helper()
	w.up.mu.Lock()
	defer w.up.mu.Unlock()
	if len(w.up.got) != 0 {
		t.Errorf("the upstream got %d requests, the first %s", len(w.up.got), w.up.got[0].method)
	}
}

func TestTokenInTheQueryOrTwiceDoesNotCount(t *testing.T) {
	w := newWorld(t)
	good := w.token(tokenSpec{subject: "alice"})
	if r := w.do("POST", w.url+"?access_token="+good, "", initialize); r.status != http.StatusUnauthorized {
		t.Errorf("in the query: %s", r)
	}
	if r := w.do("POST", w.url, "", initialize, "Authorization", "Basic "+good); r.status != http.StatusUnauthorized {
		t.Errorf("as Basic: %s", r)
	}
	req := must(http.NewRequest("POST", w.url, strings.NewReader(initialize)))(t)
	req.Header["Authorization"] = []string{"Bearer " + good, "Bearer " + good}
	resp := must(http.DefaultClient.Do(req))(t)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("two Authorization headers: %d", resp.StatusCode)
	}
	w.wantNothingForwarded(t)
}

// A2: no parser reads another message than the one that was decided on.
func TestMessageThatParsersCouldReadDifferentlyIsRefused(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "bob"})
	const invalidParams, invalidRequest, parse = "-32602", "-32600", "-32700"
	tests := []struct {
		name, body string
		status     int
		code       string
	}{
		{"duplicate method", `{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping"}`, 400, parse},
		{"duplicate tool name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","name":"delete_message"}}`, 400, parse},
		{"duplicate name in the arguments", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","arguments":{"to":"a","to":"b"}}}`, 400, parse},
		{"duplicate by escape", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","n\u0061me":"delete_message"}}`, 400, parse},
		{"Method for method", `{"jsonrpc":"2.0","id":1,"Method":"tools/call"}`, 400, invalidRequest},
		{"Method beside method", `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}`, 400, invalidRequest},
		{"METHOD beside method", `{"jsonrpc":"2.0","id":1,"METHOD":"tools/call","method":"ping"}`, 400, invalidRequest},
		{"Params beside params", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message"},"Params":{"name":"delete_message"}}`, 400, invalidRequest},
		{"ID beside id", `{"jsonrpc":"2.0","id":1,"ID":2,"method":"ping"}`, 400, invalidRequest},
		{"ID for id: a request in the guise of a notification", `{"jsonrpc":"2.0","ID":1,"method":"tools/call","params":{"name":"send_message"}}`, 400, invalidRequest},
		{"duplicate in _meta", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","_meta":{"a":1,"a":2}}}`, 400, parse},
		{"the sign of Kelvin in tasK", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","tas\u212a":{}}}`, 200, invalidParams},
		{"Name for name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"delete_message"}}`, 200, invalidParams},
		{"NAME beside name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","NAME":"delete_message"}}`, 200, invalidParams},
		{"long s in argumentſ", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","argumentſ":{}}}`, 200, invalidParams},
		{"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"send_message\",\"arguments\":{\"to\":\"\xff\"}}}", 400, parse},
		{"lone surrogate", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","arguments":{"to":"\ud800"}}}`, 400, parse},
		{"batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, 400, invalidRequest},
		{"two values", `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}`, 400, parse},
		{"no JSON", `hello`, 400, parse},
		{"empty", ``, 400, parse},
		{"too deep", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, 400, invalidRequest},
		{"JSON-RPC 1", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, 400, invalidRequest},
		{"id null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, 400, invalidRequest},
		{"id an object", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, 400, invalidRequest},
		{"params an array", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}`, 400, invalidRequest},
		{"request and response at once", `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`, 400, invalidRequest},
		{"a response to nothing", `{"jsonrpc":"2.0","id":1,"result":{}}`, 400, invalidRequest},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"tools/CALL"}`, 200, "-32601"},
		{"a resource that no role names", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}`, 200, "-32002"},
		{"a prompt that no role names", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"evil"}}`, 200, invalidParams},
		{"a task", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","task":{"ttl":1}}}`, 200, invalidParams},
		{"a method of the other era", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}`, 200, "-32601"},
		{"unknown notification", `{"jsonrpc":"2.0","method":"notifications/evil"}`, 200, "-32601"},
		{"arguments null", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","arguments":null}}`, 200, invalidParams},
		{"arguments a string", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","arguments":"{}"}}`, 200, invalidParams},
		{"call without an id", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"send_message"}}`, 200, "-32601"},
	}
	before := len(w.up.calls("tools/call")) + len(w.up.calls("ping"))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines := len(w.lines())
			r := s.post(tt.body)
			if r.status != tt.status || !strings.Contains(r.body, `"code":`+tt.code) {
				t.Errorf("got %s, want HTTP %d and code %s", r, tt.status, tt.code)
			}
			if e := w.last(); len(w.lines()) != lines+1 || e.Kind != audit.Denial || e.Subject != "bob" || e.Reason == "" {
				t.Errorf("audit: %+v", e)
			}
		})
	}
	if after := len(w.up.calls("tools/call")) + len(w.up.calls("ping")); after != before {
		t.Errorf("%d of them reached the upstream", after-before)
	}
}

func TestBodyOfOneMebibyteIsRefused(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "bob"})
	r := s.call(`{"name":"send_message","arguments":{"to":"` + strings.Repeat("a", 1<<20) + `"}}`)
	if r.status != http.StatusRequestEntityTooLarge || !strings.Contains(r.body, "512 KiB") || len(w.up.calls("tools/call")) != 0 {
		t.Errorf("got %s", r)
	}
	if e := w.last(); e.Reason != "too_large" {
		t.Errorf("audit: %+v", e)
	}
}

// A4: another site's page reaches nothing, with a good token either.
func TestPageOfAnotherSiteIsRefused(t *testing.T) {
	w := newWorld(t)
	good := w.token(tokenSpec{subject: "alice"})
	for _, tt := range []struct {
		name, header, value string
		status              int
	}{
		{"Host of another site (DNS rebinding)", "Host", "evil.test", http.StatusMisdirectedRequest},
		{"Origin of another site", "Origin", "https://evil.test", http.StatusForbidden},
		{"Origin null", "Origin", "null", http.StatusForbidden},
		{"a form's content type", "Content-Type", "text/plain", http.StatusUnsupportedMediaType},
	} {
		if r := w.do("POST", w.url, good, initialize, tt.header, tt.value); r.status != tt.status {
			t.Errorf("%s: %s", tt.name, r)
		}
	}
	if r := w.do("POST", w.url, good, initialize, "Origin", w.base); r.status != 200 {
		t.Errorf("our own origin: %s", r)
	}
	w.wantRefused(t, "foreign_host")
	w.wantRefused(t, "foreign_origin")
	req := must(http.NewRequest("POST", w.url, strings.NewReader(initialize)))(t)
	set(req.Header, []string{"Content-Type", "application/json", "Authorization", "Bearer " + good, "Origin", w.base, "Origin", "https://evil.test"})
	if r := read(t, must(http.DefaultClient.Do(req))(t)); r.status != http.StatusForbidden {
		t.Errorf("two Origins: %s", r)
	}
}

func TestUnknownServerIsNotFound(t *testing.T) {
	w := newWorld(t)
	if r := w.do("POST", w.base+"/mcp/nope", w.token(tokenSpec{subject: "alice"}), initialize); r.status != http.StatusNotFound {
		t.Errorf("got %s", r)
	}
	w.wantRefused(t, "unknown_server")
	w.wantNothingForwarded(t)
}

// A10: somebody else's session is none.
func TestSessionHandleOfAnotherIsNotFound(t *testing.T) {
	w := newWorld(t)
	alice := w.session(tokenSpec{subject: "alice"})
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	if r := alice.post(ping); r.status != 200 {
		t.Fatalf("her own: %s", r)
	}
	tampered := []byte(alice.id)
	tampered[len(tampered)/2] ^= 1
	for _, tt := range []struct {
		name   string
		bearer string
		handle string
		status int
	}{
		{"another subject", w.token(tokenSpec{subject: "bob"}), alice.id, 404},
		{"another client of hers", w.token(tokenSpec{subject: "alice", client: identityOf("other")}), alice.id, 404},
		{"tampered", alice.bearer, string(tampered), 404},
		{"the upstream's own session id", alice.bearer, "upstream-session-1", 404},
		{"made up", alice.bearer, strings.Repeat("A", 200), 404},
		{"too long", alice.bearer, strings.Repeat("A", 8000), 404},
		{"none", alice.bearer, "", 400},
	} {
		r := w.do("POST", w.url, tt.bearer, ping, "Mcp-Session-Id", tt.handle)
		if r.status != tt.status {
			t.Errorf("%s: got %s, want %d", tt.name, r, tt.status)
		}
		if e := w.last(); e.Kind != audit.Denial || !strings.HasPrefix(e.Reason, "session_") {
			t.Errorf("%s: audit %+v", tt.name, e)
		}
		if r := w.do("DELETE", w.url, tt.bearer, "", "Mcp-Session-Id", tt.handle); r.status != tt.status {
			t.Errorf("%s: DELETE got %s, want %d", tt.name, r, tt.status)
		}
	}
	if n := len(w.up.calls("DELETE")); n != 0 {
		t.Errorf("%d sessions were ended at the upstream", n)
	}
	w.now.Advance(13 * time.Hour)
	alice.bearer = w.token(tokenSpec{subject: "alice"})
	if r := alice.post(ping); r.status != 404 {
		t.Errorf("after its absolute lifetime: %s", r)
	}
}

func TestSessionHandleOfAnotherServerIsNotFound(t *testing.T) {
	other := must(oauth.ParseResource(issuer + "/mcp/other"))(t)
	w := newWorld(t, func(c *gateway.Config) {
		u := c.Upstreams[0]
		u.Name, u.Resource = "other", other
		c.Upstreams = append(c.Upstreams, u)
	})
	alice := w.session(tokenSpec{subject: "alice"})
	bearer := w.token(tokenSpec{subject: "alice", audience: other.String()})
	if r := w.do("POST", w.base+"/mcp/other", bearer, initialize); r.status != 200 {
		t.Fatalf("the other server: %s", r)
	}
	if r := w.do("POST", w.base+"/mcp/other", bearer, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Mcp-Session-Id", alice.id); r.status != 404 {
		t.Errorf("with the handle of the first: %s", r)
	}
}

func TestSessionRefusesAnotherProtocolVersion(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	if r := s.post(`{"jsonrpc":"2.0","id":1,"method":"ping"}`, "MCP-Protocol-Version", "2024-11-05"); r.status != 400 {
		t.Errorf("got %s", r)
	}
}

func TestHiddenToolAnswersExactlyAsAnUnknownOne(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	unknown := s.call(`{"name":"no_such_tool","arguments":{"id":"1"}}`)
	listed := len(w.up.calls("tools/list"))
	for _, name := range []string{"delete_message", "send_message", "x tool:delete_message", "a\\u0000b", "list_messages ", "LIST_MESSAGES", strings.Repeat("n", 200)} {
		r := s.call(`{"name":"` + name + `","arguments":{"id":"1"}}`)
		if r.status != unknown.status || r.body != unknown.body {
			t.Errorf("%s: got %s, unknown tool got %s", name, r, unknown)
		}
		if e := w.last(); e.Kind != audit.Denial || e.Action != "tools/call" || e.Tool == "" || e.Subject != "alice" {
			t.Errorf("%s: audit %+v", name, e)
		}
	}
	if unknown.body != `{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}` {
		t.Errorf("unknown tool: %s", unknown)
	}
	if len(w.up.calls("tools/call")) != 0 || len(w.up.calls("tools/list")) != listed {
		t.Error("a refused name reached the upstream")
	}
	// A wildcard role may call what is approved, and nothing else.
	root := w.session(tokenSpec{subject: "root"})
	if r := root.call(`{"name":"no_such_tool"}`); r.body != unknown.body {
		t.Errorf("for a wildcard role: %s", r)
	}
}

// A28: the schema is a contract.
func TestArgumentsOutsideTheSchemaAreRefused(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	for _, tt := range []struct{ name, params, says string }{
		{"limit over the maximum", `{"name":"list_messages","arguments":{"limit":10000}}`, "limit"},
		{"a parameter that the schema does not name", `{"name":"list_messages","arguments":{"limit":1,"folder":"secret"}}`, "folder"},
		{"a required parameter missing", `{"name":"read_message","arguments":{}}`, "id"},
		{"another type", `{"name":"read_message","arguments":{"id":1}}`, "id"},
	} {
		r := s.call(tt.params)
		if r.status != 200 || !strings.Contains(r.body, `"code":-32602`) || !strings.Contains(r.body, tt.says) || strings.Contains(r.body, "Unknown tool") {
			t.Errorf("%s: %s", tt.name, r)
		}
		if e := w.last(); e.Kind != audit.Denial || e.Reason != "schema" {
			t.Errorf("%s: audit %+v", tt.name, e)
		}
	}
	if len(w.up.calls("tools/call")) != 0 {
		t.Error("a call reached the upstream")
	}
}

// brokenPDP answers as a PDP that failed.
type brokenPDP struct{ reason policies.Reason }

func (p brokenPDP) Decide(context.Context, policies.Request) policies.Decision {
	return policies.Decision{Reason: p.reason, Err: errors.New("boom")}
}
func (brokenPDP) Digest() string { return "digest" }

// A15: a PDP that fails denies, and the log says why.
func TestPDPThatFailsDeniesEverything(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) { c.PDP = brokenPDP{policies.ReasonEvaluationError} })
	r := w.do("POST", w.url, w.token(tokenSpec{subject: "alice"}), initialize)
	if r.status != 200 || !strings.Contains(r.body, "access denied by policy") || r.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("initialize: %s", r)
	}
	if e := w.last(); e.Kind != audit.Denial || e.Reason != "evaluation_error" {
		t.Errorf("audit: %+v", e)
	}
	w.wantNothingForwarded(t)
}

// switchPDP fails from a moment on.
type switchPDP struct {
	gateway.PDP
	broken *bool
}

func (p switchPDP) Decide(ctx context.Context, q policies.Request) policies.Decision {
	if *p.broken {
		return brokenPDP{policies.ReasonTimeout}.Decide(ctx, q)
	}
	return p.PDP.Decide(ctx, q)
}

// A15: the same within a session.
func TestPDPThatFailsLaterDeniesTheCall(t *testing.T) {
	broken := false
	w := newWorld(t, func(c *gateway.Config) { c.PDP = switchPDP{c.PDP, &broken} })
	s := w.session(tokenSpec{subject: "alice"})
	broken = true
	if r := s.call(`{"name":"list_messages"}`); !strings.Contains(r.body, `"error"`) {
		t.Errorf("call: %s", r)
	}
	if r := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); !strings.Contains(r.body, `"error"`) {
		t.Errorf("list: %s", r)
	}
	if e := w.last(); e.Reason != "timeout" {
		t.Errorf("audit: %+v", e)
	}
	if len(w.up.calls("tools/call"))+len(w.up.calls("tools/list")) != 0 {
		t.Error("something was forwarded")
	}
}

// fullDisk records nothing.
type fullDisk struct{}

func (fullDisk) Record(context.Context, audit.Event) error {
	return errors.New("no space left on device")
}

// A16: what cannot be recorded does not happen.
func TestNoRecordNoCall(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) { c.Audit = fullDisk{} })
	r := w.do("POST", w.url, w.token(tokenSpec{subject: "alice"}), initialize)
	if !strings.Contains(r.body, "audit_unavailable") || strings.Contains(r.body, "no space") || r.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("initialize: %s", r)
	}
	w.wantNothingForwarded(t)
}

// fillingDisk takes n more lines.
type fillingDisk struct {
	audit.Recorder
	n *int
}

func (d fillingDisk) Record(ctx context.Context, e audit.Event) error {
	if *d.n--; *d.n < 0 {
		return errors.New("no space left on device")
	}
	return d.Recorder.Record(ctx, e)
}

// A16: neither does what comes after the disk is full, nor is it answered.
func TestDiskThatFillsUpStopsTheCallBeforeItHappens(t *testing.T) {
	n := 100
	w := newWorld(t, func(c *gateway.Config) { c.Audit = fillingDisk{c.Audit, &n} })
	s := w.session(tokenSpec{subject: "alice"})
	s.call(`{"name":"list_messages"}`)
	n = 0
	if r := s.call(`{"name":"list_messages"}`); !strings.Contains(r.body, "audit_unavailable") || len(w.up.calls("tools/call")) != 1 {
		t.Errorf("without the intent: %s", r)
	}
	n = 1 // the intent, and then no outcome: the caller must not see a result
	if r := s.call(`{"name":"list_messages"}`); !strings.Contains(r.body, "audit_unavailable") || strings.Contains(r.body, "result") {
		t.Errorf("without the outcome: %s", r)
	}
}
