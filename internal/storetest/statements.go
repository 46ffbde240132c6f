package storetest

import (
	"errors"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"regexp"
	"strings"
	"testing"
)

var statement = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s`)

// Statements are the SQL statements of the package in the working directory, as its
// sources put them together from constants. One that is put together while the
// program runs is not whole, and so none that a database explains.
func Statements(t *testing.T) (all []string) {
	t.Helper()
	set := token.NewFileSet()
	files := parse(t, set)
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	c := types.Config{Importer: nothing{}, Error: func(error) {}} // what is not imported has no constants of ours
	_, _ = c.Check(".", set, files, info)
	seen := map[string]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if v := info.Types[e].Value; ok && v != nil && v.Kind() == constant.String {
				if s := constant.StringVal(v); statement.MatchString(s) && !seen[s] {
					seen[s] = true
					all = append(all, s)
				}
				return false
			}
			return true
		})
	}
	return all
}

// parse reads the sources that are neither tests nor for benchmarks.
func parse(t *testing.T, set *token.FileSet) (files []*ast.File) {
	t.Helper()
	entries, err := os.ReadDir(".")
	must(t, err)
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && name != "grow.go" {
			f, err := parser.ParseFile(set, name, nil, 0)
			must(t, err)
			files = append(files, f)
		}
	}
	return files
}

// nothing imports no package.
type nothing struct{}

// Import implements types.Importer.
func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }
