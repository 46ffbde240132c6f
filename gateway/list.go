package gateway

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// listTTL bounds how long a client may keep a list, milliseconds: a decision may change.
const listTTL = 60_000

// listing is a method that lists, with what decides which of its entries a caller sees:
// the same question that is asked when the entry is used.
type listing struct {
	member string // of the result
	sees   func(p *passage, ctx context.Context, entry jsontext.Value) bool
}

var listings = map[string]listing{
	"tools/list":               {"tools", (*passage).seesTool},
	"prompts/list":             {"prompts", (*passage).seesPrompt},
	"resources/list":           {"resources", (*passage).seesResource},
	"resources/templates/list": {"resourceTemplates", (*passage).seesTemplate},
}

// list is the upstream's page, filtered to what this caller may use.
func (p *passage) list() *rpcError {
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	l := listings[p.msg.method]
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		return p.relay(ctx, call, func(ctx context.Context, result object) (jsontext.Value, outcome, *rpcError) {
			return p.filter(ctx, l, result)
		})
	})
}

// filter keeps the entries that the caller sees.
func (p *passage) filter(ctx context.Context, l listing, result object) (jsontext.Value, outcome, *rpcError) {
	kept, total, out := 0, 0, []byte{'['}
	err := elements(result.get(l.member), func(entry jsontext.Value) error {
		if total++; !l.sees(p, ctx, entry) {
			return nil
		}
		if kept++; kept > 1 {
			out = append(out, ',')
		}
		out = append(out, entry...)
		return nil
	})
	if err != nil {
		return nil, outcome{}, errUnavailable("upstream_malformed", err)
	}
	change := []member{{l.member, append(out, ']')}}
	if p.stateless || result.get("cacheScope") != nil { // what was filtered for one caller is nobody else's
		change = append(change, member{"cacheScope", quote("private")}, member{"ttlMs", boundedTTL(result.get("ttlMs"))})
	}
	return result.with(change...), outcome{status: fmt.Sprintf("%d of %d %s", kept, total, l.member)}, nil
}

func boundedTTL(v jsontext.Value) jsontext.Value {
	if n, ok := number(v); ok && n >= 0 && n <= listTTL {
		return v
	}
	if v == nil {
		return jsontext.Value("0")
	}
	return fmt.Append(nil, listTTL)
}

func (p *passage) seesTool(ctx context.Context, definition jsontext.Value) bool {
	t, err := p.up.learn(ctx, definition)
	if err != nil {
		p.g.cfg.Log.WarnContext(ctx, "tool not served", "server", p.up.Name, "error", err)
		return false
	}
	return p.mayCall(t)
}

func (p *passage) mayCall(t *tool) bool {
	scope, err := token.ToolScope(t.name)
	return err == nil && t.broken == nil && p.coversTool(scope) && p.decide(policies.ActionCallTool, t.name, nil).Allowed()
}

// stringOf is the string member of an entry.
func stringOf(entry jsontext.Value, name string) string {
	o, err := readObject(entry)
	if err != nil {
		return ""
	}
	return text(o.get(name))
}

func (p *passage) seesPrompt(_ context.Context, entry jsontext.Value) bool {
	return p.mayGet(stringOf(entry, "name"))
}

func (p *passage) mayGet(prompt string) bool {
	scope, err := token.PromptScope(prompt)
	return err == nil && p.Scope().Covers(scope) && p.decideOn(policies.Request{Action: policies.ActionGetPrompt, Prompt: prompt}).Allowed()
}

func (p *passage) seesResource(_ context.Context, entry jsontext.Value) bool {
	return p.maySee(policies.Request{Resource: stringOf(entry, "uri")})
}

func (p *passage) seesTemplate(_ context.Context, entry jsontext.Value) bool {
	return p.maySee(policies.Request{Template: stringOf(entry, "uriTemplate")})
}

// maySee is mayRead for a list: what needs another login or a key is no secret.
func (p *passage) maySee(q policies.Request) bool {
	q.Action = policies.ActionReadResource
	if !p.Scope().Covers(token.ResourceScope()) {
		return false
	}
	d := p.decideOn(q)
	return d.Allowed() || onlyNeeds(d)
}

func (p *passage) mayRead(q policies.Request) bool {
	q.Action = policies.ActionReadResource
	return p.Scope().Covers(token.ResourceScope()) && p.decideOn(q).Allowed()
}
