package main

import (
	"context"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// logIn makes the client of Vault and our own login there, unless they are there: keys that
// are in Vault need them before there is anything else, and without tokens.
func (h *house) logIn(ctx context.Context, cfg houseConfig, t tokens) error {
	if h.vaultOwn != nil {
		return nil
	}
	c := cfg.Vault.Config
	if cfg.Vault.Login.Method == loginCert {
		c.Certificate = h.ownCertificate
	}
	client, err := vault.New(c)
	if err != nil {
		return err
	}
	h.closers = append(h.closers, func() error { client.Close(); return nil })
	login, err := h.vaultLogin(ctx, cfg, client, t)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	own := vault.NewOwn(vault.OwnConfig{Client: client, Login: login, Log: cfg.Log})
	h.vaultClient, h.vaultOwn = client, own
	h.closers = append(h.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), logoutEnd)
		defer cancel()
		if err := own.Close(ctx); err != nil {
			cfg.Log.Warn("our token of Vault could not be revoked: it expires by itself", "error", err)
		}
		return nil
	}, every(time.Second, cfg.Log, "keep our login at Vault", func(ctx context.Context) error { own.Keep(ctx); return nil }))
	return nil
}

// openVaultForKeys logs in where the keys of the store are wrapped in Vault.
func (h *house) openVaultForKeys(ctx context.Context, cfg houseConfig) error {
	if cfg.Transit == nil {
		return nil
	}
	return h.logIn(ctx, cfg, tokens{}) // with none: that login is refused in the configuration
}
