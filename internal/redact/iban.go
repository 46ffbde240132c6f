package redact

// ibanLength is the length of each country's IBAN (ISO 13616, SWIFT's registry).
var ibanLength = lengths("AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 " +
	"EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 " +
	"LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 " +
	"RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30")

func lengths(table string) map[[2]byte]int {
	out := map[[2]byte]int{}
	for i := 0; i < len(table); i += 5 {
		out[[2]byte{table[i], table[i+1]}] = int(table[i+2]-'0')*10 + int(table[i+3]-'0')
	}
	return out
}

// ibans appends the account numbers in t: those of a country's length whose check
// digits are right (ISO 7064, MOD 97-10), in one piece or in groups.
func ibans(found []span, t string) []span {
	for i := 2; i+1 < len(t); i++ {
		if !isDigit(t[i]) || !isDigit(t[i+1]) || !isAlpha(t[i-1]) || !isAlpha(t[i-2]) || i > 2 && isWord(t[i-3]) && !called(t[:i-2]) {
			continue
		}
		n := ibanLength[[2]byte{t[i-2] &^ 0x20, t[i-1] &^ 0x20}]
		if end := ibanEnd(t, i-2, n); n > 0 && end > 0 {
			found = append(found, span{i - 2, end, iban, "iban"})
		}
	}
	return found
}

// called reports whether t ends in the word IBAN, to which a number may be glued.
func called(t string) bool {
	if len(t) < 4 {
		return false
	}
	w := t[len(t)-4:]
	return w[0]|0x20 == 'i' && w[1]|0x20 == 'b' && w[2]|0x20 == 'a' && w[3]|0x20 == 'n'
}

// ibanEnd is where the number of n characters that begins at start ends, 0 if it is none.
func ibanEnd(t string, start, n int) int {
	var chars [34]byte
	k, gap, i := 0, 0, start
	for ; i < len(t) && k < n; i++ {
		switch c := t[i]; {
		case isAlnum(c):
			chars[k], gap = c, 0
			k++
		case isGap(c) && gap < 2:
			gap++
		default:
			return 0
		}
	}
	if k < n || i < len(t) && isWord(t[i]) || mod97(chars[:n]) != 1 {
		return 0
	}
	return i
}

// mod97 is the remainder of the number with its first four characters at the end, and
// two digits for each letter.
func mod97(s []byte) (m int) {
	for i := range s {
		switch c := s[(i+4)%len(s)]; {
		case isDigit(c):
			m = (m*10 + int(c-'0')) % 97
		default:
			m = (m*100 + int((c|0x20)-'a') + 10) % 97
		}
	}
	return m
}
