package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// maxPages bounds how long a list the gateway reads for itself.
const maxPages = 100

// list is tools/list: the upstream's page, filtered to what this caller may call.
func (p *passage) list() *rpcError {
	if p.msg.id == nil {
		return &rpcError{Code: codeInvalidRequest, Message: plain(errNotRPC), reason: "malformed"}
	}
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		return p.g.relay(ctx, p, call, p.filter)
	})
}

// filter keeps the tools that are approved and that the caller may call.
func (p *passage) filter(ctx context.Context, result jsontext.Value) (jsontext.Value, outcome, *rpcError) {
	out, kept, total := []byte{'{'}, 0, 0
	err := members(result, func(name string, value jsontext.Value) error {
		if len(out) > 1 {
			out = append(out, ',')
		}
		var err error
		if out, err = jsontext.AppendQuote(out, name); err != nil {
			return err
		}
		out = append(out, ':')
		if name == "cacheScope" { // what was filtered for one caller is nobody else's
			value = jsontext.Value(`"private"`)
		}
		if name != "tools" {
			out = append(out, value...)
			return nil
		}
		out = append(out, '[')
		err = elements(value, func(definition jsontext.Value) error {
			total++
			t, err := p.up.catalog.learn(ctx, definition)
			if err != nil {
				p.g.cfg.Log.WarnContext(ctx, "tool not served", "server", p.up.Name, "error", err)
				return nil
			}
			if !p.mayCall(t) {
				return nil
			}
			if kept++; kept > 1 {
				out = append(out, ',')
			}
			out = append(out, definition...)
			return nil
		})
		out = append(out, ']')
		return err
	})
	if err != nil {
		return nil, outcome{}, errUnavailable("upstream_malformed", err)
	}
	return append(out, '}'), outcome{status: fmt.Sprintf("%d of %d tools", kept, total)}, nil
}

func (p *passage) mayCall(t *tool) bool {
	scope, err := token.ToolScope(t.name)
	return err == nil && t.broken == nil && p.Scope().Covers(scope) && p.decide(policies.ActionCallTool, t.name, nil).Allowed()
}

// refresh has the gateway list the definitions itself when it has not seen them
// lately, so that a call is held to what the upstream has now.
func (p *passage) refresh() error {
	c := p.up.catalog
	if c.fresh() {
		return nil
	}
	_, err, _ := c.flight.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.r.Context()), callTimeout)
		defer cancel()
		if p.tool != nil { // it is good for one call, which this is not
			return nil, p.g.Discover(ctx, p.up.Name)
		}
		q := *p
		q.event.Action, q.event.Tool = "tools/list", ""
		return nil, q.recorded(ctx, "the definitions are older than a minute", q.relist)
	})
	return err
}

func (p *passage) relist(ctx context.Context) error {
	call, err := p.g.callToken(ctx, p.access, p.sessionSpec())
	if err != nil {
		return err
	}
	cursor := ""
	for range maxPages {
		if cursor, err = p.relistPage(ctx, call, cursor); err != nil {
			return err
		}
		if cursor == "" {
			p.up.catalog.markListed()
			return nil
		}
	}
	return fmt.Errorf("more than %d pages of tools", maxPages)
}

func (p *passage) relistPage(ctx context.Context, call token.Call, cursor string) (next string, err error) {
	body := []byte(`{"jsonrpc":"2.0","id":"wicketgate-list","method":"tools/list","params":{`)
	if cursor != "" {
		if body, err = jsontext.AppendQuote(append(body, `"cursor":`...), cursor); err != nil {
			return "", err
		}
	}
	resp, err := p.g.send(ctx, p.up, call, p.session, append(body, `}}`...))
	if err != nil {
		return "", err
	}
	defer drain(resp)
	if resp.StatusCode != 200 {
		return "", fmt.Errorf("tools/list: upstream answered HTTP %d", resp.StatusCode)
	}
	answer, err := readAnswer(resp, jsontext.Value(`"wicketgate-list"`), nil)
	if err != nil {
		return "", err
	}
	if answer.result == nil {
		return "", errors.New("tools/list: upstream answered an error")
	}
	return next, members(answer.result, func(name string, value jsontext.Value) error {
		switch name {
		case "nextCursor":
			next = text(value)
		case "tools":
			return elements(value, func(definition jsontext.Value) error {
				if _, err := p.up.catalog.learn(ctx, definition); err != nil {
					p.g.cfg.Log.WarnContext(ctx, "tool not served", "server", p.up.Name, "error", err)
				}
				return nil
			})
		}
		return nil
	})
}
