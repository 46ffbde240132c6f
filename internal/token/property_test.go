package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Few names, so that scopes and tools meet.
var (
	someScopes = []string{"mcp:tools", "mcp:tools", "mcp:resources", "mcp:prompts", "mcp:session", "resource", "prompt:read", "tool:read", "tool:send", "tool:a/b.c", "openid"}
	someTools  = []string{"read", "send", "a/b.c", "delete"}
	someNames  = []string{"alice", "bob", "A", "B", "https://client.example/" + strings.Repeat("c", 240)}
)

// parentClaims draws the claims of an access token, as an issuer may write them.
func parentClaims(t *rapid.T) map[string]any {
	iat := rapid.Int64Range(900, 1005).Draw(t, "iat")
	c := map[string]any{
		"iss": issuer, "aud": mail, "jti": "j", "iat": iat, "exp": rapid.Int64Range(1006, 1200).Draw(t, "exp"), "txn": rapid.SampledFrom([]string{"", "t1"}).Draw(t, "txn"),
		"sub": rapid.SampledFrom(someNames[:4]).Draw(t, "sub"), "client_id": rapid.SampledFrom(someNames).Draw(t, "client"),
	}
	scopes := rapid.SliceOfN(rapid.SampledFrom(someScopes), 0, 6).Draw(t, "scope")
	if rapid.SampledFrom([]bool{true, true, false}).Draw(t, "every kind") {
		scopes = append(scopes, "mcp:tools", "mcp:resources", "mcp:prompts")
	}
	c["scope"] = strings.Join(scopes, " ")
	var act map[string]any
	for _, name := range rapid.SliceOfN(rapid.SampledFrom(someNames[:4]), 0, 8).Draw(t, "actors") {
		a := map[string]any{"iss": issuer, "sub": name, "client_id": name}
		if act != nil {
			a["act"] = act
		}
		act = a
	}
	if act != nil {
		c["act"] = act
	}
	return c
}

func callSpec(t *rapid.T) token.CallSpec {
	s := token.CallSpec{Audience: upstream, Presenter: identity.MustClientID("gateway"), Scope: token.SessionScope(),
		Details: token.Details{Type: "lie", Tool: "lie", Prompt: "lie", Server: "mail", ArgumentsDigest: "d"}}
	switch rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5}).Draw(t, "missing") {
	case 1:
		s.Audience = ""
	case 2:
		s.Presenter = identity.ClientID{}
	case 3:
		s.Details.Server = ""
	case 4:
		s.Details.ArgumentsDigest = ""
	case 5:
		s.Audience = mail
	}
	name := rapid.SampledFrom(someTools).Draw(t, "name")
	switch rapid.SampledFrom([]string{"tool", "prompt", "resource", "session"}).Draw(t, "kind") {
	case "tool":
		s.Scope, _ = token.ToolScope(name)
	case "prompt":
		s.Scope, _ = token.PromptScope(name)
	case "resource":
		s.Scope, s.Details.ArgumentsDigest, s.Details.Resource = token.ResourceScope(), "", "file:///a"
	}
	switch rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2}).Draw(t, "wrong") {
	case 1:
		s.Details.Resource = rapid.SampledFrom([]string{"", "file:///a", "x\x00", "\xff", "config://" + strings.Repeat("a", 4<<10)}).Draw(t, "uri")
	case 2:
		s.Details.ArgumentsDigest = "d"
	}
	return s
}

// wire is what a stranger reads in a token.
func wire(t *rapid.T, raw string) (c map[string]any) {
	payload, err := token.VerifyJWS(raw, ec.Public())
	if err == nil {
		err = json.Unmarshal(payload, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestExchangeOnlyNarrows mints random calls of random parents, and holds what
// comes out to DESIGN.md decision 4.
func TestExchangeOnlyNarrows(t *testing.T) {
	kinds := map[string]int{} // by the type of the details
	rapid.Check(t, func(t *rapid.T) {
		c, spec := parentClaims(t), callSpec(t)
		payload, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		parent, err := newVerifier(&now).ParseAccess(t.Context(), forge(goodHeader, string(payload), es256(ec)), mail, token.Confirmation{})
		if err != nil {
			t.Fatal(err)
		}
		clock := time.Unix(rapid.SampledFrom([]int64{1000, 1000, 1001, 1001, 1005, 1006, 1100, 1250}).Draw(t, "now"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		call, err := newMinter(&clock, ecSigner()).Call(parent, spec)
		if reason := refusal(parent, spec, clock); reason != "" {
			if err == nil || call.Bearer() != "" {
				t.Fatalf("minted although %s", reason)
			}
			return
		}
		if err != nil {
			t.Fatalf("not minted: %v", err)
		}
		kinds[call.Details().Type]++
		checkChild(t, parent, spec, clock, call)
		checkActors(t, c, wire(t, call.Bearer()))
	})
	if t.Logf("minted: %v", kinds); len(kinds) != 4 {
		t.Error("of some kind no call was minted: the test shows nothing")
	}
}

// refusal is why nothing may be minted, in the words of the rules.
func refusal(parent token.Access, s token.CallSpec, at time.Time) string {
	scopes := parent.Scope().Fields()
	may := false
	for _, f := range scopes {
		switch kind, _, _ := strings.Cut(s.Scope.String(), ":"); kind {
		case "mcp":
			may = may || strings.HasPrefix(f, "tool:") || strings.HasPrefix(f, "mcp:") && f != "mcp:session"
		case "tool":
			may = may || f == "mcp:tools" || f == s.Scope.String()
		default: // prompt or resource, of which an access token has no scope but the whole kind
			may = may || f == "mcp:"+kind+"s"
		}
	}
	switch {
	case !may:
		return "the parent does not cover the scope"
	case at.Unix() >= parent.Expiry().Unix():
		return "the parent has expired"
	case s.Audience == "" || s.Presenter.IsZero() || s.Details.Server == "":
		return "audience, presenter or server is missing"
	case s.Scope == token.ResourceScope() && s.Details.Resource != "file:///a":
		return "a resource is read without URI, or with one that is none"
	case s.Scope == token.ResourceScope() && s.Details.ArgumentsDigest != "":
		return "a resource is read with arguments"
	case s.Scope != token.ResourceScope() && s.Details.Resource != "":
		return "what is no resource has a URI"
	case s.Scope.Tool()+s.Scope.Prompt() != "" && s.Details.ArgumentsDigest == "":
		return "a tool is called, or a prompt got, without arguments digest"
	}
	return ""
}

func checkChild(t *rapid.T, parent token.Access, s token.CallSpec, at time.Time, minted token.Call) {
	v := newVerifier(&at)
	call, err := v.ParseCall(t.Context(), minted.Bearer(), s.Audience)
	if err != nil {
		t.Fatalf("no verifier takes it: %v", err)
	}
	if _, err := v.ParseAccess(t.Context(), minted.Bearer(), s.Audience, token.Confirmation{}); !errors.Is(err, token.ErrType) {
		t.Fatalf("ParseAccess = %v, want %v", err, token.ErrType)
	}
	if call.Subject() != parent.Subject() || call.Txn() != parent.Txn() || call.ClientID() != s.Presenter {
		t.Fatalf("subject %s, txn %s, client %s", call.Subject(), call.Txn(), call.ClientID())
	}
	if call.Scope().String() != s.Scope.String() || len(call.Scope().Fields()) != 1 || !parent.Scope().Covers(s.Scope) {
		t.Fatalf("scope %s of parent %s", call.Scope(), parent.Scope())
	}
	if call.Expiry().After(parent.Expiry()) || call.Expiry().After(at.Add(token.MaxCallLifetime)) || call.Expiry().Sub(call.IssuedAt()) > token.MaxCallLifetime {
		t.Fatalf("expires %d of parent %d at %d", call.Expiry().Unix(), parent.Expiry().Unix(), at.Unix())
	}
	if _, ok := wire(t, minted.Bearer())["aud"].(string); !ok || call.Audience() != s.Audience {
		t.Fatalf("audience %s", call.Audience())
	}
	if d := call.Details(); d.Tool != s.Scope.Tool() || d.Prompt != s.Scope.Prompt() || d.Resource != s.Details.Resource || d.ArgumentsDigest != s.Details.ArgumentsDigest || d != minted.Details() {
		t.Fatalf("details %+v", d)
	}
	if call.ID() == parent.ID() || call.ID() != minted.ID() || len(call.ID()) < 20 {
		t.Fatalf("jti %q", call.ID())
	}
}

// checkActors: the child's chain is the parent's, or its client alone where there
// is none and the client is not the subject.
func checkActors(t *rapid.T, parent, child map[string]any) {
	want, ok := parent["act"]
	if client := parent["client_id"].(string); !ok && client != parent["sub"] {
		a := map[string]any{"iss": issuer, "client_id": client}
		if len(client) <= 255 {
			a["sub"] = client
		}
		want = a
	}
	a, _ := json.Marshal(want, json.Deterministic(true))
	b, _ := json.Marshal(child["act"], json.Deterministic(true))
	if string(a) != string(b) {
		t.Fatalf("act %s, want %s", b, a)
	}
}

func TestCallsAreRefusedWithTheirOwnErrors(t *testing.T) {
	late := time.Unix(1300, 0)
	tests := []struct {
		name   string
		parent token.Access
		clock  *time.Time
		spec   func(*token.CallSpec)
		want   error
	}{
		{"a parent that grants nothing", token.Access{}, &now, func(*token.CallSpec) {}, token.ErrNotCovered},
		{"no scope", accessOf(t, goodAccess), &now, func(s *token.CallSpec) { s.Scope = token.CallScope{} }, token.ErrNotCovered},
		{"another tool than the parent's", accessOf(t, edit(t, goodAccess, "mcp:tools", "tool:send")), &now, func(*token.CallSpec) {}, token.ErrNotCovered},
		{"a parent that has expired", accessOf(t, goodAccess), &late, func(*token.CallSpec) {}, token.ErrExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := toolCall(t)
			tt.spec(&s)
			if c, err := newMinter(tt.clock, ecSigner()).Call(tt.parent, s); !errors.Is(err, tt.want) || c.Bearer() != "" {
				t.Errorf("Call = %v, %v, want %v", c, err, tt.want)
			}
		})
	}
}
