package redact

import (
	"slices"
	"strings"
)

// The digits of phone numbers: E.164 has at most 15.
const (
	minPhone = 7
	maxPhone = 15
)

// callingCodes are the country codes of E.164 but for 1, which the numbering plan of
// North America has.
var callingCodes = strings.Fields("7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 " +
	"60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 " +
	"230 231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 260 " +
	"261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 " +
	"376 377 378 379 380 381 382 383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 " +
	"595 596 597 598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 " +
	"853 855 856 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 " +
	"993 994 995 996 998")

// phones appends the phone numbers among the groups: international ones (+, 00), and
// national ones in the common forms of North America (555-123-4567, with an area code)
// and of countries whose numbers begin with 0. Where the name of the member says that
// it is one, any digits are.
func phones(found []span, name, t string, chains [][]group) []span {
	if calls(name) && onlyPhone(t) {
		return append(found, span{0, len(t), phone, "phone"})
	}
	for _, chain := range chains {
		for i := 0; i < len(chain); i++ {
			start, n := phoneAt(t, chain[i:])
			if n > 0 {
				end := chain[i+n-1].end
				found = append(found, span{start, end, phone, "phone"})
				i += n - 1
			}
		}
	}
	return found
}

// calls recognises names such as phone, mobileNumber and fax.
func calls(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"phone", "mobile", "msisdn", "whatsapp", "fax"}, func(w string) bool { return strings.Contains(name, w) }) ||
		name == "tel" || name == "cell"
}

func onlyPhone(t string) bool {
	digits := 0
	for i := range len(t) {
		switch c := t[i]; {
		case isDigit(c):
			digits++
		case !isGap(c) && !strings.ContainsRune("+.()/", rune(c)):
			return false
		}
	}
	return minPhone <= digits && digits <= maxPhone
}

// phoneAt returns where the number begins that the first groups are, and how many of
// them it has; none if it has none.
func phoneAt(t string, chain []group) (start, n int) {
	start = chain[0].start
	if start > 0 && t[start-1] == '(' {
		start--
	}
	if start > 0 && t[start-1] == '+' {
		return start - 1, international(t, start-1, chain, "")
	}
	if n := international(t, start, chain, "00"); n > 0 {
		return start, n
	}
	if n := northAmerican(t, start, chain); n > 0 {
		return start, n
	}
	return start, withTrunk(t, start, chain)
}

// international counts the groups of a number that begins with a country code after
// the prefix.
func international(t string, start int, chain []group, prefix string) int {
	if start > 0 && isWord(t[start-1]) || !strings.HasPrefix(t[chain[0].start:], prefix) {
		return 0
	}
	n, digits := 0, -len(prefix)
	for i, g := range chain {
		if digits += g.len(); i > 0 && newLine(t[chain[i-1].end:g.start]) || digits > maxPhone {
			break
		}
		if digits > minPhone && !glued(t, start, g.end) {
			n = i + 1
		}
	}
	if n == 0 {
		return 0
	}
	all := joined(t, chain[:n])[len(prefix):]
	if all[0] == '1' {
		if len(all) >= 11 && areaCode(string(all[1:7])) {
			return n
		}
		return 0
	}
	if slices.ContainsFunc(callingCodes, func(c string) bool { return strings.HasPrefix(string(all), c) }) {
		return n
	}
	return 0
}

func newLine(between string) bool { return strings.ContainsAny(between, "\r\n\v\f") }

// areaCode checks area code and exchange: neither begins with 0 or 1.
func areaCode(six string) bool { return six[0] >= '2' && six[3] >= '2' }

// northAmerican counts the groups of (NPA) NXX-XXXX, NPA-NXX-XXXX, NPA.NXX.XXXX, with or
// without a 1 before them.
func northAmerican(t string, start int, chain []group) int {
	skip := 0
	if chain[0].len() == 1 && t[chain[0].start] == '1' {
		skip = 1
	}
	if len(chain) < skip+3 {
		return 0
	}
	g := chain[skip : skip+3]
	if g[0].len() != 3 || g[1].len() != 3 || g[2].len() != 4 || glued(t, start, g[2].end) || !areaCode(string(joined(t, g[:2]))) {
		return 0
	}
	a, b := t[g[0].end:g[1].start], t[g[1].end:g[2].start]
	if newLine(a) || b != "-" && b != "." && (b != " " || skip == 0 && !strings.HasPrefix(a, ")")) {
		return 0
	}
	return skip + 3
}

// withTrunk counts the groups of a number that begins with the 0 of national calls: an
// area code of three to five digits and the rest, or pairs as in France.
func withTrunk(t string, start int, chain []group) int {
	first := chain[0]
	if t[first.start] != '0' || first.len() < 2 || t[first.start+1] == '0' || start > 0 && (isWord(t[start-1]) || t[start-1] == '.' || t[start-1] == '-') {
		return 0
	}
	if first.len() == 2 {
		return pairs(t, chain)
	}
	if first.len() > 5 {
		return 0
	}
	digits, n := first.len(), 0
	for i := 1; i < min(len(chain), 5); i++ {
		g := chain[i]
		if digits += g.len(); !between(t[chain[i-1].end:g.start], i) || g.len() < 2 || g.len() > 8 || digits > 12 {
			break
		}
		if digits >= 9 && !glued(t, start, g.end) {
			n = i + 1
		}
	}
	return n
}

// between is what may be after the n-th group: after the area code a slash, too.
func between(s string, n int) bool {
	switch s {
	case " ", "-", " - ":
		return true
	case "/", " / ", ") ", ")":
		return n == 1
	}
	return false
}

// pairs counts the groups of 01 42 68 53 00.
func pairs(t string, chain []group) int {
	if len(chain) < 5 || glued(t, chain[0].start, chain[4].end) {
		return 0
	}
	separator := t[chain[0].end:chain[1].start]
	for i, g := range chain[:5] {
		if g.len() != 2 || i > 0 && t[chain[i-1].end:g.start] != separator {
			return 0
		}
	}
	if separator != " " && separator != "." && separator != "-" {
		return 0
	}
	return 5
}
