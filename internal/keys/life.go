package keys

import (
	"cmp"
	"slices"
	"time"
)

// State is where a key is in its life.
type State string

// States, in the order of a key's life.
const (
	Next     State = "next"     // published, so that everybody knows it before it signs
	Current  State = "current"  // signs and seals
	Previous State = "previous" // what it made is still good
	Retired  State = "retired"  // nothing that it made is accepted any more
)

// DefaultOverlap is how long a token key is accepted after its successor took
// over: an access token may live for an hour, and replicas, caches and clocks that
// are behind have the rest.
const DefaultOverlap = 2 * time.Hour

// sessionOverlap is the same for a session key. What a browser carries for us is
// sealed by it, and a login session may live for seven days.
const sessionOverlap = 8 * 24 * time.Hour

// Status is a record with what follows from all of them.
type Status struct {
	Record
	State State
	Until time.Time // when a previous key retires or has retired; zero: not known yet, or never
}

// Age is how long the key has been in use, or has been next.
func (s Status) Age(now time.Time) time.Duration {
	if s.State == Next {
		return now.Sub(s.Created)
	}
	return now.Sub(s.Activated)
}

// Statuses say of each record where it is in its life: by use, each in the order
// in which they are or will be used. Overlap is that of Config.
func Statuses(records []Record, overlap time.Duration, now time.Time) []Status {
	var all []Status
	for _, u := range Uses() {
		l := lineOf(records, u)
		for i, r := range l.used {
			s := Status{Record: r, State: Current}
			if i+1 < len(l.used) {
				s.State, s.Until = Previous, l.until(i, overlap)
			}
			if s.State == Previous && !live(s.Until, now) {
				s.State = Retired
			}
			all = append(all, s)
		}
		for _, r := range l.next {
			all = append(all, Status{Record: r, State: Next})
		}
	}
	return all
}

// live reports whether a key is good until later than now.
func live(until, now time.Time) bool { return until.IsZero() || now.Before(until) }

// line is the keys of one use, one after the other.
type line struct {
	use  Use
	used []Record // those that were activated, the current one last
	next []Record // the others, the oldest first
}

func lineOf(records []Record, u Use) line {
	l := line{use: u}
	for _, r := range records {
		switch {
		case r.Use != u:
		case r.Activated.IsZero():
			l.next = append(l.next, r)
		default:
			l.used = append(l.used, r)
		}
	}
	slices.SortFunc(l.used, func(a, b Record) int {
		return cmp.Or(a.Activated.Compare(b.Activated), cmp.Compare(a.KeyID, b.KeyID))
	})
	slices.SortFunc(l.next, func(a, b Record) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.KeyID, b.KeyID))
	})
	return l
}

// current is the key that was activated last.
func (l line) current() (Record, bool) {
	if len(l.used) == 0 {
		return Record{}, false
	}
	return l.used[len(l.used)-1], true
}

// successor is the key that is activated next. There may be several that are next:
// replicas that miss one each make one. Those that do not fit the settings wait for these
// to change back.
func (l line) successor(fits func(Record) bool) (Record, bool) {
	i := slices.IndexFunc(l.next, fits)
	if i < 0 {
		return Record{}, false
	}
	return l.next[i], true
}

// until is when the used key i, which has a successor, retires; zero for an audit
// key, for the log is verified for good.
func (l line) until(i int, overlap time.Duration) time.Time {
	switch l.use {
	case UseAudit:
		return time.Time{}
	case UseSession:
		overlap = sessionOverlap
	}
	return l.used[i+1].Activated.Add(overlap)
}
