package policies_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// inHours is a policy whose one tool is granted in the windows.
func inHours(windows string) string {
	return "version: 1\nhours: {now: " + windows + "}\nroles:\n  r: {who: {users: [alice]}, hours: now, servers: {s: {tools: [t]}}}\n"
}

// TestHoursToTheMoment has each edge that people get wrong, by hand.
func TestHoursToTheMoment(t *testing.T) {
	const office = `{days: [mon, tue, wed, thu, fri], from: "09:00", to: "18:00", zone: Asia/Seoul}`
	for _, c := range []struct {
		windows, at string
		open        bool
	}{
		{office, "2026-11-20T08:59:00+09:00", false},
		{office, "2026-11-20T08:59:59.999999999+09:00", false},
		{office, "2026-11-20T09:00:00+09:00", true},
		{office, "2026-11-20T09:01:00+09:00", true},
		{office, "2026-11-20T17:59:59.999999999+09:00", true},
		{office, "2026-11-20T18:00:00+09:00", false},
		{office, "2026-11-20T18:01:00+09:00", false},
		{office, "2026-11-22T23:59:59Z", false}, // Monday in Seoul, before nine
		{office, "2026-11-23T00:00:00Z", true},  // Monday at nine in Seoul
		{office, "2026-11-22T19:00:00-05:00", true},
		{office, "2026-11-20T19:00:00-05:00", false}, // Saturday in Seoul
		{`{from: "00:00", to: "24:00", zone: UTC}`, "2026-11-22T23:59:59.999999999Z", true},
		{`{from: "00:00", to: "24:00", zone: UTC}`, "2026-11-22T00:00:00Z", true},
		{`{days: [sun], from: "00:00", to: "24:00", zone: UTC}`, "2026-11-23T00:00:00Z", false},
		{`{days: [sun], from: "00:00", to: "24:00", zone: UTC}`, "2026-11-21T23:59:59.999999999Z", false},
		{`[{from: "22:00", to: "24:00", zone: UTC}, {from: "00:00", to: "06:00", zone: UTC}]`, "2026-11-22T00:00:00Z", true},
		{`[{from: "22:00", to: "24:00", zone: UTC}, {from: "00:00", to: "06:00", zone: UTC}]`, "2026-11-22T06:00:00Z", false},

		// Two to three is missing on the last Sunday of March, and comes twice in October.
		{`{from: "02:00", to: "03:00", zone: Europe/Berlin}`, "2026-03-29T00:59:59Z", false}, // 01:59:59
		{`{from: "02:00", to: "03:00", zone: Europe/Berlin}`, "2026-03-29T01:00:00Z", false}, // 03:00:00
		{`{from: "02:00", to: "03:00", zone: Europe/Berlin}`, "2026-03-30T00:00:00Z", true},
		{`{from: "02:00", to: "03:00", zone: Europe/Berlin}`, "2026-10-24T23:59:59Z", false},
		{`{from: "02:00", to: "03:00", zone: Europe/Berlin}`, "2026-10-25T00:00:00Z", true}, // summer
		{`{from: "02:00", to: "03:00", zone: Europe/Berlin}`, "2026-10-25T01:00:00Z", true}, // winter
		{`{from: "02:00", to: "03:00", zone: Europe/Berlin}`, "2026-10-25T01:59:59Z", true},
		{`{from: "02:00", to: "03:00", zone: Europe/Berlin}`, "2026-10-25T02:00:00Z", false},
		{`{from: "09:00", to: "18:00", zone: Europe/Berlin}`, "2026-03-29T07:00:00Z", true}, // an hour earlier than the day before
		{`{from: "09:00", to: "18:00", zone: Europe/Berlin}`, "2026-03-28T07:00:00Z", false},
		{`{from: "09:00", to: "18:00", zone: America/New_York}`, "2026-03-08T13:00:00Z", true},
		{`{from: "09:00", to: "18:00", zone: America/New_York}`, "2026-03-07T13:00:00Z", false},
		{`{from: "01:30", to: "02:00", zone: Australia/Lord_Howe}`, "2026-04-04T14:30:00Z", true}, // half an hour comes twice
		{`{from: "01:30", to: "02:00", zone: Australia/Lord_Howe}`, "2026-04-04T15:00:00Z", true},
		{`{from: "01:30", to: "02:00", zone: Australia/Lord_Howe}`, "2026-04-04T15:30:00Z", false},
		{`{from: "09:00", to: "09:01", zone: Asia/Kathmandu}`, "2026-11-20T03:15:59Z", true}, // UTC+5:45
		{`{from: "09:00", to: "09:01", zone: Asia/Kathmandu}`, "2026-11-20T03:16:00Z", false},
	} {
		at, err := time.Parse(time.RFC3339Nano, c.at)
		if err != nil {
			t.Fatal(err)
		}
		q := call(t, "alice", "editor", "s", "t")
		q.Time = at
		d := newPDP(t, inHours(c.windows)).Decide(t.Context(), q)
		if d.Allowed() != c.open || !c.open && d.Reason != policies.ReasonHours {
			t.Errorf("%s at %s: %v %s, want open %v", c.windows, c.at, d.Allowed(), d.Reason, c.open)
		}
	}
}

// TestHoursAgreeWithTheWallClock compares every edge of windows, a minute and a moment
// around it, on each day of the weeks in which zones change their clocks, with the model.
func TestHoursAgreeWithTheWallClock(t *testing.T) {
	edges, open := 0, 0
	for _, name := range []string{"UTC", "Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago", "Pacific/Chatham"} {
		for _, span := range []string{"00:00-24:00", "09:00-18:00", "02:30-03:30", "00:00-00:30", "23:30-24:00", "01:00-02:00"} {
			from, to, _ := strings.Cut(span, "-")
			access := inHours(fmt.Sprintf(`{days: [sat, sun, mon], from: %q, to: %q, zone: %s}`, from, to, name))
			doc, p := readModel(t, access), newPDP(t, access)
			q := call(t, "alice", "editor", "s", "t")
			for _, q.Time = range moments(name, from, to) {
				want, got := doc.decide(q), p.Decide(t.Context(), q)
				if edges++; want.allowed() {
					open++
				}
				if got.Reason != want.reason {
					t.Errorf("%s in %s at %s: %s, want %s", span, name, q.Time.In(zone(name)), got.Reason, want.reason)
				}
			}
		}
	}
	if t.Logf("%d moments, %d of them in the hours", edges, open); open == 0 || open == edges {
		t.Error("the hours are always open or never: the test shows nothing")
	}
}

// moments are those around the edges of a window, on the days in which clocks change.
func moments(name, from, to string) (out []time.Time) {
	for _, first := range []string{"2026-03-06", "2026-03-27", "2026-04-03", "2026-09-04", "2026-09-25", "2026-10-02", "2026-10-23", "2026-10-30"} {
		day, _ := time.ParseInLocation(time.DateOnly, first, zone(name))
		for range 5 {
			for _, clock := range []string{from, to} {
				var h, m int
				fmt.Sscanf(clock, "%d:%d", &h, &m)
				at := time.Date(day.Year(), day.Month(), day.Day(), h, m, 0, 0, zone(name))
				for _, off := range []time.Duration{-time.Hour, -time.Minute, -1, 0, 1, time.Minute, 30 * time.Minute, time.Hour} {
					out = append(out, at.Add(off))
				}
			}
			day = day.AddDate(0, 0, 1)
		}
	}
	return out
}
