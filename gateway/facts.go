package gateway

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// maxFacts is what the audit log takes, bytes.
const maxFacts = 16 << 10

// decided notes what the message was last decided by: its line in the audit log says so.
func (p *passage) decided(q policies.Request, d policies.Decision) {
	if q.Action == policies.ActionCallTool && q.Arguments != nil {
		p.approved = q.Rule
	}
	p.facts, p.observed = d.Facts, d.Observed
	if d.PolicyDigest != "" {
		p.event.PolicyDigest = d.PolicyDigest
	}
}

// readFacts are the facts of the last decision as they may be kept: arguments as the
// server's Redactor keeps them. What is too large is left out, and refuses no call.
func (p *passage) readFacts() jsontext.Value {
	if len(p.facts) == 0 {
		return nil
	}
	o, err := readObject(p.facts)
	if err != nil {
		return nil
	}
	kept := p.facts
	if arguments := o.get("arguments"); arguments != nil {
		kept = o.with(member{"arguments", p.up.Redactor.Arguments(arguments)})
	}
	if len(kept) > maxFacts {
		kept = o.with(member{"arguments", nil})
	}
	if len(kept) > maxFacts {
		return nil
	}
	return kept
}
