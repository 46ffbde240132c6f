package gateway

import (
	"context"
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
func (g *Gateway) Discover(ctx context.Context, own token.Access, server string) error {
	up := g.upstreams[server]
	if up == nil {
		return fmt.Errorf("there is no server %q", server)
	}
	p := &passage{g: g, up: up, access: own, event: audit.Event{
		Subject: own.Subject().String(), Client: own.ClientID().String(), TokenID: own.ID(), Server: server, Action: "discover", PolicyDigest: g.cfg.PDP.Digest()}}
	p.event.Kind, p.event.Decision, p.event.Reason = audit.Intent, audit.Allow, "the gateway reads definitions"
	if err := g.cfg.Audit.Record(ctx, p.event); err != nil {
		return fmt.Errorf("record discovery: %w", err)
	}
	call, err := g.callToken(ctx, own, p.sessionSpec())
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
