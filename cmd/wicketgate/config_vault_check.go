package main

import (
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// The ways of logging in to Vault.
const (
	loginJWT        = "jwt"
	loginCert       = "cert"
	loginAppRole    = "approle"
	loginKubernetes = "kubernetes"
)

const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// vaultConfig is a VaultConfig that was checked.
type vaultConfig struct {
	vault.Config
	Audience oauth.Resource // of call tokens that it is logged in to with; zero: it is not
	Login    VaultLoginConfig
}

// vault checks where Vault is, and how we log in. An authorization server alone has to know
// the audience only.
func (c configCheck) vault(origin *url.URL) {
	v := c.s.Vault
	if v == nil {
		return
	}
	out := &vaultConfig{Config: vault.Config{Address: v.Address, Namespace: v.Namespace, Timeout: time.Duration(v.Timeout)}, Login: v.Login}
	c.vaultAddress(v.Address)
	c.vaultLogin(&out.Login)
	field := "vault.address"
	if v.Audience == "" {
		v.Audience = v.Address
	} else if field = "vault.audience"; v.Login.Method != loginJWT {
		c.refuse(field, "vault.audience goes with login.method jwt only: remove it")
	}
	audience, err := oauth.ParseResource(v.Audience)
	switch {
	case !c.good(field) || v.Login.Method != loginJWT:
	case err != nil:
		c.refuse(field, "%s is %s: %v", field, shown(v.Audience), err)
	case within(v.Audience, origin):
		c.refuse(field, "%s is %s, which is Wicketgate's own: name Vault as its roles do (bound_audiences)", field, shown(v.Audience))
	default:
		out.Audience = audience
	}
	if v.CA != "" && c.logsIn() {
		if out.CAs, err = readCAs(c.file(v.CA)); err != nil {
			c.refuse("vault.ca", "vault.ca: %v", err)
		}
	}
	c.s.house.Vault = out
}

func (c configCheck) vaultAddress(raw string) {
	u, err := url.Parse(raw)
	switch {
	case !c.good("vault.address"):
	case err != nil || u.Hostname() == "" || u.Scheme+"://"+u.Host != raw || u.Scheme != "https" && u.Scheme != "http":
		c.refuse("vault.address", "vault.address is %s: write https://HOST[:PORT], without path and trailing slash", shown(raw))
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.refuse("vault.address", "vault.address is %s: tokens and credentials would cross the network in the clear; write https://%s", shown(raw), u.Host)
	case u.Scheme == "http" && c.s.Vault.Login.Method == loginCert:
		c.refuse("vault.address", "vault.address is %s: login.method is cert, which needs https", shown(raw))
	}
}

// vaultLogin checks that what a method needs is there, and nothing of another one, and
// completes it.
func (c configCheck) vaultLogin(l *VaultLoginConfig) {
	const at = "vault.login"
	if !c.good(at) || !c.good(at+".method") {
		return
	}
	needs := map[string][]string{loginJWT: {"role"}, loginAppRole: {"role_id", "secret_id_file"}, loginKubernetes: {"role"}}[l.Method]
	takes := map[string][]string{loginCert: {"role"}, loginAppRole: {"wrapped"}, loginKubernetes: {"token_file"}}[l.Method]
	for _, key := range []string{"role", "role_id", "secret_id_file", "wrapped", "token_file"} {
		written := c.nodes[at+"."+key] != nil
		switch {
		case !written && slices.Contains(needs, key):
			c.refuse(at+"."+key, "%s has no %s, which method %s needs: add it", at, key, l.Method)
		case written && !slices.Contains(needs, key) && !slices.Contains(takes, key):
			c.refuse(at+"."+key, "%s.%s does not go with method %s: remove it", at, key, l.Method)
		}
	}
	if l.Mount == "" {
		l.Mount = l.Method
	}
	c.loginFiles(l)
}

// logsIn reports whether this process does, so that the files for it are there.
func (c configCheck) logsIn() bool { return c.asked.enforces() || c.s.Keys.Transit != nil }

func (c configCheck) loginFiles(l *VaultLoginConfig) {
	switch {
	case !c.logsIn():
	case l.Method == loginCert:
		c.needsOwn("vault.login.method")
	case l.Method == loginAppRole && l.SecretIDFile != "":
		_, _ = c.secretFile("vault.login.secret_id_file", l.SecretIDFile)
		l.SecretIDFile = c.file(l.SecretIDFile)
	case l.Method == loginKubernetes:
		if l.TokenFile == "" {
			l.TokenFile = serviceAccountToken
		}
		l.TokenFile = c.file(l.TokenFile)
		if _, err := os.Stat(l.TokenFile); err != nil {
			c.refuse("vault.login.token_file", "vault.login.token_file: %v", err)
		}
	}
}
