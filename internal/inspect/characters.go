package inspect

import (
	"fmt"
	"strings"
	"unicode"
)

// characters finds what is read otherwise than it is seen.
func (t text) characters(add find) {
	all := []rune(t.value)
	for i, r := range all {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
		case unicode.IsControl(r):
			add(ControlCharacter, Block, fmt.Sprintf("U+%04X", r))
			return
		case hidden(r) && !joins(all, i):
			add(HiddenUnicode, Block, fmt.Sprintf("U+%04X", r)+tagged(all))
			return
		}
	}
	for word := range strings.FieldsFuncSeq(t.value, func(r rune) bool { return !unicode.IsLetter(r) }) {
		if mixed(word) {
			add(MixedScript, Block, printable(word))
			return
		}
	}
}

// fillers are letters and symbols, by their category, that are shown as nothing.
var fillers = map[rune]bool{0x115F: true, 0x1160: true, 0x2800: true, 0x3164: true, 0xFFA0: true, 0x034F: true, 0x17B4: true, 0x17B5: true}

// hidden: format characters (bidirectional controls, zero width, tags), private use,
// variation selectors and fillers.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp, unicode.Variation_Selector) || fillers[r]
}

// joins reports whether the character at i is where writing needs it: a joiner between
// letters of a script that has them or parts of an emoji, and the selector that makes a
// symbol one.
func joins(all []rune, i int) bool {
	if i == 0 {
		return false
	}
	before := all[i-1]
	symbol := unicode.In(before, unicode.So, unicode.Sk, unicode.Sm) || before >= 0x2000 && before < 0x2E80
	switch all[i] {
	case 0xFE0E, 0xFE0F:
		return symbol || before >= '0' && before <= '9' || before == '#' || before == '*'
	case 0x200C, 0x200D:
		return symbol || before == 0xFE0F || unicode.In(before, unicode.Arabic, unicode.Devanagari, unicode.Bengali, unicode.Tamil,
			unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Gujarati, unicode.Gurmukhi, unicode.Oriya, unicode.Sinhala)
	}
	return false
}

// tagged spells out what tag characters say, which are ASCII that nobody sees
// ("ASCII smuggling").
func tagged(all []rune) string {
	var s strings.Builder
	for _, r := range all {
		if r >= 0xE0020 && r <= 0xE007E {
			s.WriteRune(r - 0xE0000)
		}
	}
	if s.Len() == 0 {
		return ""
	}
	return ", hidden text: " + printable(s.String())
}

// mixed reports whether the word has letters of Latin and of an alphabet that looks like
// it (UTS #39, section 5.1).
func mixed(word string) bool {
	latin, other := false, false
	for _, r := range word {
		latin = latin || unicode.Is(unicode.Latin, r)
		other = other || unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee) && !science[r]
	}
	return latin && other
}

// science are letters that stand beside Latin ones as signs: µm, Δt, kΩ.
var science = map[rune]bool{'μ': true, 'Δ': true, 'Ω': true, 'π': true, 'σ': true, 'λ': true, 'α': true, 'β': true, 'γ': true, 'θ': true, 'ε': true, 'Σ': true}

const (
	longText = 4 << 10  // bytes of one string: about two pages
	maxText  = 16 << 10 // bytes that no person reads
)

var (
	padding = lazily(`[ \t\x{00a0}\x{2000}-\x{200a}\x{3000}]{60,}|(?:[ \t]*\r?\n){12,}`)
	base64  = lazily(`[A-Za-z0-9+/_-]{100,}={0,2}`)
	hexes   = lazily(`(?i)(?:[0-9a-f]{2}[ :]?|\\x[0-9a-f]{2}){64,}`)
)

// shape finds what is not for people to read.
func (t text) shape(add find) {
	switch {
	case len(t.value) > maxText:
		add(TooLong, Block, fmt.Sprintf("%d bytes", len(t.value)))
	case len(t.value) > longText:
		add(TooLong, Warn, fmt.Sprintf("%d bytes", len(t.value)))
	}
	if padding().MatchString(t.value) {
		add(Padding, Block, "a run of white space")
	}
	if m := base64().FindString(t.value); m != "" && various(m) {
		add(EncodedBlob, Block, fmt.Sprintf("%d characters that look like base64", len(m)))
	} else if m := hexes().FindString(t.value); m != "" {
		add(EncodedBlob, Block, fmt.Sprintf("%d characters that look like hexadecimal", len(m)))
	}
}

// various keeps a line of dashes from being taken for base64.
func various(s string) bool {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen) > 16
}
