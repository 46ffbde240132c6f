package approval

import "github.com/wicketgate/wicketgate/internal/audit"

// Actions of the audit log.
const (
	actionRequest = "approvals/request"
	actionApprove = "approvals/approve"
	actionDeny    = "approvals/deny"
)

// event is a line about the call that a request is for.
func (r Request) event(action string) audit.Event {
	return audit.Event{Kind: audit.Approval, Action: action, Approval: r.ID,
		Subject: r.Subject.String(), Client: r.Client.String(), Actors: r.Actors, Server: r.Server, Tool: r.Tool,
		ArgumentsDigest: r.ArgumentsDigest, DefinitionDigest: r.DefinitionDigest, PolicyDigest: r.PolicyDigest, Rule: r.Rule}
}

// requested is the line about a call that begins to wait.
func requested(r Request) audit.Event { return r.event(actionRequest) }

// event is the line about a decision: the subject, client and actors are the call's, the
// operator is who decided.
func (d Decision) event(r Request) audit.Event {
	e := r.event(actionDeny)
	e.Decision = audit.Deny
	if d.Approve {
		e.Action, e.Decision = actionApprove, audit.Allow
	}
	e.Operator, e.ACR, e.Reason = d.By.String(), d.ACR, d.Comment
	e.TokenID, e.Source, e.RequestID = d.TokenID, d.Source, d.RequestID
	return e
}
