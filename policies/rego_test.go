package policies_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/wicketgate/wicketgate/policies"
)

// TestRego runs what opa test would.
func TestRego(t *testing.T) {
	b, err := os.ReadFile("access_test.rego")
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]*ast.Module{
		"access.rego":      ast.MustParseModule(policies.AccessRego()),
		"access_test.rego": ast.MustParseModule(string(b)),
	}
	store := inmem.New()
	txn, err := store.NewTransaction(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Abort(t.Context(), txn)
	results, err := tester.NewRunner().SetStore(store).SetModules(modules).RaiseBuiltinErrors(true).RunTests(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for r := range results {
		n++
		if !r.Pass() {
			t.Errorf("%s (line %d): %v", r.Name, r.Location.Row, r.Error)
		}
	}
	if want := strings.Count(string(b), "\ntest_"); n != want {
		t.Errorf("ran %d tests, want %d", n, want)
	}
}

func TestRegoIsFormatted(t *testing.T) {
	for _, f := range []string{"access.rego", "access_test.rego", "explain.rego"} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := format.Source(f, b)
		if err != nil || string(want) != string(b) {
			t.Errorf("%s is not as opa fmt writes it (%v):\n%s", f, err, want)
		}
	}
}

// A policy computes with what it is given: it cannot send what it sees anywhere,
// read the environment, or answer differently when a decision is replayed.
func TestPolicyCannotReachOut(t *testing.T) {
	for _, expr := range []string{
		`http.send({"method": "get", "url": "http://127.0.0.1/"})`, `net.lookup_ip_addr("example.com")`, `net.cidr_expand("10.0.0.0/30")`,
		`opa.runtime()`, `trace("x")`, `rand.intn("x", 2)`, `time.now_ns()`, `uuid.rfc4122("x")`,
		`json.match_schema({}, {"$ref": "http://127.0.0.1/"})`, `json.verify_schema({})`,
		`io.jwt.encode_sign({}, {}, {})`, `io.jwt.decode_verify("", {})`, `providers.aws.sign_req({}, {}, 1)`,
		`rego.parse_module("a", "")`, `crypto.x509.parse_certificates("")`, `strings.render_template("", {})`,
	} {
		module := fmt.Sprintf("package wicketgate.access\n\ndecision := x if x := %s", expr)
		name, _, _ := strings.Cut(expr, "(")
		_, err := policies.NewWithRego(t.Context(), policies.Config{Access: []byte(example)}, module)
		if err == nil || !strings.Contains(err.Error(), "undefined function "+name) {
			t.Errorf("policy that calls %s: %v, want undefined function", name, err)
		}
	}
}

// A new OPA brings new built-ins; each is looked at before a policy gets it.
func TestBuiltinsAreThoseReviewed(t *testing.T) {
	b, err := os.ReadFile("testdata/builtins.txt")
	if err != nil && !*update {
		t.Fatal(err)
	}
	names := policies.BuiltinNames()
	slices.Sort(names)
	got := strings.Join(names, "\n") + "\n"
	if *update {
		if err := os.WriteFile("testdata/builtins.txt", []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != string(b) {
		t.Errorf("built-ins changed: review them, then run go test -update\n%s", got)
	}
}
