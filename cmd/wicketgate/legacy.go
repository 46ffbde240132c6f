package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// Of Vault at the end: leases first, and our own login when nothing needs it any more.
const (
	leasesEnd = 10 * time.Second
	logoutEnd = 3 * time.Second
)

// tokens is how this process gets call tokens: what exchanges, and whose access tokens it
// is begun with where nobody calls.
type tokens struct {
	exchanger gateway.Exchanger
	own       func(context.Context, gateway.Upstream) (token.Access, error)
}

// openVault logs in to Vault and is ready for calls of legacy servers. That Vault does not
// answer is no reason not to start: other servers need none of it.
func (h *house) openVault(ctx context.Context, cfg houseConfig, t tokens) error {
	if len(cfg.Legacy) == 0 {
		return nil
	}
	if err := h.logIn(ctx, cfg, t); err != nil {
		return err
	}
	return h.openBridge(cfg, h.vaultClient, h.vaultOwn)
}

func (h *house) openBridge(cfg houseConfig, client *vault.Client, own *vault.Own) error {
	bridge := vaultbridge.Config{Vault: client, Own: own, Records: h.store, Holder: cfg.AuditName, Audit: h.audit, Alive: h.alive, Log: cfg.Log, Now: time.Now,
		Observe: cfg.Metrics.watchCredentials()}
	if cfg.Vault.Login.Method == loginJWT {
		bridge.JWTMount = cfg.Vault.Login.Mount
	}
	for _, u := range cfg.Upstreams {
		if l, ok := cfg.Legacy[u.Name]; ok {
			bridge.Servers = append(bridge.Servers, l.server(u))
		}
	}
	var err error
	if h.bridge, err = vaultbridge.New(bridge); err != nil {
		return err
	}
	h.closers = append(h.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), leasesEnd)
		defer cancel()
		return h.bridge.Close(ctx)
	}, every(time.Second, cfg.Log, "look after leases", h.bridge.Sweep))
	h.watchVault(cfg, client, own)
	return nil
}

// server is what the bridge is to know of a server.
func (l legacyServer) server(u gateway.Upstream) vaultbridge.Server {
	s := vaultbridge.Server{Name: u.Name, Engine: vaultbridge.Engine(l.Engine), Path: l.Path, Role: l.Role, Policies: l.Policies, TokenRole: l.TokenRole, Version: l.Version,
		Inject: l.Inject, Per: vaultbridge.Per(l.Per), TTL: time.Duration(l.TTL), WarnAge: time.Duration(l.WarnAge), MaxAge: time.Duration(l.MaxAge), Limit: u.Longest()}
	if len(l.Request) > 0 {
		s.Request = map[string]string{}
	}
	for _, r := range l.Request {
		s.Request[r.Name] = r.Value
	}
	return s
}

// alive is why a call may go on no longer.
func (h *house) alive(call token.Call, server string) error {
	if err := h.revocations.Server(server); err != nil {
		return err
	}
	return h.revocations.Check(call.Verified)
}

// ownCertificate is our X.509-SVID as it is now.
func (h *house) ownCertificate() (*tls.Certificate, error) {
	own, err := h.spiffe.Own()
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{PrivateKey: own.PrivateKey, Leaf: own.Certificates[0]}
	for _, one := range own.Certificates {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	return c, nil
}

// vaultLogin is how we log in ourselves.
func (h *house) vaultLogin(ctx context.Context, cfg houseConfig, c *vault.Client, t tokens) (vault.Login, error) {
	l := cfg.Vault.Login
	switch l.Method {
	case loginCert:
		return func(ctx context.Context) (vault.Auth, error) { return c.LoginCert(ctx, l.Mount, l.Role) }, nil
	case loginKubernetes:
		return func(ctx context.Context) (vault.Auth, error) {
			account, err := readTrimmed(l.TokenFile) // anew: it is replaced before it expires
			if err != nil {
				return vault.Auth{}, err
			}
			return c.LoginKubernetes(ctx, l.Mount, l.Role, account)
		}, nil
	case loginAppRole:
		return appRole(ctx, cfg, c)
	}
	return func(ctx context.Context) (vault.Auth, error) {
		call, err := t.forVault(ctx, cfg)
		if err != nil {
			return vault.Auth{}, err
		}
		return c.LoginJWT(ctx, l.Mount, l.Role, call.Bearer())
	}, nil
}

// appRole unwraps the secret-id at the start, once: it is in memory alone then. Where Vault
// does not answer, that is done with the first login.
func appRole(ctx context.Context, cfg houseConfig, c *vault.Client) (vault.Login, error) {
	l := cfg.Vault.Login
	id, err := readTrimmed(l.SecretIDFile)
	if err != nil {
		return nil, err
	}
	wrapped := l.Wrapped
	unwrap := func(ctx context.Context) error {
		if !wrapped {
			return nil
		}
		plain, err := c.UnwrapSecretID(ctx, l.Mount, vault.NewToken(id))
		if err == nil {
			id, wrapped = plain, false
		}
		return err
	}
	if err := unwrap(ctx); errors.Is(err, vault.ErrUnwrapped) {
		return nil, err
	} else if err != nil {
		cfg.Log.Warn("starting without a login at Vault: calls of servers that need one are refused until it answers", "error", err)
	}
	return func(ctx context.Context) (vault.Auth, error) { // one at a time
		if err := unwrap(ctx); err != nil {
			return vault.Auth{}, err
		}
		return c.LoginAppRole(ctx, l.Mount, l.RoleID, id)
	}, nil
}

func readTrimmed(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// forVault is a call token of the gateway's own for Vault. It names one of the servers that
// are called with credentials, whichever is not frozen.
func (t tokens) forVault(ctx context.Context, cfg houseConfig) (token.Call, error) {
	var errs []error
	for _, u := range cfg.Upstreams {
		if _, ok := cfg.Legacy[u.Name]; !ok {
			continue
		}
		call, err := t.ownCall(ctx, u)
		if err == nil {
			return call, nil
		}
		errs = append(errs, err)
	}
	return token.Call{}, fmt.Errorf("get a call token for Vault: %w", errors.Join(errs...))
}

func (t tokens) ownCall(ctx context.Context, u gateway.Upstream) (token.Call, error) {
	own, err := t.own(ctx, u)
	if err != nil {
		return token.Call{}, err
	}
	return t.exchanger.Call(ctx, own, token.CallSpec{Audience: u.Audience.String(), Presenter: gatewayID, Scope: token.SessionScope(), Details: token.Details{Server: u.Name}})
}

// withCredentials has those upstreams called with credentials that are legacy servers.
// Certificates of clients need connections of their own.
func (h *house) withCredentials(cfg houseConfig, upstreams []gateway.Upstream) []gateway.Upstream {
	out := slices.Clone(upstreams)
	for i, u := range out {
		l, ok := cfg.Legacy[u.Name]
		if !ok {
			continue
		}
		out[i].Credentials, out[i].CredentialForAll = h.bridge.Source(u.Name), l.Messages == "all"
		if _, command := cfg.Commands[u.Name]; !command {
			out[i].Transport = credential.NewTransport(h.inline(), transport())
		}
	}
	return out
}
