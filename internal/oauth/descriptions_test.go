package oauth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDescriptionsAreConstantAndQuotable reads every oauth.Error in the sources of
// this module: its Description holds no quotation mark and no backslash (RFC 6749
// §5.2), is ASCII, and is spelled out where it is used or is that of another one.
func TestDescriptionsAreConstantAndQuotable(t *testing.T) {
	found := 0
	err := filepath.WalkDir(filepath.Join("..", ".."), func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "tools" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || !isError(lit.Type, f.Name.Name) {
				return true
			}
			for _, e := range lit.Elts {
				kv, ok := e.(*ast.KeyValueExpr)
				if !ok {
					t.Errorf("%s: fields of an Error without their names", fset.Position(lit.Pos()))
				} else if key, _ := kv.Key.(*ast.Ident); key != nil && key.Name == "Description" {
					found++
					checkDescription(t, fset, kv.Value)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || found < 10 {
		t.Errorf("%d descriptions, %v", found, err)
	}
}

// isError reports whether it is oauth.Error, as a package of that name writes it.
func isError(e ast.Expr, pkg string) bool {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		x, _ := e.X.(*ast.Ident)
		return x != nil && x.Name == "oauth" && e.Sel.Name == "Error"
	case *ast.Ident:
		return pkg == "oauth" && e.Name == "Error"
	}
	return false
}

func checkDescription(t *testing.T, fset *token.FileSet, e ast.Expr) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err != nil || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
			t.Errorf("%s: %s cannot be an error_description", fset.Position(e.Pos()), e.Value)
		}
	case *ast.BinaryExpr:
		t.Errorf("%s: Description is put together", fset.Position(e.Pos()))
	case *ast.CallExpr:
		if f, _ := e.Fun.(*ast.SelectorExpr); f != nil && (f.Sel.Name == "Sprintf" || f.Sel.Name == "Error") {
			t.Errorf("%s: Description is made by %s", fset.Position(e.Pos()), f.Sel.Name)
		}
	}
}
