package policies

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

//go:embed explain.rego
var explainRego string

// Explanation is why a question is decided as it is. It is for who keeps the policy:
// it tells what others may do.
type Explanation struct {
	Decision Decision
	Roles    []RoleCheck   // all of the policy, by name
	Grants   []GrantCheck  // all that name the tool, resource or prompt, by rule
	Denials  []DenialCheck // likewise
	Rego     bool          // a person's own Rego denies too, for reasons that are its own
}

// Check is one condition, and whether it holds.
type Check struct {
	Text   string // "argument limit must be at most 100"
	At     string // "access.yaml:12"
	Reason Reason // why it is denied where it does not hold
	Holds  bool
	Reads  []Fact // of the caller and the call
}

// RoleCheck is a role: who names the caller, or not, and what holds of its when.
type RoleCheck struct {
	Name, At string
	Who      []string // as in a MatrixRole
	Named    bool     // who names the caller
	Has      bool     // and all of when holds
	When     []Check
	Reads    []Fact // what who asks for, beside names
}

// GrantCheck is one rule that grants what is asked about, whoever has its role.
type GrantCheck struct {
	Role, Rule, At string
	Has            bool // the caller has the role
	Holds          bool // and all of Checks holds
	Checks         []Check
}

// DenialCheck is one rule of deny that names what is asked about.
type DenialCheck struct {
	Rule, At string
	Reason   string // as access.yaml has it
	Applies  bool   // to this caller, at this time
	Reads    []Fact // what who asks for, beside names
}

// ErrNotOurs is for a policy that is a bundle of another make, or at an OPA elsewhere: it
// answers, and nobody here knows its rules.
var ErrNotOurs = errors.New("only what access.yaml says can be explained, and this policy is another")

// Explain decides q and tells what of the policy speaks for it and against. With
// ErrNotOurs there is a Decision.
func (p *PDP) Explain(ctx context.Context, q Request) (Explanation, error) {
	e := Explanation{Decision: p.Decide(ctx, q)}
	switch {
	case e.Decision.Reason == ReasonNoPolicy || q.check() != "":
		return e, nil // the decision says all there is
	case p.doc == nil || p.engine == nil || p.engine.targets == nil:
		return e, ErrNotOurs
	}
	query, err := p.explainer.of(ctx, p.doc)
	if err != nil {
		return e, fmt.Errorf("explain: %w", err)
	}
	in, err := p.engine.input(&q)
	if err != nil {
		return e, fmt.Errorf("explain: %w", err)
	}
	rs, err := query.Eval(ctx, rego.EvalParsedInput(in))
	if err != nil || len(rs) == 0 {
		return e, errors.Join(errors.New("explain: the policy gives no answer"), err)
	}
	b, err := json.Marshal(rs[0].Expressions[0].Value)
	if err != nil {
		return e, fmt.Errorf("explain: %w", err)
	}
	var x explained
	if err := json.Unmarshal(b, &x); err != nil {
		return e, fmt.Errorf("explain: %w", err)
	}
	p.fill(&e, &q, x)
	return e, nil
}

// explainer is the query of Explain, prepared when it is first asked.
type explainer struct {
	once  sync.Once
	query rego.PreparedEvalQuery
	err   error
}

func (x *explainer) of(ctx context.Context, doc *document) (rego.PreparedEvalQuery, error) {
	x.once.Do(func() { x.query, x.err = prepareExplain(context.WithoutCancel(ctx), doc) })
	return x.query, x.err
}

func prepareExplain(ctx context.Context, doc *document) (rego.PreparedEvalQuery, error) {
	data, _ := compile("", doc)
	raw, err := data.canonical()
	if err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	v, err := ast.ValueFromReader(strings.NewReader(string(raw)))
	if err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	root, ok := v.(ast.Object)
	if !ok {
		return rego.PreparedEvalQuery{}, errors.New("data is not an object")
	}
	return prepare(ctx, []func(*rego.Rego){rego.Query("data.wicketgate.explain.answer"), rego.Capabilities(capabilities()), rego.Strict(true), rego.StrictBuiltinErrors(true),
		rego.Store(inmem.NewFromASTObject(root)), rego.Module(embeddedName, accessRego), rego.Module("policies/explain.rego", explainRego)})
}
