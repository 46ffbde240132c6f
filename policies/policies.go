// Package policies is the policy decision point, the PDP of NIST SP 800-162: it
// answers whether a caller may do one action with one tool, resource or prompt of one
// server (AuthZEN §5: subject, action, resource, context).
//
// It owns access.yaml (its syntax, its errors), the Rego that access.yaml
// compiles to data for, the reasons of decisions and their limits in time. What needs a
// parser (hours, hosts, paths, spellings of a URI) it computes for the Rego, which only
// looks up. What a decision asks of a call beside yes and no is in [Needs] and [Terms]. With
// no policy everything is denied, and whatever goes wrong in a decision is a
// denial with its own [Reason].
//
// It does not enforce anything, authenticate anybody, know tokens, or do I/O per
// decision. It does not know which tools exist or whether their definitions were
// approved: "*" in access.yaml means every tool that the gateway asks about, and
// the gateway asks only about approved ones. The same holds for resources and prompts.
// Nor does it know the other methods of MCP, which the gateway asks about as one of the
// actions here: a subscription as a read of its URI, a completion as what its ref names
// (a prompt, or a template), logging/setLevel and ping as the session.
package policies

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Action is what the caller wants to do (AuthZEN §5.3). A policy denies the ones
// it does not know.
type Action string

// The actions that access.yaml decides on.
const (
	// ActionSession opens an MCP session and asks for lists. Every authenticated
	// caller may, once there is a policy: the lists then show only what may be called.
	ActionSession Action = "session"
	// ActionCallTool calls a tool; without arguments it asks whether the caller
	// may know that the tool exists.
	ActionCallTool Action = "tools/call"
	// ActionReadResource reads a resource, or asks whether the caller may know that it
	// exists: that is one question, so that a list shows what can be read. With a
	// Template it asks whether the caller may know, and complete, that one.
	ActionReadResource Action = "resources/read"
	// ActionGetPrompt gets a prompt; without arguments it asks whether the caller may
	// know that the prompt exists.
	ActionGetPrompt Action = "prompts/get"
	// ActionApprove asks whether the subject, a person, may decide on a call that needs
	// an approval by Rule.
	ActionApprove Action = "approvals/decide"
)

// Request is the question to the PDP.
type Request struct {
	Subject  identity.Subject    // on whose behalf; a person, unless it is the client itself or Workload
	Workload bool                // the subject is a workload for which another client acts
	ClientID identity.ClientID   // the client that presented the token
	Actors   []identity.ClientID // delegation chain, outermost first; may be empty (RFC 8693 §4.1)

	// What the login of a person told of them, by their access token.
	Groups   []string       // at most 200; a workload is in none, whatever is here
	Claims   jsontext.Value // one JSON object of strings, numbers, booleans and lists of strings, at most 4 KiB; nil for none
	ACR      string         // how they logged in (RFC 9470 §3)
	AuthTime time.Time      // when
	Bound    bool           // the token is sender-constrained (RFC 9449, RFC 8705), and its key was proven

	Action Action
	Server string

	// Rule that asks for an approval: of ActionApprove, the one that the call waits for; of
	// a call, the one for which it was approved, empty where nobody was asked.
	Rule string

	// What the action is about: exactly one, of the action's kind; none for a session.
	Tool     string
	Prompt   string
	Resource string // an MCP resource's URI, to the letter as it will be read; at most 4 KiB
	Template string // of a list of resource templates (RFC 6570); it can be seen, not read

	// Arguments is one JSON object. Nil asks whether the caller may call the tool, or
	// get the prompt, at all, with whatever arguments: that is whether it is visible.
	Arguments        jsontext.Value
	DefinitionDigest string    // of the approved tool definition
	Time             time.Time // of the call; a policy has no other clock, so that a replay decides alike

	observing bool // what is still missing where the server is in observe mode?
}

// Reason says why, in a word for logs, metrics and the audit record.
type Reason string

// The reasons of decisions.
const (
	ReasonAllowed Reason = "allowed"

	ReasonNoPolicy        Reason = "no_policy"       // nil or zero PDP, or an empty access.yaml
	ReasonUnauthenticated Reason = "unauthenticated" // no subject or no client
	ReasonInvalidRequest  Reason = "invalid_request" // a name outside its syntax, not the one that the action is about, or arguments, groups or claims of another form
	ReasonUnknownAction   Reason = "unknown_action"
	ReasonNoRole          Reason = "no_role"     // the caller is in no role whose conditions hold
	ReasonNotGranted      Reason = "not_granted" // none of the caller's roles names the tool, resource or prompt
	ReasonDenied          Reason = "denied"      // a denial of access.yaml, which overrides every grant
	ReasonDeniedByRego    Reason = "denied_by_rego"
	ReasonCondition       Reason = "condition" // the rule asks for a claim that the caller does not have
	ReasonHours           Reason = "hours"     // the rule grants at other times
	ReasonArgument        Reason = "argument"  // an argument is not one that the rule allows

	// All that is missing is what Decision.Needs says.
	ReasonSenderConstraint Reason = "sender_constraint_required"
	ReasonStepUp           Reason = "step_up_required"
	ReasonApproval         Reason = "approval_required"

	ReasonCanceled        Reason = "canceled"         // the caller of Decide gave up
	ReasonTimeout         Reason = "timeout"          // the policy took too long
	ReasonEvaluationError Reason = "evaluation_error" // the policy failed
	ReasonUndefined       Reason = "undefined"        // the policy had no answer
	ReasonMalformed       Reason = "malformed"        // the policy's answer is not a decision
	ReasonPanic           Reason = "panic"
)

// Decision is the answer of the PDP (AuthZEN §5.5). Only this package makes one
// that allows; the zero Decision denies.
type Decision struct {
	allow bool

	Reason       Reason
	Rule         string // what granted it, or came closest to: "access.yaml:7: roles.reader.servers.mail.tools.read_message"; empty for a denial by default
	PolicyDigest string // of the policy that decided; empty if there was none
	Err          error  // for logs, never for the caller: why the policy gave no answer

	// Detail says in a sentence what would make it allowed, "argument limit must be at most
	// 100". Whoever may know of the tool may read it; empty where nothing can be said.
	Detail string

	// Needs is what is missing, of ReasonSenderConstraint, ReasonStepUp and ReasonApproval.
	Needs Needs

	// Terms are those of each rule that allows it: the call keeps to one of them, whichever
	// asks least. None, or one that is empty, asks for nothing.
	Terms []Terms

	// Risk of the call, as access.yaml calls it; empty: it does not say.
	Risk string

	// Observed is the reason for which it would have been denied, were the server not in
	// observe mode. Then it is allowed, and Rule and Detail are those of the denial.
	Observed Reason

	// Facts is one JSON object of what the policy read of the caller and the arguments, to
	// decide again with; nil if it read nothing. It is for the audit log.
	Facts jsontext.Value
}

// Allowed reports whether the action may be done.
func (d Decision) Allowed() bool { return d.allow }

// Needs is what a call needs that it does not have.
type Needs struct {
	ACR    []string      // log in in one of these ways (RFC 9470 §3)
	MaxAge time.Duration // log in so recently; 0: whenever
	Rule   string        // that asks for an approval, as Request.Rule has it
	By     [][]string    // who may approve: somebody who has one role of each list
	Within time.Duration // for which an approval that was asked for can be given, and used
}

// Terms are what one rule asks of a call that it allows.
type Terms struct {
	Limits  []Limit
	Filters []Filter // of the records of the result: one is shown that passes all of them
	Redact  []string // further classes to take out of the result: secrets, email, phone, card, iban
}

// LimitBy says whose calls a Limit counts together.
type LimitBy string

// The kinds of limits.
const (
	BySubject LimitBy = "subject"
	ByClient  LimitBy = "client"
	ByRole    LimitBy = "role" // all who have the role
	ByTool    LimitBy = "tool" // all calls of the tool or the prompt; all reads of the server's resources
)

// Limit bounds calls. Either Calls or Concurrent is set.
type Limit struct {
	ID         string // of the limit in the policy, the same at every replica
	By         LimitBy
	Calls      int // so many at once, which come again evenly over Per
	Per        time.Duration
	Concurrent int // at once
}

// Filter lets records of a structured result pass.
type Filter struct {
	At    string           // JSON pointer (RFC 6901) to the list of records; "": the result is the list
	Field string           // of a record, by name
	In    []jsontext.Value // its values that pass, each a string, number or boolean; none: nothing passes
}
