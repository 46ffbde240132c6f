package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sync/singleflight"
)

// A server that hangs costs nobody more than the time that they have: over all servers, a
// list that leaves it out does not wait for its handshake.
func TestWhoHasNoMoreTimeDoesNotWait(t *testing.T) {
	g := &Gateway{life: newLife()}
	up := &upstream{}
	hung, let := make(chan struct{}), make(chan struct{})
	answered := up.era.flight.DoChan("", func() (any, error) { close(hung); <-let; return &era{stateless: true}, nil })
	<-hung
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	cancel(over)
	if _, err := g.era(ctx, up); !errors.Is(err, over) {
		t.Errorf("got %v", err)
	}
	close(let)
	<-answered
}

func TestPanicOfWhatSeveralWaitForIsAnError(t *testing.T) {
	var flight singleflight.Group
	if _, err := joined[int](t.Context(), newLife(), &flight, "", func() (any, error) { panic("oops") }); err == nil || !strings.Contains(err.Error(), "panic: oops") {
		t.Errorf("got %v", err)
	}
}
