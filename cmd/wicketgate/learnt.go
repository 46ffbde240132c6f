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
	servers map[string]bool
	approve bool // what they have approved is; else the pins are those of a gateway here, too, which waits for its operator

	mu    sync.Mutex // guards what follows, and lets one reading of the store at a time
	known map[[2]string]string
	read  map[string]time.Time // when the pins of a server were read
}

// rereadAfter is the least time between two readings: anybody can make up a tool.
const rereadAfter = time.Second

func newLearnt(pins gateway.Pins, servers map[oauth.Resource]string, approve bool) *learnt {
	l := &learnt{pins: pins, servers: map[string]bool{}, approve: approve, known: map[[2]string]string{}, read: map[string]time.Time{}}
	for _, name := range servers {
		l.servers[name] = true
	}
	return l
}

// Learn implements authz.Definitions.
func (l *learnt) Learn(ctx context.Context, server, tool, digest string) (string, error) {
	if !l.servers[server] {
		return "", &oauth.Error{Code: oauth.InvalidTarget, Description: "there is no such server: the gateway's configuration has others than the authorization server's"}
	}
	p, err := l.pins.AddPin(ctx, gateway.Pin{Server: server, Tool: tool, Digest: digest, Seen: time.Now(), Approved: l.approve})
	if err != nil {
		return "", err
	}
	if !p.Approved {
		return "", &oauth.Error{Code: oauth.AccessDenied, Description: "the definition is pinned at the authorization server, and not approved"}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[[2]string{server, tool}] = p.Digest
	return p.Digest, nil
}

// Definition implements exchange.Definitions. A pin that is approved stays as it is.
func (l *learnt) Definition(ctx context.Context, server, tool string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	digest, ok := l.known[[2]string{server, tool}]
	if ok || !l.servers[server] || time.Since(l.read[server]) < rereadAfter {
		return digest, ok
	}
	pins, err := l.pins.Pins(ctx, server)
	if err != nil {
		return "", false
	}
	l.read[server] = time.Now()
	for _, p := range pins {
		if p.Approved {
			l.known[[2]string{server, p.Tool}] = p.Digest
		}
	}
	digest, ok = l.known[[2]string{server, tool}]
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
