package gateway_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/policies"
)

// closedTo is a PDP by which nobody may have anything of a server, as a person's own Rego
// may say.
type closedTo struct {
	gateway.PDP
	server string
}

func (c closedTo) Decide(ctx context.Context, q policies.Request) policies.Decision {
	if q.Server == c.server {
		return policies.Decision{Reason: policies.ReasonNotGranted}
	}
	return c.PDP.Decide(ctx, q)
}

type frozenServer string

func (f frozenServer) Server(name string) error {
	if name == string(f) {
		return revocation.ErrFrozen
	}
	return nil
}

func (frozenServer) Person(identity.Subject, time.Time) error { return nil }

// A server that a caller may not use answers as one that is not there, whatever the
// message is like, and though an operator has stopped it.
func TestServerThatACallerMayNotUseIsUnknown(t *testing.T) {
	_, files := withFiles(t)
	w := newWorld(t, files, func(c *gateway.Config) {
		c.All, c.PDP, c.Freezes = allOf(t), closedTo{c.PDP, "files"}, frozenServer("files")
	}).everywhere()
	bearer := w.token(tokenSpec{subject: "alice", scope: allScopes, audience: issuer + "/mcp"})
	for _, q := range []request{
		{method: "tools/call", params: `"name":"SERVER__x",`},
		{method: "tools/call", params: `"name":"SERVER__x","arguments":[],`},
		{method: "tools/call", params: `"name":"SERVER__x","task":{},`},
		{method: "tools/call", params: `"name":"SERVER__x","requestState":"x",`},
		{method: "prompts/get", params: `"name":"SERVER__x","arguments":1,`},
		{method: "resources/read", params: `"uri":"SERVER+","URI":1,`, headers: []string{"Mcp-Name", "SERVER+"}},
		{method: "completion/complete", params: `"ref":{"type":"ref/resource","uri":"SERVER+x"},"Argument":1,`},
		{method: "completion/complete", params: `"ref":{"type":"ref/prompt","name":"SERVER__x"},`},
		{method: "completion/complete", params: `"ref":{"type":"other","name":"SERVER__x"},`},
	} {
		q.bearer = bearer
		at := func(server string) reply {
			q := q
			q.params = strings.ReplaceAll(q.params, "SERVER", server)
			q.headers = slices.Clone(q.headers)
			for i := range q.headers {
				q.headers[i] = strings.ReplaceAll(q.headers[i], "SERVER", server)
			}
			return w.ask(q)
		}
		if hidden, none := at("files"), at("nosuch"); hidden.status != none.status || hidden.body != none.body {
			t.Errorf("%s {%s}:\n%s\n%s", q.method, q.params, hidden, none)
		}
	}
}
