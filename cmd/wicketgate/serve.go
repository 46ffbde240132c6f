package main

import (
	"cmp"
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
	"slices"
	"time"

	_ "embed"

	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"github.com/wicketgate/wicketgate/internal/web"
)

//go:embed config.schema.json
var configSchema []byte

// serveFlags is the flags of wicketgate serve.
type serveFlags struct {
	config string // path of wicketgate.yaml
	role   string // authz, gateway, or "" for both
	check  bool   // check and exit
	schema bool   // print the JSON Schema and exit
}

func serveCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the authorization server and the gateway, as a configuration file says",
		Long: `Runs the authorization server and the gateway, or one of them (--role). Everything is in
the configuration file; docs/operate.md explains it, and --print-schema has every field.

Exit codes: 0 ended as asked; 1 failed, or calls had to be cut off; 2 the
configuration is wrong, and nothing was started; 128+N ended by a second signal N.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), f, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&f.config, "config", "wicketgate.yaml", "configuration `file`")
	c.Flags().StringVar(&f.role, "role", "", "`authz` or gateway: be only the one, where the other is another process")
	c.Flags().BoolVar(&f.check, "check-config", false, "check the configuration and the files that it names, and exit; nothing is changed, nothing listens")
	c.Flags().BoolVar(&f.schema, "print-schema", false, "print the JSON Schema of the configuration, and exit")
	return c
}

// serve runs the real thing until ctx is done.
func serve(ctx context.Context, f serveFlags, stdout, stderr io.Writer) error {
	if f.schema {
		_, err := stdout.Write(configSchema)
		return err
	}
	if !slices.Contains([]role{roleBoth, roleAuthz, roleGateway}, role(f.role)) {
		return &configError{fmt.Errorf("--role %q: write authz or gateway, or leave it out for both", f.role)}
	}
	s, err := loadConfig(ctx, f.config, role(f.role))
	if err != nil {
		return &configError{err}
	}
	if f.check {
		for _, n := range s.notes {
			fmt.Fprintln(stdout, "note:", n)
		}
		fmt.Fprintln(stdout, f.config+": ok")
		return nil
	}
	log := s.logger(stderr)
	for _, n := range s.notes {
		log.Warn(n)
	}
	return s.run(ctx, log, stdout)
}

// run builds the house and serves it.
func (s *settings) run(ctx context.Context, log *slog.Logger, stdout io.Writer) (err error) {
	l, err := s.listen()
	if err != nil {
		return err
	}
	defer l.close()
	if err := os.MkdirAll(s.house.Data, 0o700); err != nil { // one that is there has been checked
		return fmt.Errorf("make data folder: %w", err)
	}
	m := newMetrics()
	s.house.Log, s.house.Metrics, s.house.Proxies = log, m, s.proxies
	h, err := build(ctx, s.house)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	checks, err := h.checks(s.house)
	if err != nil {
		return err
	}
	health := &web.Health{Checks: checks, Log: log}
	return runSites(ctx, sitesConfig{Log: log, Headers: time.Duration(s.Limits.Headers), Idle: time.Duration(s.Limits.Idle),
		Sites: s.sites(l, h, operators(health, m), s.tls(log, m, h)),
		Ready: func(ctx context.Context) {
			log.Info("serving", append([]any{"issuer", s.Issuer, "role", cmp.Or(string(s.house.Role), "both"), "tls", s.TLS != nil, "version", version()}, l.addresses()...)...)
			fmt.Fprintln(stdout, "ready", s.Issuer)
			discover(ctx, h, s.house, log)
		},
		Stopping: func() {
			log.Info("stopping: a second signal ends at once")
			health.Stopping()
		},
		Ending: h.drain,
		Drain:  time.Duration(s.Stop.Drain), Finish: time.Duration(s.Stop.Finish)})
}

// listeners are what a process listens on.
type listeners struct {
	front, admin net.Listener
	mutual       net.Listener // for clients with certificates; may be nil
}

// addresses are for the log.
func (l listeners) addresses() []any {
	out := []any{"listen", l.front.Addr().String(), "admin", l.admin.Addr().String()}
	if l.mutual != nil {
		out = append(out, "mutual_tls", l.mutual.Addr().String())
	}
	return out
}

func (l listeners) close() {
	for _, one := range []net.Listener{l.front, l.admin, l.mutual} {
		if one != nil {
			_ = one.Close() // a second time, mostly
		}
	}
}

// listen opens the listeners. What was checked to be loopback must be: localhost
// may be anything in a hosts file.
func (s *settings) listen() (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.front, err = listenAs(s.Listen); err != nil {
		return l, err
	}
	l.front = netutil.LimitListener(l.front, s.Limits.Connections)
	if l.admin, err = listenAs(s.Admin.Listen); err != nil {
		return l, err
	}
	if s.MutualTLS != nil {
		if l.mutual, err = listenAs(s.MutualTLS.Listen); err != nil {
			return l, err
		}
		l.mutual = netutil.LimitListener(l.mutual, s.Limits.Connections)
	}
	return l, nil
}

// sites are the handlers of the listeners. Whoever comes to the one for certificates
// is asked for one, and need not have a known one: what it proves is for the client
// authentication to say.
func (s *settings) sites(l listeners, h *house, operators http.Handler, c *tls.Config) [][]site {
	clients := []site{{listener: l.front, handler: h.handler, tls: c}}
	if l.mutual != nil {
		asking := c.Clone()
		if asking == nil {
			asking = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if s.MutualTLS.SVID {
			h.spiffe.Show(asking)
		}
		asking.ClientAuth = tls.RequestClientCert
		clients = append(clients, site{listener: l.mutual, handler: h.mutual, tls: asking})
	}
	return [][]site{clients, {{listener: l.admin, handler: operators}}} // operators see the end
}

func listenAs(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	host, _, err := net.SplitHostPort(addr)
	if tcp, ok := l.Addr().(*net.TCPAddr); err != nil || isLoopback(host) && (!ok || !tcp.IP.IsLoopback()) {
		return nil, errors.Join(fmt.Errorf("listen: %s resolves to %s, which is not this machine alone", addr, l.Addr()), l.Close())
	}
	return l, nil
}

// tls is nil for plain HTTP.
func (s *settings) tls(log *slog.Logger, m *metrics, h *house) *tls.Config {
	if s.TLS == nil {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.TLS.SVID {
		h.spiffe.Show(c)
	} else {
		s.certificate.log = log
		m.watch(s.certificate)
		c.GetCertificate = s.certificate.get
	}
	if s.TLS.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

// operators is the handler of the admin listener.
func operators(health *web.Health, m *metrics) http.Handler {
	mux := http.NewServeMux()
	health.Register(mux)
	mux.Handle("GET /metrics", m.handler())
	return ownName(mux)
}

// ownName refuses what comes to this machine itself under the name of another: a page whose
// host name was made to resolve to it (DNS rebinding) could read what operators may.
func ownName(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := (&url.URL{Host: r.Host}).Hostname()
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && local.IP.IsLoopback() && !isLoopback(host) {
			http.Error(w, "this listener answers to localhost and 127.0.0.1", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *settings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.Log.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if s.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
