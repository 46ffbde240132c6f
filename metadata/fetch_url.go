package metadata

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

const maxURL = 2048

// parseURL checks a URL that a stranger wrote. It must be in its one spelling:
// whatever another parser could read in another way is refused, so that the URL
// which was checked, stored, shown and compared is the URL that is fetched
// (draft-ietf-oauth-client-id-metadata-document-02 §3, and stricter).
func parseURL(s string, loopback bool) (*url.URL, error) {
	if len(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' || r == '#' }) {
		return nil, errors.New("URL is too long, or has a fragment, a space, a backslash or another character that no URL has")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	switch {
	case u.String() != s:
		return nil, errors.New("URL is not in its canonical spelling")
	case u.Scheme != "https" && !(loopback && u.Scheme == "http"):
		return nil, errors.New("URL is not https")
	case u.User != nil:
		return nil, errors.New("URL has user information")
	case !strings.HasPrefix(u.Path, "/"):
		return nil, errors.New("URL has no path")
	case hasDotSegment(u.Path):
		return nil, errors.New("path of the URL has a dot segment")
	}
	return u, checkAuthority(u, loopback)
}

// hasDotSegment looks at the decoded path: %2e is a dot, and %2f and %5c are what
// some servers take for a slash.
func hasDotSegment(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func checkAuthority(u *url.URL, loopback bool) error {
	port := u.Port()
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0 || strconv.FormatUint(n, 10) != port) || strings.HasSuffix(u.Host, ":") {
		return errors.New("port of the URL is not a number from 1 to 65535 in its shortest spelling")
	}
	host := u.Hostname()
	if loopback && (host == "localhost" || loopbackLiteral(host)) {
		return nil
	}
	if !domainName(host) {
		return errors.New("host of the URL is not a domain name in lower case; an IP address is none")
	}
	return nil
}

// loopbackLiteral reports whether host is a loopback address in its one spelling.
func loopbackLiteral(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() && !a.Is4In6() && a.Zone() == "" && a.String() == host
}

// domainName reports whether host is a name of the public DNS: two labels or more,
// in lower case, without final dot. The last one begins with a letter, as in every
// IP address it does not, be it decimal, hexadecimal or octal (127.1, 0x7f.1). A
// label of punycode must be one that stands for something: it is never decoded
// here, and whoever shows the host shows it as it is.
func domainName(host string) bool {
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !domainLabel(label) {
			return false
		}
	}
	if first := labels[len(labels)-1][0]; len(labels) < 2 || len(host) > 253 || first < 'a' || first > 'z' {
		return false
	}
	if !strings.HasPrefix(host, "xn--") && !strings.Contains(host, ".xn--") {
		return true
	}
	ascii, err := idna.Lookup.ToASCII(host)
	return err == nil && ascii == host
}

func domainLabel(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' &&
		!strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
}
