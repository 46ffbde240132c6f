package policies

import (
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Module is a person's own Rego, of package wicketgate.deny: it may only add denials.
type Module struct {
	Name string // its path, for errors
	Text string
}

// denyPackage is the only package of a Module.
const denyPackage = "data.wicketgate.deny"

// check returns what is wrong with m, a line for each mistake: FILE:LINE:COLUMN.
func (m Module) check() error {
	parsed, err := ast.ParseModuleWithOpts(m.Name, m.Text, ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()})
	if err != nil {
		return placed(err)
	}
	if parsed == nil {
		return fmt.Errorf("%s:1:1: the file is empty: begin with package wicketgate.deny", m.Name)
	}
	var errs []error
	at := func(l *ast.Location, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d:%d: %s", m.Name, l.Row, l.Col, fmt.Sprintf(format, args...)))
	}
	if parsed.Package.Path.String() != denyPackage {
		at(parsed.Package.Location, "package %s: write package wicketgate.deny, the only one that is evaluated", strings.TrimPrefix(parsed.Package.Path.String(), "data."))
		return errors.Join(errs...)
	}
	for _, i := range parsed.Imports {
		if p := i.Path.String(); p != "rego.v1" {
			at(i.Location, "import %s: a denial depends on input alone", p)
		}
	}
	for _, r := range parsed.Rules {
		if r.Head.Reference.String() == "deny" && r.Head.RuleKind() != ast.MultiValue {
			at(r.Location, "deny is a set of texts: write deny contains TEXT if { … }")
		}
	}
	return errors.Join(errs...)
}

// placed puts the places of OPA's errors before them, a line each.
func placed(err error) error {
	var list ast.Errors
	if !errors.As(err, &list) {
		return err
	}
	var errs []error
	for _, e := range list {
		if e.Location == nil {
			errs = append(errs, errors.New(e.Message))
			continue
		}
		errs = append(errs, fmt.Errorf("%s:%d:%d: %s", e.Location.File, e.Location.Row, max(e.Location.Col, 1), e.Message))
	}
	return errors.Join(errs...)
}
