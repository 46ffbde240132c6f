package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// vaultKeep is how often we look whether our login has to be renewed.
const vaultKeep = time.Second

// openVaultForKeys makes the client of Vault, and our own login there, which logs in when it is
// first used. It needs none of our keys.
func (h *house) openVaultForKeys(_ context.Context, cfg houseConfig) error {
	if cfg.Transit == nil {
		return nil
	}
	v := *cfg.Vault
	if v.Login.Method == loginCert {
		v.Certificate = func() (*tls.Certificate, error) { return h.spiffe.ClientCertificate(nil) }
	}
	client, err := vault.New(v.Config)
	if err != nil {
		return err
	}
	own := vault.NewOwn(vault.OwnConfig{Client: client, Login: ownLogin(client, v.Login), Log: cfg.Log})
	h.vault, h.vaultOwn = client, own
	h.closers = append(h.closers, func() error { client.Close(); return nil },
		func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(v.Timeout))
			defer cancel()
			if err := own.Close(ctx); err != nil {
				cfg.Log.Warn("our token of Vault could not be revoked, and expires by itself", "error", err)
			}
			return nil
		},
		every(vaultKeep, cfg.Log, "renew our login to Vault", func(ctx context.Context) error { own.Keep(ctx); return nil }))
	return nil
}

// ownLogin logs in with a method that needs no token of ours.
func ownLogin(client *vault.Client, l VaultLoginConfig) vault.Login {
	switch l.Method {
	case loginCert:
		return func(ctx context.Context) (vault.Auth, error) { return client.LoginCert(ctx, l.Mount, l.Role) }
	case loginKubernetes:
		return func(ctx context.Context) (vault.Auth, error) {
			jwt, err := secretText(l.TokenFile)
			if err != nil {
				return vault.Auth{}, err
			}
			return client.LoginKubernetes(ctx, l.Mount, l.Role, jwt)
		}
	}
	secret := "" // what was unwrapped is not there to be unwrapped again; one login is under way at a time
	return func(ctx context.Context) (vault.Auth, error) {
		id, err := secret, error(nil)
		if id == "" {
			id, err = secretText(l.SecretIDFile)
		}
		if err == nil && secret == "" && l.Wrapped {
			id, err = client.UnwrapSecretID(ctx, l.Mount, vault.NewToken(id))
			secret = id
		}
		if err != nil {
			return vault.Auth{}, err
		}
		return client.LoginAppRole(ctx, l.Mount, l.RoleID, id)
	}
}

// secretText is what a file with a secret says, without white space around it.
func secretText(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("log in to Vault: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
