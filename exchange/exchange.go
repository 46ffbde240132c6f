// Package exchange is the token-exchange service (RFC 8693): it narrows what a client
// has to what it needs, for the gateway in process and for confidential clients at the
// token endpoint.
//
// There are two products. A tool token is good for one call of one tool, with these
// arguments, once, for at most 60 seconds: who wants one sends the whole call in
// authorization_details. A delegated access token is for a client that goes on acting
// for the same subject: who sends no authorization_details gets one.
//
// What comes out never has more than what went in (docs/exchange.md has the algebra,
// [token.Minter] the rules): the same subject and transaction, a chain of actors that
// only grows, one audience that the parent leads to, a scope that it covers, no later
// expiry, and every key that it is bound to. It does NOT authenticate clients (package
// authz has), keeps nothing, and issues no refresh token.
//
// Unsupported, answered with an error: several targets (RFC 8693 §2.1), token types
// other than that of an access token (§3), actor tokens that have actors themselves.
package exchange

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// PDP decides whether the call may be made. *policies.PDP is one.
type PDP interface {
	Decide(ctx context.Context, q policies.Request) policies.Decision
	Digest() string
}

// Definitions knows the approved tool definitions.
type Definitions interface {
	// Definition returns the digest of the approved definition, or false.
	Definition(ctx context.Context, server, tool string) (string, bool)
}

// Foreign knows the access tokens of other issuers that are taken as subject_token.
type Foreign interface {
	// Trusts reports whether the token says it is of such an issuer; nothing is proven.
	Trusts(raw string) bool
	// Subject verifies the token for the client, who has proved the keys, and returns the
	// resources that it leads to.
	Subject(ctx context.Context, raw string, client identity.ClientID, proof token.Confirmation) (token.Foreign, []oauth.Resource, error)
}

// Freezes knows which servers an operator has frozen. *revocation.View is one.
type Freezes interface {
	// Server returns an error for a server that must not be called.
	Server(name string) error
}

// Config is all that an Exchanger needs; every field is required unless it says otherwise.
type Config struct {
	Issuer      string // ours
	Resources   oauth.Resources
	Servers     map[oauth.Resource]string // the server's name by its public resource
	Upstreams   Upstreams
	Verifier    *token.Verifier
	Minter      *token.Minter
	PDP         PDP
	Freezes     Freezes // nil: no server is ever frozen
	Definitions Definitions
	Audit       audit.Recorder
	Now         func() time.Time
	Lifetime    time.Duration // of a delegated access token, at most

	// Redact is what of a call's arguments may be kept in the audit log, at the server; nil:
	// nothing is kept.
	Redact func(server string, arguments jsontext.Value) jsontext.Value

	// Downstream is the further resources that a token for a resource leads to.
	Downstream map[oauth.Resource][]oauth.Resource

	// ActsFor is whose access tokens a client may exchange besides its own. Both may be
	// named by patterns of SPIFFE IDs, see identity.ClientID.Names. A client that is here by
	// its own name has nothing of a pattern.
	ActsFor map[identity.ClientID]Principals

	Foreign Foreign // nil: nobody else's tokens are taken

	// All is the endpoint over all servers, which the token of a caller may be for instead of
	// the server's own resource; may be zero.
	All oauth.Resource

	Gateways Gateways // those of other processes; zero: there are none
}

// Upstreams are the public resources of the servers whose call tokens have an internal
// resource as their audience. It is that of one server, or Vault's, which is logged in to with
// the call tokens of several.
type Upstreams map[oauth.Resource][]oauth.Resource

// Principals are the clients for whose users another client may act.
type Principals struct {
	Clients []identity.ClientID
	All     bool
}

// Exchanger exchanges tokens. It is safe for concurrent use.
type Exchanger struct {
	cfg   Config
	named map[string]oauth.Resource // by the server's name
}

// New makes an Exchanger.
func New(cfg Config) *Exchanger {
	e := &Exchanger{cfg, map[string]oauth.Resource{}}
	for r, name := range cfg.Servers {
		e.named[name] = r
	}
	return e
}

// errNotInternal means that the caller in process aimed at what is no upstream.
var errNotInternal = errors.New("exchange: the audience is not an upstream")

// errAnotherServer means that it named a server that the caller's token is not for.
var errAnotherServer = errors.New("exchange: the audience, the token and the server do not belong together")

// Call narrows an access token for a call of an upstream. Only a gateway has this way
// in, in process or as one of Config.Gateways: its audiences are internal resources,
// which nobody else can ask for. The caller has decided and recorded.
func (e *Exchanger) Call(_ context.Context, parent token.Access, s token.CallSpec) (token.Call, error) {
	if err := e.leads(parent.Verified, s.Audience, s.Details.Server); err != nil {
		return token.Call{}, err
	}
	return e.cfg.Minter.Call(parent, s)
}

// Readdress is the one hop of a tool token that a client presented to the gateway, which
// has decided, recorded and spent it.
func (e *Exchanger) Readdress(_ context.Context, t token.Tool, audience string, presenter identity.ClientID) (token.Call, error) {
	return e.readdress(t, token.CallSpec{Audience: audience, Presenter: presenter})
}

func (e *Exchanger) readdress(t token.Tool, s token.CallSpec) (token.Call, error) {
	if err := e.leads(t.Verified, s.Audience, t.Details().Server); err != nil {
		return token.Call{}, err
	}
	return e.cfg.Minter.Readdress(t, s)
}

// leads checks that the audience is internal and, where several servers have it, that the call
// is of the one that the caller's token is for: what is good at Vault must not name another.
func (e *Exchanger) leads(of token.Verified, audience, server string) error {
	target, err := oauth.ParseResource(audience)
	if err != nil || !e.cfg.Resources.Internal(target) {
		return errNotInternal
	}
	if len(e.cfg.Upstreams[target]) < 2 {
		return nil
	}
	public, ok := e.behind(target, server)
	if !ok || of.Audience() != public.String() && (e.cfg.All.IsZero() || of.Audience() != e.cfg.All.String()) {
		return errAnotherServer
	}
	return nil
}

// behind is the public resource of the server with that name, if its call tokens have the
// audience.
func (e *Exchanger) behind(audience oauth.Resource, server string) (oauth.Resource, bool) {
	public, ok := e.named[server]
	return public, ok && slices.Contains(e.cfg.Upstreams[audience], public)
}

// Issue answers the token-exchange grant. It satisfies authz.Grant.
func (e *Exchanger) Issue(ctx context.Context, r oauth.TokenRequest) (oauth.TokenResponse, error) {
	if upstream, ok := e.upstreamOf(r); ok {
		return e.issueCall(ctx, r, upstream)
	}
	q, err := e.parse(ctx, r)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	if q.call != nil {
		return e.issueTool(ctx, q)
	}
	return e.issueDelegated(ctx, q)
}
