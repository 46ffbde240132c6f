package gateway

import (
	"errors"
	"slices"

	"github.com/wicketgate/wicketgate/policies"
)

// A call whose stream broke is answered on another one, perhaps at another replica, and
// by the rules that let it through: the event's id has what it takes to ask policy again.

// toResume adds it. Where it is too much for an id, there is none, and the stream cannot
// be resumed.
func (p *passage) toResume(e event) event {
	if p.msg.method != "tools/call" {
		return e
	}
	if p.terms == nil {
		e.Policy = p.event.PolicyDigest
		return e
	}
	e.Arguments, e.Taken, e.Rule = orEmpty(p.msg.params.get("arguments")), p.taken, p.approved
	return e
}

var errOtherPolicy = errors.New("the policy is another than when the call was made")

// resumeTerms has the answer to a call keep to what it was let through by. Policy is asked
// anew, about the same arguments; limits are not counted again.
func (p *passage) resumeTerms(from event) *rpcError {
	q := policies.Request{Action: policies.ActionCallTool, Tool: from.Name, Arguments: from.Arguments, DefinitionDigest: p.event.DefinitionDigest, Rule: from.Rule}
	p.msg.params = append(p.msg.params, member{"arguments", from.Arguments}) // this stream may break, too
	d := p.decideOn(q)
	if !d.Allowed() {
		return errDenied(d)
	}
	if from.Arguments == nil { // nothing was asked of it
		if d.PolicyDigest != from.Policy { // which may ask for something with these arguments
			return errFilter(errOtherPolicy)
		}
		return nil
	}
	if len(d.Terms) == 0 || slices.ContainsFunc(d.Terms, asksNothing) {
		return nil
	}
	t := &terms{}
	p.taken = from.Taken
	for _, r := range d.Terms {
		if !slices.ContainsFunc(r.Limits, func(l policies.Limit) bool { return !slices.Contains(from.Taken, l.ID) }) {
			t.rules = append(t.rules, r)
		}
	}
	if len(t.rules) == 0 {
		return errFilter(errOtherPolicy)
	}
	return p.keepTo(t)
}
