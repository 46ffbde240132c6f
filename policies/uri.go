package policies

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

const maxURI = 4 << 10 // bytes of a resource's URI, and of a template

// validURI is all that is asked of a URI before a decision on it: a server may name
// its resources as it likes, and who may read "*" may read them.
func validURI(s string) bool {
	return s != "" && len(s) <= maxURI && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

var errURI = errors.New(`write a URI like file:///docs/a.md, a prefix like "file:///docs/*", or "*" for every resource`)

var absoluteURI = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:(.+)$`) // RFC 3986 §4.3

// checkGrantedURI checks a resource of access.yaml: a URI to the letter, or a prefix,
// which ends in "/*". A prefix ends at a segment, and after the authority where there
// is one: "https://example.com*" would be the hosts of others too.
func checkGrantedURI(s string) error {
	prefix, isPrefix := strings.CutSuffix(s, every)
	m := absoluteURI.FindStringSubmatch(prefix)
	switch {
	case m == nil || !validURI(s) || strings.ContainsFunc(s, unseen):
		return errURI
	case strings.Contains(prefix, every):
		return errors.New(`"*" stands at the end only, after a "/"`)
	case strings.ContainsAny(prefix, "{}"):
		return errors.New(`a template is no URI: write a prefix, as "file:///docs/*", which grants the templates that begin with it too`)
	case isPrefix && (!strings.HasSuffix(prefix, "/") || m[1] == "/" || strings.HasPrefix(m[1], "//") && strings.Count(m[1], "/") < 3):
		return errors.New(`a prefix ends in "/*", after the host where there is one, as "file:///docs/*" or "https://example.com/*"`)
	case isPrefix && !plainURI(prefix):
		return errors.New(`a prefix has no "." or ".." segment, no "\", and no %2e, %2f, %5c or %25`)
	}
	return nil
}

// plainURI reports whether a prefix may match s: whether it is, for every server,
// however it resolves URIs (RFC 3986 §5.2.4, §6.2.2), below what it seems to be below.
// What is not plain is granted to the letter or by "*" only. The query counts like the
// path, because many a server takes all after the scheme for one path.
func plainURI(s string) bool {
	decoded, err := url.PathUnescape(s)
	if err != nil || structural.MatchString(s) || !validURI(decoded) || strings.Contains(decoded, "..") || strings.ContainsAny(decoded, foldedToDots) {
		return false
	}
	for segment := range strings.FieldsFuncSeq(decoded, func(r rune) bool { return strings.ContainsRune("/?#;", r) }) {
		if segment == "." {
			return false
		}
	}
	return true
}

// structural is what may be part of the URI's structure once it is decoded; %25 for
// who decodes twice.
var structural = regexp.MustCompile(`(?i)%(2e|2f|5c|25)`)

// foldedToDots are the backslash, and what Unicode's compatibility forms make dots and
// slashes of (UAX #15, NFKC).
const foldedToDots = "\\\u2024\u2025\u2026\ufe52\uff0e\uff0f\uff3c\ufe68"

// prefixes tells which prefixes of access.yaml a URI begins with. Each ends in a slash,
// so what begins the URI up to one is looked up: the cost does not grow with their number.
type prefixes struct {
	named   map[string]bool // without the "*"
	longest int
}

func newPrefixes(doc *document) *prefixes {
	p := &prefixes{named: map[string]bool{}}
	for _, r := range doc.roles {
		for _, s := range r.servers {
			for _, i := range s.lists[resources] {
				if prefix, ok := strings.CutSuffix(i.name, every); ok && prefix != "" {
					p.named[prefix], p.longest = true, max(p.longest, len(prefix))
				}
			}
		}
	}
	return p
}

// of returns the prefixes that the URI begins with, as access.yaml has them.
func (p *prefixes) of(uri string) []string {
	if p.longest == 0 || !plainURI(uri) {
		return nil
	}
	var out []string
	for i := range min(len(uri), p.longest) {
		if uri[i] == '/' && p.named[uri[:i+1]] {
			out = append(out, uri[:i+1]+every)
		}
	}
	return out
}

// term is a list. A template has the prefixes that its literal part begins with: all
// that it can name is then below them, or is not plain, and refused when it is read.
func (p *prefixes) term(q *Request) (*ast.Term, error) {
	literal, _, _ := strings.Cut(q.Template, "{") // RFC 6570 §2
	var out []*ast.Term
	for _, prefix := range p.of(q.Resource + literal) { // one of them is empty
		out = append(out, ast.StringTerm(prefix))
	}
	return ast.ArrayTerm(out...), nil
}
