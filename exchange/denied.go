package exchange

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/policies"
)

// denied is the answer where policy grants no tool token. A tool that is unknown and one
// that is hidden are answered alike; of another one the client is told what is missing.
func (e *Exchanger) denied(ctx context.Context, q request, definition string, d policies.Decision) error {
	cause := fmt.Errorf("policy: %s", d.Reason)
	r := e.ask(q)
	r.Action, r.Tool, r.DefinitionDigest = policies.ActionCallTool, q.call.scope.Tool(), definition
	if visible := e.cfg.PDP.Decide(ctx, r).Allowed(); visible && definition != "" {
		switch d.Reason {
		case policies.ReasonStepUp: // RFC 8693 §2.2.2: unacceptable by policy
			return &oauth.Error{Code: oauth.InvalidRequest, Cause: cause,
				Description: "policy asks for a subject_token of another login or a more recent one: the server says which, in its challenge to a call with the access token (RFC 9470)"}
		case policies.ReasonSenderConstraint:
			return &oauth.Error{Code: oauth.InvalidRequest, Cause: cause,
				Description: "policy asks for a token that is bound to a key: prove a DPoP key or a client certificate with this request"}
		case policies.ReasonApproval:
			return &oauth.Error{Code: oauth.InvalidScope, Cause: cause,
				Description: "this call needs an approval, for which no tool token can wait: call the tool with the subject_token"}
		case policies.ReasonArgument:
			return &oauth.Error{Code: oauth.InvalidAuthorizationDetails, Cause: cause, Description: "policy grants this tool, and not with these arguments"}
		}
	}
	return &oauth.Error{Code: oauth.InvalidScope, Description: "this tool cannot be granted with these arguments", Cause: cause}
}

// maxFacts is what the audit log takes, bytes.
const maxFacts = 16 << 10

// say adds what was decided, and on what it stood.
func (e *Exchanger) say(ev *audit.Event, d policies.Decision) {
	ev.PolicyDigest, ev.Reason, ev.Rule, ev.Observed = d.PolicyDigest, string(d.Reason), d.Rule, string(d.Observed)
	ev.Facts = e.kept(ev.Server, d.Facts)
}

// kept are facts with their arguments redacted; what is too large is left out.
func (e *Exchanger) kept(server string, facts jsontext.Value) jsontext.Value {
	if len(facts) == 0 {
		return nil
	}
	var all map[string]jsontext.Value
	if err := json.Unmarshal(facts, &all); err != nil {
		return nil
	}
	arguments := all["arguments"]
	delete(all, "arguments")
	if arguments != nil && e.cfg.Redact != nil {
		if kept := e.cfg.Redact(server, arguments); kept != nil {
			all["arguments"] = kept
		}
	}
	out, err := json.Marshal(all, json.Deterministic(true))
	if err != nil || len(out) > maxFacts {
		return nil
	}
	return out
}
