// Package webhook delivers signed messages to URLs that the operator configured, as
// Standard Webhooks 1.0 says: webhook-id, webhook-timestamp, webhook-signature v1.
//
// What is to be sent lies in a store until it is delivered, so that a restart loses none,
// and each is taken by one replica at a time. A message can arrive twice all the same, when
// a process dies after sending it: both have one webhook-id.
//
// It does NOT decide what a message says, and follows no redirects.
package webhook

import (
	"context"
	"time"
)

// Message is one that is not delivered yet.
type Message struct {
	ID       string // the same at every attempt
	Endpoint string // Endpoint.ID
	Kind     string
	Body     []byte
	Created  time.Time
	Due      time.Time // when it may be tried next
	Attempts int       // that were begun
}

// Outbox keeps messages until they are delivered. It is safe for concurrent use, by
// several processes too. On the schema before, which keeps none, nothing is due, and adding
// fails.
type Outbox interface {
	// AddMessages stores new messages, in the transaction that ctx carries, if any.
	AddMessages(ctx context.Context, all []Message) error

	// TakeMessages returns at most limit messages of an endpoint that are due, the oldest
	// first, counts an attempt at each, and makes them due again at until. Of many callers
	// one gets each.
	TakeMessages(ctx context.Context, endpoint string, limit int, now, until time.Time) ([]Message, error)

	// PutOffMessage makes a message due at m.Due, unless somebody took it after m was taken.
	PutOffMessage(ctx context.Context, m Message) error

	// DropMessage forgets a message.
	DropMessage(ctx context.Context, id string) error
}
