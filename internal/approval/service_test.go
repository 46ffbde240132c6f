package approval_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
)

func TestOpenDecideUse(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	if r.State != approval.Pending || len(r.ID) < 26 || !r.Created.Equal(w.now.Truncate(time.Microsecond)) {
		t.Errorf("opened: %+v", r)
	}
	if again := w.open(w.call("database_drop")); again.ID != r.ID {
		t.Errorf("the same call has %s and %s", r.ID, again.ID)
	}
	if w.URL(r.ID) != "https://gate.example/console/approvals/"+r.ID {
		t.Errorf("URL %s", w.URL(r.ID))
	}
	w.wantIs("use before it is approved", w.Use(t.Context(), r.ID), approval.ErrSpent)
	got := w.decide(by("bob", r.ID, true))
	if got.State != approval.Approved || got.DecidedBy != subject("bob") || got.Comment != "checked" {
		t.Errorf("decided: %+v", got)
	}
	if again := w.open(w.call("database_drop")); again.ID != r.ID || again.State != approval.Approved {
		t.Errorf("opened again: %+v", again)
	}
	if err := w.Use(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	w.wantState(r.ID, approval.Used)
	w.wantIs("second use", w.Use(t.Context(), r.ID), approval.ErrSpent)
	if again := w.open(w.call("database_drop")); again.ID == r.ID || again.State != approval.Pending {
		t.Errorf("after the use: %+v", again)
	}
}

// TestAuditSaysWhoDecided, and on what.
func TestAuditSaysWhoDecided(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	w.open(w.call("database_drop"))
	w.decide(by("bob", r.ID, true))
	call := audit.Event{Kind: audit.Approval, Approval: r.ID, Subject: "alice@example.com", Client: "dev-agent", Actors: r.Actors, Server: "db", Tool: "database_drop",
		ArgumentsDigest: "args", DefinitionDigest: "def", PolicyDigest: "pol", Rule: "access.yaml:7: roles.admin"}
	asked, given := call, call
	asked.Action = "approvals/request"
	given.Action, given.Decision, given.Operator, given.ACR, given.Reason = "approvals/approve", audit.Allow, "bob", "mfa", "checked"
	given.TokenID, given.Source, given.RequestID = "token-1", "127.0.0.1", "request-1"
	if diff := cmp.Diff([]audit.Event{asked, given}, w.lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// TestNothingChangesThatIsNotRecorded: no line, no request and no decision.
func TestNothingChangesThatIsNotRecorded(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	w.broken = errors.New("disk full")
	_, err := w.Open(t.Context(), w.call("user_delete"))
	w.wantIs("Open", err, w.broken)
	_, err = w.Decide(t.Context(), by("bob", r.ID, true))
	w.wantIs("Decide", err, w.broken)
	w.wantState(r.ID, approval.Pending)
	if all, err := w.List(t.Context(), "", 10); err != nil || len(all) != 1 {
		t.Errorf("List = %v, %v", all, err)
	}
	if len(w.told) != 1 {
		t.Errorf("told: %v", w.told)
	}
	w.broken = nil
	w.decide(by("bob", r.ID, false))
}

// TestNobodyApprovesTheirOwnCall under whatever spelling of their name, nor what they act
// in; and nobody denies it either.
func TestNobodyApprovesTheirOwnCall(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	for _, name := range []string{"alice@example.com", "Alice@Example.COM", "https://idp.example|alice@example.com", "partner:alice@example.com",
		"partner:ALICE@example.com", "https://a|https://b|alice@example.com", "helper@example.com", "dev-agent"} {
		for _, approve := range []bool{true, false} {
			_, err := w.Decide(t.Context(), by(name, r.ID, approve))
			w.wantIs(name, err, approval.ErrOwn)
		}
		last := w.lines[len(w.lines)-1]
		if last.Kind != audit.Denial || last.Reason != "own_call" || last.Operator != name || last.Decision != audit.Deny || last.Approval != r.ID {
			t.Errorf("%s: line %+v", name, last)
		}
	}
	w.wantState(r.ID, approval.Pending)
	r.Subject = subject("https://idp.example|carol") // and the other way round
	r.Expires = w.now.Add(time.Minute)
	_, err := w.Decide(t.Context(), by("carol", w.open(r).ID, true))
	w.wantIs("carol", err, approval.ErrOwn)
	w.decide(by("bob", r.ID, true))
	for name, other := range map[string]string{"partner:eu:dave": "dave", "partner:erin": "erin", "jos\u00e9": "JOSE\u0301", "stra\u00dfe": "STRASSE", "frank": "\uff46rank"} {
		r.Subject = subject(name)
		_, err := w.Decide(t.Context(), by(other, w.open(r).ID, true))
		w.wantIs(other, err, approval.ErrOwn)
	}
}

// TestOnlyAPersonDecides: no workload, and no agent on behalf of a person.
func TestOnlyAPersonDecides(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	spiffe, own, agent := by("spiffe://example.org/agent/approver", r.ID, true), by("approver-bot", r.ID, true), by("bob", r.ID, true)
	own.Client = identity.MustClientID("approver-bot")
	agent.Actors = []string{"agent"}
	nobody := by("bob", r.ID, true)
	nobody.By = identity.Subject{}
	for _, d := range []approval.Decision{spiffe, own, agent, nobody} {
		_, err := w.Decide(t.Context(), d)
		w.wantIs(d.By.String(), err, approval.ErrNotPerson)
	}
	w.wantState(r.ID, approval.Pending)
}

func TestDecideRefusesBadComments(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	for _, comment := range []string{strings.Repeat("x", approval.MaxComment+1), "\x1b[2J", "a\x00b", "a\xffb", "a\rb", "\u202eb", "\u2028"} {
		d := by("bob", r.ID, true)
		d.Comment = comment
		_, err := w.Decide(t.Context(), d)
		w.wantIs(comment, err, approval.ErrInvalid)
	}
	d := by("bob", r.ID, true)
	d.Comment = "Größe geprüft,\nsiehe Auftrag 7"
	w.decide(d)
}

func TestExpiredIsNeitherDecidedNorUsed(t *testing.T) {
	w := newWorld(t)
	pending, approved := w.open(w.call("a")), w.open(w.call("b"))
	w.decide(by("bob", approved.ID, true))
	w.now = approved.Expires
	_, err := w.Decide(t.Context(), by("bob", pending.ID, true))
	w.wantIs("Decide", err, approval.ErrDecided)
	w.wantIs("Use", w.Use(t.Context(), approved.ID), approval.ErrSpent)
	w.wantState(approved.ID, approval.Expired)
	again := w.call("a")
	if r := w.open(again); r.ID == pending.ID || r.State != approval.Pending {
		t.Errorf("opened again: %+v", r)
	}
}

func TestOpenRefusesWhatIsNotComplete(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*approval.Request){
		"no subject":      func(r *approval.Request) { r.Subject = identity.Subject{} },
		"no client":       func(r *approval.Request) { r.Client = identity.ClientID{} },
		"no tool":         func(r *approval.Request) { r.Tool = "" },
		"no arguments":    func(r *approval.Request) { r.ArgumentsDigest = "" },
		"no definition":   func(r *approval.Request) { r.DefinitionDigest = "" },
		"no policy":       func(r *approval.Request) { r.PolicyDigest = "" },
		"no rule":         func(r *approval.Request) { r.Rule = "" },
		"nobody approves": func(r *approval.Request) { r.By = nil },
		"over already":    func(r *approval.Request) { r.Expires = w.now },
		"for ever":        func(r *approval.Request) { r.Expires = w.now.Add(approval.MaxWithin + time.Second) },
		"no JSON":         func(r *approval.Request) { r.Arguments = []byte(`{`) },
		"too long": func(r *approval.Request) {
			r.Arguments = []byte(`"` + strings.Repeat("x", approval.MaxArguments) + `"`)
		},
	} {
		r := w.call("database_drop")
		change(&r)
		_, err := w.Open(t.Context(), r)
		w.wantIs(name, err, approval.ErrInvalid)
	}
	if len(w.lines)+len(w.told) != 0 {
		t.Errorf("%v, %v", w.lines, w.told)
	}
}

// TestNobodyFloodsTheApprovers: a subject has so many calls that wait, and no more.
func TestNobodyFloodsTheApprovers(t *testing.T) {
	w := newWorld(t)
	for _, tool := range []string{"a", "b", "c"} {
		w.open(w.call(tool))
	}
	_, err := w.Open(t.Context(), w.call("d"))
	w.wantIs("Open", err, approval.ErrTooMany)
	w.open(w.call("a"))
	other := w.call("a")
	other.Subject = subject("carol")
	w.open(other)
	if len(w.lines) != 4 || len(w.told) != 4 {
		t.Errorf("%d lines, %d notices", len(w.lines), len(w.told))
	}
}

// TestOneOf16DecisionsCounts, and one line and one notice say so.
func TestOneOf16DecisionsCounts(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = w.Decide(t.Context(), by("approver-"+string(rune('a'+i)), r.ID, i%2 == 0)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			w.wantIs("a loser", err, approval.ErrDecided)
		}
	}
	decisions := 0
	for _, e := range w.lines[1:] {
		if e.Kind == audit.Approval {
			decisions++
		}
	}
	if won != 1 || decisions != 1 || len(w.told) != 2 {
		t.Errorf("%d won, %d lines, %d notices", won, decisions, len(w.told))
	}
}

// TestOneOf16UsesCounts: 16 retries after one approval, and one call goes through.
func TestOneOf16UsesCounts(t *testing.T) {
	w := newWorld(t)
	r := w.open(w.call("database_drop"))
	w.decide(by("bob", r.ID, true))
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = w.Use(t.Context(), r.ID) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			w.wantIs("a loser", err, approval.ErrSpent)
		}
	}
	if won != 1 {
		t.Errorf("%d uses of one approval", won)
	}
}

// TestOpenTakesNoDecision: what is opened waits, whatever else was filled in.
func TestOpenTakesNoDecision(t *testing.T) {
	w := newWorld(t)
	r := w.call("database_drop")
	r.ID, r.State, r.DecidedBy, r.DecidedAt, r.Comment, r.UsedAt = "known", approval.Approved, subject("bob"), w.now, "fine", w.now
	r = w.open(r)
	if r.ID == "known" || r.State != approval.Pending || !r.DecidedBy.IsZero() || !r.DecidedAt.IsZero() || r.Comment != "" || !r.UsedAt.IsZero() {
		t.Errorf("opened as %+v", r)
	}
	w.wantState(r.ID, approval.Pending)
}

// TestPartsOfABindingCannotMove from one into the next: another call would be the same.
func TestPartsOfABindingCannotMove(t *testing.T) {
	for _, x := range []string{"", "\x00", strings.Repeat("\x00", 8)} {
		seen := map[string]int{}
		for i, b := range []approval.Binding{
			{Server: "db" + x + "drop", Tool: "all"}, {Server: "db", Tool: "drop" + x + "all"},
			{Rule: "r" + x + "a" + x + "b"}, {Rule: "r" + x + "a", Actors: []string{"b"}}, {Rule: "r", Actors: []string{"a" + x + "b"}}, {Rule: "r", Actors: []string{"a", "b"}},
		} {
			if other, ok := seen[string(b.Key())]; ok {
				t.Errorf("with %q between, %d is the same as %d", x, i, other)
			}
			seen[string(b.Key())] = i
		}
	}
}

func TestUnknownIDs(t *testing.T) {
	w := newWorld(t)
	_, err := w.Get(t.Context(), "none")
	w.wantIs("Get", err, approval.ErrNotFound)
	_, err = w.Decide(t.Context(), by("bob", "none", true))
	w.wantIs("Decide", err, approval.ErrNotFound)
	w.wantIs("Use", w.Use(t.Context(), "none"), approval.ErrSpent)
}

func TestListIsBounded(t *testing.T) {
	w := newWorld(t)
	w.open(w.call("a"))
	for limit, want := range map[int]int{-1: 0, 0: 0, 1: 1, approval.MaxList + 1: 1} {
		if all, err := w.List(t.Context(), approval.Pending, limit); err != nil || len(all) != want {
			t.Errorf("List of %d = %v, %v", limit, all, err)
		}
	}
}
