package token

import (
	"errors"
	"slices"
	"strings"
)

// Errors of the Parse functions for names and scopes.
var (
	ErrBadScope    = errors.New("scope must be space-separated tokens of printable ASCII without quotation mark and backslash")
	ErrBadToolName = errors.New("tool name must be 1 to 128 of A-Z a-z 0-9 _ . - /")
)

const (
	scopeTools   = "mcp:tools"
	scopeSession = "mcp:session"
	toolPrefix   = "tool:"
	mcpPrefix    = "mcp:"
	maxScope     = 4096 // bytes
)

// Scope is a set of scope tokens (RFC 6749 §3.3), in the order they were given
// and each once. The zero value grants nothing.
type Scope struct{ s string }

// ParseScope checks and makes a Scope from the space-separated form. It returns ErrBadScope.
func ParseScope(s string) (Scope, error) {
	if len(s) > maxScope {
		return Scope{}, ErrBadScope
	}
	for i := range len(s) { // other white space than the space is no separator
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return Scope{}, ErrBadScope
		}
	}
	var out []string
	for _, t := range strings.Fields(s) {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return Scope{strings.Join(out, " ")}, nil
}

// String returns the space-separated form.
func (s Scope) String() string { return s.s }

// Fields returns the scope tokens.
func (s Scope) Fields() []string { return strings.Fields(s.s) }

// IsZero reports whether s grants nothing.
func (s Scope) IsZero() bool { return s.s == "" }

// Has reports whether the token is in the set, to the letter.
func (s Scope) Has(scopeToken string) bool {
	if len(s.s) == len(scopeToken) {
		return s.s == scopeToken && scopeToken != ""
	}
	return scopeToken != "" && !strings.Contains(scopeToken, " ") && strings.Contains(" "+s.s+" ", " "+scopeToken+" ")
}

// Intersect keeps the tokens of s that are among allowed.
func (s Scope) Intersect(allowed []string) Scope {
	return Scope{strings.Join(slices.DeleteFunc(s.Fields(), func(t string) bool { return !slices.Contains(allowed, t) }), " ")}
}

// Covers reports whether an access token with this scope may ask for such a
// call: mcp:tools covers every tool, tool:NAME only that one, and any of ours
// covers a session. That it may ask does not mean that policy allows it.
func (s Scope) Covers(c CallScope) bool {
	if c.s == scopeSession {
		return slices.ContainsFunc(s.Fields(), func(t string) bool {
			return strings.HasPrefix(t, mcpPrefix) && t != scopeSession || strings.HasPrefix(t, toolPrefix)
		})
	}
	return c.s != "" && (s.Has(scopeTools) || s.Has(c.s))
}

// CoversAll reports whether an access token with this scope may be narrowed to
// another: each token of that is one of this, or a tool where this has mcp:tools.
func (s Scope) CoversAll(narrower Scope) bool {
	for _, f := range narrower.Fields() {
		if tool, err := ParseToolScope(f); !s.Has(f) && (err != nil || !s.Covers(tool)) {
			return false
		}
	}
	return true
}

// Meet is the most that both scopes cover.
func (s Scope) Meet(t Scope) Scope {
	var both []string
	for _, f := range append(s.Fields(), t.Fields()...) {
		if one := (Scope{f}); s.CoversAll(one) && t.CoversAll(one) && !slices.Contains(both, f) {
			both = append(both, f)
		}
	}
	return Scope{strings.Join(both, " ")}
}

// CallScope is the one scope of a call token. It is made only by the functions
// below, from a checked name, so that a name can never smuggle a second scope.
type CallScope struct{ s string }

// SessionScope is for what is no call of a tool: initialize, lists, streams.
func SessionScope() CallScope { return CallScope{scopeSession} }

// ToolScope is for exactly one tool. It returns ErrBadToolName.
func ToolScope(name string) (CallScope, error) {
	if !ValidToolName(name) {
		return CallScope{}, ErrBadToolName
	}
	return CallScope{toolPrefix + name}, nil
}

// ParseToolScope reads the wire form, tool:NAME. It returns ErrBadToolName.
func ParseToolScope(s string) (CallScope, error) {
	name, ok := strings.CutPrefix(s, toolPrefix)
	if !ok {
		return CallScope{}, ErrBadToolName
	}
	return ToolScope(name)
}

// ParseCallScope reads the wire form of either kind. It returns ErrBadScope.
func ParseCallScope(s string) (CallScope, error) {
	if s == scopeSession {
		return SessionScope(), nil
	}
	if c, err := ParseToolScope(s); err == nil {
		return c, nil
	}
	return CallScope{}, ErrBadScope
}

// Details is the type of the authorization_details that a call token of the scope has.
func (c CallScope) Details() string {
	if c.s == scopeSession {
		return DetailsSession
	}
	return DetailsToolCall
}

// String returns the wire form.
func (c CallScope) String() string { return c.s }

// Tool returns the tool's name, empty for a session.
func (c CallScope) Tool() string {
	name, _ := strings.CutPrefix(c.s, toolPrefix)
	if c.s == scopeSession {
		return ""
	}
	return name
}

// ValidToolName reports whether a tool of that name can be exposed at all.
func ValidToolName(name string) bool {
	if name == "" || len(name) > 128 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-' || c == '/'
		if !ok {
			return false
		}
	}
	return true
}
