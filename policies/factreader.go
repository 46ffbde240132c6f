package policies

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// factReader tells what a policy reads of the caller and the arguments.
type factReader struct {
	groups, claims map[string]bool
	arguments      constrained
}

func newFactReader(doc *document) *factReader {
	f := &factReader{map[string]bool{}, map[string]bool{}, newConstrained(doc)}
	for _, w := range doc.whose() {
		for _, g := range w.groups {
			f.groups[g] = true
		}
		for claim := range w.claims {
			f.claims[claim] = true
		}
	}
	for _, r := range doc.roles {
		for claim := range r.when {
			f.claims[claim] = true
		}
	}
	for _, c := range doc.everywhere() {
		for _, a := range append(append([]atom{}, c.Open...), c.Call...) {
			if a.Claim != "" {
				f.claims[a.Claim] = true
			}
		}
		if c.Terms != nil {
			for _, of := range c.Terms.Filters {
				if of.Claim != "" {
					f.claims[of.Claim] = true
				}
			}
		}
	}
	return f
}

// facts are what was read, in JSON.
type facts struct {
	Groups    []string                  `json:"groups,omitempty"`
	Claims    map[string]jsontext.Value `json:"claims,omitempty"`
	ACR       string                    `json:"acr,omitempty"`
	AuthTime  int64                     `json:"auth_time,omitzero"`
	Bound     bool                      `json:"bound,omitzero"`
	Arguments map[string]jsontext.Value `json:"arguments,omitzero"`
}

// read returns what q has of it, as far as n needs the arguments and the login; nil if it
// has nothing.
func (f *factReader) read(q *Request, n need) jsontext.Value {
	if f == nil || len(q.Groups) == 0 && len(q.Claims) == 0 && n == 0 {
		return nil
	}
	var out facts
	if q.kind() == "user" {
		for _, g := range q.Groups {
			if f.groups[g] {
				out.Groups = append(out.Groups, g)
			}
		}
	}
	out.Claims = members(q.Claims, func(name string, _ jsontext.Value) bool { return f.claims[name] })
	if n&needACR != 0 {
		out.ACR = q.ACR
	}
	if n&needAuthTime != 0 && !q.AuthTime.IsZero() {
		out.AuthTime = q.AuthTime.Unix()
	}
	out.Bound = n&needBound != 0 && q.Bound
	if n&needArguments != 0 && q.Arguments != nil {
		out.Arguments = f.constrained(q.Arguments)
	}
	b, err := json.Marshal(out, json.Deterministic(true))
	if err != nil || string(b) == "{}" {
		return nil
	}
	return b
}

// constrained are the arguments on which there is a condition, and those of the same name
// in another spelling, which make a doubt of it; not nil even if there are none, because that
// is a fact too. Nil: one of them is no scalar and no list, which no condition takes.
func (f *factReader) constrained(arguments jsontext.Value) map[string]jsontext.Value {
	whole := true
	out := members(arguments, func(name string, v jsontext.Value) bool {
		if len(f.arguments.spelled[foldName(name)]) == 0 {
			return false
		}
		whole = whole && v.Kind() != '{'
		return true
	})
	switch {
	case !whole:
		return nil
	case out == nil:
		return map[string]jsontext.Value{}
	}
	return out
}

// Records reports whether the Facts of a decision on q have f, if it is there: that they
// do not have it is then known too. So p must be what decided q.
func (p *PDP) Records(q Request, f Fact) bool {
	if p == nil || p.facts == nil || p.engine == nil || p.engine.targets == nil && !p.ours {
		return false
	}
	n := p.facted(&q)
	switch f.Of {
	case FactGroup:
		return p.facts.groups[f.Name]
	case FactClaim:
		return p.facts.claims[f.Name]
	case FactArgument:
		return n&needArguments != 0 && p.facts.arguments.names[f.Name]
	}
	return n&map[FactKind]need{FactACR: needACR, FactAuthTime: needAuthTime, FactBound: needBound}[f.Of] != 0
}

// members are those of an object that are wanted, nil for none.
func members(object jsontext.Value, wanted func(name string, v jsontext.Value) bool) map[string]jsontext.Value {
	var out map[string]jsontext.Value
	_ = eachMember(object, func(name string, v jsontext.Value) error { // what is wrong was refused
		if wanted(name, v) {
			if out == nil {
				out = map[string]jsontext.Value{}
			}
			out[name] = v.Clone()
		}
		return nil
	})
	return out
}
