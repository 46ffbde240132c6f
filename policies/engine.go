package policies

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
)

//go:embed access.rego
var accessRego string

const query = "data.wicketgate.access.decision"

// source is the Rego of a policy.
type source struct {
	modules map[string]string // by file name
	data    []byte            // JSON, in the place of what access.yaml compiles to; may be nil
	options []func(*rego.Rego)
}

const embeddedName = "policies/access.rego"

func embedded(*document) source {
	return source{modules: map[string]string{embeddedName: accessRego}}
}

// engine is a prepared query over data that never changes.
type engine struct {
	query   rego.PreparedEvalQuery
	reads   reads
	always  need    // of reads
	targets targets // what the embedded policy reads besides; nil of another
	members []member
	remote  *remote // in the place of query; may be nil
}

// newEngine compiles the modules and loads data, a JSON object.
func newEngine(ctx context.Context, src source, doc *document, data []byte) (*engine, error) {
	v, err := ast.ValueFromReader(strings.NewReader(string(data)))
	if err != nil {
		return nil, err
	}
	root, ok := v.(ast.Object)
	if !ok {
		return nil, errors.New("data is not an object")
	}
	var compiler *ast.Compiler
	options := []func(*rego.Rego){
		rego.Query(query),
		rego.Capabilities(capabilities()),
		rego.Strict(true),
		rego.StrictBuiltinErrors(true), // an error is an error, not "undefined"
		rego.Store(inmem.NewFromASTObject(root)),
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t.Value, nil }),
		rego.CompilerHook(func(c *ast.Compiler) { compiler = c }),
	}
	for name, text := range src.modules {
		options = append(options, rego.Module(name, text))
	}
	q, err := prepare(ctx, append(options, src.options...))
	if err != nil {
		return nil, err
	}
	if src.modules[embeddedName] != accessRego || src.data != nil { // doc may not tell what this data needs
		r := readsOf(compiler.Modules)
		return &engine{query: q, reads: r, always: r.need(), members: r.members(doc)}, nil
	}
	own := maps.Clone(compiler.Modules)
	delete(own, embeddedName) // of which doc knows what it reads
	r := readsOf(own)
	maps.Copy(r, doc.reads())
	return &engine{query: q, reads: r, always: r.need(), targets: newTargets(doc), members: r.membersOf(doc, needAll)}, nil
}

// compiling is held while OPA compiles: its type checker writes into types that all
// compilers of a process share (ast/env.go, mergeTypes).
var compiling sync.Mutex

func prepare(ctx context.Context, options []func(*rego.Rego)) (rego.PreparedEvalQuery, error) {
	compiling.Lock()
	defer compiling.Unlock()
	return rego.New(options...).PrepareForEval(ctx)
}

// ask evaluates the query until ctx ends. It returns either an answer or the
// reason why there is none, with the error for logs.
func (e *engine) ask(ctx context.Context, q Request) (answer, Reason, error) {
	in, err := e.input(&q)
	if err != nil {
		return answer{}, ReasonInvalidRequest, err
	}
	if e.remote != nil {
		return e.remote.ask(ctx, in)
	}
	// Without a Cancel of ours, every evaluation starts a goroutine for one.
	c := topdown.NewCancel()
	defer context.AfterFunc(ctx, c.Cancel)()
	rs, err := e.query.Eval(ctx, rego.EvalParsedInput(in), rego.EvalExternalCancel(c), rego.EvalMetrics(metrics.NoOp()))
	switch {
	case err != nil:
		return answer{}, ReasonEvaluationError, err
	case len(rs) == 0:
		return answer{}, ReasonUndefined, errors.New("the policy has no decision")
	}
	// One ground reference has one result with one expression.
	a, ok := answerOf(rs[0].Expressions[0].Value)
	if !ok {
		return answer{}, ReasonMalformed, fmt.Errorf("the policy's decision is %v", rs[0].Expressions[0].Value)
	}
	return a, "", nil
}

func (e *engine) input(q *Request) (ast.Object, error) {
	need := e.targets.of(q)
	items := make([][2]*ast.Term, 0, len(e.members))
	for _, m := range e.members {
		if m.need != 0 && m.need&need == 0 {
			continue
		}
		v, err := m.value(q)
		if err != nil {
			return nil, err
		}
		if v != nil {
			items = append(items, [2]*ast.Term{m.name, v})
		}
	}
	return ast.NewObject(items...), nil
}

// capabilities are the built-ins that a policy may use: pure functions of the
// input and the data, so that a decision can be replayed and reaches nothing.
// A category that a later OPA adds is not among them until it is put here.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{} // nil would be every host
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool { return !pure(b) })
	return c
}

// families are the built-ins with such a name before the dot, or of such a category.
var families = []string{
	"aggregates", "array", "base64", "base64url", "bits", "comparison", "conversions", "encoding", "glob", "graph",
	"hex", "json", "numbers", "object", "regex", "semver", "sets", "strings", "time", "types", "units", "uri",
	"urlquery", "uuid", "yaml",
}

func pure(b *ast.Builtin) bool {
	switch {
	case b.Nondeterministic || b.Name == "strings.render_template":
		return false
	case b.Name == "internal.member_2" || b.Name == "internal.member_3" || b.Name == "internal.template_string" || b.Infix != "":
		return true // what operators and keywords compile to
	}
	family, _, dotted := strings.Cut(b.Name, ".")
	if dotted {
		return slices.Contains(families, family)
	}
	return slices.ContainsFunc(b.Categories, func(c string) bool { return slices.Contains(families, c) })
}
