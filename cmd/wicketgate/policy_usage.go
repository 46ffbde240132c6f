package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// usage is how often, and until when.
type usage struct {
	count, observed int
	against         int // of the observed: a denial named it, which is more than that nobody granted it
	last            time.Time
	approvals       map[string]bool // by their ids
	numbers         map[string]span // of arguments that policy read
}

func note[K comparable](of map[K]*usage, key K, c pastCall) {
	u := of[key]
	if u == nil {
		u = &usage{}
		of[key] = u
	}
	one := &usage{count: 1, last: c.Time, numbers: c.numbers()}
	if c.Observed != "" {
		one.observed = 1
	}
	if r := policies.Reason(c.Observed); r == policies.ReasonDenied || r == policies.ReasonDeniedByRego {
		one.against = 1
	}
	if c.Approval != "" {
		one.approvals = map[string]bool{c.Approval: true}
	}
	u.join(one)
}

// span is the numbers that an argument had, as they were written.
type span struct{ min, max jsontext.Value }

func (s span) join(t span) span {
	if s.min == nil || less(t.min, s.min) {
		s.min = t.min
	}
	if s.max == nil || less(s.max, t.max) {
		s.max = t.max
	}
	return s
}

// less compares as floats do: what it is for is a comment.
func less(a, b jsontext.Value) bool {
	x, err1 := strconv.ParseFloat(string(a), 64)
	y, err2 := strconv.ParseFloat(string(b), 64)
	return err1 == nil && err2 == nil && x < y
}

// numbers are those among the arguments that policy read. Text is left out: it is of
// people, and a policy is kept in more places than an audit log.
func (c *pastCall) numbers() map[string]span {
	var facts lineFacts
	out := map[string]span{}
	if json.Unmarshal(c.Facts, &facts) != nil {
		return out
	}
	for name, v := range facts.Arguments {
		if v.Kind() == '0' {
			out[name] = span{v, v}
		}
	}
	return out
}

func (u *usage) join(v *usage) {
	u.count += v.count
	u.observed += v.observed
	u.against += v.against
	if v.last.After(u.last) {
		u.last = v.last
	}
	if u.numbers == nil {
		u.numbers, u.approvals = map[string]span{}, map[string]bool{}
	}
	maps.Copy(u.approvals, v.approvals)
	for name, s := range v.numbers {
		u.numbers[name] = u.numbers[name].join(s)
	}
}

func (u *usage) words() string {
	words := []string{times(u.count) + ", last " + stamp(u.last)}
	if u.observed > 0 {
		words = append(words, fmt.Sprintf("%d only in observe mode", u.observed))
	}
	if u.against > 0 {
		words = append(words, fmt.Sprintf("%d AGAINST A DENIAL of the policy of then", u.against))
	}
	if n := len(u.approvals); n > 0 {
		words = append(words, fmt.Sprintf("%d by an approval", n))
	}
	for _, name := range slices.Sorted(maps.Keys(u.numbers)) {
		s := u.numbers[name]
		words = append(words, fmt.Sprintf("%s %s to %s", escape(name), s.min, s.max))
	}
	return strings.Join(words, "; ")
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// yamlText is s as text of YAML, whatever it holds: plain where that can be read as
// nothing else, in quotes and ASCII otherwise.
func yamlText(s string) string {
	if plainYAML(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r >= ' ' && r <= '~':
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plainYAML reports whether s is a word that YAML has no other meaning for: yes, null, 1e3
// and 2026-01-01 are none.
func plainYAML(s string) bool {
	if s == "" || (s[0] < 'a' || s[0] > 'z') && (s[0] < 'A' || s[0] > 'Z') {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return !slices.Contains([]string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}, strings.ToLower(s))
}

// notes are what a reader of anything that rests on p has to know.
func (p *past) notes() []string {
	notes := []string{unverified}
	if p.unread > 0 {
		notes = append(notes, fmt.Sprintf("Lines of it that could not be read, and are left out: %d.", p.unread))
	}
	return notes
}
