package main

import (
	"context"
	"errors"
	"testing"

	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// A process that has just started has not logged in, which is no reason to look at it.
func TestNobodyIsWarnedOfALoginThatWasNotTried(t *testing.T) {
	bridge, err := vaultbridge.New(vaultbridge.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bridge.Close(context.Background()) })
	own := vault.NewOwn(vault.OwnConfig{Login: func(context.Context) (vault.Auth, error) { return vault.Auth{}, errors.New("no such role") }})
	watch := &vaultWatch{bridge: bridge, own: own}
	if err := watch.check().Do(t.Context()); err != nil {
		t.Errorf("before a login was tried: %v", err)
	}
	own.Keep(t.Context())
	if err := watch.check().Do(t.Context()); err == nil {
		t.Error("a login that fails is not warned of")
	}
}
