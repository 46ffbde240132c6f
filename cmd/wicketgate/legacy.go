package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/token"
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

// openCredentials is ready for calls of legacy servers. That Vault does not answer is no
// reason not to start: other servers need none of it.
func (h *house) openCredentials(ctx context.Context, cfg houseConfig, t tokens) error {
	if len(cfg.Legacy) == 0 {
		return nil
	}
	if h.vault == nil { // else the keys need it too
		if err := h.openVault(ctx, cfg, t); err != nil {
			return err
		}
	}
	return h.openBridge(cfg)
}

func (h *house) openBridge(cfg houseConfig) error {
	bridge := vaultbridge.Config{Vault: h.vault, Own: h.vaultOwn, Records: h.store, Holder: cfg.AuditName, Audit: h.audit, Alive: h.alive, Log: cfg.Log, Now: time.Now,
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
	h.watchVault(cfg)
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

// alive is why a call may go on no longer. An enforcer knows no revocations.
func (h *house) alive(call token.Call, server string) error {
	if h.revocations == nil {
		return nil
	}
	if err := h.revocations.Server(server); err != nil {
		return err
	}
	return h.revocations.Check(call.Verified)
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
// Certificates of clients need connections of their own, and the process of a session what
// it is started with: by initialize, whatever messages says.
func (h *house) withCredentials(cfg houseConfig, upstreams []gateway.Upstream) []gateway.Upstream {
	out := slices.Clone(upstreams)
	for i, u := range out {
		l, ok := cfg.Legacy[u.Name]
		if !ok {
			continue
		}
		command, isCommand := cfg.Commands[u.Name]
		out[i].Credentials, out[i].CredentialForAll = h.bridge.Source(u.Name), l.Messages == "all" || isCommand && !command.PerCall
		if !isCommand {
			out[i].Transport = credential.NewTransport(h.inline(), transport())
		}
	}
	return out
}
