// Command vault runs a real HashiCorp Vault core on loopback for tests:
// KV (v1/v2), database (postgresql), transit, PKI; token, AppRole, JWT/OIDC,
// TLS-certificate and Kubernetes auth; file/socket audit. It leaves out everything else, so
// that it builds in minutes. Nothing of it is part of the product.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	credJWT "github.com/hashicorp/vault-plugin-auth-jwt"
	credKube "github.com/hashicorp/vault-plugin-auth-kubernetes"
	logicalKv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	credAppRole "github.com/hashicorp/vault/builtin/credential/approle"
	credCert "github.com/hashicorp/vault/builtin/credential/cert"
	logicalDB "github.com/hashicorp/vault/builtin/logical/database"
	logicalPki "github.com/hashicorp/vault/builtin/logical/pki"
	logicalTransit "github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/builtin/plugin"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	dbPostgres "github.com/hashicorp/vault/plugins/database/postgresql"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	physFile "github.com/hashicorp/vault/sdk/physical/file"
	physInmem "github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
	"github.com/hashicorp/vault/version"
)

var credential = map[string]logical.Factory{
	"approle": credAppRole.Factory,
	"cert":    credCert.Factory,
	"jwt":     credJWT.Factory,
	"oidc":    credJWT.Factory,

	"kubernetes": credKube.Factory,
}

var secrets = map[string]logical.Factory{
	"kv":       logicalKv.Factory,
	"database": logicalDB.Factory,
	"pki":      logicalPki.Factory,
	"transit":  logicalTransit.Factory,
}

var databases = map[string]func() (any, error){
	"postgresql-database-plugin": dbPostgres.New,
}

// registry is the catalogue of built-in plugins that Vault asks.
type registry struct{}

func (registry) Get(name string, t consts.PluginType) (func() (any, error), bool) {
	var f logical.Factory
	switch t {
	case consts.PluginTypeCredential:
		f = credential[name]
	case consts.PluginTypeSecrets:
		f = secrets[name]
	case consts.PluginTypeDatabase:
		d, ok := databases[name]
		return d, ok
	}
	if f == nil {
		return nil, false
	}
	return func() (any, error) { return f, nil }, true
}

func (r registry) Contains(name string, t consts.PluginType) bool {
	_, ok := r.Get(name, t)
	return ok
}

func (registry) Keys(t consts.PluginType) []string {
	var keys []string
	switch t {
	case consts.PluginTypeCredential:
		for k := range credential {
			keys = append(keys, k)
		}
	case consts.PluginTypeSecrets:
		for k := range secrets {
			keys = append(keys, k)
		}
	case consts.PluginTypeDatabase:
		for k := range databases {
			keys = append(keys, k)
		}
	}
	return keys
}

func (r registry) DeprecationStatus(name string, t consts.PluginType) (consts.DeprecationStatus, bool) {
	if r.Contains(name, t) {
		return consts.Supported, true
	}
	return consts.Unknown, false
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:8200", "listen address")
	root := flag.String("root-token", "root", "dev root token")
	data := flag.String("data", "", "directory for file storage; empty keeps all in memory")
	certFile := flag.String("tls-cert", "", "PEM certificate chain")
	keyFile := flag.String("tls-key", "", "PEM key")
	caFile := flag.String("client-ca", "", "PEM CA that client certificates must chain to (TLS cert auth); empty asks for any")
	level := flag.String("log-level", "warn", "log level")
	ready := flag.String("ready-file", "", "write {addr,unseal_key,root_token} as JSON here when serving")
	flag.Parse()

	log := hclog.New(&hclog.LoggerOptions{Level: hclog.LevelFromString(*level), Output: os.Stderr})
	var store physical.Backend
	var err error
	kind := "inmem"
	if *data == "" {
		store, err = physInmem.NewInmem(nil, log)
	} else {
		kind = "file"
		store, err = physFile.NewFileBackend(map[string]string{"path": *data}, log)
	}
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	scheme := "http"
	if *certFile != "" {
		scheme = "https"
		pair, err := tls.LoadX509KeyPair(*certFile, *keyFile)
		if err != nil {
			return err
		}
		conf := &tls.Config{
			Certificates: []tls.Certificate{pair},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"h2", "http/1.1"},
			ClientAuth:   tls.RequestClientCert,
		}
		if *caFile != "" {
			pem, err := os.ReadFile(*caFile)
			if err != nil {
				return err
			}
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(pem) {
				return errors.New("no certificate in -client-ca")
			}
			conf.ClientCAs, conf.ClientAuth = pool, tls.VerifyClientCertIfGiven
		}
		ln = tls.NewListener(ln, conf)
	}
	self := scheme + "://" + ln.Addr().String()

	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           store,
		StorageType:        kind,
		Logger:             log,
		LogLevel:           *level,
		DisableMlock:       true,
		RedirectAddr:       self,
		DevToken:           *root,
		BuiltinRegistry:    registry{},
		CredentialBackends: map[string]logical.Factory{"plugin": plugin.Factory},
		LogicalBackends: map[string]logical.Factory{
			"plugin": plugin.Factory, "database": logicalDB.Factory, "kv": logicalKv.Factory,
		},
		AuditBackends: map[string]audit.Factory{
			"file":   audit.NewFileBackend,
			"socket": audit.NewSocketBackend,
		},
		DefaultLeaseTTL: 768 * time.Hour,
		MaxLeaseTTL:     768 * time.Hour,
	})
	if err != nil {
		return fmt.Errorf("core: %w", err)
	}
	ctx := namespace.ContextWithNamespace(context.Background(), namespace.RootNamespace)
	keyHex, err := open(ctx, core, *data, *root)
	if err != nil {
		return err
	}

	srv := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Type: "tcp", Address: *addr},
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	if *ready != "" {
		b, _ := json.Marshal(map[string]string{"addr": self, "unseal_key": keyHex, "root_token": *root})
		if err := os.WriteFile(*ready+".tmp", b, 0o600); err != nil {
			return err
		}
		if err := os.Rename(*ready+".tmp", *ready); err != nil {
			return err
		}
	}
	fmt.Printf("vault %s serving on %s\n", version.GetVersion().Version, self)

	sig := make(chan os.Signal, 1)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	select {
	case <-sig:
	case err := <-done:
		return err
	}
	_ = srv.Close()
	return core.Shutdown()
}

// open initializes a new store, or unseals the one that is there, and returns
// the unseal key.
func open(ctx context.Context, core *vault.Core, data, root string) (string, error) {
	keyFile := filepath.Join(data, "unseal.key")
	inited, err := core.Initialized(ctx)
	if err != nil {
		return "", err
	}
	var key []byte
	if inited {
		if key, err = os.ReadFile(keyFile); err != nil {
			return "", err
		}
		if _, err := core.Unseal(append([]byte(nil), key...)); err != nil {
			return "", err
		}
		return fmt.Sprintf("%x", key), nil
	}
	res, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return "", fmt.Errorf("initialize: %w", err)
	}
	key = res.SecretShares[0]
	keyHex := fmt.Sprintf("%x", key)
	if data != "" {
		if err := os.WriteFile(keyFile, key, 0o600); err != nil {
			return "", err
		}
	}
	if ok, err := core.Unseal(append([]byte(nil), key...)); err != nil || !ok {
		return "", fmt.Errorf("unseal: %v %w", ok, err)
	}
	do := func(path, token string, body map[string]any) error {
		resp, err := core.HandleRequest(ctx, &logical.Request{
			ID: "dev-setup", Operation: logical.UpdateOperation, ClientToken: token, Path: path, Data: body,
		})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if resp != nil && resp.IsError() {
			return fmt.Errorf("%s: %w", path, resp.Error())
		}
		return nil
	}
	if err := do("auth/token/create", res.RootToken, map[string]any{
		"id": root, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
	}); err != nil {
		return "", err
	}
	if err := do("sys/mounts/secret", root, map[string]any{
		"type": "kv", "path": "secret/", "options": map[string]string{"version": "2"},
	}); err != nil {
		return "", err
	}
	return keyHex, do("auth/token/revoke-self", res.RootToken, nil)
}
