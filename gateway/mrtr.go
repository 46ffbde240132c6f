package gateway

import (
	"context"
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
	if theirs == nil {
		return nil, outcome{status: inputRequired}, nil
	}
	request, err := p.requestDigest()
	if err != nil {
		return nil, outcome{}, errUnavailable("state_unsealable", err)
	}
	sealed, err := seal(p.g, kindState, state{owner: p.owner(stateLifetime), State: text(theirs), Request: request})
	if err != nil {
		return nil, outcome{}, errUnavailable("state_unsealable", err)
	}
	return result.with(member{"requestState", quote(sealed)}), outcome{status: inputRequired}, nil
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
	if s.Parked == "" {
		p.input = object{{"requestState", quote(s.State)}}
		return nil
	}
	p.parked = s.Parked
	return nil
}
