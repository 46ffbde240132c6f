package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
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
	p, err := g.ownPassage(ctx, up, "discover")
	if err != nil {
		return err
	}
	defer p.endLent()
	return p.recorded(ctx, "the gateway reads definitions", p.discover)
}

// ownPassage is for what the gateway does without any client.
func (g *Gateway) ownPassage(ctx context.Context, up *upstream, action string) (*passage, error) {
	own, err := g.cfg.Own(ctx, up.Upstream)
	if err != nil {
		return nil, fmt.Errorf("token of the gateway's own: %w", err)
	}
	p := &passage{g: g, up: up, caller: caller{Verified: own.Verified, access: own}, beside: &sync.WaitGroup{}, event: audit.Event{
		Subject: own.Subject().String(), Client: own.ClientID().String(), Txn: own.Txn(), TokenID: own.ID(), Server: up.Name, Action: action, PolicyDigest: g.cfg.PDP.Digest()}}
	p.nameSession()
	return p, nil
}

// recorded does what the gateway does of its own accord, between an intent and an
// outcome in the audit log.
func (p *passage) recorded(ctx context.Context, why string, do func(context.Context) error) error {
	e := p.event
	p.id = rand.Text()
	e.Kind, e.Call, e.Decision, e.Reason = audit.Intent, p.id, audit.Allow, why
	if err := p.g.cfg.Audit.Record(ctx, e); err != nil {
		return fmt.Errorf("record intent: %w", err)
	}
	err := do(ctx)
	out := audit.Event{Kind: audit.Outcome, Call: e.Call, Subject: e.Subject, Client: e.Client, Txn: e.Txn, Server: e.Server, Action: e.Action, Lease: p.lease, Status: "ok"}
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
	up.era.forget()
	call, err := g.callToken(ctx, p.access, g.sessionSpec(up))
	if err != nil {
		return err
	}
	ctx, in, lacking := p.borrow(ctx, call, p.event.Action)
	if lacking != nil {
		return lacking
	}
	defer in.end()
	e, err := g.era(ctx, up)
	if err != nil {
		return err
	}
	if e.stateless {
		return p.relistOn(ctx, call, leg{stateless: true, version: statelessVersions[0]})
	}
	opened, failure := p.handshake(ctx, call, initializeParams{version: sessionVersions[0], client: ownInfo})
	if failure != nil {
		return failure
	}
	if err := g.initialized(ctx, up, call, opened.leg()); err != nil {
		return err
	}
	if err := p.relistOn(ctx, call, opened.leg()); err != nil || opened.session == "" {
		return err
	}
	return g.deleteSession(ctx, up, call, opened.leg())
}

// discovery is server/discover: what the server says of itself, narrowed.
func (p *passage) discovery() *rpcError {
	d := p.decide(policies.ActionSession, "", nil)
	if !d.Allowed() {
		return errDenied(d)
	}
	return p.perform(token.CallSpec{Scope: token.SessionScope()}, d, func(ctx context.Context, call token.Call) (outcome, *rpcError) {
		l, failure := p.leg(ctx, call)
		if failure != nil {
			return outcome{}, failure
		}
		if !l.stateless {
			return p.discoveredFrom(l.shared.result)
		}
		return p.relay(ctx, call, p.discovered)
	})
}

// discovered narrows an answer to server/discover.
func (p *passage) discovered(_ context.Context, result object) (jsontext.Value, outcome, *rpcError) {
	return narrowedDiscover(result)
}

// narrowedDiscover is what clients are told of a server, from what it says in either era.
func narrowedDiscover(result object) (jsontext.Value, outcome, *rpcError) {
	offered, err := narrowCapabilities(result.get("capabilities"), "logging")
	if err != nil {
		return nil, outcome{}, errUnavailable("upstream_malformed", err)
	}
	return object{}.with(member{"resultType", quote("complete")}, member{"supportedVersions", spoken()}, member{"capabilities", offered},
		member{"instructions", result.get("instructions")}, member{"ttlMs", boundedTTL(result.get("ttlMs"))}, member{"cacheScope", quote("private")},
		member{"_meta", object{}.with(member{metaServer, serverInfo(result)})}), outcome{status: "ok"}, nil
}

// discoveredFrom answers it for a server of the session era.
func (p *passage) discoveredFrom(initialized jsontext.Value) (outcome, *rpcError) {
	o, err := readObject(initialized)
	if err != nil {
		return outcome{}, errUnavailable("upstream_malformed", err)
	}
	result, out, failure := narrowedDiscover(o)
	if failure != nil {
		return outcome{}, failure
	}
	if result, out.redactions, err = p.redactKept(result); err != nil {
		return outcome{}, errRedaction(err)
	}
	raw := rpcBody(p.msg.id, result, nil)
	out.resultDigest, out.answer = digest(raw), func() { p.out.final(raw) }
	return out, nil
}

// spoken are the protocol versions of this endpoint, whatever the server's.
func spoken() jsontext.Value {
	out := []byte{'['}
	for i, v := range slices.Concat(statelessVersions, sessionVersions) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, quote(v)...)
	}
	return append(out, ']')
}
