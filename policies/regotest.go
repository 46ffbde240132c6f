package policies

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// RegoTest is what came of one rule whose name begins with test_, or todo_test_, which
// is not run.
type RegoTest struct {
	Name    string // data.wicketgate.deny_test.test_nobody_deletes
	At      string // file:line
	Passed  bool
	Skipped bool
	Err     error // of one that could not be evaluated
}

// RunRegoTests runs the tests among modules, Rego by file name, as opa test would, beside
// the embedded policy and the data that access.yaml compiles to. They have the built-ins
// that a policy has and no others, so that what passes here compiles there.
func RunRegoTests(ctx context.Context, cfg Config, modules map[string]string) ([]RegoTest, error) {
	parsed, err := parseRego(modules)
	if err != nil {
		return nil, err
	}
	store, err := regoStore(cfg)
	if err != nil {
		return nil, err
	}
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	defer store.Abort(ctx, txn)
	compiler := ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)
	compiling.Lock() // RunTests compiles
	results, err := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetModules(parsed).RaiseBuiltinErrors(true).SetTimeout(defaultTimeout).RunTests(ctx, txn)
	compiling.Unlock()
	if err != nil {
		return nil, placed(err)
	}
	var out []RegoTest
	for r := range results {
		out = append(out, RegoTest{Name: r.Package + "." + r.Name, At: fmt.Sprintf("%s:%d", r.Location.File, r.Location.Row), Passed: r.Pass(), Skipped: r.Skip, Err: r.Error})
	}
	slices.SortFunc(out, func(a, b RegoTest) int { return cmp.Compare(a.Name, b.Name) })
	return out, ctx.Err()
}

// parseRego adds the embedded policy, whose package is nobody else's.
func parseRego(modules map[string]string) (map[string]*ast.Module, error) {
	out := map[string]*ast.Module{}
	for name, text := range modules {
		m, err := ast.ParseModule(name, text)
		if err != nil {
			return nil, placed(err)
		}
		if of := strings.TrimPrefix(m.Package.Path.String(), "data."); of == "wicketgate.access" {
			return nil, fmt.Errorf("%s:%d: package %s is the policy itself: denials are in package wicketgate.deny, tests in one of their own", name, m.Package.Location.Row, of)
		}
		out[name] = m
	}
	m, err := ast.ParseModule("policies/access.rego", accessRego)
	if err != nil {
		return nil, err
	}
	out["policies/access.rego"] = m
	return out, nil
}

// regoStore has the data that access.yaml compiles to.
func regoStore(cfg Config) (storage.Store, error) {
	doc, err := parseAccess(cmp.Or(cfg.Name, "access.yaml"), cfg.Access)
	if err != nil || doc == nil {
		return inmem.New(), err
	}
	data, _ := compile(cfg.Name, doc)
	raw, err := data.canonical()
	if err != nil {
		return nil, err
	}
	return inmem.NewFromReader(strings.NewReader(string(raw))), nil
}
