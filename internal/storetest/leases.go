package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

var leaseTests = []test{
	{"a lease comes back with every field, the oldest first", leaseRoundTrip},
	{"a lease is stored once", leaseOnce},
	{"a lease gets its name, if it is there", nameLease},
	{"a lease that is deleted is gone, and may be gone before", deleteLease},
	{"a lease that is held is claimed by nobody", heldLease},
	{"who holds its leases keeps them, and those of no other", holdLeases},
	{"a lease of a process that is gone is claimed when it is held no more, and held from then", claimOrphan},
	{"another run of a process has at once what the one before had", claimOfRunBefore},
	{"failures are counted", failLease},
	{"16 parallel processes claim each lease once", claimOnce},
	{"a claim has a bound, and the next one goes on", claimBounded},
	{"an operator ends what they name, and nothing without a name", endLeases},
	{"who holds a lease finds what an operator wants ended, nobody else does", endedLeases},
	{"another process knows all leases", reopenedLeases},
	{"a transaction that fails has stored no lease", leasesRollBack},
	{"no more leases are listed than the bound", listBounded},
	{"a lease is forgotten a day after Vault has ended it, and not before", forgetLeases},
	{"the schema before says so, whatever is asked of leases", leasesOnTheSchemaBefore},
}

// someLease is held by the first run of gateway-1 for fifteen seconds.
func someLease(id string) vaultbridge.Record {
	return vaultbridge.Record{ID: id, Holder: "gateway-1", Boot: "boot-1", Call: "call of " + id, Server: "reports", Subject: "https://idp.example|alice", Client: "dev-agent",
		Accessor: "accessor of " + id, Path: "database/creds/reports", Engine: "database", Created: at, Expires: at.Add(time.Minute), Held: at.Add(15 * time.Second)}
}

// needLeases skips on the schema before, which has a test of its own.
func needLeases(t *testing.T, s Stores) {
	t.Helper()
	if _, err := s.Leases(t.Context()); s.before && errors.Is(err, vaultbridge.ErrUnmigrated) {
		t.Skip("the schema before keeps no leases")
	}
}

func insertLeases(t *testing.T, s Stores, all ...vaultbridge.Record) {
	t.Helper()
	needLeases(t, s)
	for _, r := range all {
		must(t, s.InsertLease(t.Context(), r))
	}
}

func wantLeases(t *testing.T, s Store, want ...vaultbridge.Record) {
	t.Helper()
	got, err := s.Leases(t.Context())
	must(t, err)
	wantSame(t, "Leases", got, want)
}

// claim is what a run of a process has to end, by id; it holds that for a minute.
func claim(t *testing.T, s Store, holder, boot string, now time.Time) []string {
	t.Helper()
	all, err := s.ClaimLeases(t.Context(), holder, boot, now, now.Add(time.Minute))
	must(t, err)
	return leaseIDs(all)
}

func leaseIDs(all []vaultbridge.Record) (ids []string) {
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	return ids
}

func leaseRoundTrip(t *testing.T, s Stores) {
	needLeases(t, s)
	first, second, third := someLease("b"), someLease("c"), someLease("a")
	second.Next, second.Attempts, second.Failure, second.EndedBy = at.Add(time.Second), 3, "vault_sealed: é", "operator"
	third.Created, third.Lease = at.Add(time.Microsecond), "database/creds/reports/XYZ"
	insertLeases(t, s, third, second, first)
	wantLeases(t, s, first, second, third)
	got, err := s.Leases(t.Context())
	must(t, err)
	wantUTC(t, got[1].Created, got[1].Expires, got[1].Held, got[1].Next)
}

func leaseOnce(t *testing.T, s Stores) {
	insertLeases(t, s, someLease("a"))
	other := someLease("a")
	other.Accessor = "of another token"
	if err := s.InsertLease(t.Context(), other); err == nil {
		t.Error("InsertLease with a known id = nil, want an error")
	}
	wantLeases(t, s, someLease("a"))
}

func nameLease(t *testing.T, s Stores) {
	insertLeases(t, s, someLease("a"), someLease("b"))
	must(t, s.NameLease(t.Context(), "a", "database/creds/reports/XYZ"))
	must(t, s.NameLease(t.Context(), "none", "x"))
	want := someLease("a")
	want.Lease = "database/creds/reports/XYZ"
	wantLeases(t, s, want, someLease("b"))
}

func deleteLease(t *testing.T, s Stores) {
	insertLeases(t, s, someLease("a"), someLease("b"))
	for range 2 {
		must(t, s.DeleteLease(t.Context(), "a"))
	}
	wantLeases(t, s, someLease("b"))
}

// heldLease keeps a process that is alive from being robbed by its replicas.
func heldLease(t *testing.T, s Stores) {
	insertLeases(t, s, someLease("a"))
	for _, now := range []time.Time{at, someLease("a").Held} {
		wantSame(t, "claimed by another", claim(t, s, "gateway-2", "boot-1", now), nil)
		wantSame(t, "claimed by who has it", claim(t, s, "gateway-1", "boot-1", now), nil)
	}
	wantSame(t, "claimed by who has it, late", claim(t, s, "gateway-1", "boot-1", at.Add(time.Hour)), nil)
	wantLeases(t, s, someLease("a"))
}

func holdLeases(t *testing.T, s Stores) {
	mine, ofAnother, ofARunBefore := someLease("a"), someLease("b"), someLease("c")
	ofAnother.Holder, ofARunBefore.Boot = "gateway-2", "boot-0"
	insertLeases(t, s, mine, ofAnother, ofARunBefore)
	mine.Held = at.Add(20 * time.Second)
	must(t, s.HoldLeases(t.Context(), "gateway-1", "boot-1", mine.Held))
	wantLeases(t, s, mine, ofAnother, ofARunBefore)
	must(t, s.HoldLeases(t.Context(), "gateway-1", "boot-1", at)) // never less long
	wantLeases(t, s, mine, ofAnother, ofARunBefore)
	wantSame(t, "claimed meanwhile", claim(t, s, "gateway-3", "boot-1", mine.Held), []string{"b", "c"})
}

func claimOrphan(t *testing.T, s Stores) {
	insertLeases(t, s, someLease("a"))
	held := someLease("a").Held.Add(time.Microsecond)
	got, err := s.ClaimLeases(t.Context(), "gateway-2", "boot-7", held, held.Add(time.Minute))
	must(t, err)
	want := someLease("a")
	want.Holder, want.Boot, want.Held = "gateway-2", "boot-7", held.Add(time.Minute)
	wantSame(t, "ClaimLeases", got, []vaultbridge.Record{want})
	wantLeases(t, s, want)
	wantSame(t, "claimed by a third", claim(t, s, "gateway-3", "boot-1", held.Add(time.Second)), nil)
	wantSame(t, "claimed by who had it", claim(t, s, "gateway-1", "boot-1", held.Add(time.Second)), nil)
}

func claimOfRunBefore(t *testing.T, s Stores) {
	late := someLease("late")
	late.Held, late.Next, late.Attempts = at.Add(time.Hour), at.Add(time.Hour), 7
	ofAnother := someLease("of another")
	ofAnother.Holder = "gateway-2"
	insertLeases(t, s, late, someLease("a"), ofAnother)
	got, err := s.ClaimLeases(t.Context(), "gateway-1", "boot-2", at, at.Add(time.Minute))
	must(t, err)
	wantSame(t, "claimed", leaseIDs(got), []string{"a", "late"})
	late.Boot, late.Held = "boot-2", at.Add(time.Minute)
	wantSame(t, "the one that failed", got[1], late)
	wantSame(t, "claimed again", claim(t, s, "gateway-1", "boot-2", at), nil)
}

func failLease(t *testing.T, s Stores) {
	insertLeases(t, s, someLease("a"), someLease("b"))
	want := someLease("a")
	for i, failure := range []string{"vault_sealed", "vault_timeout \x00 \xff"} {
		want.Next, want.Attempts, want.Failure = at.Add(time.Duration(i)*time.Second), i+1, failure
		must(t, s.FailLease(t.Context(), "a", failure, want.Next))
	}
	must(t, s.FailLease(t.Context(), "none", "gone", at))
	got, err := s.Leases(t.Context())
	must(t, err)
	got[0].Failure = want.Failure // a store may write what is no text in another way
	wantSame(t, "Leases", got, []vaultbridge.Record{want, someLease("b")})
}

func claimOnce(t *testing.T, s Stores) {
	needLeases(t, s)
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("lease-%02d", i))
		insertLeases(t, s, someLease(want[i]))
	}
	now := someLease("").Held.Add(time.Second)
	var mu sync.Mutex // guards got
	var got []string
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		all, err := s.ClaimLeases(ctx, fmt.Sprint("fighter-", i), "boot-1", now, now.Add(time.Minute))
		mu.Lock()
		defer mu.Unlock()
		got = append(got, leaseIDs(all)...)
		return err
	})) {
		must(t, err)
	}
	got = append(got, claim(t, s, "who comes late", "boot-1", now)...)
	slices.Sort(got)
	wantSame(t, "all that were claimed", got, want)
}

func claimBounded(t *testing.T, s Stores) {
	insertMany(t, s, vaultbridge.MaxClaimed+1)
	now := someLease("").Held.Add(time.Second)
	first, second := claim(t, s, "gateway-2", "boot-1", now), claim(t, s, "gateway-2", "boot-1", now)
	wantSame(t, "claimed", []int{len(first), len(second)}, []int{vaultbridge.MaxClaimed, 1})
	if !slices.IsSorted(first) {
		t.Errorf("claimed %v, want the oldest first", first)
	}
}

func insertMany(t *testing.T, s Stores, n int) {
	t.Helper()
	needLeases(t, s)
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		for i := range n {
			if err := s.InsertLease(ctx, someLease(fmt.Sprintf("%06d", n-i))); err != nil {
				return err
			}
		}
		return nil
	}))
}

func endLeases(t *testing.T, s Stores) {
	a, b, c := someLease("a"), someLease("b"), someLease("c")
	b.Subject, c.Server = "bob", "other"
	insertLeases(t, s, a, b, c)
	for _, step := range []struct {
		of   vaultbridge.Selection
		want []string
	}{
		{vaultbridge.Selection{}, nil},
		{vaultbridge.Selection{ID: "none"}, nil},
		{vaultbridge.Selection{ID: "a", Subject: "bob"}, nil},
		{vaultbridge.Selection{Server: "reports"}, []string{"a", "b"}},
		{vaultbridge.Selection{Subject: "bob"}, []string{"b"}},
		{vaultbridge.Selection{Server: "reports", Subject: a.Subject}, []string{"a"}},
	} {
		got, err := s.EndLeases(t.Context(), step.of, "operator")
		must(t, err)
		slices.Sort(got)
		wantSame(t, fmt.Sprintf("EndLeases %+v", step.of), got, step.want)
	}
	a.EndedBy, b.EndedBy = "operator", "operator"
	wantLeases(t, s, a, b, c)
}

func endedLeases(t *testing.T, s Stores) {
	insertLeases(t, s, someLease("a"), someLease("b"))
	_, err := s.EndLeases(t.Context(), vaultbridge.Selection{ID: "a"}, "operator")
	must(t, err)
	want := someLease("a")
	want.EndedBy = "operator"
	for _, step := range []struct {
		holder, boot string
		want         []vaultbridge.Record
	}{{"gateway-1", "boot-1", []vaultbridge.Record{want}}, {"gateway-1", "boot-2", nil}, {"gateway-2", "boot-1", nil}} {
		got, err := s.EndedLeases(t.Context(), step.holder, step.boot)
		must(t, err)
		wantSame(t, "EndedLeases of "+step.holder+" "+step.boot, got, step.want)
	}
}

func reopenedLeases(t *testing.T, s Stores) {
	insertLeases(t, s, someLease("a"))
	must(t, s.Close())
	wantLeases(t, s.Open(t), someLease("a"))
}

func leasesRollBack(t *testing.T, s Stores) {
	needLeases(t, s)
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.InsertLease(ctx, someLease("a")))
		return errTest
	})
	wantIs(t, "InTx", err, errTest)
	wantLeases(t, s)
}

func listBounded(t *testing.T, s Stores) {
	insertMany(t, s, vaultbridge.MaxRecords+1)
	all, err := s.Leases(t.Context())
	must(t, err)
	wantSame(t, "listed", len(all), vaultbridge.MaxRecords)
}

// forgetLeases: what may still live is not forgotten, whatever became of its end.
func forgetLeases(t *testing.T, s Stores) {
	failed, late := someLease("failed"), someLease("late")
	failed.Attempts, failed.Failure, failed.Next = 1000, "vault_sealed", at.Add(1000*time.Hour)
	late.Expires = late.Expires.Add(time.Microsecond)
	insertLeases(t, s, failed, late)
	day := failed.Expires.Add(24 * time.Hour)
	wantSame(t, "removed too early", deleteAll(t, s, day.Add(-time.Microsecond)), 0)
	wantLeases(t, s, failed, late)
	wantSame(t, "removed", deleteAll(t, s, day), 1)
	wantLeases(t, s, late)
}

func leasesOnTheSchemaBefore(t *testing.T, s Stores) {
	_, err := s.Leases(t.Context())
	if !s.before || err == nil {
		t.Skip("for a schema without leases")
	}
	_, err2 := s.ClaimLeases(t.Context(), "gateway-1", "boot-1", at, at)
	_, err3 := s.EndLeases(t.Context(), vaultbridge.Selection{ID: "a"}, "operator")
	_, err4 := s.EndedLeases(t.Context(), "gateway-1", "boot-1")
	for i, err := range []error{err, err2, err3, err4, s.InsertLease(t.Context(), someLease("a")), s.NameLease(t.Context(), "a", "x"),
		s.DeleteLease(t.Context(), "a"), s.FailLease(t.Context(), "a", "x", at), s.HoldLeases(t.Context(), "gateway-1", "boot-1", at)} {
		wantIs(t, fmt.Sprint("method ", i), err, vaultbridge.ErrUnmigrated)
	}
	deleteAll(t, s, at)
}
