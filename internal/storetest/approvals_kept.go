package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/approval"
)

func expiredApproval(t *testing.T, s Stores) {
	over := at.Add(within)
	for _, id := range []string{"pending", "approved", "denied", "used"} {
		openApproval(t, s, someApproval(id))
	}
	decide(t, s, "approved", approval.Approved)
	decide(t, s, "denied", approval.Denied)
	decide(t, s, "used", approval.Approved)
	must(t, s.UseApproval(t.Context(), "used", over.Add(-time.Microsecond)))
	_, err := s.DecideApproval(t.Context(), "pending", approval.Approved, subjectOf("bob"), "", over)
	wantIs(t, "decision when it is over", err, approval.ErrDecided)
	wantIs(t, "use when it is over", s.UseApproval(t.Context(), "approved", over), approval.ErrSpent)
	for _, id := range []string{"pending", "approved", "denied", "used"} {
		got, err := s.Approval(t.Context(), id, over)
		must(t, err)
		if got.State != approval.Expired || got.DecidedAt.IsZero() != (id == "pending") {
			t.Errorf("%s is %+v when it is over", id, got)
		}
		again := someApproval(id)
		again.ID, again.Created, again.Expires = "new "+id, over, over.Add(within)
		if stands, stored := openApproval(t, s, again); !stored || stands.ID != again.ID {
			t.Errorf("%s is over, and still stands", id)
		}
	}
}

func listed(t *testing.T, s Store, of approval.State, limit int) (ids []string) {
	t.Helper()
	all, err := s.Approvals(t.Context(), of, limit, at.Add(2*time.Minute))
	must(t, err)
	for _, r := range all {
		if of != "" && r.State != of {
			t.Errorf("%s is %s, among those %s", r.ID, r.State, of)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

func listApprovals(t *testing.T, s Stores) {
	for i, id := range []string{"a", "b", "c", "d", "e", "f"} {
		r := someApproval(id)
		r.Created = at.Add(time.Duration(i/2) * time.Second)
		openApproval(t, s, r)
	}
	over := someApproval("over")
	over.Created, over.Expires = at.Add(-time.Hour), at
	openApproval(t, s, over)
	decide(t, s, "b", approval.Approved)
	decide(t, s, "c", approval.Denied)
	decide(t, s, "d", approval.Approved)
	must(t, s.UseApproval(t.Context(), "d", at.Add(time.Minute)))
	for _, test := range []struct {
		of    approval.State
		limit int
		want  []string
	}{
		{"", 100, []string{"f", "e", "d", "c", "b", "a", "over"}},
		{"", 2, []string{"f", "e"}},
		{"", 0, nil},
		{approval.Pending, 100, []string{"f", "e", "a"}},
		{approval.Pending, 1, []string{"f"}},
		{approval.Approved, 100, []string{"b"}},
		{approval.Denied, 100, []string{"c"}},
		{approval.Used, 100, []string{"d"}},
		{approval.Expired, 100, []string{"over"}},
		{"other", 100, nil},
	} {
		if diff := cmp.Diff(test.want, listed(t, s, test.of, test.limit)); diff != "" {
			t.Errorf("%d of %q (-want +got):\n%s", test.limit, test.of, diff)
		}
	}
	all, err := s.Approvals(t.Context(), approval.Pending, 1, at)
	must(t, err)
	want := someApproval("f")
	want.Created = at.Add(2 * time.Second)
	wantSame(t, "Approvals", all, []approval.Request{want})
}

func tooManyPending(t *testing.T, s Stores) {
	open := func(id, subject string, now time.Time) error {
		r := someApproval(id)
		r.Subject, r.Created, r.Expires = subjectOf(subject), now, now.Add(within)
		_, _, err := s.OpenApproval(t.Context(), r, 3)
		return err
	}
	for _, id := range []string{"a", "b", "c"} {
		must(t, open(id, "alice", at))
	}
	wantIs(t, "one more", open("d", "alice", at), approval.ErrTooMany)
	must(t, open("a", "alice", at)) // which stands
	must(t, open("of another", "bob", at))
	decide(t, s, "a", approval.Denied)
	must(t, open("d", "alice", at))
	wantIs(t, "one more again", open("e", "alice", at), approval.ErrTooMany)
	must(t, open("e", "alice", at.Add(within)))
}

func approvalsRollBack(t *testing.T, s Stores) {
	for _, id := range []string{"pending", "approved"} {
		openApproval(t, s, someApproval(id))
	}
	want := decide(t, s, "approved", approval.Approved)
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		_, _, err1 := s.OpenApproval(ctx, someApproval("new"), manyOf)
		_, err2 := s.DecideApproval(ctx, "pending", approval.Approved, subjectOf("bob"), "", at)
		err3 := s.UseApproval(ctx, "approved", at.Add(time.Minute))
		must(t, errors.Join(err1, err2, err3))
		return errTest
	})
	wantIs(t, "InTx", err, errTest)
	wantApproval(t, s, someApproval("pending"), at)
	wantApproval(t, s, want, at)
	_, err = s.Approval(t.Context(), "new", at)
	wantIs(t, "Approval", err, approval.ErrNotFound)
}

func reopenedApprovals(t *testing.T, s Stores) {
	for _, id := range []string{"pending", "approved"} {
		openApproval(t, s, someApproval(id))
	}
	want := decide(t, s, "approved", approval.Approved)
	must(t, s.Close())
	other := s.Open(t)
	wantApproval(t, other, someApproval("pending"), at)
	wantApproval(t, other, want, at)
	must(t, other.UseApproval(t.Context(), "approved", at.Add(2*time.Minute)))
	decide(t, other, "pending", approval.Denied)
}

func deleteApprovals(t *testing.T, s Stores) {
	openApproval(t, s, someApproval("used"))
	decide(t, s, "used", approval.Approved)
	must(t, s.UseApproval(t.Context(), "used", at.Add(time.Minute)))
	openApproval(t, s, someApproval("pending"))
	week := at.Add(within + 7*24*time.Hour)
	if n := deleteAll(t, s, week.Add(-time.Microsecond)); n != 0 {
		t.Errorf("%d removed before a week has passed", n)
	}
	wantIs(t, "second use", s.UseApproval(t.Context(), "used", at.Add(time.Minute)), approval.ErrSpent)
	if n := deleteAll(t, s, week); n != 2 {
		t.Errorf("%d removed, want both", n)
	}
	_, err := s.Approval(t.Context(), "used", at)
	wantIs(t, "Approval", err, approval.ErrNotFound)
}
