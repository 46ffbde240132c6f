package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// nested is a chain of n actors.
func nested(n int) string {
	return strings.Repeat(`{"sub":"A","act":`, n-1) + `{"sub":"A"}` + strings.Repeat("}", n-1)
}

// TestForgedClaimsAreRefused: each is signed with the right key.
func TestForgedClaimsAreRefused(t *testing.T) {
	tests := []struct {
		name     string
		old, new string
		want     error
	}{
		{"of another issuer", `"iss":"https://as.example"`, `"iss":"https://as.example.evil"`, token.ErrIssuer},
		{"issuer with a trailing slash", `"iss":"https://as.example"`, `"iss":"https://as.example/"`, token.ErrIssuer},
		{"without iss", `"iss":"https://as.example",`, ``, token.ErrIssuer},
		{"for another resource", `mcp/mail"`, `mcp/mail2"`, token.ErrAudience},
		{"for a resource with a trailing slash", `mcp/mail"`, `mcp/mail/"`, token.ErrAudience},
		{"for a resource in another case", `mcp/mail"`, `mcp/Mail"`, token.ErrAudience},
		{"for two resources, ours first", `"aud":"https://as.example/mcp/mail"`, `"aud":["https://as.example/mcp/mail","https://b.example"]`, token.ErrMalformed},
		{"for two resources, ours last", `"aud":"https://as.example/mcp/mail"`, `"aud":["https://b.example","https://as.example/mcp/mail"]`, token.ErrMalformed},
		{"for no resource, as a list", `"aud":"https://as.example/mcp/mail"`, `"aud":[]`, token.ErrMalformed},
		{"for no resource, as a string", `"aud":"https://as.example/mcp/mail"`, `"aud":""`, token.ErrMalformed},
		{"aud null", `"aud":"https://as.example/mcp/mail"`, `"aud":null`, token.ErrMalformed},
		{"aud a number", `"aud":"https://as.example/mcp/mail"`, `"aud":1`, token.ErrMalformed},
		{"aud a nested list", `"aud":"https://as.example/mcp/mail"`, `"aud":[["https://as.example/mcp/mail"]]`, token.ErrMalformed},
		{"without aud", `"aud":"https://as.example/mcp/mail",`, ``, token.ErrMalformed},
		{"without sub", `"sub":"alice",`, ``, token.ErrMalformed},
		{"sub empty", `"sub":"alice"`, `"sub":""`, token.ErrMalformed},
		{"sub null", `"sub":"alice"`, `"sub":null`, token.ErrMalformed},
		{"sub with a newline", `"sub":"alice"`, `"sub":"alice\nbob"`, token.ErrMalformed},
		{"Sub for sub", `"sub"`, `"Sub"`, token.ErrMalformed},
		{"sub twice", `"sub":"alice"`, `"sub":"alice","sub":"bob"`, token.ErrMalformed},
		{"sub twice, once escaped", `"sub":"alice"`, `"sub":"alice","\u0073ub":"bob"`, token.ErrMalformed},
		{"sub with bad UTF-8", `"sub":"alice"`, "\"sub\":\"alice\xff\"", token.ErrMalformed},
		{"without client_id", `"client_id":"C",`, ``, token.ErrMalformed},
		{"without jti", `"jti":"j1",`, ``, token.ErrMalformed},
		{"without iat", `"iat":900,`, ``, token.ErrMalformed},
		{"without exp", `"exp":1300,`, ``, token.ErrMalformed},
		{"EXP for exp", `"exp"`, `"EXP"`, token.ErrMalformed},
		{"expired", `"exp":1300`, `"exp":999`, token.ErrExpired},
		{"expires at this very second", `"exp":1300`, `"exp":1000`, token.ErrExpired},
		{"exp before iat", `"exp":1300`, `"exp":899`, token.ErrMalformed},
		{"exp a string", `"exp":1300`, `"exp":"1300"`, token.ErrMalformed},
		{"exp a fraction", `"exp":1300`, `"exp":1300.5`, token.ErrMalformed},
		{"exp beyond every number", `"exp":1300`, `"exp":1e999`, token.ErrMalformed},
		{"exp the largest number", `"exp":1300`, `"exp":9223372036854775807`, token.ErrExpired}, // time.Unix wraps: to the past
		{"exp null", `"exp":1300`, `"exp":null`, token.ErrMalformed},
		{"exp twice", `"exp":1300`, `"exp":999,"exp":1300`, token.ErrMalformed},
		{"iat negative", `"iat":900`, `"iat":-900`, token.ErrMalformed},
		{"issued in the future", `"iat":900`, `"iat":1006`, token.ErrNotYet},
		{"scope with a quotation mark", `"scope":"mcp:tools"`, `"scope":"mcp:tools \""`, token.ErrMalformed},
		{"scope a list", `"scope":"mcp:tools"`, `"scope":["mcp:tools"]`, token.ErrMalformed},
		{"nine actors", `"txn"`, `"act":` + nested(9) + `,"txn"`, token.ErrMalformed},
		{"an actor who is nobody", `"txn"`, `"act":{"sub":"A","act":{"iss":"https://as.example"}},"txn"`, token.ErrMalformed},
		{"an actor with sub empty", `"txn"`, `"act":{"sub":""},"txn"`, token.ErrMalformed},
		{"act a string", `"txn"`, `"act":"A","txn"`, token.ErrMalformed},
		{"bound to what is no thumbprint", `"txn"`, `"cnf":{"jkt":"x"},"txn"`, token.ErrMalformed},
		{"bound to nothing", `"txn"`, `"cnf":{},"txn"`, token.ErrMalformed},
		{"bound to a key that nobody asks for", `"txn"`, `"cnf":{"jkt":"` + thumbprint + `","jwk":{}},"txn"`, token.ErrMalformed},
		{"bound to a key that was not proved", `"txn"`, `"cnf":{"jkt":"` + thumbprint + `"},"txn"`, token.ErrUnproven},
		{"bound to a certificate that was not proved", `"txn"`, `"cnf":{"x5t#S256":"` + thumbprint + `"},"txn"`, token.ErrUnproven},
		{"with a may_act that nobody can enforce", `"txn"`, `"may_act":{"sub":"A","email":"a@example.com"},"txn"`, token.ErrMalformed},
		{"with a may_act that names nobody", `"txn"`, `"may_act":{"iss":"https://as.example"},"txn"`, token.ErrMalformed},
		{"with nbf", `"txn"`, `"nbf":2000,"txn"`, token.ErrMalformed},
		{"followed by more", `"txn":"grant-1"}`, `"txn":"grant-1"}{}`, token.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			refused(t, forge(goodHeader, edit(t, goodAccess, tt.old, tt.new), es256(ec)), tt.want)
		})
	}
}

// thumbprint is a SHA-256 in base64url.
const thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

func TestGoodTokensAreAccepted(t *testing.T) {
	tests := []struct {
		name     string
		old, new string
	}{
		{"as it is", `"sub"`, `"sub"`},
		{"aud a list of one", `"aud":"https://as.example/mcp/mail"`, `"aud":["https://as.example/mcp/mail"]`},
		{"exp in one second", `"exp":1300`, `"exp":1001`},
		{"iat five seconds ahead", `"iat":900`, `"iat":1005`},
		{"eight actors", `"txn"`, `"act":` + nested(8) + `,"txn"`},
		{"a claim that nobody knows", `"txn"`, `"email":["x"],"txn"`},
		{"Sub beside sub, which counts", `"sub"`, `"Sub":"mallory","sub"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := accessOf(t, edit(t, goodAccess, tt.old, tt.new))
			got := []string{a.Subject().String(), a.ClientID().String(), a.Audience(), a.Scope().String(), a.ID(), a.Txn()}
			if diff := cmp.Diff([]string{"alice", "C", mail, "mcp:tools", "j1", "grant-1"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestKindsAreDisjoint: what one parser accepts the other refuses.
func TestKindsAreDisjoint(t *testing.T) {
	v := newVerifier(&now)
	access, call := forge(goodHeader, goodAccess, es256(ec)), forge(goodHeader, goodCall, es256(ec))
	if _, err := v.ParseAccess(t.Context(), call, mail, token.Confirmation{}); !errors.Is(err, token.ErrType) {
		t.Errorf("ParseAccess(call token) = %v, want %v", err, token.ErrType)
	}
	if _, err := v.ParseCall(t.Context(), access, mail); !errors.Is(err, token.ErrType) {
		t.Errorf("ParseCall(access token) = %v, want %v", err, token.ErrType)
	}
	for range 2 { // the second time from the cache
		if _, err := v.ParseAccess(t.Context(), access, mail, token.Confirmation{}); err != nil {
			t.Error(err)
		}
		if _, err := v.ParseCall(t.Context(), call, mail); err != nil {
			t.Error(err)
		}
	}
	if _, err := v.ParseAccess(t.Context(), call, mail, token.Confirmation{}); !errors.Is(err, token.ErrType) {
		t.Errorf("ParseAccess(cached call token) = %v, want %v", err, token.ErrType)
	}
}

// TestForgedCallTokensAreRefused: whoever signed it, a call token is for one call.
func TestForgedCallTokensAreRefused(t *testing.T) {
	const details = `{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments_digest":"abc"}`
	tests := []struct {
		name     string
		old, new string
	}{
		{"two details", details, details + "," + details},
		{"details of another type", `"mcp_tool_call"`, `"payment"`},
		{"details without type", `"type":"mcp_tool_call",`, ``},
		{"details without server", `"server":"mail",`, ``},
		{"details without arguments digest", `,"arguments_digest":"abc"`, ``},
		{"details for another tool", `"tool":"read_message"`, `"tool":"delete_message"`},
		{"details without tool", `"tool":"read_message",`, ``},
		{"scope for another tool", `"tool:read_message"`, `"tool:delete_message"`},
		{"scope for two tools", `"tool:read_message"`, `"tool:read_message tool:delete_message"`},
		{"scope for every tool", `"tool:read_message"`, `"mcp:tools"`},
		{"scope for a session with details for a call", `"tool:read_message"`, `"mcp:session"`},
		{"session details with a scope for a tool", `"mcp_tool_call"`, `"mcp_session"`},
		{"session details with a scope for a tool, and no tool", details, `{"type":"mcp_session","server":"mail"}`},
		{"scope for a prompt with details for a tool", `"tool:read_message"`, `"prompt:read_message"`},
		{"scope for a resource with details for a tool", `"tool:read_message"`, `"resource"`},
		{"details for a prompt with a scope for a tool", details, `{"type":"mcp_prompt_get","server":"mail","prompt":"read_message","arguments_digest":"abc"}`},
		{"details for a resource with a scope for a tool", details, `{"type":"mcp_resource_read","server":"mail","resource":"file:///a"}`},
		{"details for a tool and a resource", `"arguments_digest":"abc"`, `"arguments_digest":"abc","resource":"file:///a"`},
		{"details for a tool and a prompt", `"arguments_digest":"abc"`, `"arguments_digest":"abc","prompt":"read_message"`},
		{"an approval that is no id", `"arguments_digest":"abc"`, `"arguments_digest":"abc","approval":"a b"`},
		{"an approval in lower case", `"arguments_digest":"abc"`, `"arguments_digest":"abc","approval":"abc"`},
		{"an approval of 65 characters", `"arguments_digest":"abc"`, `"arguments_digest":"abc","approval":"` + strings.Repeat("A", 65) + `"`},
		{"without scope", `"scope":"tool:read_message",`, ``},
		{"a life of 61 seconds", `"exp":1050`, `"exp":1051`},
		// 18446744074 s is 290 ms when nanoseconds are counted in 64 bits.
		{"a life that overflows a Duration", `"exp":1050`, `"exp":18446745064`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newVerifier(&now).ParseCall(t.Context(), forge(goodHeader, edit(t, goodCall, tt.old, tt.new), es256(ec)), mail)
			if !errors.Is(err, token.ErrMalformed) {
				t.Errorf("ParseCall = %v, want %v", err, token.ErrMalformed)
			}
		})
	}
}

// TestPromptsAndResourcesHaveNoToolToken: what a client exchanges for itself is for a
// tool, whoever signed it.
func TestPromptsAndResourcesHaveNoToolToken(t *testing.T) {
	prompt, err := token.PromptScope("read")
	if err != nil {
		t.Fatal(err)
	}
	parent := accessOf(t, edit(t, goodAccess, "mcp:tools", "mcp:tools mcp:prompts mcp:resources"))
	child := token.Child{Audience: mail, ClientID: parent.ClientID()}
	for scope, d := range map[token.CallScope]token.Details{
		prompt:                {Server: "mail", ArgumentsDigest: "a"},
		token.ResourceScope(): {Server: "mail", Resource: "file:///a"},
		token.SessionScope():  {Server: "mail"},
	} {
		if raw, _, err := newMinter(&now, ecSigner()).Tool(parent, token.ToolSpec{Child: child, Scope: scope, Details: d}); !errors.Is(err, token.ErrType) || raw != "" {
			t.Errorf("Tool(%s) = %v, want %v", scope, err, token.ErrType)
		}
		call, err := newMinter(&now, ecSigner()).Call(parent, token.CallSpec{Audience: mail, Presenter: parent.ClientID(), Scope: scope, Details: d})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := token.VerifyJWS(call.Bearer(), ec.Public())
		if err != nil {
			t.Fatal(err)
		}
		forged := forge(goodHeader, edit(t, string(payload), `"jti"`, `"ancestors":["j1"],"jti"`), es256(ec))
		if _, err := newVerifier(&now).ParseTool(t.Context(), forged, mail, token.Confirmation{}); !errors.Is(err, token.ErrType) {
			t.Errorf("ParseTool(%s) = %v, want %v", scope, err, token.ErrType)
		}
	}
}

// TestCallTokenSaysWhichApprovalItHas, and only that of a tool: a client's own token has
// none, whoever signed it, for nobody approves what a client exchanges for itself.
func TestCallTokenSaysWhichApprovalItHas(t *testing.T) {
	parent := accessOf(t, goodAccess)
	spec := token.CallSpec{Audience: mail, Presenter: parent.ClientID(), Scope: toolScope(t, "read"), Details: token.Details{Server: "mail", ArgumentsDigest: "a", Approval: "AB23"}}
	call, err := newMinter(&now, ecSigner()).Call(parent, spec)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := newVerifier(&now).ParseCall(t.Context(), call.Bearer(), mail); err != nil || got.Details().Approval != "AB23" {
		t.Errorf("ParseCall = %+v, %v", got.Details(), err)
	}
	child := token.Child{Audience: mail, ClientID: parent.ClientID()}
	if raw, _, err := newMinter(&now, ecSigner()).Tool(parent, token.ToolSpec{Child: child, Scope: spec.Scope, Details: spec.Details}); !errors.Is(err, token.ErrType) || raw != "" {
		t.Errorf("Tool = %v, want %v", err, token.ErrType)
	}
	spec.Scope = token.SessionScope()
	spec.Details = token.Details{Server: "mail", Approval: "AB23"}
	if _, err := newMinter(&now, ecSigner()).Call(parent, spec); !errors.Is(err, token.ErrMalformed) {
		t.Errorf("of a session: %v", err)
	}
}

// TestWhoIsWhoInTheClaims is the table of DESIGN.md section 1, and its edges.
func TestWhoIsWhoInTheClaims(t *testing.T) {
	long := "https://client.example/" + strings.Repeat("a", 300)
	c := token.Actor{Issuer: issuer, Subject: subject(t, "C"), ClientID: identity.MustClientID("C")}
	tests := []struct {
		name  string
		edits [][2]string
		act   *token.Actor
		chain []string
	}{
		{"alice in an MCP client C", nil, &c, []string{"C"}},
		{"workload A for itself", [][2]string{{`"alice"`, `"A"`}, {`"C"`, `"A"`}}, nil, nil},
		{"agent A for alice, who used C", [][2]string{{`"C"`, `"A"`}, {`"txn"`, `"act":{"sub":"A","act":{"sub":"C"}},"txn"`}},
			&token.Actor{Subject: subject(t, "A"), Act: &token.Actor{Subject: subject(t, "C")}}, []string{"A", "C"}},
		{"alice in a client whose name is too long for a subject", [][2]string{{`"C"`, `"` + long + `"`}}, nil, []string{long}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claims := goodAccess
			for _, e := range tt.edits {
				claims = edit(t, claims, e[0], e[1])
			}
			parent := accessOf(t, claims)
			minted, err := newMinter(&now, ecSigner()).Call(parent, toolCall(t))
			if err != nil {
				t.Fatal(err)
			}
			got, err := newVerifier(&now).ParseCall(t.Context(), minted.Bearer(), upstream) // as the upstream sees it
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject() != parent.Subject() || got.ClientID().String() != "gateway" {
				t.Errorf("sub %s, client_id %s, want %s and gateway", got.Subject(), got.ClientID(), parent.Subject())
			}
			if diff := cmp.Diff(tt.chain, got.Actor().Chain()); diff != "" {
				t.Errorf("chain (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(tt.act, got.Actor(), cmp.Comparer(sameActor)); tt.act != nil && diff != "" {
				t.Errorf("act (-want +got)\n%s", diff)
			}
		})
	}
}

func sameActor(a, b *token.Actor) bool {
	for a != nil && b != nil {
		if a.Issuer != b.Issuer || a.Subject != b.Subject || a.ClientID != b.ClientID {
			return false
		}
		a, b = a.Act, b.Act
	}
	return a == b
}

func TestAccessTokensThatNameNobodyAreNotMinted(t *testing.T) {
	good := token.AccessSpec{Subject: subject(t, "alice"), ClientID: identity.MustClientID("C"), Audience: mail, Scope: scope(t, "mcp:tools"), Lifetime: time.Minute}
	tests := []struct {
		name string
		edit func(*token.AccessSpec)
	}{
		{"no subject", func(s *token.AccessSpec) { s.Subject = identity.Subject{} }},
		{"no client", func(s *token.AccessSpec) { s.ClientID = identity.ClientID{} }},
		{"no audience", func(s *token.AccessSpec) { s.Audience = "" }},
		{"no lifetime", func(s *token.AccessSpec) { s.Lifetime = 0 }},
		{"a life that has ended", func(s *token.AccessSpec) { s.Lifetime = -time.Minute }},
		{"longer than a verifier takes", func(s *token.AccessSpec) { s.Audience += strings.Repeat("a", 8<<10) }},
	}
	m := newMinter(&now, ecSigner())
	if raw, _, err := m.Access(good); err != nil || raw == "" {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			tt.edit(&s)
			if raw, a, err := m.Access(s); err == nil || raw != "" || !a.Subject().IsZero() {
				t.Errorf("Access = %q, %v, %v, want an error", raw, a, err)
			}
		})
	}
}
