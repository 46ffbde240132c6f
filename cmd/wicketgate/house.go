package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/oidc"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/spiffe"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/metadata"
	"github.com/wicketgate/wicketgate/policies"
)

// Files in the data folder.
const (
	fileStore  = "wicketgate.db"
	fileKEK    = "kek"
	fileAudit  = "audit.jsonl"
	fileAccess = "access.yaml"
)

// gatewayID is the client_id of the gateway in call tokens.
var gatewayID = identity.MustClientID("wicketgate-gateway")

// houseConfig is what a process is built from.
type houseConfig struct {
	Data          string // folder; holds the store, the key-encryption key and the audit log
	Store         storeConfig
	KEK, Audit    string // paths; see setPaths
	Algorithm     string // of token keys; empty: that of the current one
	AuditName     string // of the audit log among those in the store
	AuditSync     bool   // fsync the audit log
	Issuer        string // external base URL, without trailing slash
	Access        string // path of access.yaml
	Upstreams     []gateway.Upstream
	TrustFirstUse bool               // approve tool definitions when first seen
	Users         []identity.Subject // who may log in by a click: development only
	Static        []authz.Client

	Login           *oidc.Config // nil: nobody can log in but Users
	Registration    authz.Registration
	Certificates    bool           // clients may authenticate by certificate
	ClientCAs       *x509.CertPool // for tls_client_auth; may be nil
	MutualTLS       string         // URL of the listener for that; "" if there is none
	ResourceServers map[identity.ClientID][]string
	ActsFor         map[identity.ClientID]exchange.Principals // whose users' tokens a client may exchange
	Downstream      map[string][]string                       // servers, to which tokens for a server may be exchanged
	TrustedIssuers  []federation.Issuer
	SPIFFE          *spiffe.Config               // nil: no SVIDs
	ServerIDs       map[string]identity.SPIFFEID // of servers that are spoken to by mutual TLS
	Ages            ages

	Origins   []string // further origins whose pages may call the gateway
	Lifetimes lifetimes
	Metrics   *metrics    // may be nil
	Proxies   web.Proxies // whose word counts for where a request came from
	Log       *slog.Logger
}

// ages are how old secrets and keys may become. Zero is for ever for secrets, and
// the defaults of package keys for keys.
type ages struct {
	SecretWarn, SecretMax, KeyWarn, KeyMax time.Duration
}

// customSchemes are redirect URIs of widespread clients that are neither https nor
// http on loopback, to the letter.
var customSchemes = []string{"cursor://anysphere.cursor-mcp/oauth/callback"}

// lifetimes are those of package authz.
type lifetimes struct {
	Access, Refresh, Grant, Login time.Duration
}

// defaultLifetimes are those of development mode; wicketgate.yaml says the same.
var defaultLifetimes = lifetimes{5 * time.Minute, 14 * 24 * time.Hour, 90 * 24 * time.Hour, 12 * time.Hour}

// setPaths puts into the data folder what has no place of its own.
func (c *houseConfig) setPaths() {
	for path, name := range map[*string]string{&c.Store.SQLite: fileStore, &c.KEK: fileKEK, &c.Audit: fileAudit} {
		if *path == "" {
			*path = filepath.Join(c.Data, name)
		}
	}
}

// house is a built process.
type house struct {
	handler http.Handler
	gateway *gateway.Gateway
	minter  *token.Minter
	pdp     *policies.PDP
	store   storage
	ring    *keys.Ring
	audit   *watchedAudit

	revocations *revocation.View
	spiffe      *spiffe.Source // nil: no SVIDs

	closers []func() error // in the order of building
}

// close undoes build, last first.
func (h *house) close() error {
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		errs = append(errs, h.closers[i]())
	}
	return errors.Join(errs...)
}

// build wires everything, top to bottom.
func build(ctx context.Context, cfg houseConfig) (*house, error) {
	h := &house{}
	if err := h.build(ctx, cfg); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *house) build(ctx context.Context, cfg houseConfig) error {
	cfg.setPaths()
	store, err := openStore(ctx, cfg.Store)
	if err != nil {
		return err
	}
	h.store, h.closers = store, append(h.closers, store.Close)
	if err := separate(ctx, store, cfg); err != nil {
		return err
	}
	kek, err := keys.LoadKEK(cfg.KEK)
	if err != nil {
		return err
	}
	ring, err := keys.New(ctx, ringConfig(cfg, store, kek))
	if err != nil {
		return err
	}
	h.ring, h.closers = ring, append(h.closers, every(keysReload, cfg.Log, "reload keys", reloadKeys(ring, cfg.Log)))
	if cfg.Metrics != nil {
		cfg.Metrics.watchKeys(ring)
	}
	h.pdp, err = policies.Load(ctx, cfg.Access)
	if err != nil {
		return err
	}
	log, refusals, err := h.openAudit(ctx, cfg, store, ring)
	if err != nil {
		return err
	}
	if err := h.watchRevocations(ctx, cfg, log); err != nil {
		return err
	}
	if err := h.openSPIFFE(ctx, cfg); err != nil {
		return err
	}
	resources, servers := registry(cfg.Upstreams)
	prover := dpop.New(dpop.Config{Sealer: ring.Sealer("dpop nonce"), Proofs: proofs{store}, Now: time.Now})
	h.minter = token.NewMinter(token.MinterConfig{Issuer: cfg.Issuer, Signer: ring, Now: time.Now, Revocations: h.revocations})
	verifier := token.NewVerifier(token.VerifierConfig{Issuer: cfg.Issuer, Keys: ring, Now: time.Now, Revocations: h.revocations})
	var as *authz.Server
	trusted, err := trustedIssuers(cfg, resources, func(ctx context.Context, id identity.ClientID) (bool, error) { return as.IsClient(ctx, id) })
	if err != nil {
		return err
	}
	exchanger := exchange.New(exchange.Config{Issuer: cfg.Issuer, Resources: resources, Servers: servers, Verifier: verifier, Minter: h.minter, PDP: h.pdp,
		Definitions: definitions(func(ctx context.Context, server, tool string) (string, bool) {
			return h.gateway.Definition(ctx, server, tool)
		}),
		Audit: log, Freezes: h.revocations, Now: time.Now, Lifetime: cfg.Lifetimes.Access, Downstream: downstream(cfg), ActsFor: cfg.ActsFor, Foreign: trusted})
	h.gateway, err = gateway.New(gateway.Config{ClientID: gatewayID, Upstreams: h.upstreams(cfg), Verifier: verifier, PDP: h.pdp, Exchanger: exchanger,
		Freezes: h.revocations, Pins: store, Single: single{store, time.Now}, Own: h.own, TrustFirstUse: cfg.TrustFirstUse, Audit: log, Refusals: refusals, Sealer: ring.Sealer("mcp session"), Transport: transport(),
		Issuer: cfg.Issuer, MutualTLS: cfg.MutualTLS, DPoP: prover, Log: cfg.Log, Now: time.Now})
	if err != nil {
		return err
	}
	login, err := identityProvider(cfg)
	if err != nil {
		return err
	}
	as, err = authz.New(authz.Config{Verifier: verifier, Revocations: h.revocations, Login: login, Federation: trusted, SVIDs: h.svids(), Fetcher: fetcher(cfg), ClientCAs: cfg.ClientCAs, DPoP: prover, MutualTLS: cfg.MutualTLS, Registration: cfg.Registration,
		SecretMaxAge: cfg.Ages.SecretMax, ResourceServers: cfg.ResourceServers, Issuer: cfg.Issuer, Resources: resources, Store: configured(store, cfg), Minter: h.minter,
		Grants: map[string]authz.Grant{oauth.GrantTokenExchange: exchanger}, Audit: log, Refusals: refusals, Sealer: ring.Sealer("browser"),
		Log: cfg.Log, Now: time.Now, InsecureUsers: cfg.Users,
		CustomSchemes:  customSchemes,
		AccessLifetime: cfg.Lifetimes.Access, CodeLifetime: time.Minute, RefreshLifetime: cfg.Lifetimes.Refresh,
		AbsoluteLifetime: cfg.Lifetimes.Grant, LoginLifetime: cfg.Lifetimes.Login})
	if err != nil {
		return err
	}
	if err := as.PutStatic(ctx, cfg.Static...); err != nil {
		return err
	}
	if err := warnOfAge(h, cfg)(ctx); err != nil {
		return err
	}
	h.closers = append(h.closers, every(24*time.Hour, cfg.Log, "look for old secrets", warnOfAge(h, cfg)), every(10*time.Minute, cfg.Log, "delete expired rows", deleteExpired(store, as)))
	return h.mount(cfg, as, ring, refusals)
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

func (h *house) openAudit(ctx context.Context, cfg houseConfig, store audit.Heads, ring *keys.Ring) (audit.Recorder, *audit.Refusals, error) {
	file, err := audit.Open(ctx, audit.Config{Path: cfg.Audit, Name: cfg.AuditName, Sync: cfg.AuditSync, Signer: ring.AuditSigner(), Heads: store, Now: time.Now, Logger: cfg.Log})
	if err != nil {
		return nil, nil, err
	}
	h.closers = append(h.closers, file.Close)
	log, err := watchAudit(file, cfg.Audit, cfg.Metrics)
	if err != nil {
		return nil, nil, err
	}
	h.audit = log
	refusals := audit.NewRefusals(log, time.Minute, time.Now, 256)
	h.closers = append(h.closers, func() error { return refusals.Close(context.Background()) },
		every(time.Minute, cfg.Log, "record refusals", refusals.Flush))
	return log, refusals, nil
}

func auditKeys(find func(kid string) (keys.AuditVerifier, bool)) audit.Keys {
	return func(kid string) (audit.VerifyKey, bool) {
		k, ok := find(kid)
		return k.Verify, ok
	}
}

// registry is the protected resources of the upstreams: the public one that
// clients ask for, and the internal one that only the exchanger may aim at.
func registry(upstreams []gateway.Upstream) (oauth.Resources, map[oauth.Resource]string) {
	var public, internal []oauth.Resource
	servers := map[oauth.Resource]string{}
	for _, u := range upstreams {
		public, internal = append(public, u.Resource), append(internal, u.Audience)
		servers[u.Resource] = u.Name
	}
	return oauth.NewResources(public, internal), servers
}

// downstream is where tokens may be exchanged to, by public resource.
func downstream(cfg houseConfig) map[oauth.Resource][]oauth.Resource {
	named := map[string]oauth.Resource{}
	for _, u := range cfg.Upstreams {
		named[u.Name] = u.Resource
	}
	edges := map[oauth.Resource][]oauth.Resource{}
	for from, to := range cfg.Downstream {
		for _, name := range to {
			edges[named[from]] = append(edges[named[from]], named[name])
		}
	}
	return edges
}

// transport is for upstreams: many calls at once over kept connections, no proxy
// of the environment, no decompression (bytes pass as they are).
func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.DisableCompression = nil, true
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 1024, 256
	return t
}

// mount puts the endpoints of one origin together.
func (h *house) mount(cfg houseConfig, as *authz.Server, ring *keys.Ring, refusals *audit.Refusals) error {
	base, err := url.Parse(cfg.Issuer)
	if err != nil {
		return err
	}
	m := web.Middleware{Hosts: hosts(base, cfg.MutualTLS), Secure: base.Scheme == "https", Origins: append([]string{cfg.Issuer}, cfg.Origins...), Log: cfg.Log, Refused: func(r *http.Request, reason string) {
		if err := refusals.Refuse(r.Context(), audit.Event{Kind: audit.Refusal, Action: "admit", Decision: audit.Deny, Reason: "foreign_" + reason, Source: web.Source(r)}); err != nil {
			cfg.Log.Error("record refusal", "error", err)
		}
	}}
	mux := http.NewServeMux()
	as.Register(mux, m.SameSite)
	h.gateway.Register(mux, m.SameSite)
	if err := metadata.Register(mux, documents(cfg, as, ring)); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	proxies := cfg.Proxies
	proxies.Refused = m.Refused
	h.handler = proxies.Wrap(m.Wrap(metadata.Exact(mux)))
	if cfg.Metrics != nil {
		h.handler = cfg.Metrics.observe(proxies.Wrap(m.Wrap(cfg.Metrics.name(metadata.Exact(mux)))))
	}
	return nil
}

// hosts are the Host values that are ours.
func hosts(base *url.URL, mutualTLS string) []string {
	out := []string{base.Host}
	if u, err := url.Parse(mutualTLS); err == nil && u.Host != "" {
		out = append(out, u.Host)
	}
	return out
}

// every calls f now and then until the returned function is called, which waits
// for it.
func every(d time.Duration, log *slog.Logger, what string, f func(context.Context) error) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				if err := f(ctx); err != nil && ctx.Err() == nil {
					log.Error(what, "error", err)
				}
			}
		}
	}()
	return func() error { cancel(); <-done; return nil }
}

// deleteExpired removes from the store what expired long ago or was never used, all
// of it, a bounded batch at a time.
func deleteExpired(store storage, as *authz.Server) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			n, err := store.DeleteExpired(ctx, time.Now())
			if err != nil {
				return err
			}
			unused, err := as.DeleteUnused(ctx)
			if err != nil || n+unused == 0 {
				return err
			}
		}
	}
}
