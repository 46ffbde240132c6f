// Package credential is what a legacy server takes in place of a token: values that were
// obtained for one call, and where they go (a header, the environment of a command, a
// client certificate). It owns the rendering of an Injection and the transport that
// applies it.
//
// It does NOT obtain anything (package vaultbridge does), decide who gets one (package
// gateway does), or change a message: the server gets the very bytes that were accepted.
//
// Nothing here prints a value: String, GoString, LogValue, MarshalText and Format redact.
package credential

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

// Request is a call for which a credential is wanted: decided on, recorded, and proved by
// its call token.
type Request struct {
	Call    token.Call
	ID      string    // joins the audit lines of a call
	Session string    // of the caller with this server; nobody else's has the name
	Until   time.Time // when the call has ended at the latest
}

// Credential is in use for one call, or for the calls of one session or subject. It is safe
// for concurrent use. End it once for each Obtain.
type Credential struct {
	header      http.Header
	query       url.Values
	certificate *tls.Certificate
	env         []string // NAME=VALUE
	files       []File
	secrets     []string

	// Lease names it for the audit log, and is no secret: the lease_id that Vault gave, or
	// the path and version of what has none.
	Lease string

	// Lasts says that it is as good after its end as before: a key that stays.
	Lasts bool

	done <-chan struct{}
	end  func()
}

// File is put into a folder of the process's own, with its path in a variable of the
// environment.
type File struct {
	Env     string // the variable
	Name    string // of the file
	Content []byte
}

// Header is set in each request to the server.
func (c *Credential) Header() http.Header { return c.header }

// Query is added to the URL of each request.
func (c *Credential) Query() url.Values { return c.query }

// Certificate is for mutual TLS with the server; nil: none.
func (c *Credential) Certificate() *tls.Certificate { return c.certificate }

// Env is set in the environment of the server's process, over what else it has there.
func (c *Credential) Env() []string { return c.env }

// Files are for the server's process.
func (c *Credential) Files() []File { return c.files }

// Secrets are the values that nobody may see, each as it was obtained.
func (c *Credential) Secrets() []string { return c.secrets }

// Done is closed when the credential is good no more: what lives by it has to end.
func (c *Credential) Done() <-chan struct{} { return c.done }

// End says that the call is over. It does not wait for what that takes.
func (c *Credential) End() {
	if c != nil && c.end != nil {
		c.end()
	}
}

// Live is c with its life: done is closed at its end, and end is called by End. Both may be
// nil.
func (c Credential) Live(lease string, done <-chan struct{}, end func()) *Credential {
	c.Lease, c.done, c.end = lease, done, end
	return &c
}

const redacted = "[credential]"

// String redacts.
func (Credential) String() string { return redacted }

// GoString redacts.
func (Credential) GoString() string { return redacted }

// Format redacts for the verbs that do not ask String.
func (Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (Credential) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts in JSON.
func (Credential) MarshalText() ([]byte, error) { return []byte(redacted), nil }

type key struct{}

// With gives the credential to the transports that ctx reaches.
func With(ctx context.Context, c *Credential) context.Context {
	return context.WithValue(ctx, key{}, c)
}

// From is the credential that With gave; nil: none.
func From(ctx context.Context) *Credential {
	c, _ := ctx.Value(key{}).(*Credential)
	return c
}
