// Package vault is the product's way to HashiCorp Vault: one client that says what went
// wrong in words that a gateway can act on, the ways of logging in, and a login of our own
// that is kept alive. It is the only importer of Vault's client library.
//
// It does NOT know what a credential is for (package vaultbridge does), and writes nothing
// to disk.
package vault

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Reason is why Vault did not do what it was asked; a word for logs, metrics and callers.
type Reason string

// The reasons. Sealed, Timeout and Unreachable, and Failed, are of Vault's own health.
const (
	Sealed      Reason = "vault_sealed"            // sealed, or not initialized, or a standby that leads nowhere
	Timeout     Reason = "vault_timeout"           // it did not answer in time
	Unreachable Reason = "vault_unreachable"       // no connection, or TLS failed
	Failed      Reason = "vault_failed"            // HTTP 5xx: what stands behind an engine may be away
	LoggedOut   Reason = "vault_login_failed"      // the login was refused
	Denied      Reason = "vault_permission_denied" // HTTP 403 with a token
	NotFound    Reason = "vault_not_found"         // HTTP 404: no such path, role or version
	Refused     Reason = "vault_refused"           // HTTP 4xx else
	Limited     Reason = "vault_rate_limited"      // HTTP 429, or a quota of leases
	Malformed   Reason = "vault_malformed"         // an answer that makes no sense
	Canceled    Reason = "vault_canceled"          // whoever asked went away before it answered: no fault of Vault's
)

// Error is what went wrong. Its text is for operators: it has Vault's own words, with
// nothing secret in them.
type Error struct {
	Why  Reason
	What string // the request: login jwt at auth/jwt, read database/creds/x
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("vault: %s: %s: %v", e.What, e.Why, e.Err) }

// Unwrap is for errors.Is.
func (e *Error) Unwrap() error { return e.Err }

// Reason is the word for the audit log.
func (e *Error) Reason() string { return string(e.Why) }

// Token is a token of Vault's. It prints as a word.
type Token struct{ s string }

// NewToken makes a Token of what a person gave (VAULT_TOKEN).
func NewToken(s string) Token { return Token{s} }

const redacted = "[vault token]"

// IsZero reports whether it is none.
func (t Token) IsZero() bool { return t.s == "" }

// String redacts.
func (Token) String() string { return redacted }

// GoString redacts.
func (Token) GoString() string { return redacted }

// Format redacts for the verbs that do not ask String.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts in JSON.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Auth is what a login gave.
type Auth struct {
	Token     Token
	Accessor  string // with which others can revoke it; no secret to them that may
	TTL       time.Duration
	Renewable bool
	Batch     bool // a batch token: it has no accessor, and cannot be revoked
}

// Secret is what a read gave.
type Secret struct {
	Data      map[string]any
	LeaseID   string // empty: there is none
	TTL       time.Duration
	Renewable bool
}

const redactedSecret = "[vault secret]"

// String redacts.
func (Secret) String() string { return redactedSecret }

// GoString redacts.
func (Secret) GoString() string { return redactedSecret }

// Format redacts for the verbs that do not ask String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedSecret) }

// LogValue redacts.
func (Secret) LogValue() slog.Value { return slog.StringValue(redactedSecret) }

// MarshalText redacts in JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redactedSecret), nil }

// Config configures a Client.
type Config struct {
	Address   string         // https://HOST[:PORT]; http on loopback only, which the configuration checks
	Namespace string         // of Vault Enterprise; empty: none
	CAs       *x509.CertPool // nil: those of this machine
	Timeout   time.Duration  // of each request; 0: 5 seconds

	// Certificate is shown where Vault asks for one (certificate auth); nil: none.
	Certificate func() (*tls.Certificate, error)
}
