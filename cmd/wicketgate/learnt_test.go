package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// pinned is gateway.Pins in memory, without orders.
type pinned struct {
	ownPins
	all map[string]gateway.Pin
}

func (p pinned) PinDigests(context.Context, string) (all []gateway.Pin, err error) {
	return slices.Collect(maps.Values(p.all)), nil
}

func (p pinned) PinRevision(context.Context) (int64, error) { return 0, nil }

func (p pinned) AddPin(_ context.Context, pin gateway.Pin) (gateway.Pin, error) {
	if known, ok := p.all[pin.Tool]; ok {
		return known, nil
	}
	if len(p.all) == gateway.MaxPins {
		return gateway.Pin{}, gateway.ErrTooManyPins
	}
	p.all[pin.Tool] = pin
	return pin, nil
}

// TestGatewayCannotFillTheStore with tools that it makes up, also not over a restart; what
// is known goes on to be told.
func TestGatewayCannotFillTheStore(t *testing.T) {
	resource, err := oauth.ParseResource("https://as.example/mcp/mail")
	if err != nil {
		t.Fatal(err)
	}
	servers := map[oauth.Resource]string{resource: "mail"}
	pins := pinned{all: map[string]gateway.Pin{}}
	l := newLearnt(pins, servers, true, nil)
	for i := range gateway.MaxPins {
		if _, err := l.Learn(t.Context(), "mail", fmt.Sprint("tool", i), "d"); err != nil {
			t.Fatal(i, err)
		}
	}
	for name, l := range map[string]*learnt{"at once": l, "after a restart": newLearnt(pins, servers, true, nil)} {
		var refused *oauth.Error
		if _, err := l.Learn(t.Context(), "mail", "one more", "d"); !errors.As(err, &refused) || refused.Code != oauth.AccessDenied || len(pins.all) != gateway.MaxPins {
			t.Errorf("%s: %v, and %d are pinned", name, err, len(pins.all))
		}
		if stands, err := l.Learn(t.Context(), "mail", "tool7", "e"); stands != "d" || err != nil {
			t.Errorf("%s: %q stands, %v", name, stands, err)
		}
	}
}
