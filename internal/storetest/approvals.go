package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/identity"
)

var approvalTests = []test{
	{"an approval comes back with every field", approvalRoundTrip},
	{"what is open already stands, and another call is another", openTwice},
	{"16 parallel opens of one call make one", racingOpens},
	{"a decision shows, and stands", decideShows},
	{"an approval is decided once by 16 parallel approvers", decideApprovalOnce},
	{"an approval is used once by 16 parallel retries", useApprovalOnce},
	{"what is not approved is not used", useOfNothing},
	{"what has expired is neither decided nor used, and asked for anew", expiredApproval},
	{"approvals are listed by state, newest first, no more than asked for", listApprovals},
	{"a subject has no more pending than the bound", tooManyPending},
	{"a transaction that fails has opened, decided and used nothing", approvalsRollBack},
	{"another process knows all approvals", reopenedApprovals},
	{"an approval stays for a week after it expired", deleteApprovals},
}

const (
	within = 15 * time.Minute
	manyOf = 100 // pending at once, of a subject
)

func subjectOf(name string) identity.Subject {
	s, err := identity.ParseSubject(name)
	if err != nil {
		panic(err) // a constant
	}
	return s
}

// someApproval is of another call for each id.
func someApproval(id string) approval.Request {
	return approval.Request{ID: id, Binding: approval.Binding{Subject: subjectOf("alice"), Client: identity.MustClientID("dev-agent"),
		Actors: []string{"agent", "https://idp.example|other"}, Server: "db", Tool: "database_drop", ArgumentsDigest: "arguments of " + id,
		DefinitionDigest: "definition", PolicyDigest: "policy", Rule: "access.yaml:7: roles.admin.servers.db.tools.database_drop"},
		Arguments: []byte(`{"table":"o\"rders"}`), Risk: "high", By: [][]string{{"approver"}, {"platform", "ops"}},
		Created: at, Expires: at.Add(within), State: approval.Pending}
}

func openApproval(t *testing.T, s Store, r approval.Request) (stands approval.Request, stored bool) {
	t.Helper()
	stands, stored, err := s.OpenApproval(t.Context(), r, manyOf)
	must(t, err)
	return stands, stored
}

func decide(t *testing.T, s Store, id string, as approval.State) approval.Request {
	t.Helper()
	r, err := s.DecideApproval(t.Context(), id, as, subjectOf("bob"), "looks right", at.Add(time.Minute))
	must(t, err)
	return r
}

func wantApproval(t *testing.T, s Store, want approval.Request, now time.Time) {
	t.Helper()
	got, err := s.Approval(t.Context(), want.ID, now)
	must(t, err)
	wantSame(t, "Approval", got, want)
	wantUTC(t, got.Created, got.Expires)
}

func approvalRoundTrip(t *testing.T, s Stores) {
	want := someApproval("one")
	stands, stored := openApproval(t, s, want)
	wantSame(t, "OpenApproval", stands, want)
	if !stored {
		t.Error("a new one was not stored")
	}
	wantApproval(t, s, want, at)
	bare := someApproval("bare")
	bare.Actors, bare.Arguments, bare.Risk = nil, nil, ""
	openApproval(t, s, bare)
	wantApproval(t, s, bare, at)
	_, err := s.Approval(t.Context(), "two", at)
	wantIs(t, "Approval of nothing", err, approval.ErrNotFound)
	for _, id := range []string{"", "one\x00", "\xff", "%"} { // as somebody writes it into a URL
		_, err = s.Approval(t.Context(), id, at)
		wantIs(t, fmt.Sprintf("Approval of %q", id), err, approval.ErrNotFound)
	}
}

// openTwice opens the same call again in each state, and calls that differ in one thing.
func openTwice(t *testing.T, s Stores) {
	want := someApproval("one")
	openApproval(t, s, want)
	again := want
	again.ID, again.Risk, again.Created = "again", "other", at.Add(time.Second)
	for _, as := range []approval.State{approval.Pending, approval.Approved} {
		if as != approval.Pending {
			want = decide(t, s, want.ID, as)
		}
		stands, stored := openApproval(t, s, again)
		wantSame(t, "OpenApproval of one that is "+string(as), stands, want)
		if stored {
			t.Errorf("one that is %s was stored twice", as)
		}
	}
	must(t, s.UseApproval(t.Context(), want.ID, at.Add(2*time.Minute)))
	if stands, stored := openApproval(t, s, again); !stored || stands.ID != again.ID {
		t.Errorf("after the use: %v, %v, want a new one", stands.ID, stored)
	}
	decide(t, s, again.ID, approval.Denied)
	again.ID = "third"
	if stands, stored := openApproval(t, s, again); stored || stands.State != approval.Denied {
		t.Errorf("after the denial: %+v, %v, want the denial", stands, stored)
	}
	for i, other := range otherBindings(again.Binding) {
		r := someApproval(fmt.Sprint("other ", i))
		r.Binding = other
		if stands, stored := openApproval(t, s, r); !stored || stands.ID != r.ID {
			t.Errorf("%+v is taken for %+v", other, stands.Binding)
		}
	}
}

// otherBindings differ from b, and from one another, in one thing.
func otherBindings(b approval.Binding) (all []approval.Binding) {
	for _, change := range []func(*approval.Binding){
		func(b *approval.Binding) { b.Subject = subjectOf("alicia") },
		func(b *approval.Binding) { b.Client = identity.MustClientID("other") },
		func(b *approval.Binding) { b.Actors = b.Actors[:1] },
		func(b *approval.Binding) { b.Actors = []string{b.Actors[1], b.Actors[0]} },
		func(b *approval.Binding) { b.Actors = []string{b.Actors[0] + b.Actors[1]} },
		func(b *approval.Binding) { b.Server, b.Tool = b.Server+b.Tool[:1], b.Tool[1:] },
		func(b *approval.Binding) { b.Tool = "database_dump" },
		func(b *approval.Binding) { b.ArgumentsDigest = "others" },
		func(b *approval.Binding) { b.DefinitionDigest = "other" },
		func(b *approval.Binding) { b.PolicyDigest = "other" },
		func(b *approval.Binding) { b.Rule = "other" },
	} {
		other := b
		change(&other)
		all = append(all, other)
	}
	return all
}

func racingOpens(t *testing.T, s Stores) {
	ids, stored := make([]string, 16), make([]bool, 16)
	for i, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		r := someApproval("same")
		r.ID = fmt.Sprint("id ", i)
		stands, ok, err := s.OpenApproval(ctx, r, manyOf)
		ids[i], stored[i] = stands.ID, ok
		return err
	})) {
		if err != nil {
			t.Errorf("open %d: %v", i, err)
		}
	}
	slices.Sort(ids)
	if all := slices.Compact(ids); len(all) != 1 {
		t.Errorf("one call has the approvals %v", all)
	}
	if n := len(slices.DeleteFunc(stored, func(ok bool) bool { return !ok })); n != 1 {
		t.Errorf("%d were stored, want 1", n)
	}
}

func decideShows(t *testing.T, s Stores) {
	for _, as := range []approval.State{approval.Approved, approval.Denied} {
		want := someApproval(string(as))
		openApproval(t, s, want)
		want.State, want.DecidedBy, want.DecidedAt, want.Comment = as, subjectOf("bob"), at.Add(time.Minute), "looks right"
		wantSame(t, "DecideApproval", decide(t, s, want.ID, as), want)
		wantApproval(t, s, want, at.Add(2*time.Minute))
		for _, other := range []approval.State{approval.Approved, approval.Denied} {
			_, err := s.DecideApproval(t.Context(), want.ID, other, subjectOf("carol"), "", at.Add(2*time.Minute))
			wantIs(t, "a second decision", err, approval.ErrDecided)
		}
		wantApproval(t, s, want, at.Add(2*time.Minute))
	}
	_, err := s.DecideApproval(t.Context(), "none", approval.Approved, subjectOf("bob"), "", at)
	wantIs(t, "decision on nothing", err, approval.ErrNotFound)
	openApproval(t, s, someApproval("odd"))
	for _, as := range []approval.State{approval.Pending, approval.Used, approval.Expired, "", "other"} {
		if _, err := s.DecideApproval(t.Context(), "odd", as, subjectOf("bob"), "", at); err == nil {
			t.Errorf("%q is no decision, and was taken", as)
		}
	}
	wantApproval(t, s, someApproval("odd"), at)
}

// oneWins wants one of 16 to get nil and all others the error.
func oneWins(t *testing.T, s Stores, lost error, f func(ctx context.Context, s Store, i int) error) (winner int) {
	t.Helper()
	winner = -1
	for i, err := range race(t.Context(), spread(t, s, f)) {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("%d and %d won", winner, i)
		case err == nil:
			winner = i
		default:
			wantIs(t, "a loser", err, lost)
		}
	}
	if winner < 0 {
		t.Error("nobody won")
	}
	return winner
}

func decideApprovalOnce(t *testing.T, s Stores) {
	openApproval(t, s, someApproval("one"))
	as := []approval.State{approval.Approved, approval.Denied}
	i := oneWins(t, s, approval.ErrDecided, func(ctx context.Context, s Store, i int) error {
		_, err := s.DecideApproval(ctx, "one", as[i/2%2], subjectOf(fmt.Sprint("approver", i)), "", at)
		return err
	})
	got, err := s.Approval(t.Context(), "one", at)
	must(t, err)
	if got.State != as[i/2%2] || got.DecidedBy != subjectOf(fmt.Sprint("approver", i)) {
		t.Errorf("%d won, and what stands is %+v", i, got)
	}
}

func useApprovalOnce(t *testing.T, s Stores) {
	openApproval(t, s, someApproval("one"))
	want := decide(t, s, "one", approval.Approved)
	oneWins(t, s, approval.ErrSpent, func(ctx context.Context, s Store, _ int) error {
		return s.UseApproval(ctx, "one", at.Add(2*time.Minute))
	})
	want.State, want.UsedAt = approval.Used, at.Add(2*time.Minute)
	wantApproval(t, s, want, at.Add(3*time.Minute))
}

func useOfNothing(t *testing.T, s Stores) {
	openApproval(t, s, someApproval("pending"))
	openApproval(t, s, someApproval("denied"))
	decide(t, s, "denied", approval.Denied)
	for _, id := range []string{"none", "", "pending", "denied"} {
		wantIs(t, "use of "+id, s.UseApproval(t.Context(), id, at.Add(2*time.Minute)), approval.ErrSpent)
	}
}
