package vaultbridge

import (
	"cmp"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// Bounds of asking a Vault that fails.
const (
	maxFailures  = 5 // in a row, and it is left alone
	circuitPause = 10 * time.Second
)

// circuit keeps the gateway quick while Vault fails, for one server: what stands behind an
// engine may be away, and Vault well for all others. After maxFailures in a row it refuses
// at once; after a pause, one call at a time tries again.
type circuit struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
	mu     sync.Mutex          // guards failed
	failed map[string]struct{} // subjects for whom what stands behind an engine failed, since it went well for anybody
}

func newCircuit(b *Bridge, server string) *circuit {
	return &circuit{failed: map[string]struct{}{}, TwoStepCircuitBreaker: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{Name: server, MaxRequests: 1,
		Timeout:       cmp.Or(b.cfg.Pause, circuitPause),
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= maxFailures },
		IsSuccessful:  func(err error) bool { return !unwell(err) },
		IsExcluded:    func(err error) bool { return err != nil && !answered(err) && !unwell(err) },
		OnStateChange: b.changed})}
}

// try does f for the subject unless the circuit is open, and learns from how it went.
func (c *circuit) try(subject string, f func() error) error {
	judge, err := c.Allow()
	if err != nil {
		return &Failure{CircuitOpen, "ask Vault", err}
	}
	err = errPanic
	defer func() { judge(c.known(subject, err)) }()
	err = f()
	return err
}

// errAgain is a failure that says nothing new.
var errAgain = errors.New("it failed for the subject before")

// known is err, or errAgain where an engine fails for one subject again and again: that may
// be of a role or user of theirs alone, and by it they would close the server to all others.
func (c *circuit) known(subject string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		clear(c.failed)
	case reasonOf(err) != vault.Failed, c.State() != gobreaker.StateClosed: // a probe counts
	case len(c.failed) > maxFailures:
		clear(c.failed)
	default:
		if _, again := c.failed[subject]; again {
			return errAgain
		}
		c.failed[subject] = struct{}{}
	}
	return err
}

// errPanic says nothing of Vault.
var errPanic = errors.New("it did not end as it should")

// unwell reports whether err is of Vault's own health, rather than what it thinks of the
// request.
func unwell(err error) bool {
	switch reasonOf(err) {
	case vault.Sealed, vault.Timeout, vault.Unreachable, vault.Failed:
		return true
	}
	return false
}

// answered reports whether err came of what Vault said, rather than of our own parts.
func answered(err error) bool {
	switch reasonOf(err) {
	case Unrecorded, Unaudited, Backlog, Stopping, CallerGone, vault.Canceled, unknownReason:
		return false
	}
	return true
}

// changed tells operators, once each way.
func (b *Bridge) changed(server string, _, to gobreaker.State) {
	switch to {
	case gobreaker.StateOpen:
		b.cfg.Log.Error("Vault fails: the calls of the server are refused for a while", "server", server)
	case gobreaker.StateClosed:
		b.cfg.Log.Info("Vault is well again for the server", "server", server)
	}
}
