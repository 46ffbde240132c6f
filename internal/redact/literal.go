package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// minLiteral is the shortest value that is looked for: a shorter one is in ordinary text.
const minLiteral = 8

// maskLiteral is without its brackets, as masks are here.
const maskLiteral = "credential"

// Literal is r that masks these values too, each as [credential]: as they are, and as
// programs write them: escaped for JSON, JavaScript, Go, Python, HTML and URLs, up to four
// layers of it, in any mixture; in base64 (standard and for URLs, at any place of what was
// encoded, wrapped over lines or not), in hexadecimal and as a list of bytes. Characters
// without a width in between hide nothing. What has less than 8 bytes is not looked for.
//
// It does NOT find a value that is split over two strings, cut off, reversed, in other
// letters (upper case for lower case), encrypted, compressed or hashed, in base64 of base64,
// or as numbers of JSON, one for each byte: a server that wants to tell what it was given can
// do so. Binary content in which a value was masked cannot be decoded any more.
func (r *Redactor) Literal(values []string) *Redactor {
	more := &Redactor{}
	if r != nil {
		*more = *r
	}
	if more.literals = more.literals.with(values); more.literals == nil {
		return r
	}
	return more
}

// literals finds many texts at once (Wu and Manber 1994): by three bytes it knows how far
// the next one can be, so that it reads a part of a text only. nil finds nothing.
type literals struct {
	values   []string
	patterns []pattern
	window   int // bytes of each pattern that are compared by the table: those of the shortest

	bits  int     // of a hash
	shift []uint8 // by hash of three bytes: how far to go on; 0: they may end a window
	first []int32 // by the same, a pattern, plus one
	next  []int32 // by pattern, another one of the same hash, plus one
}

// pattern is a value as it is written. The characters of base64 around it may have a part
// of it, too.
type pattern struct {
	text          string
	before, after bool
}

const (
	block     = 3
	maxWindow = 32
)

// with is l that finds these too; l, if there are none.
func (l *literals) with(values []string) *literals {
	more := &literals{}
	if l != nil {
		more.values = append(more.values, l.values...)
	}
	known := len(more.values)
	for _, v := range values {
		if len(v) >= minLiteral && !strings.Contains("["+maskLiteral+"]", v) { // a mask is found again for ever
			more.values = append(more.values, v)
		}
	}
	if len(more.values) == known {
		return l
	}
	seen := make(map[string]bool, 32*len(more.values))
	more.patterns = make([]pattern, 0, 32*len(more.values))
	for _, v := range more.values {
		more.add(v, seen)
	}
	more.link()
	return more
}

// add adds the patterns of a value.
func (l *literals) add(v string, seen map[string]bool) {
	put := func(p pattern) {
		if len(p.text) >= minLiteral && !seen[p.text] {
			seen[p.text] = true
			l.patterns = append(l.patterns, p)
		}
	}
	put(pattern{text: v})
	put(pattern{text: strings.ReplaceAll(v, " ", "+")}) // of a form, with the rest decoded
	put(pattern{text: look(v).text})
	for d, n := v, 0; n < maxLayers; n++ { // what a layer too much makes of it
		changed := false
		if d, _, changed = decode(d, false); !changed {
			break
		}
		put(pattern{text: d})
	}
	for _, form := range forms(v) { // what is encoded may be escaped
		for _, p := range base64Of(form) {
			put(p)
		}
	}
	for _, s := range bytesOf(v) {
		put(pattern{text: s})
	}
}

// forms are how a value is written in what is then encoded.
func forms(v string) []string {
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // no string fails
	query := url.QueryEscape(v)
	all := []string{v, plain.String()[1 : plain.Len()-2], "", query, strings.ReplaceAll(query, "+", "%20")}
	plain.Reset()
	json.HTMLEscape(&plain, []byte(all[1]))
	all[2] = plain.String()
	slices.Sort(all)
	return slices.Compact(all)
}

// base64Of is what base64 makes of s at each of the three places where it may begin in
// groups of three bytes: the characters that s alone says.
func base64Of(s string) []pattern {
	all := make([]pattern, 0, 6)
	for at := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, at, at+len(s)), s...))
		rest := (at + len(s)) % 3
		if rest != 0 {
			text = text[:len(text)-1]
		}
		p := pattern{text[(8*at+5)/6:], at != 0, rest != 0}
		all = append(all, p)
		if strings.ContainsAny(p.text, "+/") {
			p.text = forURLs.Replace(p.text)
			all = append(all, p)
		}
	}
	return all
}

// forURLs makes the other alphabet of base64 of the first (RFC 4648 §5).
var forURLs = strings.NewReplacer("+", "-", "/", "_")

// bytesOf is the value by its bytes, as programs print them.
func bytesOf(v string) []string {
	const lower, upper = "0123456789abcdef", "0123456789ABCDEF"
	return []string{
		hexOf(v, "", lower), hexOf(v, " ", lower), hexOf(v, ":", lower), hexOf(v, "", upper), hexOf(v, " ", upper), hexOf(v, ":", upper),
		decimalOf(v, " "), decimalOf(v, ","), decimalOf(v, ", "),
	}
}

func hexOf(v, separator, digits string) string {
	b := make([]byte, 0, len(v)*(2+len(separator)))
	for i := range len(v) {
		if i > 0 {
			b = append(b, separator...)
		}
		b = append(b, digits[v[i]>>4], digits[v[i]&15])
	}
	return string(b)
}

func decimalOf(v, separator string) string {
	b := make([]byte, 0, len(v)*(3+len(separator)))
	for i := range len(v) {
		if i > 0 {
			b = append(b, separator...)
		}
		b = strconv.AppendUint(b, uint64(v[i]), 10)
	}
	return string(b)
}

// link makes the table.
func (l *literals) link() {
	l.window = maxWindow
	for _, p := range l.patterns {
		l.window = min(l.window, len(p.text))
	}
	for l.bits = 10; l.bits < 16 && 1<<l.bits < 8*l.window*len(l.patterns); {
		l.bits++
	}
	l.shift = bytes.Repeat([]byte{uint8(l.window - block + 1)}, 1<<l.bits)
	l.first, l.next = make([]int32, 1<<l.bits), make([]int32, len(l.patterns))
	for i, p := range l.patterns {
		for end := block; end <= l.window; end++ {
			h := l.hash(p.text, end)
			l.shift[h] = min(l.shift[h], uint8(l.window-end))
		}
		h := l.hash(p.text, l.window)
		l.next[i], l.first[h] = l.first[h], int32(i+1)
	}
}

// hash is of the three bytes before end.
func (l *literals) hash(s string, end int) uint32 {
	n := uint32(s[end-3]) | uint32(s[end-2])<<8 | uint32(s[end-1])<<16
	return n * 0x9e3779b1 >> (32 - l.bits)
}

// search returns the places of patterns in s, in order.
func (l *literals) search(s string) (found []span) {
	for end := l.window; end <= len(s); {
		h := l.hash(s, end)
		if n := int(l.shift[h]); n > 0 {
			end += n
			continue
		}
		start := end - l.window
		for i := l.first[h]; i > 0; i = l.next[i-1] {
			if p := l.patterns[i-1]; strings.HasPrefix(s[start:], p.text) {
				found = p.appendTo(found, s, start)
			}
		}
		end++
	}
	return found
}

// appendTo appends a place, joined to the last one where it overlaps.
func (p pattern) appendTo(found []span, s string, start int) []span {
	end := start + len(p.text)
	if p.before && start > 0 && isBase64(s[start-1]) {
		start--
	}
	if p.after && end < len(s) && isBase64(s[end]) {
		end++
	}
	if last := len(found) - 1; last >= 0 && found[last].start <= start && start < found[last].end {
		found[last].end = max(found[last].end, end)
		return found
	}
	return append(found, span{start, end, credential, maskLiteral})
}

// find appends the places of patterns in s, as it is, as a reader sees it, and decoded.
func (l *literals) find(found []span, s string, v view) []span {
	if l == nil || len(s) < l.window {
		return found
	}
	found = append(found, l.search(s)...)
	if v.at != nil {
		found = append(found, v.original(l.search(v.text))...)
	}
	text := s
	for n := 1; n <= maxLayers; n++ {
		decoded, _, changed := decode(text, false)
		if !changed {
			break
		}
		if text = decoded; len(text) < l.window {
			break
		}
		if in := l.search(text); len(in) > 0 {
			found = append(found, undecode(s, n, in)...)
		}
	}
	return found
}
