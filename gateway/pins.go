package gateway

import (
	"context"
	"time"
)

// Pin is a tool definition that was seen, by the digest of its JCS form (RFC
// 8785). A tool is served only while its definition has the digest of an
// approved pin.
type Pin struct {
	Server     string
	Tool       string
	Digest     string
	Definition []byte // the definition as the upstream gave it, JSON
	Seen       time.Time
	Approved   bool
}

// Pins keeps one pin for each tool. Implementations are safe for concurrent use.
type Pins interface {
	// Pins lists the pins of a server, in the order of their tools' names.
	Pins(ctx context.Context, server string) ([]Pin, error)
	// AddPin stores the pin unless the tool has one, durably, and returns the one
	// that stands.
	AddPin(ctx context.Context, p Pin) (Pin, error)
}
