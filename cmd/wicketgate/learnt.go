package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/remote"
)

// learnt is the tool definitions that gateways of other processes have approved, as pins
// of our own store: authz.Definitions and exchange.Definitions.
type learnt struct {
	pins    gateway.Pins
	approve bool // what they have approved is; else the pins are those of a gateway here, too, which waits for its operator

	mu    sync.Mutex                   // guards what follows, and lets one reading of the store at a time
	known map[string]map[string]string // the digests by server and tool; it has each server
	read  map[string]time.Time         // when the pins of a server were read
}

const (
	rereadAfter = time.Second // the least time between two readings: anybody can make up a tool
	maxLearnt   = 10_000      // tools of a server: a gateway that was taken over can make them up, too, and they stay
)

func newLearnt(pins gateway.Pins, servers map[oauth.Resource]string, approve bool) *learnt {
	l := &learnt{pins: pins, approve: approve, known: map[string]map[string]string{}, read: map[string]time.Time{}}
	for _, name := range servers {
		l.known[name] = map[string]string{}
	}
	return l
}

// Learn implements authz.Definitions.
func (l *learnt) Learn(ctx context.Context, server, tool, digest string) (string, error) {
	if stands, ok := l.Definition(ctx, server, tool); ok {
		return stands, nil
	}
	if err := l.mayLearn(server); err != nil {
		return "", err
	}
	p, err := l.pins.AddPin(ctx, gateway.Pin{Server: server, Tool: tool, Digest: digest, Seen: time.Now(), Approved: true})
	if err != nil {
		return "", err
	}
	if !p.Approved {
		return "", errNotApproved()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[server][tool] = p.Digest
	return p.Digest, nil
}

func (l *learnt) mayLearn(server string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.known[server]
	switch {
	case !ok:
		return &oauth.Error{Code: oauth.InvalidTarget, Description: "there is no such server: the gateway's configuration has others than the authorization server's"}
	case !l.approve:
		return errNotApproved()
	case len(known) >= maxLearnt:
		return &oauth.Error{Code: oauth.AccessDenied, Description: "the authorization server knows as many tools of the server as it keeps"}
	}
	return nil
}

func errNotApproved() error {
	return &oauth.Error{Code: oauth.AccessDenied, Description: "the definition is not approved at the authorization server, where an operator must"}
}

// Definition implements exchange.Definitions. A pin that is approved stays as it is.
func (l *learnt) Definition(ctx context.Context, server, tool string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.known[server]
	digest, ok := known[tool]
	if ok || known == nil || time.Since(l.read[server]) < rereadAfter {
		return digest, ok
	}
	pins, err := l.pins.Pins(ctx, server)
	if err != nil {
		return "", false
	}
	l.read[server] = time.Now()
	for _, p := range pins {
		if p.Approved {
			known[p.Tool] = p.Digest
		}
	}
	digest, ok = known[tool]
	return digest, ok
}

// toldPins are the pins of a gateway alone, which tells the authorization server of each
// that is approved before it serves the tool.
type toldPins struct {
	own gateway.Pins
	as  *remote.Server
}

// Pins implements gateway.Pins.
func (p toldPins) Pins(ctx context.Context, server string) ([]gateway.Pin, error) {
	return p.own.Pins(ctx, server)
}

// AddPin implements gateway.Pins.
func (p toldPins) AddPin(ctx context.Context, pin gateway.Pin) (gateway.Pin, error) {
	pin, err := p.own.AddPin(ctx, pin)
	if err != nil || !pin.Approved {
		return pin, err
	}
	stands, err := p.as.Learn(ctx, pin.Server, pin.Tool, pin.Digest)
	if err != nil {
		return gateway.Pin{}, err
	}
	if stands != pin.Digest {
		return gateway.Pin{}, fmt.Errorf("the authorization server has learnt another definition, %s, from another gateway", stands)
	}
	return pin, nil
}

func (h *house) pins() gateway.Pins {
	if h.as == nil {
		return h.store
	}
	return toldPins{h.store, h.as}
}
