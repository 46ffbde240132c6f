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
	read, session := toolScope(t, "read"), token.SessionScope()
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
