package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// openVaultForKeys opens Vault before the store, where what opens the keys is in it. It
// needs none of our tokens then.
func (h *house) openVaultForKeys(ctx context.Context, cfg houseConfig) error {
	if cfg.Transit == nil {
		return nil
	}
	return h.openVault(ctx, cfg, tokens{})
}

// openVault makes the client of Vault, and our own login there, which logs in when it is
// first used. What comes of our token expires by itself where it cannot be revoked.
func (h *house) openVault(ctx context.Context, cfg houseConfig, t tokens) error {
	c := cfg.Vault.Config
	if cfg.Vault.Login.Method == loginCert {
		c.Certificate = func() (*tls.Certificate, error) { return h.spiffe.ClientCertificate(nil) }
	}
	client, err := vault.New(c)
	if err != nil {
		return err
	}
	login, err := h.vaultLogin(ctx, cfg, client, t)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	h.vault, h.vaultOwn = client, vault.NewOwn(vault.OwnConfig{Client: client, Login: login, Log: cfg.Log})
	own := h.vaultOwn
	h.closers = append(h.closers, func() error { client.Close(); return nil }, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), logoutEnd)
		defer cancel()
		if err := own.Close(ctx); err != nil {
			cfg.Log.Warn("our token of Vault could not be revoked, and expires by itself", "error", err)
		}
		return nil
	}, every(time.Second, cfg.Log, "keep our login at Vault", func(ctx context.Context) error { own.Keep(ctx); return nil }))
	return nil
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
