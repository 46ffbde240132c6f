package vaultbridge

import (
	"errors"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
)

// Engine says how the path of a server is read, and what it answers.
type Engine string

// The engines. Database and Generic answer a lease, without which nothing is handed out.
const (
	Database       Engine = "database"        // users that are made for the call
	DatabaseStatic Engine = "database-static" // a user that stays, with a password that Vault changes
	KV             Engine = "kv"              // version 2: what somebody wrote there
	PKI            Engine = "pki"             // a client certificate
	Generic        Engine = "lease"           // any path that answers a lease
)

// leases reports whether what the engine mints has an end of its own in Vault.
func (e Engine) leases() bool { return e == Database || e == Generic }

// Per says what one credential is for.
type Per string

// The kinds of Per. The zero Per is PerCall.
const (
	PerCall    Per = "call"
	PerSession Per = "session" // of one caller with one server
	PerSubject Per = "subject" // the calls of one client with one chain of actors for one subject
)

// Server is one for whose calls credentials are obtained.
type Server struct {
	Name   string
	Engine Engine
	Path   string // of Vault's API, without /v1/: secret/data/reports; {{.subject}} in it is the caller

	Role      string   // of Vault's JWT auth: what the call logs in as
	Policies  []string // of the call's token, where it is a child of our own
	TokenRole string   // that the child is made with; empty: none

	Version int               // of a KV secret; 0: the newest
	Request map[string]string // sent with a write (PKI, Generic); {{.subject}} in a value is the caller

	Inject  *credential.Template
	Per     Per
	TTL     time.Duration // of what is kept for a session or subject
	WarnAge time.Duration // of a static key; 0: never
	MaxAge  time.Duration // of a static key, which is refused then; 0: never

	// Limit is how long a call may take at most: no Vault token lives longer.
	Limit time.Duration
}

// check is for what would be dangerous if it were missing.
func (s Server) check(jwt bool) error {
	switch {
	case s.Limit <= 0:
		return errors.New("there is no limit to how long a call may take")
	case s.shared() && s.TTL <= 0:
		return fmt.Errorf("what is kept per %s needs a ttl", s.Per)
	case jwt && s.Role == "":
		return errors.New("there is no role of Vault's JWT auth to log in as")
	}
	return s.checkEngine()
}

// Event is what metrics count.
type Event struct {
	Server string
	What   string        // minted, shared, refused, renewed, revoked, revoke_failed
	Reason string        // of refused and revoke_failed
	Took   time.Duration // of minted and revoked
}
