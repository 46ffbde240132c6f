package vaultbridge

import (
	"context"
	"errors"
	"time"
)

// Errors of Records that callers act on.
var (
	ErrUnmigrated = errors.New("the schema of the store is the one before and keeps no leases, so no call gets a credential from Vault: wicketgate migrate up")
	ErrForgotten  = errors.New("the lease is recorded no more: another process has ended it")
)

// Bounds of Records.
const (
	MaxClaimed = 100    // records of one ClaimLeases
	MaxRecords = 10_000 // of one Leases
)

// Record is what is known of a Vault token, and of what was minted by it, while either may
// live. It is kept from before anything is minted until both are gone.
type Record struct {
	ID       string
	Holder   string // the process that has it, by the name that it keeps
	Boot     string // and which run of that process
	Server   string
	Subject  string
	Client   string
	Accessor string // of the Vault token, by which it is revoked
	Lease    string // as Vault names it; empty: nothing is minted yet, or it has none
	Path     string
	Engine   string

	Created time.Time
	Expires time.Time // by then Vault has ended it itself
	Held    time.Time // others leave it alone until then
	Next    time.Time // when its end is to be tried; zero: it is in use

	Attempts int    // to end it, that failed
	Failure  string // of the last one
	EndedBy  string // the operator who ordered its end; empty: nobody did
}

// Selection is some leases: those that have all that is not empty. The zero value selects
// none.
type Selection struct {
	ID, Server, Subject string
}

// Records keeps what crashes must not forget. It is safe for concurrent use, by several
// processes too. On the schema before, which has none, everything returns ErrUnmigrated.
type Records interface {
	// InsertLease stores a new record: it survives a crash once this has returned.
	InsertLease(ctx context.Context, r Record) error

	// NameLease adds what was minted. It returns ErrForgotten when there is no such record.
	NameLease(ctx context.Context, id, lease string) error

	// DeleteLease forgets what is gone, and nothing when it is not there.
	DeleteLease(ctx context.Context, id string) error

	// FailLease counts an attempt to end it, which is to be made again at next.
	FailLease(ctx context.Context, id, failure string, next time.Time) error

	// HoldLeases keeps others from what a run of a process has, until then.
	HoldLeases(ctx context.Context, holder, boot string, until time.Time) error

	// ClaimLeases gives a run of a process what it has to end now, the oldest first and at
	// most MaxClaimed: what another process has held no longer, what another run of the
	// same process had, and what is due of its own. Each goes to one caller: it holds it
	// until then, and has it due again then.
	ClaimLeases(ctx context.Context, holder, boot string, now, until time.Time) ([]Record, error)

	// EndLeases has those who hold them end the leases of a selection, and returns their ids.
	EndLeases(ctx context.Context, of Selection, by string, now time.Time) ([]string, error)

	// Leases lists all, the oldest first and at most MaxRecords.
	Leases(ctx context.Context) ([]Record, error)
}
