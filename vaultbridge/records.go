package vaultbridge

import (
	"context"
	"errors"
	"time"
)

// ErrUnmigrated is returned by everything of Records on the schema before.
var ErrUnmigrated = errors.New("the schema of the store is the one before and keeps no leases, so no call gets a credential of Vault: wicketgate migrate up")

// Bounds of Records.
const (
	MaxClaimed = 100    // records of one ClaimLeases
	MaxRecords = 10_000 // of one Leases
)

// HeldFor is how long a process that says nothing more is believed to be alive: then its
// leases are orphans, and another one ends them. It is three times as long as a process
// waits between two HoldLeases, and more than clocks of replicas are apart.
const HeldFor = 15 * time.Second

// Record is what is known of a Vault token by which something was minted, or is about to
// be, so that any process can end it. Nothing in it is secret.
type Record struct {
	ID      string
	Holder  string // the process that ends it: the name of its audit log
	Boot    string // of the start of that process
	Call    string // joins the audit lines of the call that it was minted for
	Server  string
	Subject string
	Client  string

	Accessor string // of the Vault token, which is revoked by it
	Lease    string // Vault's lease_id; empty: not minted yet, or the engine has none
	Path     string // that was read
	Engine   string

	Created time.Time
	Expires time.Time // then Vault itself has ended it
	Held    time.Time // by the holder, until then; see HeldFor

	// Of what could not be ended.
	Attempts int
	Failure  string    // why, the last time; a Reason
	Next     time.Time // when it is tried again; zero where it has not failed

	EndedBy string // the operator who wants it ended; empty: nobody does
}

// Records keeps what must be ended, over the death of a process. It is safe for concurrent
// use.
type Records interface {
	// InsertLease is durable when it returns nil. Attempts, Failure and Next are zero.
	InsertLease(ctx context.Context, r Record) error
	// NameLease sets Lease. It is no error where there is no such record.
	NameLease(ctx context.Context, id, lease string) error
	// DeleteLease is no error where there is no such record.
	DeleteLease(ctx context.Context, id string) error
	// FailLease sets Failure and Next, and adds one to Attempts. It is no error where there
	// is no such record.
	FailLease(ctx context.Context, id, failure string, next time.Time) error
	// HoldLeases moves Held of all that the holder has of this boot, in one statement.
	HoldLeases(ctx context.Context, holder, boot string, until time.Time) error
	// ClaimLeases makes at most MaxClaimed orphans the caller's, with this boot and held until
	// until, and returns them: those held until before now, whoever's, and those of the same
	// holder and another boot. Each is one process's: who claims at the same time gets others.
	ClaimLeases(ctx context.Context, holder, boot string, now, until time.Time) ([]Record, error)
	// EndedLeases returns what an operator wants ended of a holder and boot, at most
	// MaxRecords, and the same until they are deleted.
	EndedLeases(ctx context.Context, holder, boot string) ([]Record, error)
	// Leases returns all, the oldest first, at most MaxRecords.
	Leases(ctx context.Context) ([]Record, error)
}
