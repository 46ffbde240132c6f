package redact

// The lengths of card numbers (ISO/IEC 7812-1).
const (
	minCard = 13
	maxCard = 19
)

// cards appends the card numbers among the groups: of a network's prefix and length,
// with the right check digit, in one piece or grouped as on cards.
func cards(found []span, t string, chains [][]group) []span {
	for _, chain := range chains {
		for i := range chain {
			if n := cardGroups(t, chain[i:]); n > 0 {
				found = append(found, span{chain[i].start, chain[i+n-1].end, card, "card"})
			}
		}
	}
	return found
}

// cardGroups returns how many of the first groups are a card number.
func cardGroups(t string, chain []group) int {
	first := chain[0].start
	if first > 0 && (isWord(t[first-1]) || t[first-1] == '.' && first > 1 && isDigit(t[first-2])) {
		return 0 // part of a word, or of a fraction
	}
	total, longest := 0, 0
	for i, g := range chain {
		if i > 0 && !onlyGap(t[chain[i-1].end:g.start]) {
			break
		}
		if total += g.len(); total > maxCard {
			break
		}
		end := g.end
		if total < minCard || end < len(t) && isWord(t[end]) || !grouped4(chain[:i+1]) {
			continue
		}
		if digits := joined(t, chain[:i+1]); luhn(digits) && network(digits) {
			longest = i + 1
		}
	}
	return longest
}

func onlyGap(between string) bool {
	for i := range len(between) {
		if !isGap(between[i]) {
			return false
		}
	}
	return true
}

// grouped4 reports whether groups are as on cards: fours with a rest, or 4-6-4, 4-6-5.
// A table of numbers is none.
func grouped4(groups []group) bool {
	last := len(groups) - 1
	if last == 0 {
		return true
	}
	if last == 2 && groups[0].len() == 4 && groups[1].len() == 6 && (groups[2].len() == 4 || groups[2].len() == 5) {
		return true
	}
	for _, g := range groups[:last] {
		if g.len() != 4 {
			return false
		}
	}
	return groups[last].len() <= 4
}

// luhn checks the check digit (ISO/IEC 7812-1 annex B).
func luhn(digits []byte) bool {
	sum := 0
	for i, c := range digits {
		d := int(c - '0')
		if (len(digits)-i)%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// issuers are the ranges of the networks: the first six digits, and the lengths.
var issuers = []struct{ from, to, min, max int }{
	{400000, 499999, 13, 19}, // Visa
	{222100, 272099, 16, 16}, // Mastercard
	{510000, 559999, 16, 16},
	{340000, 349999, 15, 15}, // American Express
	{370000, 379999, 15, 15},
	{300000, 305999, 14, 19}, // Diners Club
	{309500, 309599, 14, 19},
	{360000, 369999, 14, 19},
	{380000, 399999, 14, 19},
	{601100, 601199, 16, 19}, // Discover
	{644000, 659999, 16, 19},
	{352800, 358999, 16, 19}, // JCB
	{620000, 629999, 16, 19}, // UnionPay
	{810000, 817199, 16, 19},
	{220000, 220499, 16, 19}, // Mir
	{500000, 509999, 13, 19}, // Maestro, RuPay, Verve
	{560000, 589999, 13, 19},
	{600000, 600999, 16, 19},
	{630400, 630499, 13, 19},
	{670000, 679999, 13, 19},
	{979200, 979299, 16, 16}, // Troy
}

func network(digits []byte) bool {
	prefix := 0
	for _, c := range digits[:6] {
		prefix = prefix*10 + int(c-'0')
	}
	for _, r := range issuers {
		if r.from <= prefix && prefix <= r.to && r.min <= len(digits) && len(digits) <= r.max {
			return true
		}
	}
	return false
}
