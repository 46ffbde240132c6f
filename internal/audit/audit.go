// Package audit owns what is written down: the types of events, the Recorder
// contract, the hash-chained log file with its signed heads, its verification
// offline, and the aggregation of what strangers can provoke.
//
// The log is a file of JSON lines. Every line carries its number (seq) and the
// SHA-256 of the line before it (prev), so that a line cannot be changed,
// removed or moved without breaking the chain. A line of kind "head" signs the
// line before it; the newest head is kept in the store too, so that a file that
// was cut off, deleted or rebuilt from its start is found as well.
//
// What it does NOT protect: the lines that were written after the newest stored
// head (about one second of a process that was killed; none after an orderly
// stop) can be cut off or changed by whoever can write the file, and whoever can
// write the file and the store can put both back to an older state.
//
// It does NOT redact (the caller does, before Record), ship lines elsewhere,
// rotate files, or keep private keys. It redacts nothing on the way out either:
// who may read the file reads what callers put into it.
package audit

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Errors that callers act on.
var (
	ErrClosed   = errors.New("audit log is closed")
	ErrBadEvent = errors.New("audit event cannot be recorded")
	ErrTampered = errors.New("audit log was tampered with")
	ErrInUse    = errors.New("another process is using it")
)

// Recorder writes events down.
//
// Record returns nil only when the event survives a kill -9 of the process:
// write(2) has returned. An error means that nothing may be assumed about the
// event, and that the caller must not act. A cancelled ctx is no reason not to
// record: what came of a call is written down although its client went away.
// Record is safe for concurrent use.
type Recorder interface {
	Record(ctx context.Context, e Event) error
}

// Kind says what a line is about.
type Kind string

// The kinds of lines. Head and Recovered are the log's own; Record refuses them.
const (
	Intent       Kind = "intent"  // a call was allowed and is about to happen
	Outcome      Kind = "outcome" // what came of an intent
	Denial       Kind = "denial"  // an authenticated caller was refused
	Refusal      Kind = "refusal" // somebody unknown was refused, see Refusals
	Token        Kind = "token"   // a token was issued, exchanged or revoked
	Login        Kind = "login"
	Consent      Kind = "consent"
	Registration Kind = "registration"
	Revocation   Kind = "revocation" // an operator revoked, froze or unfroze
	Definition   Kind = "definition" // an operator approved a tool's definition, or took the tool away
	Policy       Kind = "policy"     // a policy takes effect: at the start, or by a reload
	Approval     Kind = "approval"   // a call began to wait for an approval, or somebody decided on one; see Operator
	Lease        Kind = "lease"      // a credential was obtained for a call, or revoked; Status says which
	Key          Kind = "key"        // a stored key was wrapped anew by an operator; Reason says which, from what and to what
	Start        Kind = "start"      // written by Open
	Stop         Kind = "stop"       // written by Close; a start without one before it follows a crash
	Headed       Kind = "head"       // signs the line before it
	Recovered    Kind = "recovered"  // Open cut off the torn last line that a crash had left
)

// Event is one line of the log: who did what, from where, what was decided and
// why, and what came of it. Empty fields are left out of the line. Identities
// are their text forms, because a line must outlive the types that made it.
type Event struct {
	Kind Kind      `json:"kind"`
	Call string    `json:"call"` // joins the outcome of a call with its intent
	Time time.Time `json:"time"` // set by Record when zero

	// Who.
	Subject     string   `json:"subject"`
	Workload    bool     `json:"workload"` // Subject is a workload, and no person of that name
	Client      string   `json:"client"`
	Actors      []string `json:"actors"` // the delegation chain, outermost (who acts now) first
	Txn         string   `json:"txn"`    // the root grant's transaction
	TokenID     string   `json:"token_id"`
	CallTokenID string   `json:"call_token_id"`
	Operator    string   `json:"operator"` // who runs the server, for what is done beside it; who decided on an approval
	ACR         string   `json:"acr"`      // how who decided had logged in (RFC 9470 §3)

	// From where.
	Source    string `json:"source"`
	RequestID string `json:"request_id"`

	// What.
	Server           string         `json:"server"`
	Action           string         `json:"action"`
	Tool             string         `json:"tool"`
	Prompt           string         `json:"prompt"`
	URI              string         `json:"uri"`       // of an MCP resource
	Arguments        jsontext.Value `json:"arguments"` // what policy read of them, redacted by the caller; at most 16 KiB
	ArgumentsDigest  string         `json:"arguments_digest"`
	DefinitionDigest string         `json:"definition_digest"`
	PolicyDigest     string         `json:"policy_digest"`
	Resource         string         `json:"resource"` // that the token is for (RFC 8707)
	Scope            string         `json:"scope"`

	// Decided what, and why.
	Decision string `json:"decision"` // Allow or Deny
	Reason   string `json:"reason"`
	Rule     string `json:"rule"`
	Approval string `json:"approval"` // id of the approval that was needed
	Observed string `json:"observed"` // of what observe mode allowed: the reason for which it would have been denied

	// Facts is what policy read of the caller and the call, one JSON object, to decide again
	// with; its arguments redacted by the caller; at most 16 KiB.
	Facts jsontext.Value `json:"facts"`

	// What came of it.
	Status       string        `json:"status"`
	Lease        string        `json:"lease"` // of the credential by which a legacy server was called: Vault's lease_id, or path and version; no secret
	ResultDigest string        `json:"result_digest"`
	Redactions   int           `json:"redactions"`
	Dropped      int           `json:"dropped"` // records of the result that policy kept from the caller
	Duration     time.Duration `json:"-"`       // duration_us in the line, whole microseconds
	Count        int           `json:"count"`   // how many refusals the line stands for, see Refusals
}

// The values of Event.Decision.
const (
	Allow = "allow"
	Deny  = "deny"
)
