package redact

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxLayers is how often a text is decoded.
const maxLayers = 4

// decode undoes one layer of what programs write in place of characters: escapes of JSON,
// JavaScript, Go and Python, percent-encoding, HTML, and lines of base64. Where places is
// set, at has for each byte, and for the end, the place in s.
func decode(s string, places bool) (text string, at []int32, changed bool) {
	i := nextUnit(s, 0)
	if i < 0 {
		return s, nil, false
	}
	out, done := make([]byte, 0, len(s)), 0
	keep := func(to int) {
		for ; places && done < to; done++ {
			out, at = append(out, s[done]), append(at, int32(done))
		}
		out, done = append(out, s[done:to]...), to
	}
	for ; i >= 0; i = nextUnit(s, done) {
		keep(i)
		before := len(out)
		var n int
		out, n = appendUnit(out, s, i)
		for range len(out) - before {
			if places {
				at = append(at, int32(i))
			}
		}
		done = i + n
	}
	keep(len(s))
	if places {
		at = append(at, int32(len(s)))
	}
	return string(out), at, true
}

// undecode moves spans in the nth layer of s to where they are in s.
func undecode(s string, n int, spans []span) []span {
	views := make([]view, n)
	for i := range views {
		text, at, _ := decode(s, true)
		views[i], s = view{text: text, at: at}, text
	}
	for i := n - 1; i >= 0; i-- {
		spans = views[i].original(spans)
	}
	return spans
}

// nextUnit is where the next thing to decode is, from i on; -1: nowhere.
func nextUnit(s string, i int) int {
	if i == 0 && strings.IndexByte(s, '\\') < 0 && strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '&') < 0 && strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 {
		return -1 // as in most texts, and found fast
	}
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\', '%', '&', '\r', '\n':
			if _, n := appendUnit(nil, s, i); n > 0 {
				return i
			}
		}
	}
	return -1
}

// appendUnit appends what the text at i stands for; n is how long that is in s, and 0 where
// it is no more than it is.
func appendUnit(out []byte, s string, i int) (_ []byte, n int) {
	switch s[i] {
	case '\\':
		return appendEscape(out, s[i:])
	case '%':
		return appendPercent(out, s[i:])
	case '&':
		return appendEntity(out, s[i:])
	}
	return out, lineBreak(s, i)
}

var oneLetter = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'f': '\f', 'v': '\v', 'a': '\a', '\\': '\\', '/': '/', '"': '"', '\'': '\'', '`': '`'}

func appendEscape(out []byte, s string) ([]byte, int) {
	if len(s) < 2 {
		return out, 0
	}
	if c, ok := oneLetter[s[1]]; ok {
		return append(out, c), 2
	}
	switch c := s[1]; {
	case c == '\n':
		return out, 2 // a line that goes on
	case c == 'x':
		return appendCode(out, s, 2, 2, true)
	case c == 'u' && strings.HasPrefix(s[2:], "{"):
		return appendBraced(out, s)
	case c == 'u':
		if r, ok := hex4(s[1:]); ok {
			r, n := surrogates(s, r, 6)
			return utf8.AppendRune(out, r), n
		}
	case c == 'U':
		return appendCode(out, s, 2, 8, false)
	case '0' <= c && c <= '7':
		n := 2
		for n < 4 && n < len(s) && '0' <= s[n] && s[n] <= '7' {
			n++
		}
		if code, err := strconv.ParseUint(s[1:n], 8, 8); err == nil {
			return append(out, byte(code)), n
		}
	}
	return out, 0
}

// appendCode reads digits of hexadecimal numbers.
func appendCode(out []byte, s string, from, digits int, isByte bool) ([]byte, int) {
	if len(s) < from+digits {
		return out, 0
	}
	code, err := strconv.ParseUint(s[from:from+digits], 16, 32)
	switch {
	case err != nil:
		return out, 0
	case isByte:
		return append(out, byte(code)), from + digits
	}
	return utf8.AppendRune(out, rune(code)), from + digits
}

// appendBraced reads \u{1F511}.
func appendBraced(out []byte, s string) ([]byte, int) {
	end := strings.IndexByte(s[:min(len(s), 12)], '}')
	if end < 4 {
		return out, 0
	}
	out, n := appendCode(out, s, 3, end-3, false)
	if n == 0 {
		return out, 0
	}
	return out, end + 1
}

// appendPercent reads %2F, and %u002F as JavaScript once wrote it.
func appendPercent(out []byte, s string) ([]byte, int) {
	r, ok := hex4(s[1:])
	if !ok {
		return appendCode(out, s, 1, 2, true)
	}
	if len(s) > 6 && s[6] == '%' && utf16.IsSurrogate(r) {
		if low, ok := hex4(s[7:]); ok && utf16.IsSurrogate(low) {
			return utf8.AppendRune(out, utf16.DecodeRune(r, low)), 12
		}
	}
	return utf8.AppendRune(out, r), 6
}

// maxEntity is the length of the longest name that is read.
const maxEntity = 12

func appendEntity(out []byte, s string) ([]byte, int) {
	end := strings.IndexByte(s[:min(len(s), maxEntity)], ';')
	if end < 3 {
		return out, 0
	}
	text := html.UnescapeString(s[:end+1])
	if text == s[:end+1] {
		return out, 0
	}
	return append(out, text...), end + 1
}

// minBase64Line is how much of a line says that the next one goes on with it.
const minBase64Line = 16

// lineBreak is how long what breaks a line of base64 at i is.
func lineBreak(s string, i int) int {
	if i < minBase64Line {
		return 0
	}
	for _, c := range []byte(s[i-minBase64Line : i]) {
		if !isBase64(c) {
			return 0
		}
	}
	n := 0
	for i+n < len(s) && strings.IndexByte("\r\n\t ", s[i+n]) >= 0 {
		n++
	}
	if i+n == len(s) || !isBase64(s[i+n]) {
		return 0
	}
	return n
}

func isBase64(c byte) bool {
	return isAlnum(c) || c == '+' || c == '/' || c == '-' || c == '_'
}
