package vaultbridge

import "context"

// Selection is the leases that have all that is not empty. The zero value selects none.
type Selection struct {
	ID, Server, Subject string
}

// Orders is what operators want of leases. It is safe for concurrent use, by several
// processes too.
type Orders interface {
	// EndLeases has those who hold them end the leases of a selection, and returns their ids.
	EndLeases(ctx context.Context, of Selection, by string) ([]string, error)
	// EndedLeases returns what somebody wants ended of a holder and boot: at most MaxRecords,
	// and the same until they are deleted.
	EndedLeases(ctx context.Context, holder, boot string) ([]Record, error)
}
