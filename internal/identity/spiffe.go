package identity

import (
	"errors"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	maxSPIFFEID     = 2048 // bytes (SPIFFE-ID §2.3)
	maxTrustDomain  = 255  // bytes (SPIFFE-ID §2.1)
	spiffePrefix    = "spiffe://"
	anySegment      = "*"
	standInForAny   = "x"
	patternExample  = "spiffe://example.org/agent/*"
	workloadExample = "spiffe://example.org/agent/mail"
)

// Errors of the Parse functions.
var (
	ErrBadSPIFFEID    = errors.New("a SPIFFE ID of a workload is up to 2048 bytes like " + workloadExample + ", in its one spelling: no capitals in the trust domain, no port, no percent encoding, no empty or dot segment, no query")
	ErrBadTrustDomain = errors.New("a trust domain is 1 to 255 of a-z 0-9 . _ -, like example.org")
	ErrBadPattern     = errors.New("a pattern is a SPIFFE ID in which a * stands for one whole segment of the path, like " + patternExample)
)

// SPIFFEID names a workload (SPIFFE-ID §2). Only the one spelling of a name is taken,
// so that two names are two workloads.
type SPIFFEID struct{ id string }

// ParseSPIFFEID checks and makes a SPIFFEID. The trust domain itself, without a path,
// is no workload. It returns ErrBadSPIFFEID.
func ParseSPIFFEID(s string) (SPIFFEID, error) {
	id, err := spiffeid.FromString(s)
	if err != nil || len(s) > maxSPIFFEID || len(id.TrustDomain().Name()) > maxTrustDomain || id.Path() == "" {
		return SPIFFEID{}, ErrBadSPIFFEID
	}
	return SPIFFEID{s}, nil
}

// String returns the name, empty for nobody.
func (s SPIFFEID) String() string { return s.id }

// TrustDomain is the name of the trust domain.
func (s SPIFFEID) TrustDomain() string {
	domain, _, _ := strings.Cut(strings.TrimPrefix(s.id, spiffePrefix), "/")
	return domain
}

// ClientID is the client that the workload is: its name is that of the client.
func (s SPIFFEID) ClientID() ClientID { return ClientID(s) }

// CheckTrustDomain holds the name of a trust domain to SPIFFE-ID §2.1. It returns
// ErrBadTrustDomain.
func CheckTrustDomain(name string) error {
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil || td.Name() != name || len(name) > maxTrustDomain {
		return ErrBadTrustDomain
	}
	return nil
}

// Pattern names workloads of one trust domain: a SPIFFE ID in which a * stands for one
// whole segment of the path, never for several or for part of one.
type Pattern struct{ name string }

// ParsePattern checks and makes a Pattern; one without a * names one workload. It
// returns ErrBadPattern.
func ParsePattern(s string) (Pattern, error) {
	segments := strings.Split(s, "/")
	for i, segment := range segments {
		if i > 2 && segment == anySegment {
			segments[i] = standInForAny
		}
	}
	if _, err := ParseSPIFFEID(strings.Join(segments, "/")); err != nil {
		return Pattern{}, ErrBadPattern
	}
	return Pattern{s}, nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.name }

// Any reports whether the pattern has a *, so that it may name several workloads.
func (p Pattern) Any() bool { return strings.Contains(p.name, anySegment) }

// TrustDomain is the name of the trust domain.
func (p Pattern) TrustDomain() string { return SPIFFEID{p.name}.TrustDomain() }

// Matches reports whether the pattern names the workload.
func (p Pattern) Matches(id SPIFFEID) bool { return p.name != "" && meet(p.name, id.id) }

// Overlaps reports whether some workload may have both names.
func (p Pattern) Overlaps(q Pattern) bool { return meet(p.name, q.name) }

// meet compares segment by segment, without allocating. A SPIFFE ID has no *.
func meet(a, b string) bool {
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		if x != y && x != anySegment && y != anySegment || moreA != moreB {
			return false
		}
		if !moreA {
			return true
		}
		a, b = restA, restB
	}
}

// Names reports whether c, as somebody wrote it down, names the client d: because it
// is the same, or because it is a Pattern that d matches.
func (c ClientID) Names(d ClientID) bool {
	if c == d {
		return !c.IsZero()
	}
	if !strings.Contains(c.id, anySegment) {
		return false
	}
	p, err := ParsePattern(c.id)
	if err != nil {
		return false
	}
	id, err := ParseSPIFFEID(d.id)
	return err == nil && p.Matches(id)
}
