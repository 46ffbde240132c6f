package redact

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// view is a text as a reader sees it, with the way back to the text as it is.
type view struct {
	text   string
	digits int
	at     []int32 // of each byte of text, and of its end, the place in the original; nil: the same
}

// look makes the view. Most text is its own.
func look(s string) view {
	v := view{text: s}
	plain := true
	for i := range len(s) {
		c := s[i]
		if isDigit(c) {
			v.digits++
		}
		plain = plain && c < utf8.RuneSelf && c != '\\'
	}
	if plain {
		return v
	}
	b := viewBuilder{s: s, at: make([]int32, 0, len(s)+1)}
	b.text.Grow(len(s))
	b.build()
	return view{text: b.text.String(), digits: b.digits, at: append(b.at, int32(len(s)))}
}

// original moves spans to where they are in the original text.
func (v view) original(spans []span) []span {
	if v.at == nil {
		return spans
	}
	for i, s := range spans {
		end := s.end
		for end < len(v.at)-1 && v.at[end] == v.at[end-1] { // in the middle of what was one character
			end++
		}
		spans[i].start, spans[i].end = int(v.at[s.start]), int(v.at[end])
	}
	return spans
}

type viewBuilder struct {
	s      string
	text   strings.Builder
	at     []int32
	digits int
}

func (b *viewBuilder) build() {
	for i := 0; i < len(b.s); {
		c := b.s[i]
		r, n := rune(c), 1
		switch {
		case c == '\\':
			r, n = unescape(b.s[i:])
		case c >= utf8.RuneSelf:
			r, n = utf8.DecodeRuneInString(b.s[i:])
		}
		b.add(i, r, b.s[i:i+n])
		i += n
	}
}

// add appends what a character looks like.
func (b *viewBuilder) add(at int, r rune, raw string) {
	switch {
	case r < utf8.RuneSelf:
		b.write(at, string(r))
	case unicode.In(r, unicode.Cf, unicode.Mn, unicode.Me, unicode.Other_Default_Ignorable_Code_Point):
	case unicode.Is(unicode.Nd, r):
		b.write(at, string(digitOf(r)))
	case unicode.Is(unicode.Pd, r), r == '\u2212':
		b.write(at, "-")
	case unicode.Is(unicode.Zs, r):
		b.write(at, " ")
	default:
		if raw[0] == '\\' {
			raw = string(r)
		}
		if d := norm.NFKD.PropertiesString(raw).Decomposition(); d != nil {
			raw = string(d)
		}
		b.write(at, raw)
	}
}

func (b *viewBuilder) write(at int, s string) {
	b.text.WriteString(s)
	for i := range len(s) {
		b.at = append(b.at, int32(at))
		if isDigit(s[i]) {
			b.digits++
		}
	}
}

// digitOf is the ASCII digit: the digits of a script follow one another from its zero,
// and every range of the table begins with one.
func digitOf(r rune) rune {
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return '0' + (r-rune(t.Lo))%10
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return '0' + (r-rune(t.Lo))%10
		}
	}
	return r
}

var escapes = map[byte]rune{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'f': '\f', '"': '"', '/': '/'}

// unescape reads an escape of JSON that is in a text, as where a text is JSON itself.
// JSON in JSON in text has more backslashes before the same escape. What is no escape
// is one backslash.
func unescape(s string) (rune, int) {
	n := 0
	for n < len(s) && s[n] == '\\' {
		n++
	}
	if n == len(s) {
		return '\\', n
	}
	if r, ok := escapes[s[n]]; ok {
		return r, n + 1
	}
	if r, ok := hex4(s[n:]); ok {
		return surrogates(s, r, n+5)
	}
	return '\\', n
}

// surrogates joins the second half of a character to its first.
func surrogates(s string, r rune, n int) (rune, int) {
	if r < 0xd800 || r > 0xdbff {
		return r, n
	}
	rest := strings.TrimLeft(s[n:], `\`)
	if low, ok := hex4(rest); ok && 0xdc00 <= low && low <= 0xdfff {
		return (r-0xd800)<<10 | (low - 0xdc00) + 0x10000, len(s) - len(rest) + 5
	}
	return r, n
}

// hex4 reads uXXXX.
func hex4(s string) (r rune, ok bool) {
	if len(s) < 5 || s[0] != 'u' {
		return 0, false
	}
	for _, c := range []byte(s[1:5]) {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case (c|0x20)-'a' < 6:
			r = r<<4 | rune((c|0x20)-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
