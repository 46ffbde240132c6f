package storetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/webhook"
)

var messageTests = []test{
	{"a message comes back with every field, to its endpoint alone, when it is due", takeMessages},
	{"one that was taken is due again when its time is over", leaseMessages},
	{"a message is put off by who took it last", putOffMessage},
	{"16 parallel processes take each message once", takeMessagesOnce},
	{"a transaction that fails has added no message", messagesRollBack},
	{"another process knows all messages", reopenedMessages},
	{"a message that nobody delivers is removed after a week", deleteMessages},
}

func messages(ids ...string) (all []webhook.Message) {
	for i, id := range ids {
		all = append(all, webhook.Message{ID: id, Endpoint: "endpoint", Kind: "approval.requested", Body: []byte(`{"id":"` + id + `"}`),
			Created: at.Add(time.Duration(i)), Due: at})
	}
	return all
}

func takeAll(t *testing.T, s Store, now time.Time) (ids []string) {
	t.Helper()
	all, err := s.TakeMessages(t.Context(), "endpoint", 100, now, now.Add(time.Minute))
	must(t, err)
	for _, m := range all {
		ids = append(ids, m.ID)
	}
	return ids
}

func takeMessages(t *testing.T, s Stores) {
	want := messages("b", "a", "c")
	for i := range want {
		want[i].Created = at.Add(time.Duration(i) * time.Second)
	}
	late := messages("late")[0]
	late.Due = at.Add(time.Hour)
	other := messages("other")[0]
	other.Endpoint = "other"
	must(t, s.AddMessages(t.Context(), append([]webhook.Message{late, other}, want...)))
	wantSame(t, "too early", takeAll(t, s, at.Add(-time.Microsecond)), nil)
	got, err := s.TakeMessages(t.Context(), "endpoint", 100, at, at.Add(time.Minute))
	must(t, err)
	for i := range want {
		want[i].Due, want[i].Attempts = at.Add(time.Minute), 1
	}
	wantSame(t, "TakeMessages", got, want)
	must(t, s.DropMessage(t.Context(), "a"))
	must(t, s.DropMessage(t.Context(), "none"))
	wantSame(t, "an hour later", takeAll(t, s, at.Add(time.Hour)), []string{"late", "b", "c"})
}

func leaseMessages(t *testing.T, s Stores) {
	must(t, s.AddMessages(t.Context(), messages("a", "b", "c")))
	some, err := s.TakeMessages(t.Context(), "endpoint", 2, at, at.Add(time.Minute))
	must(t, err)
	wantSame(t, "taken", len(some), 2)
	wantSame(t, "what is left", len(takeAll(t, s, at)), 1)
	wantSame(t, "before it is over", takeAll(t, s, at.Add(time.Minute-time.Microsecond)), nil)
	wantSame(t, "when it is over", len(takeAll(t, s, at.Add(time.Minute))), 3)
}

func putOffMessage(t *testing.T, s Stores) {
	must(t, s.AddMessages(t.Context(), messages("a")))
	first, err := s.TakeMessages(t.Context(), "endpoint", 1, at, at.Add(time.Minute))
	must(t, err)
	second, err := s.TakeMessages(t.Context(), "endpoint", 1, at.Add(time.Minute), at.Add(2*time.Minute))
	must(t, err)
	first[0].Due, second[0].Due = at, at.Add(time.Hour)
	must(t, s.PutOffMessage(t.Context(), first[0]))
	wantSame(t, "put off by who lost it", takeAll(t, s, at.Add(time.Minute)), nil)
	must(t, s.PutOffMessage(t.Context(), second[0]))
	wantSame(t, "too early", takeAll(t, s, at.Add(time.Hour-time.Microsecond)), nil)
	got, err := s.TakeMessages(t.Context(), "endpoint", 1, at.Add(time.Hour), at.Add(2*time.Hour))
	must(t, err)
	wantSame(t, "attempts", got[0].Attempts, 3)
}

func takeMessagesOnce(t *testing.T, s Stores) {
	ids := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	must(t, s.AddMessages(t.Context(), messages(ids...)))
	var mu sync.Mutex // guards got
	var got []string
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
		all, err := s.TakeMessages(ctx, "endpoint", 3, at, at.Add(time.Minute))
		mu.Lock()
		defer mu.Unlock()
		for _, m := range all {
			got = append(got, m.ID)
		}
		return err
	})) {
		must(t, err)
	}
	got = append(got, takeAll(t, s, at)...)
	slices.Sort(got)
	wantSame(t, "all that were taken", got, ids)
}

func messagesRollBack(t *testing.T, s Stores) {
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		must(t, s.AddMessages(ctx, messages("a")))
		return errTest
	})
	wantIs(t, "InTx", err, errTest)
	wantSame(t, "messages", takeAll(t, s, at), nil)
}

func reopenedMessages(t *testing.T, s Stores) {
	must(t, s.AddMessages(t.Context(), messages("a")))
	must(t, s.Close())
	wantSame(t, "messages", takeAll(t, s.Open(t), at), []string{"a"})
}

func deleteMessages(t *testing.T, s Stores) {
	must(t, s.AddMessages(t.Context(), messages("a")))
	week := at.Add(7 * 24 * time.Hour)
	wantSame(t, "removed too early", deleteAll(t, s, week.Add(-time.Microsecond)), 0)
	wantSame(t, "removed", deleteAll(t, s, week), 1)
	wantSame(t, "messages", takeAll(t, s, week), nil)
}
