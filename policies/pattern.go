package policies

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// patterns tells which patterns of access.yaml a workload matches. It puts a * into the
// SPIFFE ID where some pattern has one, and looks the result up, so that the cost does
// not grow with the number of patterns but with that of the shapes that they have.
type patterns struct {
	shapes map[int][][]int // by the number of segments: which of them are a *
	named  map[string]identity.Pattern
}

func newPatterns(doc *document) *patterns {
	p := &patterns{map[int][][]int{}, map[string]identity.Pattern{}}
	for _, w := range doc.whose() {
		for _, pattern := range w.patterns {
			p.add(pattern)
		}
	}
	return p
}

func (p *patterns) add(pattern identity.Pattern) {
	p.named[pattern.String()] = pattern
	segments := strings.Split(pattern.String(), "/")
	var stars []int
	for i, s := range segments {
		if s == "*" {
			stars = append(stars, i)
		}
	}
	shapes := p.shapes[len(segments)]
	if i, found := slices.BinarySearchFunc(shapes, stars, slices.Compare); !found {
		p.shapes[len(segments)] = slices.Insert(shapes, i, stars)
	}
}

// of returns the patterns that name the workload. What a pattern means is not decided
// here but by identity.Pattern: a look-up only finds which to ask.
func (p *patterns) of(name string) []identity.Pattern {
	id, err := identity.ParseSPIFFEID(name)
	if err != nil {
		return nil
	}
	var out []identity.Pattern
	for _, stars := range p.shapes[strings.Count(name, "/")+1] {
		segments := strings.Split(name, "/")
		for _, i := range stars {
			segments[i] = "*"
		}
		if pattern := p.named[strings.Join(segments, "/")]; pattern.Matches(id) {
			out = append(out, pattern)
		}
	}
	return out
}

// term is a list, empty for a person: whatever they are called, they are no workload.
// It follows from the name and the kind, so that the key of a cached answer has it.
func (p *patterns) term(q *Request) (*ast.Term, error) {
	if q.kind() != "client" {
		return ast.ArrayTerm(), nil
	}
	var out []*ast.Term
	for _, pattern := range p.of(q.Subject.String()) {
		out = append(out, ast.StringTerm(pattern.String()))
	}
	return ast.ArrayTerm(out...), nil
}
