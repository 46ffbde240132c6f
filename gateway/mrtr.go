package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
)

// inputRequired is the resultType of an answer that asks for more (MCP 2026-07-28, MRTR).
const inputRequired = "input_required"

// stateLifetime is how long a client may take to gather what it is asked for.
const stateLifetime = time.Hour

// Methods that may be answered so.
var mayAskForInput = []string{"tools/call", "prompts/get", "resources/read"}

// state is a requestState as the client has it: the upstream's, which only the same
// caller can send back, with the same request, for a while.
type state struct {
	owner
	State   string `json:"st,omitempty"`
	Request string `json:"rq"`          // digest of method and params
	Parked  string `json:"p,omitempty"` // a dialogue that waits in this process, instead of a state of the upstream's

	Approval string `json:"a,omitempty"` // that the call waits for; with Once, that was used for it
	Once     string `json:"o,omitempty"` // spent by who goes on with a call that was approved once
	None     bool   `json:"n,omitempty"` // the upstream has given no state
}

var errNotAsked = errors.New("the upstream asks for input that the client has not offered, or in answer to a request where it must not")

// inputRequired is step 9 for an answer that asks for more.
func (p *passage) inputRequired(_ context.Context, result object) (jsontext.Value, outcome, *rpcError) {
	if !slices.Contains(mayAskForInput, p.msg.method) {
		return nil, outcome{}, errUnavailable("upstream_malformed", errNotAsked)
	}
	if err := p.offered(result.get("inputRequests")); err != nil {
		return nil, outcome{}, errUnavailable("upstream_malformed", err)
	}
	theirs := result.get("requestState")
	if theirs == nil && p.event.Approval == "" {
		return nil, outcome{status: inputRequired}, nil
	}
	sealed, err := p.sealState(state{owner: p.owner(stateLifetime), State: text(theirs), None: theirs == nil})
	if err != nil {
		return nil, outcome{}, errUnavailable("state_unsealable", err)
	}
	return result.with(member{"requestState", quote(sealed)}), outcome{status: inputRequired}, nil
}

// sealState is the state for this request. A call that was approved goes on with it once,
// or an approval would be good for as many calls as a server asks questions.
func (p *passage) sealState(s state) (string, error) {
	var err error
	if s.Request, err = p.requestDigest(); err != nil {
		return "", err
	}
	if p.event.Approval != "" && s.Approval == "" {
		s.Approval, s.Once = p.event.Approval, rand.Text()
	}
	return seal(p.g, kindState, s)
}

// offered holds what is asked for to what the client said that it can do.
func (p *passage) offered(requests jsontext.Value) error {
	if requests == nil {
		return nil
	}
	return members(requests, func(_ string, v jsontext.Value) error {
		if !offers(p.meta.capabilities, stringOf(v, "method")) {
			return errNotAsked
		}
		return nil
	})
}

// requestDigest tells one request from another, but for what a retry adds.
func (p *passage) requestDigest() (string, error) {
	name, _ := p.msg.named()
	arguments := orEmpty(p.msg.params.get("arguments"))
	return token.Digest(object{}.with(member{"server", quote(p.up.Name)}, member{"method", quote(p.msg.method)}, member{"name", quote(name)}, member{"arguments", arguments}))
}

// openState puts the upstream's own state back into a retry.
func (p *passage) openState() *rpcError {
	sealed := p.msg.params.get("requestState")
	if sealed == nil || !p.stateless {
		return nil
	}
	refused := &rpcError{Code: codeInvalidParams, Message: "requestState is not the one of this request, or has expired: send the request without it", reason: "state_not_the_callers"}
	s, ok := unseal[state](p.g, kindState, text(sealed))
	if !ok || !s.of(p.endpoint, p.Verified, p.g.cfg.Now()) {
		return refused
	}
	if request, err := p.requestDigest(); err != nil || request != s.Request {
		return refused
	}
	p.state = s
	switch {
	case s.Parked != "", s.Approval != "" && s.Once == "":
	case s.None:
		p.input = object{{"requestState", nil}}
	default:
		p.input = object{{"requestState", quote(s.State)}}
	}
	return nil
}
