package vaultbridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// Selection is the leases that have all that is not empty. The zero value selects none.
type Selection struct {
	ID, Server, Subject string
}

// obey ends what operators want ended. What waits for its next attempt is tried at once.
func (b *Bridge) obey(ctx context.Context) error {
	list, err := b.cfg.Records.EndedLeases(ctx, b.cfg.Holder, b.boot)
	if err != nil {
		return fmt.Errorf("vaultbridge: look for leases that an operator wants ended: %w", err)
	}
	fresh := b.fresh(list)
	var errs []error
	for _, r := range fresh { // that it is not written down keeps nothing alive
		errs = append(errs, b.cfg.Audit.Record(ctx, audit.Event{Kind: audit.Revocation, Action: "revoke", Decision: audit.Deny, Reason: "lease",
			Call: r.Call, Operator: r.EndedBy, Subject: r.Subject, Client: r.Client, Server: r.Server, Lease: r.Lease}))
	}
	b.endOrdered(fresh)
	return errors.Join(errs...)
}

// endOrdered ends what is in use or kept, and tries again what has failed. What is still
// being minted, or is just going, is left for the next time.
func (b *Bridge) endOrdered(fresh map[string]Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[string]bool{}
	for l := range b.leases {
		if _, ok := fresh[l.id()]; ok {
			b.end(l, "operator") // which makes it an ending
		}
	}
	for e := range b.endings {
		if found[e.record.ID] = true; fresh[e.record.ID].ID != "" {
			b.again(e)
		}
	}
	for id := range fresh {
		if !found[id] {
			delete(b.obeyed, id)
		}
	}
}

// id is that of the record of a lease that lives; empty: it is being minted, or needs no
// record any more. b.mu is held.
func (l *lease) id() string {
	if !l.live {
		return ""
	}
	return l.record.ID
}

// fresh is what of the list nobody has begun to end, by id. The list is whole each time:
// what is not in it any more has ended.
func (b *Bridge) fresh(list []Record) map[string]Record {
	known, fresh := map[string]string{}, map[string]Record{}
	for _, r := range list {
		known[r.ID] = r.EndedBy
		if by, ok := b.obeyed[r.ID]; !ok || by != r.EndedBy {
			fresh[r.ID] = r
		}
	}
	b.obeyed = known
	return fresh
}
