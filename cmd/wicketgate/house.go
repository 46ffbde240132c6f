package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/oidc"
	"github.com/wicketgate/wicketgate/internal/remote"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/spiffe"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/internal/webhook"
	"github.com/wicketgate/wicketgate/metadata"
	"github.com/wicketgate/wicketgate/policies"
	"github.com/wicketgate/wicketgate/vaultbridge"
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
	Role          role
	KEK, Audit    string         // paths; see setPaths
	Transit       *TransitConfig // has the keys wrapped in Vault; nil: KEK has
	Algorithm     string         // of token keys; empty: that of the current one
	AuditName     string         // of the audit log among those in the store
	AuditSync     bool           // fsync the audit log
	KeepArguments bool           // redacted, in the audit log
	Issuer        string         // external base URL, without trailing slash
	Access        string         // path of access.yaml
	PDP           pdpSource
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

	Commands map[string]commandServer // those of Upstreams that are commands, by name
	Vault    *vaultConfig             // nil: there is none
	Legacy   map[string]legacyServer  // those of Upstreams that are called with credentials of it, by name

	MaxPending int                // approvals of one subject; 0: the default of package approval
	Webhooks   []webhook.Endpoint // who is told of approvals
	NoConsole  bool               // neither the pages and API of approvals, nor tokens for them

	Exchange *exchangeConfig            // the authorization server of another process; nil: it is in this one
	Gateways map[identity.ClientID]bool // of other processes, by their client_id

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
	handler   http.Handler
	mutual    http.Handler     // of the listener for clients with certificates
	gateway   *gateway.Gateway // nil: in another process, as the next two
	authz     *authz.Server
	approvals *approval.Service // nil: in another process
	minter    *token.Minter
	pdp       *policies.Live
	store     storage
	ring      *keys.Ring
	audit     *watchedAudit
	refusals  *audit.Refusals

	policyReport *policyReport

	vault    *vault.Client // nil: nothing of this process logs in to Vault
	vaultOwn *vault.Own

	bridge     *vaultbridge.Bridge // nil: no server is called with credentials of Vault
	vaultWatch *vaultWatch         // nil as well

	revocations *revocation.View
	verifier    *token.Verifier
	prover      *dpop.Verifier
	spiffe      *spiffe.Source    // nil: no SVIDs
	as          *remote.Server    // nil: in this process
	toAS        http.RoundTripper // nil as well

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
	for _, open := range []func(context.Context, houseConfig) error{h.openSPIFFE, h.openVaultForKeys, h.openStore, h.openPolicy, h.openAudit, h.followKeys, h.watchPolicy, h.openRemote, h.watchRevocations} {
		if err := open(ctx, cfg); err != nil {
			return err
		}
	}
	var issuers token.KeySet = h.ring
	if h.as != nil {
		issuers = h.as.Keys()
	}
	h.verifier = token.NewVerifier(token.VerifierConfig{Issuer: cfg.Issuer, Keys: issuers, Now: time.Now, Revocations: h.revocations})
	h.prover = dpop.New(dpop.Config{Sealer: h.ring.Sealer("dpop nonce"), Proofs: proofs{h.store}, Now: time.Now})
	exchanger, own := h.elsewhere()
	if cfg.Role.issues() {
		local, err := h.buildAuthz(ctx, cfg)
		if err != nil {
			return err
		}
		exchanger, own = local, h.own
	}
	if cfg.Role.enforces() {
		approvals := h.openApprovals(cfg)
		if err := h.openCredentials(ctx, cfg, tokens{exchanger, own}); err != nil {
			return err
		}
		upstreams, err := h.withCommands(cfg, h.withCredentials(cfg, h.upstreams(cfg)))
		if err != nil {
			return err
		}
		h.gateway, err = gateway.New(gateway.Config{ClientID: gatewayID, Upstreams: upstreams, All: everyServer(cfg), Verifier: h.verifier, PDP: h.pdp, Exchanger: exchanger,
			Approvals: approvals, Freezes: h.revocations, Pins: h.pins(), Single: single{h.store, time.Now}, Own: own, TrustFirstUse: cfg.TrustFirstUse, Audit: h.audit, KeepArguments: cfg.KeepArguments, Refusals: h.refusals,
			Sealer: h.ring.Sealer("mcp session"), Transport: h.inline(), Issuer: cfg.Issuer, MutualTLS: cfg.MutualTLS, DPoP: h.prover, Log: cfg.Log, Now: time.Now,
			Limits: limits(h.store), AllBudget: defaultBudget, Observe: observer(cfg.Metrics)})
		if err != nil {
			return err
		}
		h.runGateway(cfg)
		h.watchPins(cfg, true, h.gateway.PollPins)
	}
	h.closers = append(h.closers, every(10*time.Minute, cfg.Log, "delete expired rows", h.deleteExpired))
	return h.mount(cfg)
}

// openStore opens the store and the keys in it.
func (h *house) openStore(ctx context.Context, cfg houseConfig) error {
	store, err := openStore(ctx, cfg.Store)
	if err != nil {
		return err
	}
	h.store, h.closers = store, append(h.closers, store.Close)
	if err := separate(ctx, store, cfg); err != nil {
		return err
	}
	w, err := h.wrapper(ctx, cfg)
	if err != nil {
		return err
	}
	c := ringConfig(cfg, store, w)
	c.Rewrapped = func(ctx context.Context, before, after keys.Record) error {
		return h.audit.Record(ctx, rewrapEvent(before, after))
	}
	h.ring, err = keys.New(ctx, c)
	return err
}

// buildAuthz makes the authorization server, and returns its exchange.
func (h *house) buildAuthz(ctx context.Context, cfg houseConfig) (*exchange.Exchanger, error) {
	resources, servers := registry(cfg)
	cfg.Static = append(slices.Clone(cfg.Static), consoleClients(cfg)...)
	h.minter = token.NewMinter(token.MinterConfig{Issuer: cfg.Issuer, Signer: h.ring, Now: time.Now, Revocations: h.revocations})
	trusted, err := trustedIssuers(cfg, resources, func(ctx context.Context, id identity.ClientID) (bool, error) { return h.authz.IsClient(ctx, id) })
	if err != nil {
		return nil, err
	}
	told := newLearnt(h.store, servers, !cfg.Role.enforces() || cfg.TrustFirstUse, h.recordsOrders(cfg))
	exchanger := exchange.New(exchange.Config{Issuer: cfg.Issuer, Resources: resources, Servers: servers, Upstreams: behind(cfg), All: everyServer(cfg), Verifier: h.verifier, Minter: h.minter, PDP: h.pdp,
		Definitions: h.definitions(cfg, told), Audit: h.audit, Freezes: h.revocations, Now: time.Now, Lifetime: cfg.Lifetimes.Access, Redact: keepArguments(cfg.Upstreams), Downstream: downstream(cfg),
		ActsFor: cfg.ActsFor, Foreign: trusted, Gateways: h.gatewaysThatExchange(cfg)})
	h.watchPins(cfg, !cfg.Role.enforces(), told.view.Poll) // else the gateway does
	login, err := identityProvider(cfg)
	if err != nil {
		return nil, err
	}
	h.authz, err = authz.New(authz.Config{Verifier: h.verifier, Revocations: h.revocations, Login: login, Federation: trusted, SVIDs: h.svids(), Fetcher: fetcher(cfg), ClientCAs: cfg.ClientCAs, DPoP: h.prover, MutualTLS: cfg.MutualTLS, Registration: cfg.Registration,
		SecretMaxAge: cfg.Ages.SecretMax, ResourceServers: cfg.ResourceServers, Issuer: cfg.Issuer, Resources: resources, Store: configured(h.store, cfg), Minter: h.minter,
		Grants: map[string]authz.Grant{oauth.GrantTokenExchange: exchanger}, Audit: h.audit, Refusals: h.refusals, Sealer: h.ring.Sealer("browser"),
		Gateways: authz.Gateways{Clients: cfg.Gateways, Presenter: gatewayID, Revocations: h.store, Definitions: told},
		Log:      cfg.Log, Now: time.Now, InsecureUsers: cfg.Users,
		CustomSchemes:  customSchemes,
		AccessLifetime: cfg.Lifetimes.Access, CodeLifetime: time.Minute, RefreshLifetime: cfg.Lifetimes.Refresh,
		AbsoluteLifetime: cfg.Lifetimes.Grant, LoginLifetime: cfg.Lifetimes.Login})
	if err != nil {
		return nil, err
	}
	if err := h.authz.PutStatic(ctx, cfg.Static...); err != nil {
		return nil, err
	}
	if err := warnOfAge(h, cfg)(ctx); err != nil {
		return nil, err
	}
	h.closers = append(h.closers, every(24*time.Hour, cfg.Log, "look for old secrets", warnOfAge(h, cfg)))
	return exchanger, nil
}

func (h *house) openAudit(ctx context.Context, cfg houseConfig) error {
	file, err := audit.Open(ctx, audit.Config{Path: cfg.Audit, Name: cfg.AuditName, Sync: cfg.AuditSync, Signer: h.ring.AuditSigner(), Heads: h.store, Now: time.Now, Logger: cfg.Log})
	if err != nil {
		return err
	}
	h.closers = append(h.closers, file.Close)
	if h.audit, err = watchAudit(file, cfg.Audit, cfg.Metrics); err != nil {
		return err
	}
	h.refusals = audit.NewRefusals(h.audit, time.Minute, time.Now, 256)
	h.closers = append(h.closers, func() error { return h.refusals.Close(context.Background()) },
		every(time.Minute, cfg.Log, "record refusals", h.refusals.Flush))
	return nil
}

func auditKeys(find func(kid string) (keys.AuditVerifier, bool)) audit.Keys {
	return func(kid string) (audit.VerifyKey, bool) {
		k, ok := find(kid)
		return k.Verify, ok
	}
}

// mount puts the endpoints of one origin together.
func (h *house) mount(cfg houseConfig) error {
	base, err := url.Parse(cfg.Issuer)
	if err != nil {
		return err
	}
	m := web.Middleware{Hosts: hosts(base, cfg.MutualTLS), Secure: base.Scheme == "https", Origins: append([]string{cfg.Issuer}, cfg.Origins...), Log: cfg.Log, Refused: func(r *http.Request, reason string) {
		if err := h.refusals.Refuse(r.Context(), audit.Event{Kind: audit.Refusal, Action: "admit", Decision: audit.Deny, Reason: "foreign_" + reason, Source: web.Source(r)}); err != nil {
			cfg.Log.Error("record refusal", "error", err)
		}
	}}
	mux := http.NewServeMux()
	if h.authz != nil {
		h.authz.Register(mux, m.SameSite)
	}
	if h.gateway != nil {
		h.gateway.Register(mux, m.SameSite)
	}
	if err := h.mountConsole(cfg, mux); err != nil {
		return err
	}
	if err := metadata.Register(mux, h.documents(cfg)); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	behind := func(p web.Proxies) http.Handler {
		p.Refused = m.Refused
		if cfg.Metrics == nil {
			return p.Wrap(m.Wrap(metadata.Exact(mux)))
		}
		return cfg.Metrics.observe(p.Wrap(m.Wrap(cfg.Metrics.name(metadata.Exact(mux)))))
	}
	h.handler = behind(cfg.Proxies)
	encrypted := cfg.Proxies
	encrypted.Only = false
	h.mutual = behind(encrypted)
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
