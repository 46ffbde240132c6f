// Package approval owns calls that wait for somebody's approval: what an approval is bound
// to, the states that it goes through, and the rule that nobody approves their own call.
//
// An approval is for one call: the subject, client, server, tool, arguments, definition and
// policy that its Binding names. It can be given once, by one person, and used once.
//
// It does NOT decide who may approve (package policies does), authenticate anybody, or
// know HTTP; and it keeps no arguments but redacted ones.
package approval

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Errors that callers act on.
var (
	ErrNotFound = errors.New("there is no such approval")
	ErrDecided  = errors.New("it was decided already, or has expired")
	ErrSpent    = errors.New("it is not approved, was used already, or has expired")
	ErrOwn      = errors.New("nobody decides on a call of their own")
	ErrTooMany  = errors.New("too many calls of the subject wait for approval")

	ErrNotPerson = errors.New("only a person decides, for themself: no workload, and nobody in between")
	ErrInvalid   = errors.New("this cannot be an approval")
)

// Bounds of a request.
const (
	MaxArguments = 16 << 10           // bytes, as a line of the audit log has them
	MaxComment   = 1000               // bytes
	MaxWithin    = 7 * 24 * time.Hour // from Created to Expires
	MaxList      = 1000               // requests that one List returns
)

// State of a request.
type State string

// The states. A request whose time is over is Expired, whatever it was before.
const (
	Pending  State = "pending"
	Approved State = "approved"
	Denied   State = "denied"
	Used     State = "used"
	Expired  State = "expired"
)

// Binding is all that one approval is for. Two calls with the same Binding are the same.
type Binding struct {
	Subject          identity.Subject
	Client           identity.ClientID
	Actors           []string // delegation chain, outermost first
	Server           string
	Tool             string
	ArgumentsDigest  string
	DefinitionDigest string
	PolicyDigest     string
	Rule             string // that asks for the approval
}

// Request is a call that waits, or waited.
type Request struct {
	ID string // unguessable
	Binding
	Arguments jsontext.Value // redacted, for who decides; at most MaxArguments
	Risk      string
	By        [][]string // who may approve: somebody with one role of each list
	Created   time.Time
	Expires   time.Time

	State     State
	DecidedBy identity.Subject // zero until then; stays when it is used, or expires
	DecidedAt time.Time
	Comment   string // of who decided; at most MaxComment bytes
	UsedAt    time.Time
}

// StateOf is the state of a request, from what a store keeps of it: approved is what was
// decided, if anything was.
func StateOf(r Request, approved bool, now time.Time) State {
	switch {
	case !r.Expires.After(now):
		return Expired
	case !r.UsedAt.IsZero():
		return Used
	case r.DecidedAt.IsZero():
		return Pending
	case approved:
		return Approved
	}
	return Denied
}

// Store keeps requests. It is safe for concurrent use, by several processes too.
type Store interface {
	// InTx runs f in one transaction: all of it, or nothing when f fails.
	InTx(ctx context.Context, f func(ctx context.Context) error) error

	// OpenApproval stores r, which is Pending, unless a request with its Binding is Pending,
	// Approved or Denied and has not expired: then it returns that one, and stored is false.
	// It returns ErrTooMany when the subject has max that are pending; calls at the same
	// time may exceed that by their number.
	OpenApproval(ctx context.Context, r Request, max int) (stands Request, stored bool, err error)

	// Approval returns one by its id, or ErrNotFound.
	Approval(ctx context.Context, id string, now time.Time) (Request, error)

	// Approvals returns those of a state, newest first, at most limit; all states for "".
	Approvals(ctx context.Context, of State, limit int, now time.Time) ([]Request, error)

	// DecideApproval makes a pending one Approved or Denied: exactly one of many calls
	// succeeds, the others get ErrDecided, or ErrNotFound.
	DecideApproval(ctx context.Context, id string, as State, by identity.Subject, comment string, now time.Time) (Request, error)

	// UseApproval makes an approved one Used: exactly one of many calls succeeds, the
	// others get ErrSpent.
	UseApproval(ctx context.Context, id string, now time.Time) error
}
