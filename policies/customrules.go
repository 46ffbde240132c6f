package policies

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// add puts a person's own Rego beside the policy, once nothing in it can be a mistake of
// which nobody would hear.
func (s *source) add(own []Module) error {
	var errs []error
	s.modules = maps.Clone(s.modules)
	for _, m := range own {
		if err := m.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		if s.modules[m.Name] != "" {
			errs = append(errs, fmt.Errorf("%s:1:1: the file is here twice: keep one", m.Name))
		}
		errs = append(errs, m.checkNames()...)
		s.modules[m.Name] = m.Text
	}
	return errors.Join(errs...)
}

// checkNames finds what would never deny anything: a rule that is not deny, and that no
// other rule mentions; a member of the input that there is none of; and data, of which
// there is none that is meant for this.
func (m Module) checkNames() (errs []error) {
	parsed, err := ast.ParseModuleWithOpts(m.Name, m.Text, ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()})
	if err != nil || parsed == nil {
		return nil // check has said so
	}
	at := func(l *ast.Location, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d:%d: %s", m.Name, l.Row, l.Col, fmt.Sprintf(format, args...)))
	}
	mentioned := map[string]bool{"deny": true}
	for _, r := range parsed.Rules {
		own := r.Head.Ref()[0].Value.String()
		ast.WalkTerms(r, func(t *ast.Term) bool {
			for _, name := range variables(t) {
				mentioned[name] = mentioned[name] || name != own
			}
			return false
		})
		ast.WalkRefs(r, func(ref ast.Ref) bool {
			if ref[0].Equal(ast.DefaultRootDocument) {
				at(ref[0].Location, "%s: a denial depends on input alone", ref)
			}
			if len(ref) > 1 && ref[0].Equal(ast.InputRootDocument) {
				if name, ok := ref[1].Value.(ast.String); ok && !slices.Contains(inputNames, string(name)) {
					at(ref[1].Location, "input has no %s: it has %s", string(name), listed(inputNames))
				}
			}
			return false
		})
	}
	for _, r := range parsed.Rules {
		if name := r.Head.Ref()[0].Value.String(); !mentioned[name] {
			at(r.Location, "rule %s is used by no other: a denial is called deny, as deny contains \"TEXT\" if { … }", name)
		}
	}
	return errs
}

// variables are the names at the beginning of a term.
func variables(t *ast.Term) []string {
	switch v := t.Value.(type) {
	case ast.Var:
		return []string{string(v)}
	case ast.Ref:
		return variables(v[0])
	}
	return nil
}
