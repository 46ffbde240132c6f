package oidc

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is our client secret at the IdP. The zero Secret is none. It shows itself
// to nobody: the value is behind a function, so that printing a struct around it by
// reflection does not show it either.
type Secret struct{ reveal func() string }

// NewSecret makes a Secret; the empty string is none.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{func() string { return s }}
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.reveal == nil }

// String redacts.
func (Secret) String() string { return "client secret" }

// GoString redacts.
func (s Secret) GoString() string { return s.String() }

// Format redacts for the verbs that do not ask String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue redacts.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText redacts in JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Secret) value() string {
	if s.IsZero() {
		return ""
	}
	return s.reveal()
}
