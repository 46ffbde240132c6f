package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// memory is a Recorder that keeps what it gets.
type memory struct {
	events []audit.Event
	err    error
}

func (m *memory) Record(_ context.Context, e audit.Event) error {
	if m.err == nil {
		m.events = append(m.events, e)
	}
	return m.err
}

type summary struct {
	Source, Reason string
	Count          int
}

func (m *memory) summaries() []summary {
	var list []summary
	for _, e := range m.events {
		list = append(list, summary{e.Source, e.Reason, e.Count})
	}
	return list
}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func refuse(t *testing.T, r *audit.Refusals, source, reason string, n int) {
	t.Helper()
	for range n {
		if err := r.Refuse(t.Context(), audit.Event{Source: source, Reason: reason}); err != nil {
			t.Fatalf("Refuse() = %v", err)
		}
	}
}

func TestRefusalsAreOneLineAtOnceAndOneCount(t *testing.T) {
	m, c := &memory{}, &clock{start}
	r := audit.NewRefusals(m, time.Minute, c.now, 100)
	refuse(t, r, "192.0.2.1", "no token", 5)
	refuse(t, r, "192.0.2.1", "expired", 1)
	want := []summary{{"192.0.2.1", "no token", 0}, {"192.0.2.1", "expired", 0}}
	if diff := cmp.Diff(want, m.summaries()); diff != "" {
		t.Errorf("before the window is over (-want +got):\n%s", diff)
	}
	if err := r.Flush(t.Context()); err != nil || len(m.events) != 2 {
		t.Errorf("Flush() = %v and wrote %d lines before the window was over", err, len(m.events)-2)
	}
	c.t = c.t.Add(time.Minute)
	refuse(t, r, "192.0.2.1", "no token", 2)
	want = append(want, summary{"192.0.2.1", "no token", 4}, summary{"192.0.2.1", "no token", 0})
	if diff := cmp.Diff(want, m.summaries()); diff != "" {
		t.Errorf("after the window (-want +got):\n%s", diff)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(want, summary{"192.0.2.1", "no token", 1}), m.summaries()); diff != "" {
		t.Errorf("after Close (-want +got):\n%s", diff)
	}
}

func TestStrangersCannotFillTheLog(t *testing.T) {
	m, c := &memory{}, &clock{start}
	r := audit.NewRefusals(m, time.Minute, c.now, 20)
	for window := range 5 {
		before := len(m.events)
		for i := range 1000 {
			refuse(t, r, fmt.Sprintf("2001:db8::%d", i), fmt.Sprintf("reason %d", i%7), 2)
		}
		if n := len(m.events) - before; n > 20 {
			t.Errorf("window %d: %d lines, want at most 20", window, n)
		}
		c.t = c.t.Add(time.Minute)
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, e := range m.events {
		total += max(1, e.Count)
	}
	if total != 5*2000 {
		t.Errorf("the lines stand for %d refusals, want 10000", total)
	}
}

func TestStrangersCannotWriteLongLines(t *testing.T) {
	m := &memory{}
	r := audit.NewRefusals(m, time.Minute, time.Now, 20)
	long := strings.Repeat("x", 1<<16)
	e := audit.Event{Source: long, Client: long, Resource: long, Tool: long, RequestID: long, Actors: []string{long}}
	if err := r.Refuse(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if n := len(fmt.Sprint(m.events[0])); n > 4096 {
		t.Errorf("the event has %d bytes", n)
	}
}

func TestRefusalThatCannotBeRecordedIsCountedLater(t *testing.T) {
	m, c := &memory{err: errors.New("full")}, &clock{start}
	r := audit.NewRefusals(m, time.Minute, c.now, 20)
	if err := r.Refuse(t.Context(), audit.Event{Source: "s"}); !errors.Is(err, m.err) {
		t.Errorf("Refuse() = %v, want the recorder's error", err)
	}
	c.t = c.t.Add(time.Minute)
	if err := r.Flush(t.Context()); !errors.Is(err, m.err) {
		t.Errorf("Flush() = %v, want the recorder's error", err)
	}
	m.err = nil
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]summary{{"s", "", 1}}, m.summaries()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
