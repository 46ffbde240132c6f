package token

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// CallScope is the one scope of a call token. It is made only by the functions
// below, from a checked name, so that a name can never smuggle a second scope.
type CallScope struct{ s string }

// SessionScope is for what names no tool, prompt or resource: initialize, lists,
// completion, streams.
func SessionScope() CallScope { return CallScope{scopeSession} }

// ResourceScope is for the one resource that the details name: a URI may have what no
// scope has.
func ResourceScope() CallScope { return CallScope{scopeResource} }

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

// PromptScope is for exactly one prompt. It returns ErrBadPromptName.
func PromptScope(name string) (CallScope, error) {
	if !ValidPromptName(name) {
		return CallScope{}, ErrBadPromptName
	}
	return CallScope{promptPrefix + name}, nil
}

// ParsePromptScope reads the wire form, prompt:NAME. It returns ErrBadPromptName.
func ParsePromptScope(s string) (CallScope, error) {
	name, ok := strings.CutPrefix(s, promptPrefix)
	if !ok {
		return CallScope{}, ErrBadPromptName
	}
	return PromptScope(name)
}

// ParseCallScope reads the wire form of every kind. It returns ErrBadScope.
func ParseCallScope(s string) (CallScope, error) {
	switch s {
	case scopeSession, scopeResource:
		return CallScope{s}, nil
	}
	if c, err := ParseToolScope(s); err == nil {
		return c, nil
	}
	if c, err := ParsePromptScope(s); err == nil {
		return c, nil
	}
	return CallScope{}, ErrBadScope
}

// String returns the wire form.
func (c CallScope) String() string { return c.s }

// Tool returns the tool's name, empty for what is no call of a tool.
func (c CallScope) Tool() string { return c.after(toolPrefix) }

// Prompt returns the prompt's name, empty for what is none.
func (c CallScope) Prompt() string { return c.after(promptPrefix) }

func (c CallScope) after(prefix string) string {
	name, ok := strings.CutPrefix(c.s, prefix)
	if !ok {
		return ""
	}
	return name
}

// Details is the type of the authorization_details that a call token of the scope has,
// empty for the zero CallScope.
func (c CallScope) Details() string {
	switch {
	case c.s == scopeSession:
		return DetailsSession
	case c.s == scopeResource:
		return DetailsResourceRead
	case c.Tool() != "":
		return DetailsToolCall
	case c.Prompt() != "":
		return DetailsPromptGet
	}
	return ""
}

// Describe returns d with what follows from the scope: its type, tool and prompt.
func (c CallScope) Describe(d Details) Details {
	d.Type, d.Tool, d.Prompt = c.Details(), c.Tool(), c.Prompt()
	return d
}

// Fits reports whether d is of a call of the scope: the same type and name, with all
// that such a call needs, and nothing that another kind of call has.
func (c CallScope) Fits(d Details) bool {
	if d.Server == "" || d != c.Describe(d) || d.Approval != "" && (d.Type != DetailsToolCall || !validApproval(d.Approval)) {
		return false
	}
	switch d.Type {
	case DetailsSession:
		return d.Resource == ""
	case DetailsResourceRead:
		return ValidResourceURI(d.Resource) && d.ArgumentsDigest == ""
	case DetailsToolCall, DetailsPromptGet:
		return d.Resource == "" && d.ArgumentsDigest != ""
	}
	return false
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

// ValidPromptName reports whether a prompt of that name can be exposed at all.
func ValidPromptName(name string) bool { return ValidToolName(name) }

// validApproval reports whether it is the id of an approval, as far as its form says.
func validApproval(id string) bool {
	for i := range len(id) {
		if c := id[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

const maxURI = 4 << 10 // bytes

// ValidResourceURI reports whether a resource of that URI can be exposed at all.
func ValidResourceURI(uri string) bool {
	return uri != "" && len(uri) <= maxURI && utf8.ValidString(uri) && !strings.ContainsFunc(uri, unicode.IsControl)
}
