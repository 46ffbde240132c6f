package vaultbridge

import (
	"context"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
)

const (
	holdEvery = 5 * time.Second
	claimMost = 100 // at once
)

// hold says that this process lives, and takes over what others have left behind. In this
// order: a process that was stopped for a while would take its own for orphans.
func (b *Bridge) hold(ctx context.Context) error {
	now, last := b.cfg.Now(), b.heldAt()
	if now.Sub(last) < holdEvery {
		return nil
	}
	heldBefore := now
	if now.Sub(last) > HeldFor { // the first time, too
		heldBefore = time.Time{} // the store was away, for others as well: they have their turn first
	}
	if err := b.cfg.Records.HoldLeases(ctx, b.cfg.Holder, b.boot, now.Add(HeldFor)); err != nil {
		return fmt.Errorf("vaultbridge: hold leases: %w", err)
	}
	for {
		list, err := b.cfg.Records.ClaimLeases(ctx, b.cfg.Holder, b.boot, heldBefore, now.Add(HeldFor))
		if err != nil {
			return fmt.Errorf("vaultbridge: claim orphaned leases: %w", err)
		}
		if b.adopt(list); len(list) < claimMost {
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = now
	return nil
}

func (b *Bridge) heldAt() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// adopt ends what another process cannot end any more, with our own login: nobody has its
// Vault token.
func (b *Bridge) adopt(list []Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return // the next start does
	}
	for _, r := range list {
		e := &ending{crew: &b.orphans, record: r, silent: r.Lease == "", event: audit.Event{Kind: audit.Lease, Call: r.Call,
			Subject: r.Subject, Client: r.Client, Server: r.Server, Lease: r.Lease, Status: "revoked", Reason: "orphan"}}
		b.start(e)
	}
	if len(list) > 0 {
		b.cfg.Log.Info("leases that another process left behind are ended", "leases", len(list))
	}
}
