package token_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/token"
)

func TestParseScope(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want string
		err  error
	}{
		{"nothing", "", "", nil},
		{"one", "mcp:tools", "mcp:tools", nil},
		{"two in their order", "tool:b tool:a", "tool:b tool:a", nil},
		{"twice the same", "a b a", "a b", nil},
		{"more spaces than needed", "  a   b ", "a b", nil},
		{"only spaces", "   ", "", nil},
		{"case is kept", "A a", "A a", nil},
		{"longest", strings.Repeat("a", 4096), strings.Repeat("a", 4096), nil},
		{"too long", strings.Repeat("a", 4097), "", token.ErrBadScope},
		{"tab", "a\tb", "", token.ErrBadScope},
		{"newline", "a\nb", "", token.ErrBadScope},
		{"newline at the end", "a\n", "", token.ErrBadScope},
		{"next line (U+0085)", "a\u0085b", "", token.ErrBadScope},
		{"no-break space (U+00A0)", "a\u00a0b", "", token.ErrBadScope},
		{"em space (U+2003)", "mcp:tools\u2003tool:x", "", token.ErrBadScope},
		{"ideographic space (U+3000)", "a\u3000", "", token.ErrBadScope},
		{"line separator (U+2028)", "\u2028", "", token.ErrBadScope},
		{"quotation mark", `a"b`, "", token.ErrBadScope},
		{"backslash", `a\b`, "", token.ErrBadScope},
		{"NUL", "a\x00", "", token.ErrBadScope},
		{"delete", "a\x7f", "", token.ErrBadScope},
		{"a letter that is not ASCII", "tool:lösche", "", token.ErrBadScope},
		{"bad UTF-8", "a\xff", "", token.ErrBadScope},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := token.ParseScope(tt.in)
			if got.String() != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("ParseScope(%q) = %q, %v, want %q, %v", tt.in, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestScopeHasToTheLetter(t *testing.T) {
	s := scope(t, "mcp:tools tool:read a")
	for in, want := range map[string]bool{
		"mcp:tools": true, "tool:read": true, "a": true, "": false, " ": false, "mcp:tool": false, "tools": false, "tool:rea": false,
		"ool:read": false, "mcp:tools tool:read": false, "A": false, "MCP:TOOLS": false,
	} {
		if got := s.Has(in); got != want {
			t.Errorf("Has(%q) = %v, want %v", in, got, want)
		}
	}
	if (token.Scope{}).Has("") {
		t.Error("the empty scope has the empty token")
	}
}

func TestIntersect(t *testing.T) {
	got := scope(t, "c b a").Intersect([]string{"a", "c", "x", "b c"}).String()
	if diff := cmp.Diff("c a", got); diff != "" {
		t.Error(diff)
	}
}

func TestCovers(t *testing.T) {
	read, session, resource := toolScope(t, "read"), token.SessionScope(), token.ResourceScope()
	prompt, err := token.PromptScope("read")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		scope string
		call  token.CallScope
		want  bool
	}{
		{"mcp:tools covers a tool", "mcp:tools", read, true},
		{"tool:NAME covers that tool", "tool:x tool:read", read, true},
		{"tool:NAME covers no other tool", "tool:read_message tool:rea tool:READ", read, false},
		{"other kinds cover no tool", "mcp:resources mcp:prompts mcp:session", read, false},
		{"a wildcard covers nothing", "tool:* mcp:* * tool:", read, false},
		{"nothing covers no tool", "", read, false},
		{"mcp:prompts covers a prompt", "mcp:prompts", prompt, true},
		{"mcp:resources covers a resource", "mcp:resources", resource, true},
		{"tools cover no prompt", "mcp:tools tool:read mcp:resources", prompt, false},
		{"tools cover no resource", "mcp:tools tool:read tool:resource mcp:prompts", resource, false},
		{"the scope of a call token covers no prompt", "prompt:read", prompt, false},
		{"the scope of a call token covers no resource", "resource", resource, false},
		{"the scope of a call token covers no session", "resource prompt:read", session, false},
		{"each kind covers a session", "mcp:prompts", session, true},
		{"a tool covers a session", "tool:read", session, true},
		{"mcp:session, which no access token has, covers no session", "mcp:session", session, false},
		{"foreign scopes cover no session", "openid offline_access", session, false},
		{"nothing covers no session", "", session, false},
		{"nothing covers no call scope", "mcp:tools", token.CallScope{}, false},
		{"nothing covers nothing", "", token.CallScope{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := scope(t, tt.scope).Covers(tt.call); got != tt.want {
				t.Errorf("Covers = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestToolNameCannotSmuggleAScope: a tool of such a name gets no call scope at all.
func TestToolNameCannotSmuggleAScope(t *testing.T) {
	for _, name := range []string{
		"x tool:delete_message", "x\ttool:delete_message", "x\u00a0y", "x\n", " x", "x ", "", " ", "tool:x", "mcp:tools", `x"`, `x\`, "x,y", "*", "x*",
		"x\x00", "lösche", "х", strings.Repeat("a", 129),
	} {
		if s, err := token.ToolScope(name); !errors.Is(err, token.ErrBadToolName) || s != (token.CallScope{}) {
			t.Errorf("ToolScope(%q) = %q, %v, want %v", name, s, err, token.ErrBadToolName)
		}
		if s, err := token.PromptScope(name); !errors.Is(err, token.ErrBadPromptName) || s != (token.CallScope{}) {
			t.Errorf("PromptScope(%q) = %q, %v, want %v", name, s, err, token.ErrBadPromptName)
		}
		if s, err := token.ParseCallScope("prompt:" + name); !errors.Is(err, token.ErrBadScope) || s != (token.CallScope{}) {
			t.Errorf("ParseCallScope(prompt:%q) = %q, %v, want %v", name, s, err, token.ErrBadScope)
		}
		if s, err := token.ParseToolScope("tool:" + name); !errors.Is(err, token.ErrBadToolName) || s != (token.CallScope{}) {
			t.Errorf("ParseToolScope(tool:%q) = %q, %v, want %v", name, s, err, token.ErrBadToolName)
		}
	}
	for _, s := range []string{"", "tool", "TOOL:x", "mcp:session", "prompt:x", "x", " tool:x"} {
		if _, err := token.ParseToolScope(s); !errors.Is(err, token.ErrBadToolName) {
			t.Errorf("ParseToolScope(%q) = %v, want %v", s, err, token.ErrBadToolName)
		}
	}
}

func TestToolScope(t *testing.T) {
	for _, name := range []string{"x", "read_message", "a.b/c-D_9", "session", strings.Repeat("a", 128)} {
		s, err := token.ParseToolScope("tool:" + name)
		if err != nil || s.Tool() != name || s.String() != "tool:"+name || s != toolScope(t, name) {
			t.Errorf("ParseToolScope(tool:%s) = %q for tool %q, %v", name, s, s.Tool(), err)
		}
	}
	if s := token.SessionScope(); s.Tool() != "" || s.String() != "mcp:session" {
		t.Errorf("SessionScope = %q for tool %q", s, s.Tool())
	}
}

func TestParseCallScope(t *testing.T) {
	for _, tt := range []struct{ in, tool, prompt, details string }{
		{"tool:read", "read", "", "mcp_tool_call"},
		{"tool:resource", "resource", "", "mcp_tool_call"},
		{"prompt:read", "", "read", "mcp_prompt_get"},
		{"prompt:a.b/c-D_9", "", "a.b/c-D_9", "mcp_prompt_get"},
		{"resource", "", "", "mcp_resource_read"},
		{"mcp:session", "", "", "mcp_session"},
	} {
		c, err := token.ParseCallScope(tt.in)
		if err != nil || c.String() != tt.in || c.Tool() != tt.tool || c.Prompt() != tt.prompt || c.Details() != tt.details {
			t.Errorf("ParseCallScope(%q) = %q, %v, of tool %q, prompt %q, details %q", tt.in, c, err, c.Tool(), c.Prompt(), c.Details())
		}
	}
	for _, s := range []string{"", "tool:", "prompt:", "resource:", "resource:file:///a", "resources", "Resource", "PROMPT:x", "mcp:tools", "mcp:prompts", "resource mcp:session", "prompt:a tool:b", " resource"} {
		if c, err := token.ParseCallScope(s); !errors.Is(err, token.ErrBadScope) || c != (token.CallScope{}) || c.Details() != "" {
			t.Errorf("ParseCallScope(%q) = %q, %v, want %v", s, c, err, token.ErrBadScope)
		}
	}
}

// TestDetailsOfAnotherCallFitNoScope: each kind of call has its own members, and none of
// another's.
func TestDetailsOfAnotherCallFitNoScope(t *testing.T) {
	prompt, err := token.PromptScope("read")
	if err != nil {
		t.Fatal(err)
	}
	good := map[token.CallScope]token.Details{
		toolScope(t, "read"):  {Type: "mcp_tool_call", Server: "mail", Tool: "read", ArgumentsDigest: "a", DefinitionDigest: "d", PolicyDigest: "p"},
		prompt:                {Type: "mcp_prompt_get", Server: "mail", Prompt: "read", ArgumentsDigest: "a", PolicyDigest: "p"},
		token.ResourceScope(): {Type: "mcp_resource_read", Server: "mail", Resource: "file:///a", PolicyDigest: "p"},
		token.SessionScope():  {Type: "mcp_session", Server: "mail", PolicyDigest: "p"},
	}
	for scope, d := range good {
		for other, details := range good {
			if scope.Fits(details) != (scope == other) {
				t.Errorf("%s fits %+v: %v", scope, details, scope != other)
			}
		}
		for name, change := range map[string]func(*token.Details){
			"no server":            func(d *token.Details) { d.Server = "" },
			"no type":              func(d *token.Details) { d.Type = "" },
			"another tool":         func(d *token.Details) { d.Tool = "other" },
			"another prompt":       func(d *token.Details) { d.Prompt = "other" },
			"what is no URI":       func(d *token.Details) { d.Resource = "a\x00" },
			"a URI that is long":   func(d *token.Details) { d.Resource = strings.Repeat("a", 4<<10+1) },
			"a URI, not UTF-8":     func(d *token.Details) { d.Resource = "a\xff" },
			"digests of its other": func(d *token.Details) { d.ArgumentsDigest = map[bool]string{true: "x"}[scope == token.ResourceScope()] },
		} {
			bad := d
			change(&bad)
			if scope.Fits(bad) && bad != d {
				t.Errorf("%s fits details with %s: %+v", scope, name, bad)
			}
		}
	}
	if (token.CallScope{}).Fits(token.Details{Server: "mail"}) {
		t.Error("no scope fits details")
	}
}
