package console_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/console"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// answer is one of the API.
type answer struct {
	status int
	header http.Header
	body   string

	Error       string `json:"error"`
	Description string `json:"error_description"`
	ID          string `json:"id"`
	State       string `json:"state"`
	MayDecide   bool   `json:"may_decide"`
	Own         bool   `json:"own"`
}

func (w *world) api(method, path, raw, body string, headers ...http.Header) answer {
	w.t.Helper()
	r := must(http.NewRequestWithContext(w.t.Context(), method, w.url+console.PathAPI+path, strings.NewReader(body)))(w.t)
	if raw != "" {
		r.Header.Set("Authorization", "Bearer "+raw)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		for name, v := range h {
			r.Header[name] = v
		}
	}
	resp := must(http.DefaultTransport.RoundTrip(r))(w.t)
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(must(io.ReadAll(resp.Body))(w.t))}
	_ = json.Unmarshal([]byte(a.body), &a)
	if a.status != http.StatusMethodNotAllowed && (strings.Contains(a.body, `"error"`) != (a.status >= 400) || a.header.Get("Cache-Control") != "no-store") {
		w.t.Errorf("%s %s: %d %q %s", method, path, a.status, a.header.Get("Cache-Control"), a.body)
	}
	return a
}

func (w *world) decideBy(raw, id, decision string) answer {
	w.t.Helper()
	return w.api(http.MethodPost, "/"+id+"/decision", raw, `{"decision":"`+decision+`","comment":"by the command line"}`)
}

// accessToken is one of a person by the command line.
func (w *world) accessToken(name string, changes ...func(*token.AccessSpec)) string {
	w.t.Helper()
	spec := token.AccessSpec{Subject: subject(w.t, name), ClientID: identity.MustClientID(lineID), Audience: w.url + console.Path, Scope: must(token.ParseScope("approvals"))(w.t),
		Txn: "grant", AuthTime: w.clock.Now(), Lifetime: 5 * time.Minute}
	for _, change := range changes {
		change(&spec)
	}
	raw, _, err := w.minter.Access(spec)
	noError(w.t, err)
	return raw
}

func TestAPIListsShowsAndDecides(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	raw := w.accessToken("bob")
	list := w.api("GET", "", raw, "")
	for _, want := range []string{`"waiting":[{"id":"` + r.ID + `","url":"` + w.url + "/console/approvals/" + r.ID + `","state":"pending","subject":"alice","client":"agent","actors":["agent","notebook"],"server":"mail","tool":"send_message","risk":"high","arguments":{"to":"eve@example.com","body":"[redacted]"}`,
		`"rule":"roles.writer.servers.mail.tools.send_message","by":[["approver"]]`, `"may_decide":true}],"recent":[]`} {
		if !strings.Contains(list.body, want) {
			t.Errorf("the list lacks %s: %s", want, list.body)
		}
	}
	if a := w.api("GET", "/"+r.ID, raw, ""); a.status != 200 || a.ID != r.ID || !a.MayDecide || a.Own {
		t.Errorf("show: %d %s", a.status, a.body)
	}
	if a := w.api("GET", "/"+r.ID, w.accessToken("alice"), ""); a.status != 200 || a.MayDecide || !a.Own {
		t.Errorf("show to alice: %d %s", a.status, a.body)
	}
	a := w.decideBy(raw, r.ID, "approve")
	if a.status != 200 || a.State != "approved" || a.MayDecide || !strings.Contains(a.body, `"decided_by":"bob"`) || !strings.Contains(a.body, "by the command line") {
		t.Errorf("decide: %d %s", a.status, a.body)
	}
	w.wantState(r.ID, approval.Approved)
	if a := w.decideBy(raw, r.ID, "deny"); a.status != http.StatusConflict || a.Error != "invalid_request" {
		t.Errorf("decide again: %d %s", a.status, a.body)
	}
	if list := w.api("GET", "", raw, ""); !strings.Contains(list.body, `"waiting":[],"recent":[{"id":"`+r.ID) {
		t.Errorf("the list then: %s", list.body)
	}
}

// TestTokenOfAnotherKindAtTheAPIIsRefused: none but a person's own, by a client of ours, for
// this resource and scope.
func TestTokenOfAnotherKindAtTheAPIIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	scope := func(s string) token.Scope { return must(token.ParseScope(s))(t) }
	access := func(changes ...func(*token.AccessSpec)) token.Access {
		_, a, err := w.minter.Access(w.spec("bob", changes...))
		noError(t, err)
		return a
	}
	details := token.Details{Server: "mail", ArgumentsDigest: strings.Repeat("A", 43), DefinitionDigest: strings.Repeat("A", 43)}
	tools := access(func(s *token.AccessSpec) { s.Scope = scope("mcp:tools") })
	child := token.Child{Audience: w.url + console.Path, ClientID: identity.MustClientID(lineID)}
	callToken := must(w.minter.Call(tools, token.CallSpec{Audience: child.Audience, Presenter: child.ClientID, Scope: must(token.ParseToolScope("tool:send_message"))(t), Details: details}))(t).Bearer()
	toolToken, _, err := w.minter.Tool(tools, token.ToolSpec{Child: child, Scope: must(token.ParseToolScope("tool:send_message"))(t), Details: details})
	noError(t, err)
	agent := token.ActorOf("", identity.MustClientID("agent"))
	child.Actor = &agent
	delegated, _, err := w.minter.Delegate(access(), token.DelegateSpec{Child: child, Scope: scope("approvals"), Lifetime: time.Minute})
	noError(t, err)
	for name, tt := range map[string]struct {
		raw    string
		status int
		code   string
	}{
		"none":                             {"", 401, "invalid_token"},
		"rubbish":                          {"abc", 401, "invalid_token"},
		"an ordinary MCP token":            {w.accessToken("bob", func(s *token.AccessSpec) { s.Audience, s.Scope = w.url+"/mcp/mail", scope("mcp:tools") }), 401, "invalid_token"},
		"an MCP token with the scope":      {w.accessToken("bob", func(s *token.AccessSpec) { s.Audience = w.url + "/mcp/mail" }), 401, "invalid_token"},
		"by an MCP client":                 {w.accessToken("bob", func(s *token.AccessSpec) { s.ClientID = identity.MustClientID("notebook") }), 401, "invalid_token"},
		"without the scope":                {w.accessToken("bob", func(s *token.AccessSpec) { s.Scope = scope("mcp:tools") }), 403, "insufficient_scope"},
		"with act":                         {delegated, 401, "invalid_token"},
		"a call token":                     {callToken, 401, "invalid_token"},
		"a tool token":                     {toolToken, 401, "invalid_token"},
		"of a workload for itself":         {w.accessToken(lineID, func(s *token.AccessSpec) { s.AuthTime = time.Time{} }), 401, "invalid_token"},
		"of one, with a login":             {w.accessToken(lineID), 401, "invalid_token"},
		"of nobody who logged in":          {w.accessToken("bob", func(s *token.AccessSpec) { s.AuthTime = time.Time{} }), 401, "invalid_token"},
		"bound to a key that is not shown": {w.accessToken("bob", func(s *token.AccessSpec) { s.Confirmation.JKT = strings.Repeat("A", 43) }), 401, "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, a := range []answer{w.api("GET", "", tt.raw, ""), w.api("GET", "/"+r.ID, tt.raw, ""), w.decideBy(tt.raw, r.ID, "approve")} {
				if a.status != tt.status || a.Error != tt.code || !strings.Contains(a.header.Get("WWW-Authenticate"), `Bearer `) {
					t.Errorf("%d %s %s, want %d %s", a.status, a.header.Get("WWW-Authenticate"), a.body, tt.status, tt.code)
				}
			}
			w.wantState(r.ID, approval.Pending)
		})
	}
	w.clock.advance(6 * time.Minute)
	if a := w.decideBy(w.accessToken("bob", func(s *token.AccessSpec) { s.Lifetime = time.Second }), r.ID, "approve"); a.status != 200 {
		t.Errorf("a good one: %d %s", a.status, a.body)
	}
}

func (w *world) spec(name string, changes ...func(*token.AccessSpec)) token.AccessSpec {
	spec := token.AccessSpec{Subject: subject(w.t, name), ClientID: identity.MustClientID("notebook"), Audience: w.url + console.Path, Scope: must(token.ParseScope("approvals"))(w.t),
		Txn: "grant", AuthTime: w.clock.Now(), Lifetime: 5 * time.Minute}
	for _, change := range changes {
		change(&spec)
	}
	return spec
}

// TestExpiredTokenAtTheAPIIsRefused: also one that was good a second ago.
func TestExpiredTokenAtTheAPIIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	raw := w.accessToken("bob")
	if a := w.api("GET", "/"+r.ID, raw, ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.clock.advance(5 * time.Minute)
	if a := w.decideBy(raw, r.ID, "approve"); a.status != 401 || a.Error != "invalid_token" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestTokenSentInAnotherWayAtTheAPIIsRefused: a proxy and we may look at another token of two
// each, one under another scheme proves something else, and a form is what other sites can post.
func TestTokenSentInAnotherWayAtTheAPIIsRefused(t *testing.T) {
	w := newWorld(t)
	r, raw := w.waiting(), w.accessToken("bob")
	for _, sent := range [][]string{{"Bearer " + raw, "Bearer " + w.accessToken("carol")}, {"DPoP " + raw}, {"Basic " + raw}, {raw}} {
		if a := w.api("GET", "/"+r.ID, "", "", http.Header{"Authorization": sent}); a.status != 401 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
		if a := w.api("POST", "/"+r.ID+"/decision", raw, `{"decision":"approve"}`, http.Header{"Content-Type": {kind}}); a.status != 400 {
			t.Errorf("%q: %d %s", kind, a.status, a.body)
		}
	}
	w.wantState(r.ID, approval.Pending)
}

// TestCallerIsNotToldWhereThePolicyStands: file and line are for operators.
func TestCallerIsNotToldWhereThePolicyStands(t *testing.T) {
	w := newWorld(t)
	r := w.waiting(func(r *approval.Request) { r.Rule = "access.yaml:7: roles.writer" })
	if a := w.api("GET", "/"+r.ID, w.accessToken("alice"), ""); !strings.Contains(a.body, `"rule":"roles.writer"`) || strings.Contains(a.body, "access.yaml") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if p := w.browser().as("alice", "/console/approvals/"+r.ID); !strings.Contains(p.body, "roles.writer") || strings.Contains(p.body, "access.yaml") {
		t.Errorf("%d %s", p.status, p.text())
	}
}

// TestCookieAtTheAPICountsForNothing (CSRF): it takes tokens alone, and tells no other origin.
func TestCookieAtTheAPICountsForNothing(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	b.as("bob", "/console/approvals/")
	for _, p := range []page{b.get(console.PathAPI), b.send("POST", console.PathAPI+"/"+r.ID+"/decision", nil, nil)} {
		if p.status != http.StatusUnauthorized {
			t.Errorf("%d %s", p.status, p.body)
		}
	}
	for _, method := range []string{"OPTIONS", "GET"} {
		a := w.api(method, "", w.accessToken("bob"), "", http.Header{"Origin": {"http://inspector.example"}, "Access-Control-Request-Method": {"GET"}})
		if a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: other origins may read it: %v", method, a.header)
		}
	}
	w.wantState(r.ID, approval.Pending)
}

// TestAPIAsksForStepUp is RFC 9470 §3.
func TestAPIAsksForStepUp(t *testing.T) {
	w := newWorld(t)
	w.pdp.ask(t, ", acr: ['urn:example:\"mfa\"', phrh], max_age: 90s")
	r := w.waiting()
	raw := w.accessToken("bob", func(s *token.AccessSpec) { s.ACR = "pwd" })
	a := w.decideBy(raw, r.ID, "approve")
	const want = `Bearer error="insufficient_user_authentication", error_description="log in again as acr_values and max_age say, to decide on this", acr_values="phrh urn:example:\"mfa\"", max_age="90"`
	if a.status != http.StatusUnauthorized || a.Error != "insufficient_user_authentication" || a.header.Get("WWW-Authenticate") != want {
		t.Errorf("%d %s %s", a.status, a.header.Get("WWW-Authenticate"), a.body)
	}
	w.wantState(r.ID, approval.Pending)
	if got := w.audit.denials(); len(got) != 1 || got[0] != "bob step_up_required" {
		t.Errorf("audited %q", got)
	}
	if a := w.api("GET", "/"+r.ID, raw, ""); !strings.Contains(a.body, `"needs":{"acr_values":["phrh","urn:example:\"mfa\""],"max_age":90}`) {
		t.Errorf("show: %s", a.body)
	}
	raw = w.accessToken("bob", func(s *token.AccessSpec) { s.ACR = "phrh" })
	if a := w.decideBy(raw, r.ID, "approve"); a.status != 200 {
		t.Errorf("after it: %d %s", a.status, a.body)
	}
}

// TestPolicyIsAskedWithWhatTheLoginSaid: all that it may decide by.
func TestPolicyIsAskedWithWhatTheLoginSaid(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	raw := w.accessToken("bob", func(s *token.AccessSpec) {
		s.Groups, s.Claims, s.ACR = []string{"staff"}, map[string]any{"department": "finance"}, "pwd"
	})
	w.decideBy(raw, r.ID, "approve")
	q := w.pdp.asked[len(w.pdp.asked)-1]
	if q.Action != policies.ActionApprove || q.Subject.String() != "bob" || q.ClientID.String() != lineID || len(q.Groups) != 1 || string(q.Claims) != `{"department":"finance"}` || q.ACR != "pwd" ||
		!q.AuthTime.Equal(w.clock.Now()) || q.Server != "mail" || q.Tool != "send_message" || q.Rule != r.Rule || q.Workload {
		t.Errorf("the policy was asked %+v", q)
	}
}

func TestDecisionThatIsNoneIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	raw := w.accessToken("bob")
	for _, body := range []string{"", "{}", "approve", `{"decision":"Approve"}`, `{"decision":"approve","decision":"deny"}`, `{"decision":"approve","force":true}`, `{"decision":"approve"}{}`, `{"decision":"approve","comment":7}`,
		`{"decision":"approve","comment":"` + strings.Repeat("a", 9000) + `"}`} {
		a := w.api("POST", "/"+r.ID+"/decision", raw, body, http.Header{"Content-Type": {"application/json"}})
		if a.status != http.StatusBadRequest || a.Error != "invalid_request" {
			t.Errorf("%.60s: %d %s", body, a.status, a.body)
		}
	}
	if a := w.api("POST", "/"+r.ID+"/decision", raw, "decision=approve", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}); a.status != http.StatusBadRequest {
		t.Errorf("a form: %d %s", a.status, a.body)
	}
	if a := w.api("POST", "/"+r.ID+"/decision", raw, `{"decision":"approve","comment":"\u001b[2J"}`); a.status != http.StatusBadRequest || !strings.Contains(a.body, "printable") {
		t.Errorf("a comment for terminals: %d %s", a.status, a.body)
	}
	w.wantState(r.ID, approval.Pending)
}
