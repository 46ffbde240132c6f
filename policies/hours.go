package policies

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	_ "time/tzdata" // an image has no zones of its own

	"github.com/open-policy-agent/opa/v1/ast"
	"go.yaml.in/yaml/v3"
)

// hours are named windows of the week; one of them open is enough.
type hours []window

// window is open on some days from a minute of the day to before another, on the clocks
// of a zone.
type window struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes
	zone     *time.Location
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// open reports whether t is within.
func (h hours) open(t time.Time) bool {
	return slices.ContainsFunc(h, func(w window) bool {
		local := t.In(w.zone)
		minute := local.Hour()*60 + local.Minute()
		return w.days[local.Weekday()] && w.from <= minute && minute < w.to
	})
}

func (h hours) String() string {
	var out []string
	for _, w := range h {
		out = append(out, w.String())
	}
	return strings.Join(out, "; ")
}

func (w window) String() string {
	var days []string
	for i := range 7 {
		if day := (i + 1) % 7; w.days[day] { // a week begins on Monday
			days = append(days, dayNames[day])
		}
	}
	if len(days) == 7 {
		days = []string{"every day"}
	}
	return fmt.Sprintf("%s %02d:%02d-%02d:%02d %s", strings.Join(days, " "), w.from/60, w.from%60, w.to/60, w.to%60, w.zone)
}

// hoursSection reads the named hours at the top.
func (p *parser) hoursSection(n *yaml.Node) {
	if n == nil {
		return
	}
	for _, e := range p.entries(n, "hours", "name of hours") {
		if !roleName.MatchString(e.key.Value) {
			p.errorf(e.key, "name of hours %s: use 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit", shown(e.key))
		}
		p.windows[e.key.Value] = p.hoursOf(e)
	}
}

// hoursOf reads one window or a list of them.
func (p *parser) hoursOf(e entry) hours {
	items := []*yaml.Node{e.value}
	if e.value.Kind == yaml.SequenceNode && p.plain(e.value) {
		if items = e.value.Content; len(items) == 0 {
			p.errorf(e.value, "hours %s have no window, so they are never: add {from: \"09:00\", to: \"18:00\", zone: Europe/Berlin}", shown(e.key))
		}
	}
	var out hours
	for _, n := range items {
		if f := p.fields(n, "hours", "days", "from", "to", "zone"); f != nil {
			out = append(out, p.window(n, f))
		}
	}
	// Their order means nothing, so it must not change the digest.
	slices.SortFunc(out, func(a, b window) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

func (p *parser) window(n *yaml.Node, f map[string]*yaml.Node) window {
	w := window{days: p.days(f["days"]), zone: p.zone(n, f["zone"])}
	var ok1, ok2 bool
	w.from, ok1 = p.clock(n, f["from"], "from")
	w.to, ok2 = p.clock(n, f["to"], "to")
	if ok1 && ok2 && w.from >= w.to {
		p.errorf(f["to"], "to %s is not after from %s: over midnight, write two windows, to: \"24:00\" and from: \"00:00\" on the next day", shown(f["to"]), shown(f["from"]))
	}
	return w
}

func (p *parser) days(n *yaml.Node) (out [7]bool) {
	if n == nil {
		return [7]bool{true, true, true, true, true, true, true}
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.errorf(n, "no days, so it is never: add one of mon, tue, wed, thu, fri, sat and sun, or remove days")
	}
	for _, d := range p.list(n, "days", "day") {
		i := slices.Index(dayNames, d.Value)
		if i < 0 {
			p.errorf(d, "day %s: use mon, tue, wed, thu, fri, sat or sun", shown(d))
			continue
		}
		out[i] = true
	}
	return out
}

var clock = regexp.MustCompile(`^([01][0-9]|2[0-3]):([0-5][0-9])$`)

// clock reads a time of day in minutes.
func (p *parser) clock(in, n *yaml.Node, name string) (int, bool) {
	if n == nil {
		p.errorf(in, "hours have no %s: add %s: \"09:00\"", name, name)
		return 0, false
	}
	if !p.is(n, yaml.ScalarNode, name) {
		return 0, false
	}
	if n.ShortTag() == "!!str" {
		if n.Value == "24:00" && name == "to" {
			return 24 * 60, true
		}
		if m := clock.FindStringSubmatch(n.Value); m != nil {
			h, _ := strconv.Atoi(m[1]) // digits, see above
			min, _ := strconv.Atoi(m[2])
			return h*60 + min, true
		}
	}
	p.errorf(n, "%s %s is no time of day: write hours and minutes in quotes, as \"09:00\"", name, shown(n))
	return 0, false
}

// zone takes an IANA name: what "Local" is depends on the machine.
func (p *parser) zone(in, n *yaml.Node) *time.Location {
	if n == nil {
		p.errorf(in, "hours have no zone: add zone: Europe/Berlin, or the IANA name of yours")
		return time.UTC
	}
	if !p.text(n, "zone") {
		return time.UTC
	}
	z, err := time.LoadLocation(n.Value)
	if err != nil || n.Value == "" || n.Value == "Local" {
		p.errorf(n, "zone %s is not known: write an IANA name, as Asia/Seoul, Europe/Berlin or UTC", shown(n))
		return time.UTC
	}
	return z
}

// clocks says which hours are open. It keeps the answer for a second, because a busy
// gateway asks more often, and a window begins and ends with one.
type clocks struct {
	names []string // sorted
	hours map[string]hours
	last  atomic.Pointer[openHours]
}

// openHours are the names of those that are open within a second.
type openHours struct {
	second int64
	names  []string
	key    string // the names, for a comparison
}

func newClocks(of map[string]hours) *clocks { return &clocks{names: sorted(of), hours: of} }

// at is nil where there is no time.
func (c *clocks) at(t time.Time) *openHours {
	if t.IsZero() {
		return nil
	}
	if o := c.last.Load(); o != nil && o.second == t.Unix() {
		return o
	}
	o := &openHours{second: t.Unix(), names: []string{}}
	for _, name := range c.names {
		if c.hours[name].open(t) {
			o.names = append(o.names, name)
		}
	}
	o.key = strings.Join(o.names, " ")
	c.last.Store(o)
	return o
}

// term is the list of those open at the time of the question, absent where there is none.
func (c *clocks) term(q *Request) (*ast.Term, error) {
	open := c.at(q.Time)
	if open == nil {
		return nil, nil
	}
	return textsTerm(open.names), nil
}
