// Package wicketgate_test holds the rules that no single package can keep.
package wicketgate_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/wicketgate/wicketgate/"

// allowed lists, for each package, the packages of this module that it may
// import. A package missing here fails the test, so that a new one is a decision.
// Packages under cmd may import anything; nobody imports them.
var allowed = map[string][]string{
	"internal/oauth":    {},
	"internal/identity": {},
	"internal/token":    {"internal/identity"},
	"internal/audit":    {"internal/identity"},
	"internal/keys":     {"internal/token"},
	"internal/web":      {"internal/oauth"},
	"internal/inline":   {},
	"internal/schema":   {},
	"internal/inspect":  {},
	"internal/redact":   {},
	"internal/jws":      {},
	"internal/dpop":     {"internal/oauth", "internal/jws"},

	"internal/federation": {"internal/jws", "internal/identity", "internal/oauth", "internal/token"},

	"internal/remote":     {"internal/identity", "internal/oauth", "internal/revocation", "internal/token"},
	"internal/revocation": {"internal/identity", "internal/token"},
	"internal/approval":   {"internal/identity", "internal/audit"},
	"internal/limit":      {},
	"internal/credential": {"internal/token"},
	"internal/vault":      {},
	"internal/transit":    {"internal/vault", "internal/keys"},
	"vaultbridge":         {"internal/vault", "internal/credential", "internal/audit", "internal/identity", "internal/token"},
	"internal/opaclient":  {"policies"},
	"internal/webhook":    {},

	"internal/limit/limittest": {"internal/limit"},

	"policies": {"internal/identity"},
	"authz":    {"policies", "internal/revocation", "internal/oauth", "internal/identity", "internal/token", "internal/audit", "internal/web", "internal/jws", "internal/dpop"},
	"exchange": {"policies", "internal/revocation", "internal/oauth", "internal/identity", "internal/token", "internal/audit"},
	"metadata": {"internal/oauth", "internal/web"},
	"gateway":  {"policies", "internal/revocation", "internal/approval", "internal/limit", "internal/credential", "internal/oauth", "internal/identity", "internal/token", "internal/audit", "internal/web", "internal/schema", "internal/redact", "internal/inspect", "internal/dpop"},

	"migrations":         {},
	"internal/sqlite":    {"migrations", "authz", "internal/revocation", "internal/approval", "internal/webhook", "gateway", "vaultbridge", "internal/audit", "internal/keys", "internal/identity", "internal/token"},
	"internal/postgres":  {"migrations", "authz", "internal/revocation", "internal/approval", "internal/webhook", "internal/limit", "gateway", "vaultbridge", "internal/audit", "internal/keys", "internal/identity", "internal/token"},
	"internal/pgtest":    {"internal/postgres", "internal/needed"},
	"internal/spiretest": {"internal/freeport", "internal/needed"},
	"internal/opatest":   {"internal/freeport", "internal/needed"},
	"internal/storetest": {"authz", "internal/revocation", "internal/approval", "internal/webhook", "internal/limit", "gateway", "vaultbridge", "internal/oauth", "internal/audit", "internal/keys", "internal/identity", "internal/token"},
	"internal/vaulttest": {"internal/freeport", "internal/needed"},
	"internal/freeport":  {},
	"internal/needed":    {},
	"internal/console":   {"policies", "internal/approval", "internal/oauth", "internal/identity", "internal/token", "internal/audit", "internal/web"},
	"internal/demomail":  {"internal/identity", "internal/token"},
	"internal/oidc":      {"authz", "internal/identity", "internal/oauth"},
	"internal/spiffe":    {"authz", "internal/identity", "internal/jws"},

	"internal/spiffetest": {},
	"internal/sandbox":    {},
	"internal/stdio":      {"internal/sandbox", "internal/credential"},
}

// only names the packages that may import each of these, or what is below it.
var only = map[string][]string{
	"database/sql":                           {"internal/sqlite", "internal/postgres"},
	"modernc.org/sqlite":                     {"internal/sqlite"},
	"github.com/pressly/goose":               {"internal/sqlite", "internal/postgres"},
	"github.com/jackc/pgx":                   {"internal/postgres"},
	"github.com/ory/fosite":                  {"authz"},
	"github.com/open-policy-agent/opa":       {"policies"},
	"github.com/modelcontextprotocol/go-sdk": {"internal/demomail"},
	"github.com/santhosh-tekuri/jsonschema":  {"internal/schema"},
	"github.com/coreos/go-oidc":              {"internal/oidc"},
	"github.com/spiffe/go-spiffe":            {"internal/identity", "internal/spiffe", "internal/spiffetest"},
	"golang.org/x/oauth2":                    {"internal/oidc"},
	"golang.org/x/text":                      {"internal/approval", "internal/inspect", "internal/redact", "policies"},
	"golang.org/x/time":                      {"gateway"},
	"github.com/sony/gobreaker":              {"gateway", "vaultbridge"},
	"github.com/hashicorp/vault/api":         {"internal/vault"},
	"github.com/standard-webhooks":           {"internal/webhook"},
	"github.com/landlock-lsm/go-landlock":    {"internal/sandbox"},
}

// TestImports reads the sources itself rather than asking go list, so that the
// test cache notices when any of them changes.
func TestImports(t *testing.T) {
	walk(t, func(file, pkg string, imports []string) {
		if strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(pkg, "bench") || strings.HasPrefix(pkg, "e2e") {
			return
		}
		want, ok := allowed[pkg]
		if !ok {
			t.Errorf("%s: package %s is not in the import table", file, pkg)
			return
		}
		for _, imp := range imports {
			for prefix, owners := range only {
				if (imp == prefix || strings.HasPrefix(imp, prefix+"/")) && !slices.Contains(owners, pkg) {
					t.Errorf("%s imports %s: only %v may", file, imp, owners)
				}
			}
			if dep, ok := strings.CutPrefix(imp, module); ok && !slices.Contains(want, dep) {
				t.Errorf("%s imports %s: not allowed", file, dep)
			}
		}
	})
}

// TestTableHasNoGhosts keeps the table from listing packages that are gone.
func TestTableHasNoGhosts(t *testing.T) {
	seen := map[string]bool{}
	walk(t, func(_, pkg string, _ []string) { seen[pkg] = true })
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("the import table lists %s, which has no Go files", pkg)
		}
	}
}

// TestReceivedTokensGoToTheAuthorizationServerAlone: what exchanges elsewhere may have
// the token that a caller presented, and nobody else: token passthrough is forbidden.
func TestReceivedTokensGoToTheAuthorizationServerAlone(t *testing.T) {
	found := false
	walk(t, func(file, pkg string, _ []string) {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		uses := strings.Contains(string(src), ".SubjectToken()")
		if found = found || uses; uses && pkg != "internal/remote" {
			t.Errorf("%s uses SubjectToken: only internal/remote may", file)
		}
	})
	if !found {
		t.Error("nobody uses SubjectToken: the test shows nothing")
	}
}

// walk calls f for every source file of this module that is no test.
func walk(t *testing.T, f func(file, pkg string, imports []string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if file != "." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || file == "tools" || file == "examples") {
				return filepath.SkipDir
			}
			return nil
		}
		pkg := path.Dir(filepath.ToSlash(file))
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || pkg == "." {
			return nil
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, spec := range parsed.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, imp)
		}
		f(file, pkg, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
