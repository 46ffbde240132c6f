package policies

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// marks tells which resources of the facts and denials of access.yaml a URI may mean. A
// grant takes a URI to the letter; what takes something away takes every spelling that a
// server may resolve to what it names, and more rather than less.
type marks struct {
	named map[string][]string // by what folds to the same
	all   []string            // for a URI of which nobody knows what it means
}

func newMarks(doc *document) *marks {
	m := &marks{named: map[string][]string{}}
	seen := map[string]bool{every: true}
	add := func(items []item) {
		for _, i := range items {
			if seen[i.name] {
				continue
			}
			seen[i.name] = true
			key := strings.TrimSuffix(fold(i.name), "/")
			m.named[key] = append(m.named[key], i.name)
			m.all = append(m.all, i.name)
		}
	}
	for _, name := range sorted(doc.facts) {
		add(doc.facts[name].lists[resources])
	}
	for _, d := range doc.denials {
		for _, s := range d.servers {
			add(s.lists[resources])
		}
	}
	return m
}

// of returns the names that the URI may mean.
func (m *marks) of(uri string) []string {
	if !plainURI(uri) {
		return append([]string{every}, m.all...)
	}
	out := []string{every}
	folded := fold(uri)
	bare := folded
	if i := strings.IndexAny(folded, "?#"); i >= 0 {
		bare = folded[:i]
	}
	for _, s := range []string{folded, bare, parameters.ReplaceAllString(bare, "")} {
		s = strings.TrimSuffix(s, "/")
		out = append(out, m.named[s]...)
		s += "/" // a folder shows what is in it
		for i := range len(s) {
			if s[i] == '/' {
				out = append(out, m.named[s[:i+1]+every]...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// parameters are those of a segment (RFC 3986 §3.3), which some servers take for no part of
// its name.
var parameters = regexp.MustCompile(`;[^/]*`)

// sameAuthority are spellings of no authority, and of a port that need not be said.
var sameAuthority = strings.NewReplacer("file:/localhost/", "file:/", ":443/", "/", ":80/", "/")

// fold makes one of the spellings that a server may take for the same: case, percent-
// encoding, repeated slashes, forms of Unicode, what the authority need not say.
func fold(uri string) string {
	if decoded, err := url.PathUnescape(uri); err == nil {
		uri = decoded
	}
	uri = cases.Fold().String(norm.NFKC.String(uri))
	for strings.Contains(uri, "//") {
		uri = strings.ReplaceAll(uri, "//", "/")
	}
	return sameAuthority.Replace(uri)
}

// term is a list. A template may mean all that begins with its literal part.
func (m *marks) term(q *Request) (*ast.Term, error) {
	literal, _, _ := strings.Cut(q.Template, "{") // RFC 6570 §2
	var out []*ast.Term
	if q.Resource != "" || q.Template != "" {
		for _, n := range m.of(q.Resource + literal) { // one of them is empty
			out = append(out, ast.StringTerm(n))
		}
	}
	return ast.ArrayTerm(out...), nil
}
