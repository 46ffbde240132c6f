package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
)

// maxPages bounds how long a list the gateway reads for itself.
const maxPages = 100

// refresh has the gateway list the definitions itself when it has not seen them
// lately, so that a call is held to what the upstream has now.
func (p *passage) refresh() error {
	c := p.up.catalog
	if c.fresh() {
		return nil
	}
	_, err, _ := c.flight.Do("", func() (any, error) {
		ctx, cancel := p.g.lasting(p.r.Context(), p.up)
		defer cancel()
		if p.tool != nil { // it is good for one call, which this is not
			return nil, p.g.Discover(ctx, p.up.Name)
		}
		q := p.aside("tools/list")
		return nil, q.recorded(ctx, "the definitions are older than a minute", q.relist)
	})
	return err
}

func (p *passage) relist(ctx context.Context) error {
	call, err := p.g.callToken(ctx, p.access, p.g.sessionSpec(p.up))
	if err != nil {
		return err
	}
	ctx, in, failure := p.borrow(ctx, call, "tools/list")
	if failure != nil {
		return failure
	}
	defer in.end()
	return p.onLeg(ctx, call, func(l leg) error { return p.relistOn(ctx, call, l) })
}

func (p *passage) relistOn(ctx context.Context, call token.Call, l leg) error {
	page := func(cursor string) (object, error) { return p.ask(ctx, call, l, "tools/list", cursor) }
	err := allEntries(page, "tools", func(definition jsontext.Value) error {
		if _, err := p.up.learn(ctx, definition); err != nil {
			p.g.cfg.Log.WarnContext(ctx, "tool not served", "server", p.up.Name, "error", err)
		}
		return nil
	})
	if err == nil {
		p.up.catalog.markListed()
	}
	return err
}

// allEntries calls f for each entry of every page of a list.
func allEntries(page func(cursor string) (object, error), member string, f func(entry jsontext.Value) error) error {
	cursor := ""
	for range maxPages {
		result, err := page(cursor)
		if err == nil {
			err = elements(result.get(member), f)
		}
		if err != nil {
			return err
		}
		if cursor = text(result.get("nextCursor")); cursor == "" {
			return nil
		}
	}
	return fmt.Errorf("more than %d pages of %s", maxPages, member)
}

// ask sends a request that lists, of the gateway's own accord, and returns the result.
func (p *passage) ask(ctx context.Context, call token.Call, l leg, method, cursor string) (object, error) {
	id := jsontext.Value(`"wicketgate"`)
	if l.shared != nil {
		id = l.shared.next()
	}
	return listOn(l, id, method, cursor, p.up.echoes, func(m outgoing) (*http.Response, error) { return p.g.post(ctx, p.up, call, l, m) })
}

// listOn sends the request by post, and reads the answer.
func listOn(l leg, id jsontext.Value, method, cursor string, without *echoes, post func(outgoing) (*http.Response, error)) (object, error) {
	params := object{}
	if cursor != "" {
		params = append(params, member{"cursor", quote(cursor)})
	}
	if l.stateless {
		params = append(params, member{"_meta", statelessMeta(nil, nil, nil)})
	}
	resp, err := post(outgoing{body: envelope(id, method, params.with()), method: method})
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", method, errGone)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: upstream answered HTTP %d", method, resp.StatusCode)
	}
	a, err := readAnswer(resp, id, without)
	if err != nil {
		return nil, err
	}
	if a.result == nil {
		return nil, errors.New(method + ": upstream answered an error")
	}
	return readObject(a.result)
}
