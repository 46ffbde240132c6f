package approval

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Key is the SHA-256 of the whole Binding. Every part has its length before it, so that
// nothing can move from one part into the next and make another call the same one.
func (b Binding) Key() []byte {
	h := sha256.New()
	part := func(s string) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	part("wicketgate approval 1")
	for _, s := range []string{b.Subject.String(), b.Client.String(), b.Server, b.Tool, b.ArgumentsDigest, b.DefinitionDigest, b.PolicyDigest, b.Rule} {
		part(s)
	}
	for _, a := range b.Actors { // the last parts, so that their number is clear
		part(a)
	}
	return h.Sum(nil)
}

// complete reports whether b says enough to bind anything: an approval without a digest
// would be one for every call.
func (b Binding) complete() bool {
	return !b.Subject.IsZero() && !b.Client.IsZero() &&
		!slices.Contains([]string{b.Server, b.Tool, b.ArgumentsDigest, b.DefinitionDigest, b.PolicyDigest, b.Rule}, "")
}

// takesPart reports whether the person is the subject of the call, its client or in its
// delegation chain.
func (s *Service) takesPart(r Request, person identity.Subject) bool {
	for _, name := range append([]string{r.Subject.String(), r.Client.String()}, r.Actors...) {
		if s.alike(name, person.String()) {
			return true
		}
	}
	return false
}

// alike reports whether two names may be one person's. An identity provider that names
// people by e-mail address may spell one in two ways, and the same person has an issuer
// before the name when they come from another one ("https://idp.example|alice"). Whoever
// is taken for another one here can ask somebody else to decide; the reverse cannot be
// put right.
func (s *Service) alike(a, b string) bool {
	those := s.bare(b)
	return slices.ContainsFunc(s.bare(a), func(name string) bool { return slices.Contains(those, name) })
}

// bare is what the name may be without what other issuers have before it, where one of
// these may begin with another one, and however its letters are spelled.
func (s *Service) bare(name string) []string {
	all := []string{name}
	for _, p := range s.cfg.Prefixes {
		if rest, ok := strings.CutPrefix(name, p); ok && rest != "" {
			all = append(all, rest)
		}
	}
	for i, n := range all {
		all[i] = norm.NFKC.String(cases.Fold().String(norm.NFKC.String(n[strings.LastIndexByte(n, '|')+1:])))
	}
	return all
}
