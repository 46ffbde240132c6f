package policies

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// factReader tells what a policy reads of the caller and the arguments.
type factReader struct {
	groups, claims map[string]bool
	arguments      map[string]bool
}

func newFactReader(doc *document) *factReader {
	f := &factReader{map[string]bool{}, map[string]bool{}, newConstrained(doc).names}
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
	Arguments map[string]jsontext.Value `json:"arguments,omitempty"`
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
	if n&needArguments != 0 {
		out.Arguments = members(q.Arguments, func(name string, v jsontext.Value) bool {
			return f.arguments[name] && v.Kind() != '[' && v.Kind() != '{'
		})
	}
	b, err := json.Marshal(out, json.Deterministic(true))
	if err != nil || string(b) == "{}" {
		return nil
	}
	return b
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
