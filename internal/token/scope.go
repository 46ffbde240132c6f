package token

import (
	"errors"
	"slices"
	"strings"
)

// Errors of the Parse functions for names and scopes.
var (
	ErrBadScope      = errors.New("scope must be space-separated tokens of printable ASCII without quotation mark and backslash")
	ErrBadToolName   = errors.New("tool name must be 1 to 128 of A-Z a-z 0-9 _ . - /")
	ErrBadPromptName = errors.New("prompt name must be 1 to 128 of A-Z a-z 0-9 _ . - /")
)

const (
	scopeTools     = "mcp:tools"
	scopeResources = "mcp:resources"
	scopePrompts   = "mcp:prompts"
	scopeSession   = "mcp:session"
	scopeResource  = "resource"
	toolPrefix     = "tool:"
	promptPrefix   = "prompt:"
	mcpPrefix      = "mcp:"
	maxScope       = 4096 // bytes
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
// call: mcp:tools covers every tool, tool:NAME only that one, mcp:resources the
// resources, mcp:prompts the prompts, and any of ours covers a session. That it may
// ask does not mean that policy allows it.
func (s Scope) Covers(c CallScope) bool {
	switch c.Details() {
	case DetailsSession:
		return slices.ContainsFunc(s.Fields(), func(t string) bool {
			return strings.HasPrefix(t, mcpPrefix) && t != scopeSession || strings.HasPrefix(t, toolPrefix)
		})
	case DetailsToolCall:
		return s.Has(scopeTools) || s.Has(c.s)
	case DetailsPromptGet: // what a call token is called is no scope of an access token, so it covers nothing
		return s.Has(scopePrompts)
	case DetailsResourceRead:
		return s.Has(scopeResources)
	}
	return false
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
