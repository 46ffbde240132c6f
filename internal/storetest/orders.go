package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
)

var orderTests = []test{
	{"a definition that changed waits beside the pinned one, the newest alone", pendingPin},
	{"an approval is of the pending definition that was seen, and of no other", approvePending},
	{"an approval of a new tool says by whom", approveNew},
	{"a tool in quarantine is approved by an operator alone", quarantineTool},
	{"a definition is approved once by 16 parallel operators", approveOnce},
	{"orders are listed until they are recorded", recordOrders},
	{"a server has no more pins than the bound, and goes on with those that it has", boundPins},
}

func someOrder(action gateway.Action, tool, digest string) gateway.Order {
	return gateway.Order{Action: action, Server: "mail", Tool: tool, Digest: digest, Accepted: "link", By: "operator", At: at.Add(time.Minute)}
}

func addPin(t *testing.T, s Store, p gateway.Pin) gateway.Pin {
	t.Helper()
	stands, err := s.AddPin(t.Context(), p)
	must(t, err)
	return stands
}

// changedPin is another definition of the tool of somePin.
func changedPin(digest string) gateway.Pin {
	p := somePin("mail", "send")
	p.Digest, p.Definition, p.Seen = digest, []byte(`{"other":"`+digest+`"}`), at.Add(time.Hour)
	return p
}

func candidateOf(p gateway.Pin) gateway.Candidate {
	return gateway.Candidate{Digest: p.Digest, Definition: p.Definition, Seen: p.Seen}
}

// wantPin compares the one pin of mail, with and without its definitions.
func wantPin(t *testing.T, s Stores, want gateway.Pin) {
	t.Helper()
	got, err := s.Pins(t.Context(), "mail")
	must(t, err)
	for i := range got {
		got[i].Last.Seq = min(got[i].Last.Seq, 1)
	}
	wantSame(t, "Pins", got, []gateway.Pin{want})
	got, err = s.PinDigests(t.Context(), "mail")
	must(t, err)
	for i := range got {
		got[i].Last.Seq = min(got[i].Last.Seq, 1)
	}
	want.Definition, want.Pending.Definition = nil, nil
	wantSame(t, "PinDigests", got, []gateway.Pin{want})
}

func pendingPin(t *testing.T, s Stores) {
	want := addPin(t, s, somePin("mail", "send"))
	for _, digest := range []string{"second", "third", "third"} {
		wantSame(t, "AddPin", addPin(t, s, changedPin(digest)), want)
	}
	addPin(t, s, somePin("mail", "send")) // it is back: what was seen meanwhile stays to be looked at
	want.Pending = candidateOf(changedPin("third"))
	wantPin(t, s, want)
	servers, err := s.PinnedServers(t.Context())
	must(t, err)
	wantSame(t, "PinnedServers", servers, []string{"mail"})
}

func approvePending(t *testing.T, s Stores) {
	was := addPin(t, s, somePin("mail", "send"))
	addPin(t, s, changedPin("second"))
	addPin(t, s, changedPin("third"))
	for _, digest := range []string{"second", was.Digest, "unknown", ""} {
		wantIs(t, "approval of "+digest, s.OrderTool(t.Context(), someOrder(gateway.Approve, "send", digest)), gateway.ErrNotPending)
	}
	wantIs(t, "approval of another tool", s.OrderTool(t.Context(), someOrder(gateway.Approve, "sent", "third")), gateway.ErrNotPending)
	none, err := s.PinRevision(t.Context())
	must(t, err)
	order := someOrder(gateway.Approve, "send", "third")
	must(t, s.OrderTool(t.Context(), order))
	want := changedPin("third")
	want.Last, want.Last.Seq = order, 1
	wantPin(t, s, want)
	if n, err := s.PinRevision(t.Context()); err != nil || none != 0 || n == 0 {
		t.Errorf("revision %d, then %d, %v", none, n, err)
	}
}

func approveNew(t *testing.T, s Stores) {
	fresh := somePin("mail", "send")
	fresh.Approved = false
	addPin(t, s, fresh)
	addPin(t, s, changedPin("second"))
	order := someOrder(gateway.Approve, "send", fresh.Digest)
	must(t, s.OrderTool(t.Context(), order))
	fresh.Approved, fresh.Pending, fresh.Last = true, candidateOf(changedPin("second")), order
	fresh.Last.Seq = 1
	wantPin(t, s, fresh)
	wantIs(t, "a second approval", s.OrderTool(t.Context(), order), gateway.ErrNotPending)
}

func quarantineTool(t *testing.T, s Stores) {
	p := addPin(t, s, somePin("mail", "send"))
	order := someOrder(gateway.Quarantine, "send", p.Digest)
	must(t, s.OrderTool(t.Context(), order))
	if stands := addPin(t, s, p); stands.Approved {
		t.Error("a definition that is seen again ends a quarantine")
	}
	p.Approved, p.Last = false, order
	p.Last.Seq = 1
	wantPin(t, s, p)
	if !p.Quarantined() {
		t.Error("it is not in quarantine")
	}
	must(t, s.OrderTool(t.Context(), someOrder(gateway.Approve, "send", p.Digest)))
	pins, err := s.Pins(t.Context(), "mail")
	must(t, err)
	if !pins[0].Approved || pins[0].Quarantined() {
		t.Errorf("after the approval: %+v", pins[0])
	}
	wantIs(t, "quarantine of no tool", s.OrderTool(t.Context(), someOrder(gateway.Quarantine, "sent", "")), gateway.ErrNoTool)
	if err := s.OrderTool(t.Context(), someOrder("praise", "send", "")); err == nil {
		t.Error("an action that there is not = nil, want an error")
	}
}

func approveOnce(t *testing.T, s Stores) {
	addPin(t, s, somePin("mail", "send"))
	addPin(t, s, changedPin("second"))
	won := 0
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
		return s.OrderTool(ctx, someOrder(gateway.Approve, "send", "second"))
	})) {
		if err == nil {
			won++
		} else {
			wantIs(t, "a loser", err, gateway.ErrNotPending)
		}
	}
	if won != 1 {
		t.Errorf("%d approved it, want 1", won)
	}
}

func recordOrders(t *testing.T, s Stores) {
	addPin(t, s, somePin("mail", "send"))
	orders := []gateway.Order{someOrder(gateway.Quarantine, "send", ""), someOrder(gateway.Approve, "send", somePin("mail", "send").Digest)}
	for _, o := range orders {
		must(t, s.OrderTool(t.Context(), o))
	}
	got, err := s.UnrecordedOrders(t.Context())
	must(t, err)
	if len(got) != 2 || got[0].Seq >= got[1].Seq {
		t.Fatalf("orders %+v", got)
	}
	orders[0].Seq, orders[1].Seq = got[0].Seq, got[1].Seq
	wantSame(t, "UnrecordedOrders", got, orders)
	wantUTC(t, got[0].At)
	must(t, s.OrderRecorded(t.Context(), got[0].Seq, at))
	got, err = s.UnrecordedOrders(t.Context())
	must(t, err)
	wantSame(t, "UnrecordedOrders", got, orders[1:])
}

func boundPins(t *testing.T, s Stores) {
	last := fmt.Sprint("tool", gateway.MaxPins-1)
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		for i := range gateway.MaxPins {
			if _, err := s.AddPin(ctx, somePin("mail", fmt.Sprint("tool", i))); err != nil {
				return err
			}
		}
		return nil
	}))
	_, err := s.AddPin(t.Context(), somePin("mail", "one more"))
	wantIs(t, "one more", err, gateway.ErrTooManyPins)
	wantSame(t, "AddPin of a known tool", addPin(t, s, somePin("mail", last)), somePin("mail", last))
	addPin(t, s, somePin("calendar", "of another server"))
}
