package redact

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// budgetFor is how many characters rules may read of a value of n bytes. Ordinary text
// takes less than it has; one that is made of the beginnings of secrets takes more than
// there is time for.
func budgetFor(n int) int { return 64<<10 + 4*n }

// The masks of secrets say by which rule they were found.
const (
	maskSecret  = "secret:"
	maskGeneric = maskSecret + generic
)

// secrets finds secrets in a text. The name of the member that has it counts as what
// is before it: "password" tells what the text alone does not.
func (p *pass) secrets(name, text string) ([]span, error) {
	shift := 0
	if name != "" && p.rules.names(name) {
		shift = len(name) + len(`"": "`)
		text = `"` + name + `": "` + text + `"`
	}
	found, err := p.search(text)
	if shift == 0 {
		return found, err
	}
	out := found[:0]
	for _, s := range found {
		s.start, s.end = max(s.start-shift, 0), min(s.end, len(text)-1)-shift
		if s.end > s.start {
			out = append(out, s)
		}
	}
	return out, err
}

// names reports whether a name says something to a rule.
func (s *ruleset) names(name string) bool {
	return s.keywords.each(name, func(int32, int) error { return errStop }) != nil
}

var errStop = fmt.Errorf("stop")

// search runs the rules whose keywords are in the text: most where the keyword is, the
// others once over the whole.
func (p *pass) search(text string) (found []span, err error) {
	var whole []int
	done := map[int]int{} // where the last match of a rule ends
	err = p.rules.keywords.each(text, func(word int32, start int) error {
		for _, i := range p.rules.of[word] {
			r := &p.rules.rules[i]
			switch {
			case !r.atKeyword && !slices.Contains(whole, i):
				whole = append(whole, i)
			case r.atKeyword && start >= done[i] && r.mayMatch(text, start, start+p.rules.keywords.length[word]):
				m, err := p.at(r, text[start:])
				if err != nil {
					return err
				}
				if m != nil {
					found, done[i] = p.rules.appendSecret(found, r, text, start, m), start+m[1]
				}
			}
		}
		return nil
	})
	for _, i := range whole {
		if err == nil {
			found, err = p.over(&p.rules.rules[i], text, found)
		}
	}
	return found, err
}

// mayMatch spares the expression most places where a keyword is but a word.
func (r *rule) mayMatch(text string, start, end int) bool {
	if r.atWord && start > 0 && isWord(text[start-1]) {
		return false
	}
	return !r.assigns || assigned(text[end:])
}

// What assigned looks at: more than what may be between a keyword and the sign, more
// than what may be between that and the value, and the shortest value of any rule.
const (
	maxBeforeSign  = 64
	maxBeforeValue = 12
	minValue       = 10
)

// assigned reports whether there is a sign in what follows a keyword, and then something
// as long as a secret.
func assigned(text string) bool {
	for i := range min(len(text), maxBeforeSign) {
		if isSign(text[i]) && hasValue(text[i:]) {
			return true
		}
	}
	return false
}

func hasValue(text string) bool {
	i := 0
	for i < min(len(text), maxBeforeValue) && (isSign(text[i]) || isQuote(text[i])) {
		i++
	}
	if len(text)-i < minValue {
		return false
	}
	for _, c := range []byte(text[i : i+minValue]) {
		if isQuote(c) || c == ';' {
			return false
		}
	}
	return true
}

func isSign(c byte) bool { return strings.IndexByte("=>:|?,", c) >= 0 }

// isQuote is for what is around values: white space, too.
func isQuote(c byte) bool { return strings.IndexByte(" \t\n\r\f\v'\"`", c) >= 0 }

// at matches a rule at the beginning of the text, and charges for what it reads.
func (p *pass) at(r *rule, text string) ([]int, error) {
	in := reader{text: text, most: p.budget}
	m := r.compile().FindReaderSubmatchIndex(&in)
	if p.budget -= in.read; p.budget <= 0 {
		return nil, errCostly
	}
	return m, nil
}

var errCostly = fmt.Errorf("%w: it is made of the beginnings of secrets", ErrUnchecked)

// over matches a rule anywhere in the text.
func (p *pass) over(r *rule, text string, found []span) ([]span, error) {
	if p.budget -= len(text); p.budget <= 0 {
		return nil, errCostly
	}
	for _, m := range r.compile().FindAllStringSubmatchIndex(text, -1) {
		found = p.rules.appendSecret(found, r, text, 0, m)
	}
	return found, nil
}

// appendSecret appends the secret of a match, by the places of its groups after start,
// unless it is none.
func (s *ruleset) appendSecret(found []span, r *rule, text string, start int, m []int) []span {
	from, to := secretOf(r, m)
	from, to = from+start, to+start
	secretText := strings.Trim(text[from:to], "\n")
	if r.Entropy != 0 && entropy(secretText) <= r.Entropy {
		return found
	}
	match := text[headOf(text, m[0]+start) : m[1]+start]
	for _, a := range append([]allowlist{s.allow}, r.Allow...) {
		if a.allows(secretText, match) {
			return found
		}
	}
	return append(found, span{from, to, secret, maskSecret + r.ID})
}

// secretOf is the group that a rule says, or the first that has something, or all.
func secretOf(r *rule, m []int) (from, to int) {
	if g := 2 * r.Group; r.Group > 0 && m[g] >= 0 {
		return m[g], m[g+1]
	}
	for g := 2; g < len(m); g += 2 {
		if m[g] >= 0 && m[g+1] > m[g] {
			return m[g], m[g+1]
		}
	}
	return m[0], m[1]
}

// headOf is where a match would begin, had its expression kept what is before the
// keyword: lists of what is no secret want to see it.
func headOf(text string, start int) int {
	for i := 0; i < 50 && start > 0 && (isWord(text[start-1]) || text[start-1] == '.' || text[start-1] == '-'); i++ {
		start--
	}
	return start
}

// reader is an io.RuneReader that knows how much was read. A text is cut off where
// the budget ends: whoever reads so far is refused.
type reader struct {
	text string
	read int
	most int
}

func (r *reader) ReadRune() (rune, int, error) {
	if r.read >= len(r.text) || r.read > r.most {
		return 0, 0, io.EOF
	}
	if c := r.text[r.read]; c < utf8.RuneSelf {
		r.read++
		return rune(c), 1, nil
	}
	c, n := utf8.DecodeRuneInString(r.text[r.read:])
	r.read += n
	return c, n, nil
}
