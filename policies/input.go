package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// Bounds of the names in a request: what access.yaml cannot name is not asked.
const (
	maxServer = 63
	maxTool   = 128
	maxAction = 64
	maxName   = 256 // bytes of a group, of a claim's name
	maxRule   = maxURI + 256
)

// Bounds of what a token says of a person, as package token has them.
const (
	maxGroups = 200
	maxClaims = 4 << 10
)

// check returns why q is no question, or nothing.
func (q *Request) check() Reason {
	switch {
	case q.Subject.IsZero() || q.ClientID.IsZero():
		return ReasonUnauthenticated
	case len(q.Action) > maxAction || !validServer(q.Server):
		return ReasonInvalidRequest
	case !q.namesOne():
		return ReasonInvalidRequest
	case q.Arguments != nil && (!q.Arguments.IsValid() || q.Arguments.Kind() != '{'):
		return ReasonInvalidRequest
	case len(q.Groups) > maxGroups || len(q.Claims) > maxClaims || len(q.Rule) > maxRule:
		return ReasonInvalidRequest
	case q.Action == ActionApprove && q.Rule == "":
		return ReasonInvalidRequest
	}
	return ""
}

// namesOne reports whether q names what its action is about, one thing, and nothing else.
func (q *Request) namesOne() bool {
	named := 0
	for _, part := range []struct {
		name  string
		of    Action
		valid func(string) bool
	}{
		{q.Tool, ActionCallTool, validTool},
		{q.Prompt, ActionGetPrompt, validTool},
		{q.Resource + q.Template, ActionReadResource, validURI}, // one of them, see below
	} {
		switch {
		case part.name != "" && part.valid(part.name):
			named++
		case part.name != "" || part.of == q.Action:
			return false
		}
	}
	switch q.Action {
	case ActionSession:
		return named == 0
	case ActionApprove:
		return named == 1 && q.Template == ""
	}
	return named <= 1 && (q.Resource == "" || q.Template == "")
}

// validServer: a label of a URL path, [a-z0-9][a-z0-9-]{0,62}.
func validServer(s string) bool {
	if s == "" || len(s) > maxServer || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// validTool: [A-Za-z0-9_.\-/]{1,128}, so that a name is one scope token.
func validTool(s string) bool {
	if s == "" || len(s) > maxTool {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '-' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// The members of the input document.
var inputNames = []string{
	"kind", "name", "patterns", "client_id", "actors", "groups", "claims", "claim_values", "acr", "auth_time", "bound",
	"action", "server", "tool", "resource", "resource_prefixes", "resource_marks", "prompt", "visible", "rule",
	"arguments", "argument_hosts", "argument_paths", "argument_doubts", "definition_digest", "time_ns", "hours", "observe",
}

// reads is which members of the input a policy mentions: only those are built,
// and an answer can depend on no others.
type reads map[string]bool

// onlyKey reports whether an answer to q that reads n depends on nothing but n.keyOf(q).
func (n need) onlyKey(q *Request) bool {
	if n&(needActors|needDigest|needTime) != 0 {
		return false
	}
	return q.Arguments == nil || n&(needArguments|needHosts|needPaths) == 0
}

// readsOf finds the members that the compiled modules mention; a mention of the
// input as a whole, or by a computed name, is a mention of all.
func readsOf(modules map[string]*ast.Module) reads {
	r := reads{}
	for _, m := range modules {
		ast.WalkRefs(m, func(ref ast.Ref) bool {
			if !ref[0].Equal(ast.InputRootDocument) {
				return false
			}
			name, ok := "", false
			if len(ref) > 1 {
				var s ast.String
				s, ok = ref[1].Value.(ast.String)
				name = string(s)
			}
			if ok {
				r[name] = true
				return false
			}
			for _, n := range inputNames {
				r[n] = true
			}
			return false
		})
	}
	return r
}

// member is one name of the input with how to get its value; nil is absent.
type member struct {
	name  *ast.Term
	value func(q *Request) (*ast.Term, error)
	need  need // it is made only where that is needed; 0: always
}

// members lists those that r has, for every question, and, if the policy is that of doc
// and so says what it needs, the others that some tool needs. Values are made per request.
func (r reads) members(doc *document) []member { return r.membersOf(doc, 0) }

func (r reads) membersOf(doc *document, needed need) []member {
	text := func(f func(q *Request) string) func(q *Request) (*ast.Term, error) {
		return func(q *Request) (*ast.Term, error) { return ast.StringTerm(f(q)), nil }
	}
	yes := func(f func(q *Request) bool) func(q *Request) (*ast.Term, error) {
		return func(q *Request) (*ast.Term, error) { return ast.InternedTerm(f(q)), nil }
	}
	of := newConstrained(doc)
	values := map[string]func(q *Request) (*ast.Term, error){
		"kind":              text((*Request).kind),
		"name":              text(func(q *Request) string { return q.Subject.String() }),
		"patterns":          newPatterns(doc).term,
		"client_id":         text(func(q *Request) string { return q.ClientID.String() }),
		"action":            text(func(q *Request) string { return string(q.Action) }),
		"server":            text(func(q *Request) string { return q.Server }),
		"tool":              text(func(q *Request) string { return q.Tool }),
		"resource":          text(func(q *Request) string { return q.Resource }), // empty for a template, as no resource is
		"resource_prefixes": newPrefixes(doc).term,
		"resource_marks":    newMarks(doc).term,
		"prompt":            text(func(q *Request) string { return q.Prompt }),
		"definition_digest": text(func(q *Request) string { return q.DefinitionDigest }),
		"rule":              text(func(q *Request) string { return q.Rule }),
		"bound":             yes(func(q *Request) bool { return q.Bound }),
		"visible":           yes((*Request).visible),
		"observe":           yes(func(q *Request) bool { return q.observing }),
		"actors":            actorsTerm,
		"groups":            groupsTerm,
		"claims":            claimsTerm,
		"claim_values":      newClaimValues(doc).term,
		"acr":               acrTerm,
		"auth_time":         authTimeTerm,
		"arguments":         argumentsTerm,
		"argument_hosts":    of.hosts,
		"argument_paths":    of.paths,
		"argument_doubts":   of.doubts,
		"time_ns":           timeTerm,
		"hours":             newClocks(doc.hours).term,
	}
	var out []member
	for _, n := range inputNames {
		switch {
		case r[n]:
			out = append(out, member{ast.InternedTerm(n), values[n], 0})
		case needed&conditional[n] != 0:
			out = append(out, member{ast.InternedTerm(n), values[n], conditional[n]})
		}
	}
	return out
}

// visible reports whether q asks only whether the caller may know of what it names.
func (q *Request) visible() bool {
	switch q.Action {
	case ActionCallTool, ActionGetPrompt:
		return q.Arguments == nil
	case ActionReadResource:
		return q.Template != ""
	}
	return false
}

// kind tells people and workloads apart: a workload that acts for itself has its
// client_id as subject (RFC 9068 §2.2), and stays one when another client acts for it.
func (q *Request) kind() string {
	if q.Workload || q.Subject.Is(q.ClientID) {
		return "client"
	}
	return "user"
}

func actorsTerm(q *Request) (*ast.Term, error) {
	var out []*ast.Term
	for _, a := range q.Actors {
		out = append(out, ast.StringTerm(a.String()))
	}
	return ast.ArrayTerm(out...), nil
}

// timeTerm is nanoseconds since 1970, as Rego's time functions take them. No time
// is absent, so that a condition on it does not hold.
func timeTerm(q *Request) (*ast.Term, error) {
	if q.Time.IsZero() {
		return nil, nil
	}
	return ast.NumberTerm(json.Number(strconv.FormatInt(q.Time.UnixNano(), 10))), nil
}

func argumentsTerm(q *Request) (*ast.Term, error) {
	if q.Arguments == nil {
		return nil, nil
	}
	t, err := valueTerm(q.Arguments)
	if err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	return t, nil
}

// valueTerm reads one JSON value and nothing after it.
func valueTerm(b []byte) (*ast.Term, error) {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	t, err := termOf(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return t, nil
}

// termOf reads one JSON value. The decoder refuses duplicate names, bad UTF-8
// and more than 10,000 levels.
func termOf(d *jsontext.Decoder) (*ast.Term, error) {
	tok, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '{':
		return objectOf(d)
	case '[':
		return arrayOf(d)
	case '"':
		return ast.StringTerm(tok.String()), nil
	case '0':
		return ast.NumberTerm(json.Number(tok.String())), nil
	case 't', 'f':
		return ast.BooleanTerm(tok.Bool()), nil
	}
	return ast.NullTerm(), nil
}

func objectOf(d *jsontext.Decoder) (*ast.Term, error) {
	var items [][2]*ast.Term
	for d.PeekKind() != '}' {
		k, err := termOf(d)
		if err != nil {
			return nil, err
		}
		v, err := termOf(d)
		if err != nil {
			return nil, err
		}
		items = append(items, [2]*ast.Term{k, v})
	}
	_, err := d.ReadToken()
	return ast.ObjectTerm(slices.Clip(items)...), err
}

func arrayOf(d *jsontext.Decoder) (*ast.Term, error) {
	var items []*ast.Term
	for d.PeekKind() != ']' {
		v, err := termOf(d)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	_, err := d.ReadToken()
	return ast.ArrayTerm(items...), err
}
