package redact

import "strings"

// emails appends the addresses in t (RFC 5322 §3.4.1, RFC 6531 for letters of every
// script): what is around an @, where the domain has a dot and ends in letters.
func emails(found []span, t string) []span {
	for at := strings.IndexByte(t, '@'); at >= 0; {
		next := strings.IndexByte(t[at+1:], '@')
		start, end := localPart(t, at), domain(t, at+1)
		if start < at && end > at+1 {
			found = append(found, span{start, end, email, "email"})
		}
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return found
}

// localPart is where the local part of the address at the @ begins.
func localPart(t string, at int) int {
	if at > 0 && t[at-1] == '"' { // "any thing"@example.com
		if open := strings.LastIndexByte(t[max(0, at-66):at-1], '"'); open >= 0 {
			return max(0, at-66) + open
		}
	}
	start := at
	for start > 0 && (isLetter(t[start-1]) || strings.IndexByte(".!#$%'*+^`{|}~-", t[start-1]) >= 0) {
		start--
	}
	for start < at && !isLetter(t[start]) && t[start] != '+' { // a quote or emphasis around it
		start++
	}
	return start
}

// isLetter is for local parts. The signs that separate the parts of URLs are none,
// though RFC 5322 allows them.
func isLetter(c byte) bool { return isWord(c) || c >= 0x80 }

// domain is where the domain that begins at start ends; start itself if it is none.
func domain(t string, start int) int {
	end, dot := start, -1
	for end < len(t) && (isAlnum(t[end]) || t[end] >= 0x80 || t[end] == '-' || t[end] == '.') {
		end++
	}
	for end > start && (t[end-1] == '.' || t[end-1] == '-') {
		end--
	}
	if dot = strings.LastIndexByte(t[start:end], '.'); dot <= 0 {
		return start
	}
	top := t[start+dot+1 : end]
	if len(top) < 2 || !isAlpha(top[0]) && top[0] < 0x80 {
		return start
	}
	return end
}
