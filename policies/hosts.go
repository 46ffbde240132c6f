package policies

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// maxPlace bounds a URL, an e-mail address or a path among the arguments.
const maxPlace = 4 << 10

// hostName is RFC 1123 §2.1, without a dot at the end: who resolves both takes them for
// one, and who compares does not. What IDNA makes of other letters differs between
// implementations, so such a name is written in its ASCII form (RFC 5890 §2.3.2.1).
var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// numeric is the last label of what is an IPv4 address for many a parser, whatever is
// before it (WHATWG URL, "ends in a number").
var numeric = regexp.MustCompile(`^([0-9]+|0x[0-9a-f]*)$`)

// hostMatches lists what of access.yaml names the host: itself, and each domain that it
// is below, as "*.example.com". It is nil for what is no host.
func hostMatches(host string) []string {
	host = strings.ToLower(host)
	if len(host) > 253 || !hostName.MatchString(host) {
		return nil
	}
	out := []string{host}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if numeric.MatchString(last) {
		if ip, err := netip.ParseAddr(host); err != nil || ip.String() != host {
			return nil // 127.1, 0x7f.1, 2130706433: hosts in disguise
		}
		return out // an address is below nothing
	}
	for i := range len(host) {
		if host[i] == '.' {
			out = append(out, "*"+host[i:])
		}
	}
	return out
}

// schemes are those whose authority is where it goes, for every parser. file and
// javascript have one too, and go elsewhere.
var schemes = []string{"http", "https", "ws", "wss", "ftp", "ftps", "sftp", "ssh", "git"}

// hostOf returns the host that a URL, an e-mail address or a host name goes to, and
// nothing for what two parsers might understand differently.
func hostOf(s string) string {
	if s == "" || len(s) > maxPlace || strings.ContainsFunc(s, ambiguous) {
		return ""
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok && !strings.ContainsAny(scheme, "@/?#") {
		return hostOfURL(scheme, rest)
	}
	if local, domain, ok := strings.Cut(s, "@"); ok {
		if len(local) > 64 || !dotAtom.MatchString(local) {
			return ""
		}
		return domain // with another @ it is no host
	}
	return s
}

// ambiguous is what parsers skip, cut at, or take for another: all but visible ASCII,
// and the backslash, which is a slash for some.
func ambiguous(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }

// dotAtom is a local part (RFC 5322 §3.2.3) without % and !, by which a mail server may
// send the message on to another domain, and without what ends the host of a URL that is
// written without its scheme: "evil.example/@example.com".
var dotAtom = regexp.MustCompile("^[A-Za-z0-9$&'*+=^_`{|}~-]+(\\.[A-Za-z0-9$&'*+=^_`{|}~-]+)*$")

// authority is a host and perhaps a port (RFC 3986 §3.2), without userinfo.
var authority = regexp.MustCompile(`^([A-Za-z0-9.-]+)(?::[0-9]{1,5})?$`)

func hostOfURL(scheme, rest string) string {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	m := authority.FindStringSubmatch(rest[:end])
	switch {
	case m == nil || !slices.Contains(schemes, strings.ToLower(scheme)):
		return ""
	case end < len(rest) && rest[end] != '/' && strings.Contains(rest, "@"):
		return "" // "http://example.com#@evil.example": who cuts at the @ first goes there
	}
	return m[1]
}

var errDomain = errors.New(`write a host in lower case, as example.com, or "*.example.com" for those below it; letters that are not ASCII as IDNA writes them, xn--…`)

// checkDomain takes what hostMatches can return.
func checkDomain(s string) error {
	host, below := strings.CutPrefix(s, "*.")
	matches := hostMatches(host)
	if host != strings.ToLower(host) || matches == nil || below && len(matches) == 1 && numeric.MatchString(host[strings.LastIndexByte(host, '.')+1:]) {
		return errDomain
	}
	return nil
}
