package exchange_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// refuse posts each request and checks that it is refused with the code, that
// nothing was recorded as granted, and that all bodies of a table are alike
// where that is asked. It returns the body.
func (w *world) refuse(t *testing.T, r oauth.TokenRequest, code oauth.ErrorCode) string {
	t.Helper()
	status, body := w.post(t, r)
	if status != http.StatusBadRequest || !strings.HasPrefix(body, `{"error":"`+string(code)+`"`) {
		t.Errorf("answered %d %s, want %s", status, body, code)
	}
	if len(w.audit.events) != 0 {
		t.Errorf("recorded %+v", w.audit.events)
	}
	return body
}

// TestExchangeRejectsEverySubjectTokenButTheClientsOwn: each answered alike.
func TestExchangeRejectsEverySubjectTokenButTheClientsOwn(t *testing.T) {
	w := newWorld(t)
	good, parent := w.grant(t)
	foreign, _ := w.grant(t, func(s *token.AccessSpec) { s.ClientID = identity.MustClientID("other") })
	atUpstream, _ := w.grant(t, func(s *token.AccessSpec) { s.Audience = upstream })
	then := now.Add(-time.Hour)
	old := token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: signer{key}, Now: func() time.Time { return then }})
	otherKey := token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: signer{another}, Now: func() time.Time { return now }})
	otherIssuer := token.NewMinter(token.MinterConfig{Issuer: "https://evil.example", Signer: signer{key}, Now: func() time.Time { return now }})
	mint := func(m *token.Minter) string {
		raw, _, err := m.Access(token.AccessSpec{Subject: parent.Subject(), ClientID: parent.ClientID(), Audience: mail, Scope: parent.Scope(), Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	read, err := token.ToolScope("read_message")
	if err != nil {
		t.Fatal(err)
	}
	call, err := w.minter.Call(parent, token.CallSpec{Audience: mail, Presenter: parent.ClientID(), Scope: read, Details: token.Details{Server: "mail", ArgumentsDigest: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, raw string }{
		{"issued to another client", foreign},
		{"for an upstream", atUpstream},
		{"expired at this very second", mint(old)},
		{"signed by another key", mint(otherKey)},
		{"of another issuer", mint(otherIssuer)},
		{"a call token", call.Bearer()},
		{"a refresh token", "wg_rt_3Yk0XJ9b8Z6vQm2nT1cL5pRd"},
		{"garbage", "garbage"},
		{"unsigned", good[:strings.LastIndex(good, ".")+1]},
		{"with white space after", good + " "},
		{"very long", strings.Repeat("a", 1<<20)},
	}
	bodies := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { bodies[w.refuse(t, request(tt.raw), oauth.InvalidRequest)] = true })
	}
	if len(bodies) != 1 {
		t.Errorf("the answers tell tokens apart: %v", bodies)
	}
}

// TestTokenLeadsNowhereButToItsResource: a resource that exists and one that does not
// are answered byte for byte alike.
func TestTokenLeadsNowhereButToItsResource(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.grant(t)
	bodies := map[string]bool{}
	for _, r := range []string{files, "https://unknown.example", upstream} {
		for _, details := range []string{"", strings.Replace(details, `"mail"`, `"files"`, 1)} {
			q := request(raw)
			q.Form.Set("resource", r)
			if q.Form.Set("authorization_details", details); details == "" {
				q.Form.Del("authorization_details")
			}
			bodies[w.refuse(t, q, oauth.InvalidTarget)] = true
		}
	}
	if len(bodies) != 1 {
		t.Errorf("the answers tell resources apart: %v", bodies)
	}
}

// TestExchangeCannotAimAtAnUpstream: missing, unknown, several and internal are
// answered byte for byte alike, whatever token comes with it.
func TestExchangeCannotAimAtAnUpstream(t *testing.T) {
	w := newWorld(t)
	good, _ := w.grant(t)
	forUpstream, _ := w.grant(t, func(s *token.AccessSpec) { s.Audience = upstream })
	tests := []struct {
		name string
		edit func(*oauth.TokenRequest)
	}{
		{"resource missing", set("resource")},
		{"resource empty", set("resource", "")},
		{"an unknown resource", set("resource", "https://unknown.example")},
		{"an upstream", set("resource", upstream)},
		{"an upstream with a slash", set("resource", upstream+"/")},
		{"two resources", set("resource", mail, files)},
		{"twice the same resource", set("resource", mail, mail)},
		{"ours, then an upstream", set("resource", mail, upstream)},
		{"a path below ours", set("resource", mail+"/x")},
		{"a path that begins with ours", set("resource", mail+"2")},
		{"our issuer", set("resource", issuer)},
		{"two audiences", set("audience", "mail", "mail")},
		{"an audience that is another resource", set("audience", "files")},
		{"an empty audience", set("audience", "")},
		{"an upstream as audience", set("audience", upstream)},
		{"a logical name as audience", set("audience", "vault")},
	}
	bodies := map[string]bool{}
	for _, tt := range tests {
		for _, raw := range []string{good, forUpstream, "garbage"} {
			r := request(raw)
			tt.edit(&r)
			t.Run(tt.name, func(t *testing.T) { bodies[w.refuse(t, r, oauth.InvalidTarget)] = true })
		}
	}
	if len(bodies) != 1 {
		t.Errorf("the answers tell resources apart: %v", bodies)
	}
}

func TestExchangeIsForConfidentialClients(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.grant(t)
	r := request(raw)
	r.Client.Confidential = false
	w.refuse(t, r, oauth.UnauthorizedClient)
}

// TestExchangeRefusesWhatItDoesNotSupport: rather than ignoring it.
func TestExchangeRefusesWhatItDoesNotSupport(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.grant(t)
	tests := []struct {
		name string
		edit func(*oauth.TokenRequest)
	}{
		{"actor_token alone", set("actor_token", raw)},
		{"actor_token_type alone", set("actor_token_type", oauth.TokenTypeAccessToken)},
		{"subject_token missing", set("subject_token")},
		{"subject_token_type missing", set("subject_token_type")},
		{"a refresh token as type", set("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token")},
		{"an ID token as type", set("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")},
		{"any JWT as type", set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")},
		{"a refresh token wanted", set("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")},
		{"an ID-JAG wanted", set("requested_token_type", "urn:ietf:params:oauth:token-type:id-jag")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(raw)
			tt.edit(&r)
			w.refuse(t, r, oauth.InvalidRequest)
		})
	}
}

func TestExchangeCannotWidenTheScope(t *testing.T) {
	w := newWorld(t)
	every, _ := w.grant(t, func(s *token.AccessSpec) { s.Scope = scope(t, "mcp:tools mcp:prompts mcp:resources") })
	one, _ := w.grant(t, func(s *token.AccessSpec) { s.Scope = scope(t, "tool:list_messages mcp:prompts") })
	none, _ := w.grant(t, func(s *token.AccessSpec) { s.Scope = token.Scope{} })
	tests := []struct {
		name, raw, scope string
	}{
		{"a tool that the subject_token does not cover", one, "tool:read_message"},
		{"a subject_token that grants nothing", none, "tool:read_message"},
		{"two tools", every, "tool:read_message tool:delete_message"},
		{"every tool", every, "mcp:tools"},
		{"a session", every, "mcp:session"},
		{"a prompt", every, "prompt:read_message"},
		{"a resource", every, "resource"},
		{"a prompt", every, "prompt:x"},
		{"nothing", every, ""},
		{"a name that smuggles a second scope", every, "tool:x tool:delete_message"},
		{"a name that smuggles it behind another space", every, "tool:x\u00a0tool:delete_message"},
		{"white space after", every, "tool:read_message "},
		{"a newline after", every, "tool:read_message\n"},
		{"a wildcard", every, "tool:*"},
		{"another case", every, "TOOL:read_message"},
	}
	bodies := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(tt.raw)
			r.Form.Set("scope", tt.scope)
			bodies[w.refuse(t, r, oauth.InvalidScope)] = true
		})
	}
	if len(bodies) != 1 {
		t.Errorf("answers %v", bodies)
	}
}

// TestExchangeStaysWithinTheClientsOwnScope: it may have been narrowed since the
// subject_token was issued.
func TestExchangeStaysWithinTheClientsOwnScope(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.grant(t)
	for _, may := range [][]string{{"mcp:prompts"}, {"tool:list_messages"}, {""}, {"mcp:tools\""}} {
		r := request(raw)
		r.Client.Scope = may
		w.refuse(t, r, oauth.InvalidScope)
	}
}

func TestAuthorizationDetailsMustBeTheWholeCall(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.grant(t)
	const one = `{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":{}}`
	tests := []struct{ name, details string }{
		{"missing", ``},
		{"null", `null`},
		{"no JSON", `x`},
		{"an object", one},
		{"an empty list", `[]`},
		{"two", `[` + one + `,` + one + `]`},
		{"followed by more", `[` + one + `] []`},
		{"a list of null", `[null]`},
		{"a digest for the arguments", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments_digest":"abc"}]`},
		{"a digest beside the arguments", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":{},"arguments_digest":"abc"}]`},
		{"no arguments", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message"}]`},
		{"arguments null", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":null}]`},
		{"arguments a list", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":[]}]`},
		{"arguments in text", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":"{}"}]`},
		{"another type", `[{"type":"payment","server":"mail","tool":"read_message","arguments":{}}]`},
		{"a prompt", `[{"type":"mcp_prompt_get","server":"mail","prompt":"read_message","arguments":{}}]`},
		{"a resource", `[{"type":"mcp_resource_read","server":"mail","resource":"file:///a"}]`},
		{"a tool and a resource", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","resource":"file:///a","arguments":{}}]`},
		{"a session", `[{"type":"mcp_session","server":"mail","tool":"read_message","arguments":{}}]`},
		{"another server", `[{"type":"mcp_tool_call","server":"files","tool":"read_message","arguments":{}}]`},
		{"no server", `[{"type":"mcp_tool_call","tool":"read_message","arguments":{}}]`},
		{"another tool than in scope", `[{"type":"mcp_tool_call","server":"mail","tool":"delete_message","arguments":{}}]`},
		{"no tool", `[{"type":"mcp_tool_call","server":"mail","arguments":{}}]`},
		{"an unknown member", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":{},"approval":"yes"}]`},
		{"a member in another case", `[{"type":"mcp_tool_call","server":"mail","Tool":"read_message","arguments":{}}]`},
		{"a name twice", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","tool":"read_message","arguments":{}}]`},
		{"arguments twice", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":{},"arguments":{"id":1}}]`},
		{"a name twice within the arguments", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":{"a":{"id":1,"id":2}}}]`},
		{"bad UTF-8 in the arguments", "[{\"type\":\"mcp_tool_call\",\"server\":\"mail\",\"tool\":\"read_message\",\"arguments\":{\"a\":\"\xff\"}}]"},
		{"a number that no digest can hold", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments":{"id":9007199254740993}}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(raw)
			r.Form.Set("authorization_details", tt.details)
			w.refuse(t, r, oauth.InvalidAuthorizationDetails)
		})
	}
	if len(w.pdp.requests) != 0 {
		t.Errorf("the PDP was asked %+v", w.pdp.requests)
	}
}

// TestHiddenUnknownAndDeniedToolsAnswerAlike, byte for byte.
func TestHiddenUnknownAndDeniedToolsAnswerAlike(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.grant(t)
	inFiles, _ := w.grant(t, func(s *token.AccessSpec) { s.Audience = files })
	bodies := map[string]bool{}
	for name, tt := range map[string]struct{ raw, resource, server, tool string }{
		"denied":  {raw, mail, "mail", "delete_message"},
		"unknown": {raw, mail, "mail", "no_such_tool"},
		"granted, but its definition is not approved": {raw, mail, "mail", "unapproved"},
		"granted, but its definition has no digest":   {raw, mail, "mail", "undigested"},
		"of a server without tools":                   {inFiles, files, "files", "read_message"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(tt.raw)
			r.Form.Set("resource", tt.resource)
			r.Form.Set("scope", "tool:"+tt.tool)
			r.Form.Set("authorization_details", `[{"type":"mcp_tool_call","server":"`+tt.server+`","tool":"`+tt.tool+`","arguments":{}}]`)
			bodies[w.refuse(t, r, oauth.InvalidScope)] = true
		})
	}
	if len(bodies) != 1 {
		t.Errorf("the answers tell tools apart: %v", bodies)
	}
	if len(w.pdp.requests) != 10 { // it takes longest: who measures could tell them apart
		t.Errorf("the PDP was asked %d times of 10", len(w.pdp.requests))
	}
}

// TestNoToolTokenForACallThatNeedsAnApproval: nobody would be asked, for the token says
// that all was decided. A tool that is not there says nothing of approvals.
func TestNoToolTokenForACallThatNeedsAnApproval(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.grant(t)
	ask := func(tool string) string {
		r := request(raw)
		r.Form.Set("scope", "tool:"+tool)
		r.Form.Set("authorization_details", `[{"type":"mcp_tool_call","server":"mail","tool":"`+tool+`","arguments":{}}]`)
		w.pdp.approval = tool
		return w.refuse(t, r, oauth.InvalidScope)
	}
	if got := ask("read_message"); !strings.Contains(got, "this call needs an approval") {
		t.Error(got)
	}
	if got := ask("unapproved"); strings.Contains(got, "needs an approval") {
		t.Error(got)
	}
}

// TestNoRecordNoToken: what cannot be written down does not happen.
func TestNoRecordNoToken(t *testing.T) {
	w := newWorld(t)
	w.audit.err = errors.New("disk full")
	raw, _ := w.grant(t)
	resp, err := w.Issue(t.Context(), request(raw))
	if !errors.Is(err, w.audit.err) || resp != (oauth.TokenResponse{}) {
		t.Errorf("Issue = %+v, %v, want %v", resp, err, w.audit.err)
	}
	if status, body := w.post(t, request(raw)); status != http.StatusInternalServerError || body != `{"error":"server_error"}` {
		t.Errorf("answered %d %s", status, body)
	}
}

// TestCallAimsAtUpstreamsOnly: the way in process is no way to mint for clients.
func TestCallAimsAtUpstreamsOnly(t *testing.T) {
	w := newWorld(t)
	_, parent := w.grant(t)
	read, err := token.ToolScope("read_message")
	if err != nil {
		t.Fatal(err)
	}
	spec := token.CallSpec{Audience: upstream, Presenter: identity.MustClientID("gateway"), Scope: read, Details: token.Details{Server: "mail", ArgumentsDigest: "d"}}
	call, err := w.Call(t.Context(), parent, spec)
	if err != nil {
		t.Fatal(err)
	}
	if c := claimsOf(t, call.Bearer()); c["aud"] != upstream || c["client_id"] != "gateway" || c["sub"] != "alice" {
		t.Errorf("claims %v", c)
	}
	for _, audience := range []string{mail, mail + "/", files, upstream + "/", upstream + "2", "https://unknown.example", issuer, "vault", ""} {
		spec.Audience = audience
		if c, err := w.Call(t.Context(), parent, spec); err == nil || c.Bearer() != "" {
			t.Errorf("Call for %q = %v, %v, want an error", audience, c, err)
		}
	}
	raw, _, err := w.minter.Tool(parent, token.ToolSpec{Child: token.Child{Audience: mail, ClientID: spec.Presenter}, Scope: read, Details: token.Details{Server: "mail", ArgumentsDigest: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	tool, err := w.verifier.ParseTool(t.Context(), raw, mail, token.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	for _, audience := range []string{mail, files, upstream + "2", "vault", ""} {
		if c, err := w.Readdress(t.Context(), tool, audience, spec.Presenter); err == nil || c.Bearer() != "" {
			t.Errorf("Readdress for %q = %v, %v, want an error", audience, c, err)
		}
	}
	if _, err := exchange.New(exchange.Config{Minter: w.minter}).Call(t.Context(), parent, spec); err == nil {
		t.Error("an Exchanger that knows no resources minted")
	}
}

// TestCallOnlyNarrows: what the minter refuses stays refused here.
func TestCallOnlyNarrows(t *testing.T) {
	w := newWorld(t)
	_, parent := w.grant(t, func(s *token.AccessSpec) { s.Scope = scope(t, "tool:read_message") })
	del, err := token.ToolScope("delete_message")
	if err != nil {
		t.Fatal(err)
	}
	spec := token.CallSpec{Audience: upstream, Presenter: identity.MustClientID("gateway"), Scope: del, Details: token.Details{Server: "mail", ArgumentsDigest: "d"}}
	if _, err := w.Call(t.Context(), parent, spec); !errors.Is(err, token.ErrNotCovered) {
		t.Errorf("Call = %v, want %v", err, token.ErrNotCovered)
	}
	if _, err := w.Call(t.Context(), token.Access{}, spec); !errors.Is(err, token.ErrNotCovered) {
		t.Errorf("Call for nobody = %v, want %v", err, token.ErrNotCovered)
	}
}
