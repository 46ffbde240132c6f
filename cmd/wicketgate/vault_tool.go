package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// vaultTool is a command beside the process that speaks with Vault. What it logs in as it
// logs out again.
type vaultTool struct {
	house
	cfg    houseConfig
	tokens tokens
	logins []vault.Token
}

// openVaultTool changes nothing, and asks nothing of Vault yet.
func openVaultTool(ctx context.Context, cfg houseConfig) (*vaultTool, error) {
	cfg.Log = slog.New(slog.DiscardHandler) // what fails is an error of the command
	t := &vaultTool{cfg: cfg}
	store, err := openForReading(ctx, cfg.Store)
	if err != nil {
		return nil, err
	}
	t.store, t.closers = store, append(t.closers, store.Close)
	c := cfg.Vault.Config
	if cfg.Vault.Login.Method == loginCert {
		c.Certificate = func() (*tls.Certificate, error) { return t.spiffe.ClientCertificate(nil) }
		err = t.openSPIFFE(ctx, cfg)
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	if t.vault, err = vault.New(c); err != nil {
		return nil, errors.Join(err, t.close())
	}
	t.closers = append(t.closers, func() error { t.vault.Close(); return nil }, t.logOut)
	return t, nil
}

func (t *vaultTool) logOut() error {
	ctx, cancel := context.WithTimeout(context.Background(), logoutEnd)
	defer cancel()
	var errs []error
	for _, one := range t.logins {
		errs = append(errs, t.vault.RevokeToken(ctx, one))
	}
	return errors.Join(errs...)
}

// logIn logs in as the process does, where that is possible beside it.
func (t *vaultTool) logIn(ctx context.Context) (vault.Token, error) {
	l := t.cfg.Vault.Login
	switch {
	case l.Method == loginAppRole && l.Wrapped:
		return vault.Token{}, fmt.Errorf("the secret-id in %s is wrapped for the process alone: %s", l.SecretIDFile, otherwise())
	case l.Method == loginJWT:
		if err := t.openMinter(ctx); err != nil {
			return vault.Token{}, err
		}
	}
	login, err := t.vaultLogin(ctx, t.cfg, t.vault, t.tokens)
	if err != nil {
		return vault.Token{}, err
	}
	return t.keep(login(ctx))
}

// keep has a token revoked at the end.
func (t *vaultTool) keep(a vault.Auth, err error) (vault.Token, error) {
	if err == nil {
		t.logins = append(t.logins, a.Token)
	}
	return a.Token, err
}

// openMinter mints with the keys of the store, as the authorization server would.
func (t *vaultTool) openMinter(ctx context.Context) error {
	if !t.cfg.Role.issues() {
		return fmt.Errorf("the keys that sign tokens are those of another process: %s", otherwise())
	}
	if _, err := os.Stat(t.cfg.KEK); err != nil {
		return fmt.Errorf("read key-encryption key: %w", err)
	}
	kek, err := keys.LoadKEK(t.cfg.KEK)
	if err != nil {
		return err
	}
	if t.ring, err = keys.New(ctx, ringConfig(t.cfg, t.store, kek)); err != nil {
		return err
	}
	t.revocations = revocation.NewView(revocation.Config{Store: t.store, Issuer: t.cfg.Issuer, Now: time.Now})
	if err := t.revocations.Poll(ctx); err != nil {
		return err
	}
	t.minter = token.NewMinter(token.MinterConfig{Issuer: t.cfg.Issuer, Signer: t.ring, Now: time.Now, Revocations: t.revocations})
	t.tokens = tokens{exchanger: minting{t.minter}, own: t.own}
	return nil
}

// minting is a minter as what exchanges for the gateway itself.
type minting struct{ minter *token.Minter }

// Call implements gateway.Exchanger.
func (m minting) Call(_ context.Context, parent token.Access, s token.CallSpec) (token.Call, error) {
	return m.minter.Call(parent, s)
}

// Readdress implements gateway.Exchanger: nobody presents anything here.
func (minting) Readdress(context.Context, token.Tool, string, identity.ClientID) (token.Call, error) {
	return token.Call{}, errors.New("no token was presented")
}

// operatorsToken is that of the environment; zero: there is none.
func operatorsToken() vault.Token { return vault.NewToken(os.Getenv(vaultTokenEnv)) }

// otherwise is what a person does where we cannot log in.
func otherwise() string {
	if operatorsToken().IsZero() {
		return "set " + vaultTokenEnv
	}
	return vaultTokenEnv + " is used"
}

// forServer is a token that may read what a call of the server may. Own is our own login.
func (t *vaultTool) forServer(ctx context.Context, u gateway.Upstream, own vault.Token) (vault.Token, error) {
	if given := operatorsToken(); !given.IsZero() {
		return given, nil
	}
	l := t.cfg.Legacy[u.Name]
	if t.cfg.Vault.Login.Method == loginJWT {
		call, err := t.tokens.ownCall(ctx, u)
		if err != nil {
			return vault.Token{}, err
		}
		return t.keep(t.vault.LoginJWT(ctx, t.cfg.Vault.Login.Mount, l.Role, call.Bearer()))
	}
	return t.keep(t.vault.Child(ctx, own, vault.ChildSpec{Role: l.TokenRole, Policies: l.Policies, TTL: time.Minute, DisplayName: "wicketgate-status",
		Meta: map[string]string{"subject": gatewayID.String(), "client": gatewayID.String(), "actor": "", "server": u.Name, "txn": ""}}))
}

// openTool is the bridge with a login that is there: it rotates and looks, and holds nothing.
func (t *vaultTool) openTool(login vault.Token) error {
	own := vault.NewOwn(vault.OwnConfig{Client: t.vault, Login: func(context.Context) (vault.Auth, error) { return vault.Auth{Token: login}, nil }})
	cfg := vaultbridge.Config{Vault: t.vault, Own: own, Log: t.cfg.Log, Now: time.Now}
	for _, u := range t.legacy() {
		cfg.Servers = append(cfg.Servers, t.cfg.Legacy[u.Name].server(u))
	}
	var err error
	t.bridge, err = vaultbridge.New(cfg)
	return err
}

// legacy are the servers with credential: vault.
func (t *vaultTool) legacy() []gateway.Upstream {
	return slices.DeleteFunc(slices.Clone(t.cfg.Upstreams), func(u gateway.Upstream) bool { _, ok := t.cfg.Legacy[u.Name]; return !ok })
}

// errNoVault is of a configuration without such servers.
var errNoVault = errors.New("no server of the configuration has credential: vault")

func rotateServer(ctx context.Context, cfg houseConfig, server string, stdout io.Writer) (err error) {
	if cfg.Vault == nil || len(cfg.Legacy) == 0 {
		return errNoVault
	}
	if _, ok := cfg.Legacy[server]; !ok {
		return fmt.Errorf("no server %s of the configuration has credential: vault", shown(server))
	}
	t, err := openVaultTool(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	login := operatorsToken()
	if login.IsZero() {
		if login, err = t.logIn(ctx); err != nil {
			return fmt.Errorf("log in to Vault: %w", err)
		}
	}
	if err := t.openTool(login); err != nil {
		return err
	}
	if err := t.bridge.Rotate(ctx, server); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "rotated: the key of server %s. Calls from now on get the new one.\n", server)
	return err
}
