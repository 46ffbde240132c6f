package gateway

import (
	"context"
	"errors"
	"time"
)

// Bounds of what a server can have stored.
const (
	MaxPins       = 2_000     // tools of a server, whatever it calls them
	MaxDefinition = 256 << 10 // bytes
)

// Errors of Pins that a caller acts on.
var (
	// ErrTooManyPins means that the server has had MaxPins tools already.
	ErrTooManyPins = errors.New("the server has listed more tools than are kept")
	// ErrNoTool means that no definition of the tool was ever seen.
	ErrNoTool = errors.New("no definition of such a tool was seen")
	// ErrNotPending means that the definition is approved already, or that it is not what
	// was last seen any more.
	ErrNotPending = errors.New("no such definition waits for approval")
)

// Pin is what is known of one tool: its first or approved definition, by the digest of
// its JCS form (RFC 8785), and the newest other one that was seen. A tool is served only
// while its definition has the digest of an approved pin.
type Pin struct {
	Server     string
	Tool       string
	Digest     string
	Definition []byte // the definition as the upstream gave it, JSON
	Seen       time.Time
	Approved   bool
	Pending    Candidate // zero: none
	Last       Order     // the newest order about the tool; zero: none, who is approved is so by first use
}

// Quarantined reports whether an operator has taken the tool away: no definition of it
// counts until an operator approves one anew.
func (p Pin) Quarantined() bool { return p.Last.Action == Quarantine && !p.Approved }

// Candidate is a definition that waits beside the one that is pinned.
type Candidate struct {
	Digest     string
	Definition []byte
	Seen       time.Time
}

// Action is what an operator may do with a tool.
type Action string

// The actions.
const (
	Approve    Action = "approve"
	Quarantine Action = "quarantine"
)

// Order is what an operator did.
type Order struct {
	Action   Action
	Server   string
	Tool     string
	Digest   string // of the approved definition, or of the one that was pinned
	Accepted string // the codes of findings that the operator has accepted
	By       string
	At       time.Time
	Seq      int64 // assigned by the store: an order that is committed later has a higher one
}

// Pins keeps one pin for each tool. Implementations are safe for concurrent use.
type Pins interface {
	// Pins lists the pins of a server, in the order of their tools' names.
	Pins(ctx context.Context, server string) ([]Pin, error)
	// PinDigests is Pins without the definitions.
	PinDigests(ctx context.Context, server string) ([]Pin, error)
	// AddPin stores the pin unless the tool has one, or else its definition as pending,
	// unless it is the pinned one, durably. It returns the pin that stands, without its
	// pending definition and its orders. An approval in p counts for a new pin only.
	AddPin(ctx context.Context, p Pin) (Pin, error)
	// PinRevision is another number after each order.
	PinRevision(ctx context.Context) (int64, error)
	// UnrecordedOrders lists orders that are in no audit log yet, oldest first, some of
	// them if they are many.
	UnrecordedOrders(ctx context.Context) ([]Order, error)
	// OrderRecorded notes that an order is in an audit log.
	OrderRecorded(ctx context.Context, seq int64, now time.Time) error
}

// PinStore is what an operator works on beside a running gateway.
type PinStore interface {
	Pins
	// OrderTool carries out an order, durably and once. An approval is of exactly the
	// digest that it names: the pinned or the pending definition, which then is the pin.
	// It returns ErrNotPending or ErrNoTool.
	OrderTool(ctx context.Context, o Order) error
	// PinnedServers lists the servers that have pins.
	PinnedServers(ctx context.Context) ([]string, error)
}
