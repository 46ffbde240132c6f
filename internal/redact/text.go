package redact

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// span is a value that was found, by its place in the text that was looked at.
type span struct {
	start, end int
	class      class
	mask       string
}

// text redacts one string; name is that of the member that it is the value of. A mask
// may leave a text in which there is more to see, so it looks until there is nothing.
func (p *pass) text(name, s string) (string, error) {
	for range maxRounds {
		spans, err := p.spans(name, s)
		if err != nil || len(spans) == 0 {
			return s, err
		}
		s = p.mask(s, spans)
	}
	return "", fmt.Errorf("%w: every mask brings out another value", ErrUnchecked)
}

// spans returns what there is to mask in s, in order and apart from one another.
func (p *pass) spans(name, s string) ([]span, error) {
	v := look(s)
	var found []span
	if p.actions[secret] != Off {
		var err error
		if found, err = p.secrets(name, v.text); err != nil {
			return nil, err
		}
	}
	if v.digits >= minPhone && (p.actions[card] != Off || p.actions[phone] != Off) {
		chains := chainsOf(v.text)
		if p.actions[card] != Off {
			found = cards(found, v.text, chains)
		}
		if p.actions[phone] != Off {
			found = phones(found, name, v.text, chains)
		}
	}
	if v.digits >= minPhone && p.actions[iban] != Off {
		found = ibans(found, v.text)
	}
	if p.actions[email] != Off {
		found = emails(found, v.text)
	}
	for _, f := range found {
		if p.actions[f.class] == Deny {
			return nil, fmt.Errorf("%w: %s", ErrDenied, f.class)
		}
	}
	return apart(p.literals.find(v.original(found), s, v)), nil
}

// apart joins spans that overlap, under the mask of the first class.
func apart(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	out := spans[:0]
	for _, s := range spans {
		last := len(out) - 1
		if last < 0 || s.start >= out[last].end {
			out = append(out, s)
			continue
		}
		joint := out[last]
		if s.rank() < joint.rank() {
			joint.class, joint.mask = s.class, s.mask
		}
		joint.end = max(joint.end, s.end)
		out[last] = joint
	}
	return out
}

// rank is lower for what says more. Of two rules, the generic one says less.
func (s span) rank() int {
	switch {
	case s.class == credential:
		return -1
	case s.mask == maskGeneric:
		return 1
	}
	return 2 * int(s.class)
}

func (p *pass) mask(s string, spans []span) string {
	var b strings.Builder
	done := 0
	for _, f := range spans {
		b.WriteString(s[done:f.start])
		b.WriteByte('[')
		b.WriteString(f.mask)
		b.WriteByte(']')
		done = f.end
		p.found[f.class]++
	}
	b.WriteString(s[done:])
	return b.String()
}

func isDigit(c byte) bool { return c-'0' < 10 }

func isAlpha(c byte) bool { return (c|0x20)-'a' < 26 }

func isAlnum(c byte) bool { return isDigit(c) || isAlpha(c) }

// glued reports whether the text goes on with a letter, digit or underscore before
// start, or at end.
func glued(t string, start, end int) bool {
	return start > 0 && isWord(t[start-1]) || end < len(t) && isWord(t[end])
}

func isWord(c byte) bool { return isAlnum(c) || c == '_' }
