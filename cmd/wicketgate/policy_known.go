package main

import (
	"regexp"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// thenPolicies are those by which past calls were decided, by their digests. What one of
// them would have read and a line does not have was not there; of a line by another
// policy, it is not known.
type thenPolicies map[string]*policies.PDP

// known is what a line tells of its caller and call.
type known struct {
	facts      lineFacts
	q          policies.Request
	then       *policies.PDP // that decided it; nil: one that is not at hand
	person     bool
	everything bool // the line has all arguments
	some       bool // the line has those of the arguments that policy read
}

// lineFacts is Facts of an audit line.
type lineFacts struct {
	Groups    []string                  `json:"groups"`
	Claims    map[string]jsontext.Value `json:"claims"`
	ACR       string                    `json:"acr"`
	AuthTime  jsontext.Value            `json:"auth_time"`
	Bound     bool                      `json:"bound"`
	Arguments map[string]jsontext.Value `json:"arguments"`
}

// question completes q by the line, and says what of it is known.
func (then thenPolicies) question(c *pastCall, q *policies.Request) *known {
	k := &known{person: c.kind == aPerson, then: then[c.PolicyDigest]}
	if len(c.Facts) > 0 && json.Unmarshal(c.Facts, &k.facts) != nil {
		k.facts, k.then = lineFacts{}, nil
	}
	k.caller(q)
	k.arguments(c, q)
	k.q = *q
	return k
}

func (k *known) caller(q *policies.Request) {
	q.Groups, q.ACR, q.Bound = k.facts.Groups, k.facts.ACR, k.facts.Bound
	if len(k.facts.Claims) > 0 {
		if b, err := json.Marshal(k.facts.Claims, json.Deterministic(true)); err == nil {
			q.Claims = b
		}
	}
	q.AuthTime = timeOf(k.facts.AuthTime)
}

// arguments: what a line has of them is all of them if it has the digest that theirs has.
func (k *known) arguments(c *pastCall, q *policies.Request) {
	if q.Action == policies.ActionReadResource {
		k.everything = true
		return
	}
	q.Arguments = jsontext.Value("{}")
	read, err := json.Marshal(k.facts.Arguments, json.Deterministic(true))
	if err != nil {
		return
	}
	for _, all := range []jsontext.Value{c.Arguments, q.Arguments, read} {
		if digest, err := token.Digest(all); err == nil && len(all) > 0 && digest == c.ArgumentsDigest {
			q.Arguments, k.everything = all, true
			return
		}
	}
	if k.facts.Arguments == nil || c.ArgumentsDigest == "" || mask.Match(read) {
		return // they were not read, nobody had looked at them yet, or they may be other ones
	}
	q.Arguments, k.some = read, true
}

// mask is what stands in a line instead of what redaction took out of it.
var mask = regexp.MustCompile(`\[[a-z]+(:[^\]"]*)?( [a-z]+)*\]`)

// has reports whether it is known if the fact holds, and which value it has.
func (k *known) has(f policies.Fact) bool {
	recorded := k.then.Records(k.q, f)
	of := func(there bool) bool { return there || recorded }
	switch f.Of {
	case policies.FactGroup:
		return !k.person || of(slices.Contains(k.facts.Groups, f.Name))
	case policies.FactClaim:
		return !k.person || of(k.facts.Claims[f.Name] != nil)
	case policies.FactACR:
		return !k.person || of(k.facts.ACR != "")
	case policies.FactAuthTime:
		return !k.person || of(len(k.facts.AuthTime) > 0)
	case policies.FactBound:
		return of(k.facts.Bound)
	case policies.FactAny:
		return !k.person && k.everything && k.has(policies.Fact{Of: policies.FactBound})
	case policies.FactArgument:
		return k.everything || k.some && recorded
	}
	return false
}

// timeOf reads seconds since 1970, or a text as in RFC 3339.
func timeOf(v jsontext.Value) time.Time {
	var seconds int64
	if json.Unmarshal(v, &seconds) == nil && seconds > 0 {
		return time.Unix(seconds, 0)
	}
	var t time.Time
	if json.Unmarshal(v, &t) != nil {
		return time.Time{}
	}
	return t
}
