package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

// endPoll is how often we look whether leases are gone.
const endPoll = 200 * time.Millisecond

// endFlags is the flags of wicketgate vault revoke.
type endFlags struct {
	of      vaultbridge.Selection
	timeout time.Duration
	wait    waitFunc
}

// run leaves the order in the store. Who holds a lease finds it there within a second.
func (f endFlags) run(ctx context.Context, h houseConfig, stdout io.Writer) (err error) {
	if err := f.check(h); err != nil {
		return err
	}
	by, err := operator()
	if err != nil {
		return err
	}
	store, err := openStore(ctx, h.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ids, err := store.EndLeases(ctx, f.of, by)
	switch {
	case err != nil:
		return err
	case len(ids) == 0 && f.of.ID != "":
		return fmt.Errorf("there is no lease %s (any more): wicketgate vault status --leases lists all", shown(f.of.ID))
	case len(ids) == 0:
		_, err := fmt.Fprintln(stdout, "there is no such lease: nothing to end")
		return err
	}
	left, err := f.await(ctx, store, ids)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "ended: %d of %d leases\n", len(ids)-len(left), len(ids)); err != nil || len(left) == 0 {
		return err
	}
	return notEnded(left, time.Now())
}

// await returns what of the leases is left when all are gone, or the time is over.
func (f endFlags) await(ctx context.Context, store storage, ids []string) (left []vaultbridge.Record, err error) {
	for end := time.Now().Add(f.timeout); ; {
		all, err := store.Leases(ctx)
		if err != nil {
			return nil, err
		}
		left = slices.DeleteFunc(all, func(r vaultbridge.Record) bool { return !slices.Contains(ids, r.ID) })
		if len(left) == 0 || time.Now().After(end) {
			return left, nil
		}
		if err := f.wait(ctx, endPoll); err != nil {
			return nil, err
		}
	}
}

// notEnded says of each why it is still there, and what becomes of it.
func notEnded(left []vaultbridge.Record, now time.Time) error {
	var all []string
	for _, r := range left {
		why := "its end has begun"
		switch {
		case r.Failure != "":
			why = fmt.Sprintf("it failed %d times (%s), and is tried again", r.Attempts, r.Failure)
		case r.Held.Before(now):
			why = "nobody holds it: the next process that runs the gateway ends it, or else Vault itself at " + date(r.Expires)
		}
		all = append(all, fmt.Sprintf("%s of server %s: %s", cell(r.ID), cell(r.Server), why))
	}
	return fmt.Errorf("not ended yet:\n  %s", strings.Join(all, "\n  "))
}
