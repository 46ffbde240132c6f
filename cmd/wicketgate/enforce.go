package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/remote"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/metadata"
)

// maxEnforced bounds the open connections; more wait. Those of gateways are few.
const maxEnforced = 10_000

// enforceFlags is the flags of wicketgate enforce.
type enforceFlags struct {
	issuer, resource, upstream string
	listen, cert, key, admin   string
	data, credential           string
	verbose                    bool
}

func enforceCommand() *cobra.Command {
	var f enforceFlags
	c := &cobra.Command{
		Use:   "enforce",
		Short: "Stand in front of one MCP server, and pass nothing but what a call token is for",
		Long: `Stands beside one MCP server that looks at no token, and passes to it exactly the messages
that call tokens of the issuer's are for, each once. The server gets no token. It goes where
the gateway finds the server: --resource is the server's url (or audience) there.

With --credential the server is called with what Vault makes for the call, as the gateway
does for servers with credential: vault. The file has two sections in the words of
wicketgate.yaml, vault and server: {name, vault}, with the name that the server has at the
gateway.

It keeps an audit log in --data, and no database: a call token that was issued before it
started, or in the five seconds after that, is refused, since it may have been used.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return enforce(c.Context(), f, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.issuer, "issuer", "", "`URL` of the authorization server whose call tokens count")
	fs.StringVar(&f.resource, "resource", "", "`URL` at which the gateway calls: the audience of the tokens")
	fs.StringVar(&f.upstream, "upstream", "", "`URL` of the MCP server behind: https, or http on this machine")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:8430", "`address` to listen on; without --cert, of this machine alone")
	fs.StringVar(&f.cert, "cert", "", "PEM `file` of the certificate; read anew when it changes, as --key")
	fs.StringVar(&f.key, "key", "", "PEM `file` of its key")
	fs.StringVar(&f.admin, "admin", "127.0.0.1:8431", "`address` of /healthz and /readyz")
	fs.StringVar(&f.data, "data", "", "`folder` for the audit log and its key, made if it is not there")
	fs.StringVar(&f.credential, "credential", "", "`file` that says how Vault makes what the server is called with")
	fs.BoolVar(&f.verbose, "verbose", false, "log every request")
	for _, name := range []string{"issuer", "resource", "upstream", "data"} {
		_ = c.MarkFlagRequired(name) // fails only for a flag that there is not
	}
	return c
}

// enforceSetup is the flags, checked.
type enforceSetup struct {
	enforceFlags
	resource    oauth.Resource
	host        string       // of the resource: the only one that is answered to
	certificate *certificate // nil: plain HTTP
	credential  houseConfig  // its Vault, Legacy and Upstreams; without: no credential
}

// check refuses flags with which something would be in the clear, or nothing would work.
func (f enforceFlags) check() (s enforceSetup, err error) {
	s.enforceFlags = f
	if err := checkOrigin("issuer", f.issuer); err != nil {
		return s, err
	}
	if s.resource, err = oauth.ParseResource(f.resource); err != nil {
		return s, fmt.Errorf("--resource %q: %w", f.resource, err)
	}
	u, err := url.Parse(f.resource)
	if p := u.EscapedPath(); err != nil || u.RawQuery != "" || p != "" && path.Clean(p) != p || strings.HasPrefix(p, "/.well-known") {
		return s, fmt.Errorf("--resource %q: want a URL without query, whose path is clean and not below /.well-known", f.resource)
	}
	if s.host = u.Host; f.cert != "" && u.Scheme != "https" {
		return s, fmt.Errorf("--resource %s is http, and --cert is given: write https://%s%s", f.resource, u.Host, u.Path)
	}
	up, err := url.Parse(f.upstream)
	switch {
	case err != nil || up.Host == "" || up.Scheme != "https" && up.Scheme != "http" || up.User != nil:
		return s, fmt.Errorf("--upstream %q is not an http or https URL", f.upstream)
	case up.Scheme == "http" && !isLoopback(up.Hostname()):
		return s, fmt.Errorf("--upstream %s is http on another machine, where whoever is on the way calls the server: write https, or run enforce beside the server", f.upstream)
	case f.upstream == f.resource:
		return s, errors.New("--upstream and --resource are the same URL: enforce would call itself")
	}
	if f.credential != "" {
		if s.credential, err = readCredential(f.credential, f.upstream); err != nil {
			return s, err
		}
	}
	return s, s.checkListener()
}

func checkOrigin(flag, raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme+"://"+u.Host != raw || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("--%s %q: want https://HOST[:PORT], without path and trailing slash", flag, raw)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return fmt.Errorf("--%s %s: keys would cross the network in the clear; write https://%s", flag, raw, u.Host)
	}
	return nil
}

// checkListener wants TLS where other machines can reach it.
func (s *enforceSetup) checkListener() error {
	host, _, err := net.SplitHostPort(s.listen)
	if err != nil {
		return fmt.Errorf("--listen %q: want HOST:PORT, for example 127.0.0.1:8430", s.listen)
	}
	switch {
	case (s.cert == "") != (s.key == ""):
		return errors.New("--cert and --key belong together: give both, or neither")
	case s.cert == "" && !isLoopback(host):
		return fmt.Errorf("--listen %s: other machines reach that, and call tokens would come in the clear: give --cert and --key, or listen on 127.0.0.1", s.listen)
	case s.cert == "":
		return nil
	}
	if s.certificate, err = loadCertificate(s.cert, s.key); err != nil {
		return fmt.Errorf("--cert: %w", err)
	}
	return nil
}

// enforce runs until ctx is done.
func enforce(ctx context.Context, f enforceFlags, stdout, stderr io.Writer) (err error) {
	s, err := f.check()
	if err != nil {
		return &configError{err}
	}
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	l, err := listenAs(s.listen)
	if err != nil {
		return err
	}
	defer l.Close()
	l = netutil.LimitListener(l, maxEnforced)
	admin, err := listenAs(s.admin)
	if err != nil {
		return err
	}
	defer admin.Close()
	h, err := s.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	started := time.Now()
	handler, err := s.handler(h, started, log)
	if err != nil {
		return err
	}
	health, operators := &web.Health{Checks: h.enforcerChecks(started), Log: log}, http.NewServeMux()
	health.Register(operators)
	return runSites(ctx, sitesConfig{Log: log, Sites: [][]site{{{listener: l, handler: handler, tls: s.tls(log)}}, {{listener: admin, handler: ownName(operators)}}},
		Headers: 10 * time.Second, Idle: 2 * time.Minute, Finish: 10 * time.Second, Stopping: health.Stopping,
		Ready: func(context.Context) {
			log.Info("enforcing", "resource", s.resource.String(), "upstream", s.upstream, "issuer", s.issuer, "listen", l.Addr().String(), "admin", admin.Addr().String(), "tls", s.certificate != nil, "version", version())
			fmt.Fprintln(stdout, "ready", s.resource)
		}})
}

// open opens the audit log, whose key and heads are in a store of the data folder.
func (s *enforceSetup) open(ctx context.Context, log *slog.Logger) (*house, error) {
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	cfg := houseConfig{Data: s.data, Role: roleEnforce, Log: log, Vault: s.credential.Vault, Legacy: s.credential.Legacy, Upstreams: s.credential.Upstreams}
	cfg.setPaths()
	h := &house{}
	credentials := func(ctx context.Context, cfg houseConfig) error { return h.openCredentials(ctx, cfg, tokens{}) }
	for _, open := range []func(context.Context, houseConfig) error{h.openStore, h.openAudit, h.followKeys, credentials} {
		if err := open(ctx, cfg); err != nil {
			return nil, errors.Join(err, h.close())
		}
	}
	return h, nil
}

// tls is nil for plain HTTP.
func (s *enforceSetup) tls(log *slog.Logger) *tls.Config {
	if s.certificate == nil {
		return nil
	}
	s.certificate.log = log
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificate.get}
}

// enforcerChecks are what it needs to serve. Whether the issuer's keys are to be had is
// known only when a token has come.
func (h *house) enforcerChecks(started time.Time) []web.Check {
	checks := []web.Check{
		{Name: "audit", Do: h.audit.writable},
		{Name: "single_use", Do: func(context.Context) error {
			if time.Since(started) <= gateway.SinceMargin+time.Second {
				return errors.New("call tokens that were issued until now may have been used before the start")
			}
			return nil
		}},
	}
	if h.vaultWatch != nil {
		checks = append(checks, h.vaultWatch.check())
	}
	return checks
}

// handler is the enforcer, with the metadata of its resource beside it.
func (s *enforceSetup) handler(h *house, started time.Time, log *slog.Logger) (http.Handler, error) {
	issuer := remote.NewKeys(s.issuer+metadata.PathJWKS, transport(), time.Now)
	enforcer, err := gateway.NewEnforcer(s.withCredential(h, gateway.EnforcerConfig{Resource: s.resource, URL: s.upstream,
		Verifier: token.NewVerifier(token.VerifierConfig{Issuer: s.issuer, Keys: issuer, Now: time.Now}),
		Single:   gateway.NewSpentHere(time.Now), Since: started, Audit: h.audit, Refusals: h.refusals, Transport: transport(), Log: log, Now: time.Now}))
	if err != nil {
		return nil, err
	}
	m := web.Middleware{Hosts: []string{s.host}, Secure: s.certificate != nil, Log: log, Refused: func(r *http.Request, reason string) {
		if err := h.refusals.Refuse(r.Context(), audit.Event{Kind: audit.Refusal, Action: "admit", Decision: audit.Deny, Reason: "foreign_" + reason, Source: web.Source(r)}); err != nil {
			log.Error("record refusal", "error", err)
		}
	}}
	mux := http.NewServeMux()
	enforcer.Register(mux, m.SameSite)
	err = metadata.Register(mux, metadata.Config{Resources: []metadata.ProtectedResource{{Resource: s.resource.String(), AuthorizationServers: []string{s.issuer}, BearerMethods: []string{"header"}}}})
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	return m.Wrap(metadata.Exact(mux)), nil
}
