package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Discover lists the tools of a server with an access token of the gateway's own,
// so that their definitions are known (and, where the configuration trusts the
// first use, approved) before anybody calls. It opens a session of its own and
// ends it. A server that does not answer is an error, and is asked again when
// somebody calls.
func (g *Gateway) Discover(ctx context.Context, server string) error {
	up := g.upstreams[server]
	if up == nil {
		return fmt.Errorf("there is no server %q", server)
	}
	own, err := g.cfg.Own(ctx, up.Upstream)
	if err != nil {
		return fmt.Errorf("token of the gateway's own: %w", err)
	}
	p := &passage{g: g, up: up, caller: caller{Verified: own.Verified, access: own}, event: audit.Event{
		Subject: own.Subject().String(), Client: own.ClientID().String(), Txn: own.Txn(), TokenID: own.ID(), Server: server, Action: "discover", PolicyDigest: g.cfg.PDP.Digest()}}
	return p.recorded(ctx, "the gateway reads definitions", p.discover)
}

// recorded does what the gateway does of its own accord, between an intent and an
// outcome in the audit log.
func (p *passage) recorded(ctx context.Context, why string, do func(context.Context) error) error {
	e := p.event
	e.Kind, e.Call, e.Decision, e.Reason = audit.Intent, rand.Text(), audit.Allow, why
	if err := p.g.cfg.Audit.Record(ctx, e); err != nil {
		return fmt.Errorf("record intent: %w", err)
	}
	err := do(ctx)
	out := audit.Event{Kind: audit.Outcome, Call: e.Call, Subject: e.Subject, Client: e.Client, Txn: e.Txn, Server: e.Server, Action: e.Action, Status: "ok"}
	if err != nil {
		out.Status, out.Reason = "error", reasonOf(err, "definitions_unavailable")
	}
	if recErr := p.g.cfg.Audit.Record(ctx, out); recErr != nil {
		return errors.Join(err, fmt.Errorf("record outcome: %w", recErr))
	}
	return err
}

func (p *passage) discover(ctx context.Context) error {
	g, up := p.g, p.up
	call, err := g.callToken(ctx, p.access, p.sessionSpec())
	if err != nil {
		return err
	}
	_, s, failure := p.handshake(ctx, call, initializeParams{version: versions[0], client: jsontext.Value(`{"name":"wicketgate","version":"1"}`)})
	if failure != nil {
		return failure
	}
	p.session = s
	resp, err := g.send(ctx, up, call, s, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	if err != nil {
		return err
	}
	drain(resp)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("upstream answered HTTP %d to notifications/initialized: %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	if err := p.relist(ctx); err != nil || s.Upstream == "" {
		return err
	}
	return g.deleteSession(ctx, up, call, s)
}

func (p *passage) sessionSpec() token.CallSpec {
	return token.CallSpec{Scope: token.SessionScope(), Audience: p.up.Audience.String(), Presenter: p.g.cfg.ClientID,
		Details: token.Details{Server: p.up.Name, PolicyDigest: p.event.PolicyDigest}}
}
