package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

var revocationTests = []test{
	{"revocations come back in the order in which they were made", orderedRevocations},
	{"a revocation replaces the one of its kind and name, and comes later", replacedRevocation},
	{"a revocation does not lift a freeze, and takes nothing back", revokeFrozen},
	{"a freeze is lifted once, and what was issued before stays refused", liftFreeze},
	{"a freeze is lifted once by 16 parallel requests", raceUnfreeze},
	{"a reader who polls misses none of 16 parallel revokers on two replicas", pollRevokers},
	{"a reader misses none that a longer transaction holds back", slowRevoker},
	{"a revocation that is rolled back is none", revokeAndFail},
	{"more revocations than one answer has", manyRevocations},
	{"what ends a grant revokes it, once, and only if all of it succeeds", revokesGrant},
	{"who deletes a client revokes it", revokesClient},
	{"the authorizations of a subject or client are ended, and no others", endAuthorizations},
	{"a revocation is removed when it has expired, a freeze never", expireRevocations},
}

func someRevocation(kind revocation.Kind, name string) revocation.Entry {
	e := revocation.New(kind, name, at)
	e.Reason, e.By = "a laptop was stolen", "root"
	return e
}

// allRevocations reads on until there are no more.
func allRevocations(t *testing.T, s Store) (all []revocation.Entry) {
	t.Helper()
	for after := int64(0); ; {
		some, err := s.Revocations(t.Context(), after)
		must(t, err)
		if len(some) == 0 {
			return all
		}
		all, after = append(all, some...), some[len(some)-1].Seq
	}
}

func named(all []revocation.Entry) (names []string) {
	for _, e := range all {
		names = append(names, string(e.Kind)+" "+e.Name)
	}
	return names
}

func orderedRevocations(t *testing.T, s Stores) {
	wantSame(t, "revocations of an empty store", allRevocations(t, s), nil)
	frozen := someRevocation(revocation.Server, "mail")
	frozen.Frozen = true
	want := []revocation.Entry{someRevocation(revocation.Token, "jti"), someRevocation(revocation.Grant, "jti"), frozen, someRevocation(revocation.Subject, "ä b")}
	for i := range want {
		must(t, s.Revoke(t.Context(), want[i]))
		want[i].Seq = int64(i + 1)
	}
	got := allRevocations(t, s)
	wantSame(t, "revocations", got, want)
	wantUTC(t, got[0].NotBefore, got[0].Created, got[0].Expires)
	some, err := s.Revocations(t.Context(), 2)
	must(t, err)
	wantSame(t, "revocations after the second", some, want[2:])
}

func replacedRevocation(t *testing.T, s Stores) {
	must(t, s.Revoke(t.Context(), someRevocation(revocation.Client, "c1")))
	must(t, s.Revoke(t.Context(), someRevocation(revocation.Client, "c2")))
	later := revocation.New(revocation.Client, "c1", at.Add(time.Hour))
	must(t, s.Revoke(t.Context(), later))
	later.Seq = 3
	got := allRevocations(t, s)
	wantSame(t, "names", named(got), []string{"client c2", "client c1"})
	wantSame(t, "the later one", got[1], later)
	earlier := revocation.New(revocation.Client, "c1", at.Add(time.Minute))
	must(t, s.Revoke(t.Context(), earlier))
	got = allRevocations(t, s)
	wantSame(t, "NotBefore after one with a slow clock", got[1].NotBefore, later.NotBefore)
	wantSame(t, "Expires after one with a slow clock", got[1].Expires, later.Expires)
}

func revokeFrozen(t *testing.T, s Stores) {
	frozen := someRevocation(revocation.Client, "c1")
	frozen.Frozen = true
	must(t, s.Revoke(t.Context(), frozen))
	revoked := revocation.New(revocation.Client, "c1", at.Add(time.Hour))
	must(t, s.Revoke(t.Context(), revoked))
	want := frozen
	want.NotBefore, want.Expires, want.Seq = revoked.NotBefore, revoked.Expires, 2
	wantSame(t, "the freeze", allRevocations(t, s), []revocation.Entry{want})
}

func liftFreeze(t *testing.T, s Stores) {
	wantIs(t, "Unfreeze of nothing", s.Unfreeze(t.Context(), revocation.Lifted(revocation.Subject, "alice", at)), revocation.ErrNotFrozen)
	frozen := someRevocation(revocation.Subject, "alice")
	must(t, s.Revoke(t.Context(), frozen))
	wantIs(t, "Unfreeze of what was only revoked", s.Unfreeze(t.Context(), revocation.Lifted(revocation.Subject, "alice", at)), revocation.ErrNotFrozen)
	frozen.Frozen = true
	must(t, s.Revoke(t.Context(), frozen))
	wantIs(t, "Unfreeze of a namesake", s.Unfreeze(t.Context(), revocation.Lifted(revocation.Client, "alice", at)), revocation.ErrNotFrozen)
	lifted := revocation.Lifted(revocation.Subject, "alice", at.Add(time.Second))
	must(t, s.Unfreeze(t.Context(), lifted))
	got := allRevocations(t, s)
	want := lifted
	want.NotBefore, want.Seq = frozen.NotBefore, got[0].Seq // the margin of a freeze of just now stays
	wantSame(t, "what is left", got, []revocation.Entry{want})
	wantIs(t, "Unfreeze again", s.Unfreeze(t.Context(), lifted), revocation.ErrNotFrozen)
}

func raceUnfreeze(t *testing.T, s Stores) {
	frozen := someRevocation(revocation.Server, "mail")
	frozen.Frozen = true
	must(t, s.Revoke(t.Context(), frozen))
	won := 0
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
		return s.Unfreeze(ctx, revocation.Lifted(revocation.Server, "mail", at))
	})) {
		if err == nil {
			won++
		} else {
			wantIs(t, "Unfreeze of a loser", err, revocation.ErrNotFrozen)
		}
	}
	if won != 1 {
		t.Errorf("%d lifted the freeze, want 1", won)
	}
}

// pollRevokers would fail with numbers that are given before the commit's turn: the
// reader would go on from a higher one, and never see a lower one that comes after.
func pollRevokers(t *testing.T, s Stores) {
	const each = 20
	ctx, done := context.WithCancel(t.Context())
	seen := make(chan []string)
	reader := s.Open(t)
	go func() {
		var all []string
		for after, last := int64(0), false; ; {
			some, err := reader.Revocations(t.Context(), after)
			if err != nil {
				t.Error(err)
			}
			for _, e := range some {
				after = e.Seq
				all = append(all, e.Name)
			}
			if last && len(some) == 0 {
				seen <- all
				return
			}
			last = ctx.Err() != nil
		}
	}()
	errs := race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		for n := range each {
			name := fmt.Sprint(i, "-", n)
			if err := s.InTx(ctx, func(ctx context.Context) error { return s.Revoke(ctx, someRevocation(revocation.Token, name)) }); err != nil {
				return err
			}
		}
		return nil
	}))
	done()
	all := <-seen
	for _, err := range errs {
		must(t, err)
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != 16*each || len(all) != n {
		t.Errorf("the reader saw %d revocations, %d of them different, want %d", len(all), n, 16*each)
	}
}

// slowRevoker makes the race certain: the first transaction has taken its number when
// the second begins.
func slowRevoker(t *testing.T, s Stores) {
	other, began, second := s.Open(t), make(chan struct{}), make(chan error, 1)
	go func() {
		<-began
		second <- other.Revoke(t.Context(), someRevocation(revocation.Token, "second"))
	}()
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		if err := s.Revoke(ctx, someRevocation(revocation.Token, "first")); err != nil {
			return err
		}
		close(began)
		some, err := other.Revocations(t.Context(), 0)
		for _, e := range some {
			t.Errorf("%s is seen before the first has been committed", e.Name)
		}
		return err
	}))
	must(t, <-second)
	wantSame(t, "names", named(allRevocations(t, other)), []string{"token first", "token second"})
}

func revokeAndFail(t *testing.T, s Stores) {
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.Revoke(ctx, someRevocation(revocation.Token, "x")))
		return errTest
	})
	wantIs(t, "InTx", err, errTest)
	wantSame(t, "revocations", allRevocations(t, s), nil)
	must(t, s.Revoke(t.Context(), someRevocation(revocation.Token, "y")))
	wantSame(t, "names", named(allRevocations(t, s)), []string{"token y"})
}

func manyRevocations(t *testing.T, s Stores) {
	const n = 1001
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		for i := range n {
			if err := s.Revoke(ctx, someRevocation(revocation.Token, fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return nil
	}))
	if all := allRevocations(t, s); len(all) != n || all[n-1].Name != fmt.Sprint(n-1) {
		t.Errorf("%d revocations, want %d", len(all), n)
	}
}

func revokesGrant(t *testing.T, s Stores) {
	must(t, s.InsertAuthorization(t.Context(), someAuthorization("a1")))
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.RevokeAuthorization(ctx, "a1", at))
		return errTest
	})
	wantIs(t, "InTx", err, errTest)
	must(t, s.RevokeAuthorization(t.Context(), "none", at))
	wantSame(t, "revocations before", allRevocations(t, s), nil)
	for range 2 {
		must(t, s.RevokeAuthorization(t.Context(), "a1", at))
	}
	got := allRevocations(t, s)
	want := revocation.New(revocation.Grant, "a1", at)
	if len(got) == 1 {
		want.Seq = got[0].Seq
	}
	wantSame(t, "revocations", got, []revocation.Entry{want})
}

func revokesClient(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("c1")))
	must(t, s.DeleteClient(t.Context(), identity.MustClientID("c1"), at))
	wantSame(t, "names", named(allRevocations(t, s)), []string{"client c1"})
}

func endAuthorizations(t *testing.T, s Stores) {
	mine, theirs := someAuthorization("mine"), someAuthorization("theirs")
	theirs.ClientID = identity.MustClientID("another")
	other, err := identity.ParseSubject("somebody-else")
	must(t, err)
	theirs.Subject = other
	ended := someAuthorization("ended")
	ended.Revoked = at.Add(-time.Hour)
	for _, by := range []struct {
		kind revocation.Kind
		name string
	}{{revocation.Subject, mine.Subject.String()}, {revocation.Client, mine.ClientID.String()}} {
		id := "of " + string(by.kind)
		mine.ID, theirs.ID, ended.ID = id, "other "+id, "ended "+id
		must(t, s.InsertAuthorization(t.Context(), mine))
		must(t, s.InsertAuthorization(t.Context(), theirs))
		must(t, s.InsertAuthorization(t.Context(), ended))
		n, err := s.EndAuthorizations(t.Context(), by.kind, by.name, at)
		must(t, err)
		wantSame(t, "ended "+id, n, 1)
		for id, want := range map[string]time.Time{mine.ID: at, theirs.ID: {}, ended.ID: ended.Revoked} {
			a, err := s.Authorization(t.Context(), id)
			must(t, err)
			wantSame(t, "Revoked of "+id, a.Revoked, want)
		}
	}
	if _, err := s.EndAuthorizations(t.Context(), revocation.Grant, "mine", at); err == nil {
		t.Error("EndAuthorizations of a grant = nil, want an error")
	}
}

func expireRevocations(t *testing.T, s Stores) {
	e, frozen := someRevocation(revocation.Grant, "a1"), someRevocation(revocation.Client, "c1")
	frozen.Frozen = true
	must(t, s.Revoke(t.Context(), e))
	must(t, s.Revoke(t.Context(), frozen))
	if n := deleteAll(t, s, e.Expires.Add(-time.Microsecond)); n != 0 {
		t.Errorf("%d removed that had not expired", n)
	}
	if n := deleteAll(t, s, e.Expires.Add(10000*time.Hour)); n != 1 {
		t.Errorf("%d removed, want the revocation", n)
	}
	wantSame(t, "names", named(allRevocations(t, s)), []string{"client c1"})
}
