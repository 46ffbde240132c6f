package federation

import (
	"errors"
	"strings"
)

const (
	spiffeScheme = "spiffe://"
	useSVID      = "jwt-svid" // use of such keys in a bundle (SPIFFE Trust Domain and Bundle §4.2.2)
)

// spiffeID splits a SPIFFE ID of a workload. Only the one spelling of it is taken
// (SPIFFE-ID §2): no capitals in the trust domain, no port, no percent encoding, no
// empty or dot segment, no query, so that two IDs are two workloads.
func spiffeID(s string) (domain, path string, err error) {
	rest, ok := strings.CutPrefix(s, spiffeScheme)
	domain, path, _ = strings.Cut(rest, "/")
	if !ok || !goodDomain(domain) {
		return "", "", errors.New("no SPIFFE ID of a workload")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, notInPath) {
			return "", "", errors.New("a SPIFFE ID with a segment that has another spelling")
		}
	}
	return domain, path, nil
}

// goodDomain holds a trust domain to SPIFFE-ID §2.1.
func goodDomain(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return notInPath(r) || r >= 'A' && r <= 'Z' })
}

func notInPath(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}
