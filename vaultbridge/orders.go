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
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.leases {
		if !l.live { // its record is not there yet
			continue
		}
		if _, ok := fresh[l.record.ID]; ok { // a lease of the zero ID is none of them
			b.end(l, "operator")
		}
	}
	for e := range b.failed {
		if _, ok := fresh[e.record.ID]; ok {
			b.again(e)
		}
	}
	return errors.Join(errs...)
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
