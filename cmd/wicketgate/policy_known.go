package main

import (
	"context"
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
	recorded   map[policies.Fact]bool // that the line would have, had they been there
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
func (then thenPolicies) question(ctx context.Context, c *pastCall, q *policies.Request) *known {
	k := &known{person: c.kind == aPerson, recorded: map[policies.Fact]bool{}}
	if len(c.Facts) > 0 && json.Unmarshal(c.Facts, &k.facts) != nil {
		k.facts = lineFacts{}
	}
	k.caller(q)
	k.arguments(c, q)
	if p := then[c.PolicyDigest]; p != nil && len(c.Facts) > 0 { // none: it read nothing, or they were too large
		if e, err := p.Explain(ctx, *q); err == nil {
			for _, f := range e.Reads() {
				k.recorded[f] = true
			}
		}
	}
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
	for _, all := range []jsontext.Value{c.Arguments, q.Arguments} {
		if digest, err := token.Digest(all); err == nil && len(all) > 0 && digest == c.ArgumentsDigest {
			q.Arguments, k.everything = all, true
			return
		}
	}
	read := map[string]jsontext.Value{}
	for name, v := range k.facts.Arguments {
		if mask.MatchString(name) { // it may be the name of any
			k.facts.Arguments = nil
			return
		}
		if !mask.Match(v) {
			read[name] = v
		}
	}
	if b, err := json.Marshal(read, json.Deterministic(true)); err == nil {
		q.Arguments = b
	}
	k.some = k.facts.Arguments != nil && c.ArgumentsDigest != "" // without one it was denied before anybody looked at them
}

// mask is what stands in a line instead of what redaction took out of it.
var mask = regexp.MustCompile(`\[[a-z]+(:[^\]"]*)?( [a-z]+)*\]`)

// has reports whether it is known if the fact holds, and which value it has.
func (k *known) has(f policies.Fact) bool {
	of := func(there bool) bool { return there || k.recorded[f] }
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
	case policies.FactArgument:
		v, there := k.facts.Arguments[f.Name]
		return k.everything || k.some && (there && !mask.Match(v) || !there && k.recorded[f])
	}
	return false
}

// timeOf reads seconds since 1970, or a text as in RFC 3339.
func timeOf(v jsontext.Value) time.Time {
	var seconds int64
	if json.Unmarshal(v, &seconds) == nil {
		return time.Unix(seconds, 0)
	}
	var t time.Time
	if json.Unmarshal(v, &t) != nil {
		return time.Time{}
	}
	return t
}
