package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/remote"
	"github.com/wicketgate/wicketgate/internal/token"
)

// role is what a process is: one of the two, or both.
type role string

// The roles. A gateway alone is known by its configuration, which says where the
// authorization server is.
const (
	roleBoth    role = ""
	roleAuthz   role = "authz"
	roleGateway role = "gateway"
	roleAny     role = "any" // of a command beside the process, which works with each
	roleEnforce role = "enforce"
)

func (r role) issues() bool   { return r != roleGateway && r != roleEnforce }
func (r role) enforces() bool { return r != roleAuthz }

// uses are those of the keys that a process has. A gateway alone has none to sign tokens
// with.
func (r role) uses() []keys.Use {
	switch {
	case r.issues():
		return keys.Uses()
	case r == roleEnforce:
		return []keys.Use{keys.UseAudit}
	}
	return []keys.Use{keys.UseAudit, keys.UseSession}
}

// ExchangeConfig is the authorization server of another process. Its configuration names us
// as a client with gateway: true. We prove to be that by our X.509-SVID (spiffe_id), or by
// a key of ours (client_id and key_file).
type ExchangeConfig struct {
	// Its URL, without path and trailing slash: with spiffe_id that of its mutual_tls
	// listener, with client_id also its issuer.
	URL string `yaml:"url" required:"true"`

	// SPIFFE ID that it must prove. Ours is that of our X.509-SVID, of spiffe.workload_api.
	SPIFFEID string `yaml:"spiffe_id"`

	// Our client_id there, with auth_method: private_key_jwt (RFC 7523).
	ClientID string `yaml:"client_id"`

	// File with our private key: PEM (PKCS #8), Ed25519 or P-256, which others must not be
	// able to read. wicketgate keys jwks FILE prints the clients[].jwks_file for it.
	KeyFile string `yaml:"key_file"`

	// With client_id: certificates (PEM) that vouch for the server, instead of the
	// authorities of this machine.
	CA string `yaml:"ca"`
}

// exchangeConfig is an ExchangeConfig that was checked.
type exchangeConfig struct {
	URL    string
	Server identity.SPIFFEID // zero with a key
	Key    *clientKey        // nil with SVIDs
	CAs    *x509.CertPool    // for Key; nil: those of the machine
}

// issuersOwn are the sections that say nothing to a gateway alone.
var issuersOwn = []string{"clients", "login", "registration", "trusted_issuers", "client_ca", "token_algorithm", "lifetimes"}

// role checks that the configuration is for the role.
func (c configCheck) role() {
	x, h := c.s.Exchange, &c.s.house
	h.Role = c.asked
	switch {
	case x == nil && c.asked == roleGateway:
		c.refuse("exchange", "exchange is missing: --role gateway needs the url of the authorization server, and spiffe_id, or client_id and key_file")
	case x != nil && c.asked != roleGateway && c.asked != roleAny:
		c.refuse("exchange", "exchange is for a gateway alone: serve --role gateway, or remove it")
	case x == nil && c.asked == roleAny:
		h.Role = roleBoth
	case x != nil:
		h.Role = roleGateway
		c.exchange(*x)
	}
	if x == nil {
		return
	}
	for _, section := range issuersOwn {
		if _, written := c.nodes[section]; written {
			c.refuse(section, "%s is for the authorization server, and exchange says that it is elsewhere: remove it here", section)
		}
	}
}

func (c configCheck) exchange(x ExchangeConfig) {
	u, err := url.Parse(x.URL)
	if !c.good("exchange.url") || !c.good("exchange.spiffe_id") {
		return
	}
	byKey := x.ClientID != "" || x.KeyFile != "" || x.CA != ""
	local := err == nil && byKey && u.Scheme == "http" && isLoopback(u.Hostname())
	if err != nil || u.Scheme != "https" && !local || u.Host == "" || u.Scheme+"://"+u.Host != x.URL {
		c.refuse("exchange.url", "exchange.url is %s: write https://HOST[:PORT] of the authorization server's mutual_tls.url (with client_id, or its issuer), without path and trailing slash", shown(x.URL))
	}
	if byKey {
		c.exchangeByKey(x)
		return
	}
	if x.SPIFFEID == "" {
		c.refuse("exchange", "exchange says not how we prove who we are: write spiffe_id, or client_id and key_file")
		return
	}
	id, err := identity.ParseSPIFFEID(x.SPIFFEID)
	if err != nil {
		c.refuse("exchange.spiffe_id", "exchange.spiffe_id is %s: %v", shown(x.SPIFFEID), err)
		return
	}
	c.needsOwn("exchange")
	c.trustDomain("exchange.spiffe_id", id.TrustDomain())
	c.s.house.Exchange = &exchangeConfig{URL: x.URL, Server: id}
}

// gateway completes a client that is a gateway of another process: all that it may do
// follows from that.
func (c configCheck) gateway(at string, cl *ClientConfig, out *authz.Client) {
	if !cl.Gateway {
		return
	}
	_, grants := c.nodes[at+".grant_types"]
	p, err := identity.ParsePattern(cl.ID)
	byKey := cl.AuthMethod == oauth.AuthPrivateKeyJWT
	if cl.AuthMethod != oauth.AuthSPIFFEX509 && !byKey {
		c.refuse(at+".gateway", "%s.gateway is true, and auth_method is %s: write spiffe_x509 or private_key_jwt, which nobody can replay", at, cl.AuthMethod)
		return
	}
	switch {
	case cl.AssertionAudience != "":
		c.refuse(at+".assertion_audience", "%s.gateway is true: leave out assertion_audience, an assertion of a gateway is for the issuer alone", at)
	case err == nil && p.Any():
		c.refuse(at+".gateway", "%s.gateway is true, and id is a pattern: name the SPIFFE ID of the gateway", at)
	case c.s.MutualTLS == nil && !byKey:
		c.refuse(at+".gateway", "%s.gateway is true: configure mutual_tls, since the word of a proxy proves no gateway", at)
	case grants || len(cl.Scopes) > 0 || len(cl.ActsFor) > 0 || len(cl.RedirectURIs) > 0 || cl.ResourceServer != "" || cl.DPoPBound || cl.CertificateBound:
		c.refuse(at, "%s.gateway is true: leave out all but id, name, auth_method and keys, what a gateway may do follows from that", at)
	case c.s.house.Gateways == nil:
		c.s.house.Gateways = map[identity.ClientID]bool{out.ID: true}
	default:
		c.s.house.Gateways[out.ID] = true
	}
	cl.GrantTypes, cl.Scopes = []string{oauth.GrantClientCredentials, oauth.GrantTokenExchange}, []string{oauth.ScopeTools}
	out.GrantTypes, out.Scope = cl.GrantTypes, cl.Scopes
}

// gateways notes what an authorization server alone lacks without them.
func (c configCheck) gateways() {
	if c.s.house.Role == roleAuthz && len(c.s.house.Gateways) == 0 {
		c.note("--role authz, and no client is a gateway (gateway: true): nobody can call a tool")
	}
}

// openRemote is the way to the authorization server of another process, if it is there.
func (h *house) openRemote(_ context.Context, cfg houseConfig) error {
	switch x := cfg.Exchange; {
	case x == nil:
	case x.Key != nil:
		t := transport()
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x.CAs}
		h.toAS = t
		h.as = remote.New(remote.Config{URL: x.URL, Transport: t, ClientID: x.Key.client, Assertion: x.Key.assertion(cfg.Issuer, time.Now), Now: time.Now})
	default:
		h.toAS = h.spiffe.Transport(transport(), x.Server)
		h.as = remote.New(remote.Config{URL: x.URL, Transport: h.toAS, ClientID: h.ownClient, Now: time.Now})
	}
	return nil
}

// elsewhere is the exchange of another process, nil if there is none.
func (h *house) elsewhere() (gateway.Exchanger, func(context.Context, gateway.Upstream) (token.Access, error)) {
	if h.as == nil {
		return nil, nil
	}
	x := remote.NewExchanger(h.as, h.verifier)
	return x, func(ctx context.Context, server gateway.Upstream) (token.Access, error) {
		return x.Own(ctx, server.Resource.String(), gatewayID)
	}
}

// gatewaysThatExchange are those of other processes, as the exchange needs to know them.
func (h *house) gatewaysThatExchange(cfg houseConfig) exchange.Gateways {
	g := exchange.Gateways{Clients: cfg.Gateways, Presenter: gatewayID}
	g.Spend = func(ctx context.Context, jti string, until time.Time) (bool, error) {
		err := single{h.store, time.Now}.Spend(ctx, jti, until)
		if errors.Is(err, gateway.ErrSpent) {
			return false, nil
		}
		return err == nil, err
	}
	return g
}

// definitions are the approved ones, as the gateway in this process or those of others
// know them.
func (h *house) definitions(cfg houseConfig, told *learnt) exchange.Definitions {
	if !cfg.Role.enforces() {
		return told
	}
	return definitions(func(ctx context.Context, server, tool string) (string, bool) {
		return h.gateway.Definition(ctx, server, tool)
	})
}

// ownClient is the client_id that our X.509-SVID proves.
func (h *house) ownClient() (identity.ClientID, error) {
	own, err := h.spiffe.Own()
	if err != nil {
		return identity.ClientID{}, err
	}
	id, err := identity.ParseSPIFFEID(own.ID.String())
	return id.ClientID(), err
}

// own is an access token of the gateway's own, with which it reads what servers list.
func (h *house) own(_ context.Context, server gateway.Upstream) (token.Access, error) {
	subject, err := gatewayID.Subject()
	if err != nil {
		return token.Access{}, err
	}
	scope, err := token.ParseScope(oauth.ScopeTools)
	if err != nil {
		return token.Access{}, err
	}
	_, own, err := h.minter.Access(token.AccessSpec{Subject: subject, ClientID: gatewayID, Audience: server.Resource.String(), Scope: scope, Txn: rand.Text(), Lifetime: time.Minute})
	return own, err
}

// definitions is a function as exchange.Definitions.
type definitions func(ctx context.Context, server, tool string) (string, bool)

func (f definitions) Definition(ctx context.Context, server, tool string) (string, bool) {
	return f(ctx, server, tool)
}

// separateRoles keeps the store of a gateway alone apart from that of an authorization
// server: who has the one must not have the keys of the other.
func separateRoles(records []keys.Record, cfg houseConfig) error {
	signs := slices.ContainsFunc(records, func(r keys.Record) bool { return r.Use == keys.UseToken })
	switch {
	case len(records) == 0 || signs == cfg.Role.issues():
		return nil
	case signs:
		return fmt.Errorf("%s is that of an authorization server: give this process a store of its own, without the keys that sign tokens", cfg.Store.where())
	}
	return fmt.Errorf("%s is that of serve --role gateway: give the authorization server a store of its own", cfg.Store.where())
}

// errElsewhere is for what an operator does at the authorization server.
var errElsewhere = errors.New("this is the configuration of a gateway alone, which keeps neither clients nor revocations: use that of the authorization server, which the gateway follows within 5 seconds")
