package policies

import (
	"net/url"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"golang.org/x/net/idna"
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
	for _, folded := range spellings(fold(uri)) {
		out = append(out, m.named[strings.TrimSuffix(folded, "/")]...)
		below := strings.TrimSuffix(folded, "/") + "/" // a folder shows what is in it
		for i := range len(below) {
			if below[i] == '/' {
				out = append(out, m.named[below[:i+1]+every]...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// spellings are the folded URI as it is, and without what is no part of the name for many a
// server: the query and the fragment, the parameters of each segment (RFC 3986 §3.3), and
// what Windows drops of them or takes for a stream of the file.
func spellings(folded string) []string {
	bare := folded
	if i := strings.IndexAny(folded, "?#"); i >= 0 {
		bare = folded[:i]
	}
	scheme, rest, _ := strings.Cut(bare, ":")
	segments := strings.Split(rest, "/")
	for i, s := range segments {
		if end := strings.IndexAny(s, ";:"); end >= 0 && (s[end] == ';' || scheme == "file") {
			s = s[:end]
		}
		segments[i] = strings.TrimRight(s, " .")
	}
	return []string{folded, bare, oneSlash(scheme + ":" + strings.Join(segments, "/"))}
}

// fold makes one of the spellings that a server may take for the same: case, percent-
// encoding, repeated slashes, forms of Unicode, letters that are not seen, what the
// authority need not say.
func fold(uri string) string {
	if scheme, rest, ok := strings.Cut(uri, ":"); ok {
		uri = scheme + ":" + foldAuthority(strings.ToLower(scheme), rest)
	}
	if decoded, err := url.PathUnescape(uri); err == nil {
		uri = decoded
	}
	uri = strings.Map(func(r rune) rune {
		if unseen(r) && r != ' ' {
			return -1
		}
		return r
	}, norm.NFKC.String(uri))
	return oneSlash(norm.NFKC.String(cases.Fold().String(uri)))
}

func oneSlash(uri string) string {
	for strings.Contains(uri, "//") {
		uri = strings.ReplaceAll(uri, "//", "/")
	}
	return uri
}

// ports need not be said.
var ports = map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}

// foldAuthority takes user information and the scheme's own port out of the authority, and of a file's all: a server has its own files alone. A scheme of the web
// has an authority after any number of slashes (WHATWG URL).
func foldAuthority(scheme, rest string) string {
	after, ok := strings.CutPrefix(rest, "//")
	switch {
	case ports[scheme] != "":
		rest = strings.TrimLeft(rest, "/")
	case !ok:
		return rest
	default:
		rest = after
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if scheme == "file" {
		return rest[end:]
	}
	name, port := rest[strings.LastIndexByte(rest[:end], '@')+1:end], ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, ']') { // of an IPv6 address
		name, port = name[:i], name[i:]
	}
	if number := strings.TrimLeft(port, ":0"); number == "" || number == ports[scheme] {
		port = ""
	}
	if decoded, err := url.PathUnescape(name); err == nil {
		name = decoded
	}
	if ascii, err := idna.Lookup.ToASCII(name); err == nil {
		name = ascii
	}
	return "//" + name + port + rest[end:]
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
