package vaultbridge

import "time"

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
	Path   string // that is read; {{.subject}} in it is the caller

	Role      string   // of Vault's JWT auth: what the call logs in as
	Policies  []string // of the call's token, where it is a child of our own
	TokenRole string   // that the child is made with; empty: none

	Version int               // of a KV secret; 0: the newest
	Request map[string]string // sent with a write (PKI)

	Per     Per
	TTL     time.Duration // of what is kept for a session or subject
	WarnAge time.Duration // of a static key; 0: never
	MaxAge  time.Duration // of a static key, which is refused then; 0: never

	// Limit is how long a call may take at most: no Vault token lives longer.
	Limit time.Duration
}

// Event is what metrics count.
type Event struct {
	Server string
	What   string        // minted, shared, refused, renewed, revoked, revoke_failed
	Reason string        // of refused and revoke_failed
	Took   time.Duration // of minted and revoked
}

// Status is how one server fares in this process.
type Status struct {
	Server string
	Engine Engine
	Per    Per
	Leases int           // that live, of calls or kept for a session or subject
	InUse  int           // calls that go on with one
	Ending int           // that have not ended yet
	Failed int           // of these, that could not be ended, and are tried again
	Oldest time.Time     // when the oldest of Failed was minted
	Why    string        // the last refusal, or failure to end; empty since it went well
	Open   bool          // the circuit: nothing is asked of Vault for this server for a while
	Age    time.Duration // of the static key that was read last; 0: none was
}
