package policies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Want is the answer that a case expects.
type Want string

// What a case may want. The last three are denials that say what is missing.
const (
	WantAllow            Want = "allow"
	WantDeny             Want = "deny"
	WantApproval         Want = "approval"
	WantStepUp           Want = "step_up"
	WantSenderConstraint Want = "sender_constraint"
)

var wants = []Want{WantAllow, WantDeny, WantApproval, WantStepUp, WantSenderConstraint}

// caseReasons are those that a policy itself gives: a case may expect one of them.
var caseReasons = []Reason{ReasonAllowed, ReasonNoPolicy, ReasonInvalidRequest, ReasonNoRole, ReasonNotGranted, ReasonDenied, ReasonDeniedByRego,
	ReasonCondition, ReasonHours, ReasonArgument, ReasonSenderConstraint, ReasonStepUp, ReasonApproval}

// Case is a question with the answer that a policy should give.
type Case struct {
	Name    string
	At      string // file:line of it
	Request Request
	Want    Want
	Reason  Reason // empty: whichever
	// Approved has the call approved by the rule that asks for it, if one does.
	Approved bool
}

// Cases is a file of them.
type Cases struct {
	Policy string // file of the policy, as the file of cases names it; may be empty
	Cases  []Case
}

// Decider is a policy.
type Decider interface {
	Decide(ctx context.Context, q Request) Decision
}

// Run asks the policy. The text is what is wrong with its answer, empty if it is the
// one that was wanted.
//
// A server in observe mode is held to what its rules say: cases are about rules, and
// have to pass before and after they are enforced.
func (c Case) Run(ctx context.Context, policy Decider) (Decision, string) {
	d := policy.Decide(ctx, c.Request)
	if c.Approved && d.Reason == ReasonApproval {
		q := c.Request
		q.Rule = d.Needs.Rule
		d = policy.Decide(ctx, q)
	}
	got, reason := d.Answer()
	switch {
	case got != c.Want:
		return d, fmt.Sprintf("want %s, got %s (%s)", c.Want, got, reason)
	case c.Reason != "" && reason != c.Reason:
		return d, fmt.Sprintf("want %s for the reason %s, got %s", c.Want, c.Reason, reason)
	}
	return d, ""
}

// Answer is the decision in the words of cases, and its reason: by the rules, so that what
// only observe mode allows is denied.
func (d Decision) Answer() (Want, Reason) {
	reason := d.Reason
	if d.Observed != "" {
		return WantDeny, d.Observed
	}
	switch reason {
	case ReasonApproval:
		return WantApproval, reason
	case ReasonStepUp:
		return WantStepUp, reason
	case ReasonSenderConstraint:
		return WantSenderConstraint, reason
	}
	if d.Allowed() {
		return WantAllow, reason
	}
	return WantDeny, reason
}

// ParseCases reads a file of cases; name is its name in errors, which have a line for
// each mistake, with file:line:column.
func ParseCases(name string, b []byte) (Cases, error) {
	p := newCaseParser(name)
	root, err := p.decode(b)
	if err != nil {
		return Cases{}, err
	}
	if root == nil {
		return Cases{}, fmt.Errorf("%s:1:1: there are no cases here: write cases: [{name: ..., subject: ..., server: ..., tool: ..., want: allow}]", name)
	}
	out := p.cases(root)
	return out, errors.Join(p.errs...)
}

func (p *parser) cases(root *yaml.Node) (out Cases) {
	f := p.fields(root, "a file of cases", "policy", "cases")
	if f == nil {
		return out
	}
	if f["policy"] != nil && p.text(f["policy"], "policy") {
		out.Policy = f["policy"].Value
	}
	switch list := f["cases"]; {
	case list == nil:
		p.errorf(root, "there are no cases here: add cases: [...]")
	case p.is(list, yaml.SequenceNode, "cases"):
		if len(list.Content) == 0 {
			p.errorf(list, "cases is empty: add one")
		}
		names := map[string]int{}
		for _, n := range list.Content {
			c := p.oneCase(n)
			if line, ok := names[c.Name]; ok && c.Name != "" {
				p.errorf(n, "a case named %+q is already on line %d: give each its own name", c.Name, line)
			}
			names[c.Name] = n.Line
			out.Cases = append(out.Cases, c)
		}
	}
	return out
}

// caseFields in the order in which a case reads well.
var caseFields = []string{"name", "subject", "client", "workload", "groups", "claims", "acr", "auth_time", "bound",
	"server", "tool", "resource", "prompt", "arguments", "time", "approved", "want", "reason"}

func (p *parser) oneCase(n *yaml.Node) Case {
	f := p.fields(n, "a case", caseFields...)
	if f == nil {
		return Case{}
	}
	before := len(p.errs)
	c := Case{At: fmt.Sprintf("%s:%d", p.file, n.Line), Name: p.textOf(f, "name"), Approved: p.boolOf(f, "approved")}
	if f["name"] == nil {
		p.errorf(n, "the case has no name: add name: WHAT IT SHOWS")
	}
	c.Request = p.caseRequest(n, f)
	c.Want = caseWord(p, f, n, wants)
	if f["reason"] != nil {
		c.Reason = caseWord(p, map[string]*yaml.Node{"want": f["reason"]}, n, caseReasons)
	}
	if c.Reason == "" || len(p.errs) > before {
		return c
	}
	if got, _ := (Decision{allow: c.Reason == ReasonAllowed, Reason: c.Reason}).Answer(); got != c.Want {
		p.errorf(f["reason"], "the reason %s is never that of %s", c.Reason, c.Want)
	}
	return c
}

// caseWord reads the key want, or what stands in its place.
func caseWord[T ~string](p *parser, f map[string]*yaml.Node, of *yaml.Node, all []T) T {
	n := f["want"]
	var names []string
	for _, v := range all {
		names = append(names, string(v))
	}
	switch {
	case n == nil:
		p.errorf(of, "the case does not say what it wants: add want: %s", strings.Join(names, ", "))
	case !p.text(n, "value"):
	case !slices.Contains(names, n.Value):
		p.errorf(n, "%s is none of %s", shown(n), listed(names))
	default:
		return T(n.Value)
	}
	return ""
}

func (p *parser) caseRequest(n *yaml.Node, f map[string]*yaml.Node) Request {
	q := Request{
		Workload: p.boolOf(f, "workload"), ACR: p.textOf(f, "acr"), AuthTime: p.timeOf(f, "auth_time"), Bound: p.boolOf(f, "bound"),
		Server: p.textOf(f, "server"), Tool: p.textOf(f, "tool"), Resource: p.textOf(f, "resource"), Prompt: p.textOf(f, "prompt"), Time: p.timeOf(f, "time"),
	}
	for _, g := range p.list(f["groups"], "groups", "group") {
		q.Groups = append(q.Groups, g.Value)
	}
	if f["claims"] != nil && p.is(f["claims"], yaml.MappingNode, "claims") {
		q.Claims = p.json(f["claims"])
	}
	p.caseCaller(n, f, &q)
	p.caseAbout(n, f, &q)
	return q
}

// caseCaller: a case about a person may leave the client out, one about a workload the
// subject.
func (p *parser) caseCaller(n *yaml.Node, f map[string]*yaml.Node, q *Request) {
	client, subject := p.textOf(f, "client"), p.textOf(f, "subject")
	if client == "" && subject == "" {
		p.errorf(n, "the case has no caller: add subject: PERSON or client: CLIENT_ID")
		return
	}
	if client == "" {
		client = "a-client"
	}
	if subject == "" {
		subject = client
	}
	var err error
	if q.Subject, err = identity.ParseSubject(subject); err != nil {
		p.errorf(n, "subject %+q: %v", subject, err)
	}
	if q.ClientID, err = identity.ParseClientID(client); err != nil {
		p.errorf(n, "client %+q: %v", client, err)
	}
}

// caseAbout sets what the case is about. Without arguments it is no call, but the
// question whether the caller sees the tool.
func (p *parser) caseAbout(n *yaml.Node, f map[string]*yaml.Node, q *Request) {
	if f["server"] == nil {
		p.errorf(n, "the case names no server: add server: NAME")
	}
	named := 0
	for key, action := range map[string]Action{"tool": ActionCallTool, "resource": ActionReadResource, "prompt": ActionGetPrompt} {
		if f[key] != nil {
			q.Action = action
			named++
		}
	}
	if named != 1 {
		p.errorf(n, "a case is about one tool, resource or prompt: this one names %d", named)
		return
	}
	if q.Action == ActionReadResource {
		if f["arguments"] != nil {
			p.errorf(f["arguments"], "a resource is read without arguments: remove them")
		}
		return
	}
	if f["arguments"] != nil && p.is(f["arguments"], yaml.MappingNode, "arguments") {
		q.Arguments = p.json(f["arguments"])
	}
}

func (p *parser) textOf(f map[string]*yaml.Node, key string) string {
	if n := f[key]; n != nil && p.text(n, key) {
		return n.Value
	}
	return ""
}

func (p *parser) boolOf(f map[string]*yaml.Node, key string) bool {
	n := f[key]
	if n == nil || !p.is(n, yaml.ScalarNode, key) {
		return false
	}
	if n.ShortTag() != "!!bool" || n.Value != "true" && n.Value != "false" {
		p.errorf(n, "%s is %s: write true or false", key, shown(n))
	}
	return n.Value == "true"
}

func (p *parser) timeOf(f map[string]*yaml.Node, key string) time.Time {
	n := f[key]
	if n == nil || !p.is(n, yaml.ScalarNode, key) {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, n.Value)
	if err != nil {
		p.errorf(n, "%s is %s: write a time as in 2026-12-01T09:30:00+09:00", key, shown(n))
	}
	return t
}

// json is a value of YAML as JSON: what would read as something else than it looks like
// is refused.
func (p *parser) json(n *yaml.Node) jsontext.Value {
	var b []byte
	switch {
	case !p.plain(n):
	case n.Kind == yaml.MappingNode:
		b = append(b, '{')
		for i, e := range p.entries(n, "the object", "key") {
			b, _ = jsontext.AppendQuote(append(b, ","[:min(i, 1)]...), e.key.Value)
			b = append(append(b, ':'), p.json(e.value)...)
		}
		b = append(b, '}')
	case n.Kind == yaml.SequenceNode:
		b = append(b, '[')
		for i, item := range n.Content {
			b = append(append(b, ","[:min(i, 1)]...), p.json(item)...)
		}
		b = append(b, ']')
	default:
		return p.jsonScalar(n)
	}
	return b
}

func (p *parser) jsonScalar(n *yaml.Node) jsontext.Value {
	switch tag := n.ShortTag(); {
	case tag == "!!null" && (n.Value == "null" || n.Value == ""):
		return jsontext.Value("null")
	case tag == "!!str":
		b, _ := jsontext.AppendQuote(nil, n.Value)
		return b
	case tag == "!!bool" && (n.Value == "true" || n.Value == "false"):
		return jsontext.Value(n.Value)
	case (tag == "!!int" || tag == "!!float") && jsonNumber.MatchString(n.Value):
		return jsontext.Value(n.Value)
	}
	p.errorf(n, "value %s is neither text, true, false, null nor a number as in JSON: put it in quotes if it is text", strings.Trim(shown(n), `"`))
	return jsontext.Value("null")
}

func newCaseParser(file string) *parser { return newParser(file) }
