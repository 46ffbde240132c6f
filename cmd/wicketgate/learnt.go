package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/remote"
)

// learnt is the tool definitions that gateways of other processes have approved, as pins
// of our own store: authz.Definitions and exchange.Definitions.
type learnt struct {
	view    *gateway.PinView
	servers map[string]bool
	approve bool // what they have approved is; else the pins are those of a gateway here, too, which waits for its operator
}

func newLearnt(pins gateway.Pins, servers map[oauth.Resource]string, approve bool, record func(context.Context, gateway.Order) error) *learnt {
	l := &learnt{servers: map[string]bool{}, approve: approve}
	for _, name := range servers {
		l.servers[name] = true
	}
	l.view = gateway.NewPinView(gateway.PinViewConfig{Pins: pins, Servers: slices.Sorted(maps.Keys(l.servers)), Now: time.Now, Record: record})
	return l
}

// Learn implements authz.Definitions. One that differs from what stands waits for the
// operator here: a gateway that was taken over cannot have it change.
func (l *learnt) Learn(ctx context.Context, server, tool, digest string) (string, error) {
	if stands, ok := l.Definition(ctx, server, tool); ok && stands == digest {
		return stands, nil
	}
	if err := l.mayLearn(server); err != nil {
		return "", err
	}
	p, err := l.view.Add(ctx, gateway.Pin{Server: server, Tool: tool, Digest: digest, Seen: time.Now(), Approved: l.approve})
	switch {
	case errors.Is(err, gateway.ErrTooManyPins):
		return "", &oauth.Error{Code: oauth.AccessDenied, Description: "the authorization server knows as many tools of the server as it keeps"}
	case err != nil:
		return "", err
	case !p.Approved:
		return "", errNotApproved()
	}
	return p.Digest, nil
}

func (l *learnt) mayLearn(server string) error {
	switch {
	case !l.servers[server]:
		return &oauth.Error{Code: oauth.InvalidTarget, Description: "there is no such server: the gateway's configuration has others than the authorization server's"}
	case !l.approve:
		return errNotApproved()
	}
	return nil
}

func errNotApproved() error {
	return &oauth.Error{Code: oauth.AccessDenied, Description: "the definition is not approved at the authorization server, where an operator must"}
}

// Definition implements exchange.Definitions.
func (l *learnt) Definition(ctx context.Context, server, tool string) (string, bool) {
	if !l.servers[server] {
		return "", false
	}
	digest, err := l.view.Digest(ctx, server, tool)
	if err != nil && l.view.Reload(ctx) == nil { // another replica may have learnt it
		digest, err = l.view.Digest(ctx, server, tool)
	}
	return digest, err == nil
}

// toldPins are the pins of a gateway alone, which tells the authorization server of each
// that is approved before it serves the tool.
type toldPins struct {
	ownPins
	as *remote.Server
}

type ownPins = gateway.Pins

// AddPin implements gateway.Pins.
func (p toldPins) AddPin(ctx context.Context, pin gateway.Pin) (gateway.Pin, error) {
	pin, err := p.ownPins.AddPin(ctx, pin)
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

// recordsOrders returns what writes of orders about tools into the audit log where no
// gateway does.
func (h *house) recordsOrders(cfg houseConfig) func(context.Context, gateway.Order) error {
	if cfg.Role.enforces() {
		return nil
	}
	return func(ctx context.Context, o gateway.Order) error { return h.audit.Record(ctx, o.Event()) }
}

// watchPins has the process follow the orders of operators.
func (h *house) watchPins(cfg houseConfig, here bool, poll func(context.Context) error) {
	if !here {
		return
	}
	h.closers = append(h.closers, every(pinsPoll, cfg.Log, "ask which tools are approved: none counts when there was no answer for 5 seconds", poll))
}

// pinsPoll is how often a process looks for what was approved or taken away elsewhere.
const pinsPoll = time.Second

func (h *house) pins() gateway.Pins {
	if h.as == nil {
		return h.store
	}
	return toldPins{h.store, h.as}
}
