package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/wicketgate/wicketgate/gateway"
)

// enforcedCredential is the file of wicketgate enforce --credential: what the server is
// called with, in the words of wicketgate.yaml.
type enforcedCredential struct {
	// As in wicketgate.yaml. A call token for a server is none for Vault, so that
	// login.method is approle or kubernetes.
	Vault VaultConfig `yaml:"vault" required:"true"`

	// The server.
	Server enforcedServer `yaml:"server" required:"true"`
}

type enforcedServer struct {
	// Its name at the gateway, which call tokens have.
	Name string `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`

	// As in wicketgate.yaml.
	Vault ServerVaultConfig `yaml:"vault" required:"true"`
}

// readCredential reads the file for the server at the URL.
func readCredential(path, upstream string) (houseConfig, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return houseConfig{}, fmt.Errorf("--credential: %w", err)
	}
	var file enforcedCredential
	c := configCheck{&document{file: path}, filepath.Dir(path), roleEnforce, &settings{}}
	c.read(b, &file)
	if c.nodes[""] != nil {
		c.enforcedCredential(&file, upstream)
	}
	if err := c.err(); err != nil {
		return houseConfig{}, &configError{err}
	}
	h := c.s.house
	h.Upstreams = []gateway.Upstream{{Name: file.Server.Name, URL: upstream}}
	return h, nil
}

func (c configCheck) enforcedCredential(file *enforcedCredential, upstream string) {
	c.s.Vault = &file.Vault
	switch m := file.Vault.Login.Method; {
	case !c.whole("vault"):
		return
	case m == loginJWT:
		c.refuse("vault.login.method", "vault.login.method is jwt: a call token that enforce is sent is for the server, and none for Vault; write approle or kubernetes")
		return
	case m == loginCert:
		c.refuse("vault.login.method", "vault.login.method is cert, and enforce has no certificate of its own for that; write approle or kubernetes")
		return
	}
	c.vault(nil)
	s := ServerConfig{Name: file.Server.Name, URL: upstream, Credential: "vault", Vault: &file.Server.Vault}
	c.s.house.Legacy = map[string]legacyServer{s.Name: {}}
	c.legacyVault("server", s)
}

// withCredential has the server called with what Vault makes for the call, if anything.
func (s *enforceSetup) withCredential(h *house, cfg gateway.EnforcerConfig) gateway.EnforcerConfig {
	for _, u := range h.withCredentials(s.credential, s.credential.Upstreams) { // one, or none
		cfg.Credentials, cfg.CredentialForAll, cfg.Transport = u.Credentials, u.CredentialForAll, u.Transport
	}
	return cfg
}
