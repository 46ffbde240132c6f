package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "embed"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/demomail"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/internal/remote"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/metadata"
	"github.com/wicketgate/wicketgate/policies"
)

//go:embed access.dev.yaml
var devAccess []byte

// devAgent is the confidential client of development mode.
const devAgent = "dev-agent"

// devConfig is the flags of wicketgate dev.
type devConfig struct {
	listen    string   // host:port, loopback only; port 0 picks one
	data      string   // folder, made if it is not there
	upstreams []string // NAME=URL or NAME=stdio:COMMAND
	mcpJSON   []string // files
	sandbox   []string // NAME=read:PATH and so on
	verbose   bool
}

func devCommand() *cobra.Command {
	var cfg devConfig
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine, with a demo mail server behind it",
		Long: `Runs the authorization server, the gateway and a demo MCP mail server on loopback.
People log in by a click (alice, bob or carol): never use it for anything but development.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return dev(c.Context(), cfg, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.listen, "listen", "127.0.0.1:8420", "loopback `address` to listen on; port 0 picks a free one")
	f.StringVar(&cfg.data, "data", devFolder, "`folder` for keys, clients, grants, policy and the audit log")
	f.StringArrayVar(&cfg.upstreams, "upstream", nil, "put an MCP server of yours behind the gateway: `NAME=URL` or 'NAME=stdio:COMMAND ARGUMENTS' (repeatable)")
	f.StringArrayVar(&cfg.mcpJSON, "mcp-json", nil, "put the servers of a `file` with mcpServers, as of Claude or Cursor, behind the gateway (repeatable)")
	f.StringArrayVar(&cfg.sandbox, "sandbox", nil, "what a stdio server may do: `NAME=read:PATH`, NAME=write:PATH, NAME=connect:PORT; NAME=off, NAME=required (repeatable)")
	f.BoolVar(&cfg.verbose, "verbose", false, "log every request")
	return c
}

// dev runs development mode until ctx is done.
func dev(ctx context.Context, cfg devConfig, stdout, stderr io.Writer) (err error) {
	level := slog.LevelInfo
	if cfg.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	front, err := listenLoopback(cfg.listen)
	if err != nil {
		return err
	}
	defer front.Close()
	back, err := listenBeside(front)
	if err != nil {
		return err
	}
	defer back.Close()
	d, err := prepareDev(cfg, "http://"+advertised(cfg.listen, front), "http://"+back.Addr().String()+"/mcp")
	if err != nil {
		return err
	}
	d.house.Log = log
	h, err := build(ctx, d.house)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	mail := demomail.New(demomail.Config{Resource: d.mail, Issuer: d.house.Issuer, Log: log, Verifier: token.NewVerifier(token.VerifierConfig{
		Issuer: d.house.Issuer, Keys: remote.NewKeys(d.house.Issuer+metadata.PathJWKS, nil, time.Now), Now: time.Now})})
	return runSites(ctx, sitesConfig{Log: log, Finish: 10 * time.Second, Headers: 10 * time.Second, Idle: 2 * time.Minute,
		Sites:  [][]site{{{listener: front, handler: h.handler}}, {{listener: back, handler: mail}}},
		Ending: h.drain,
		Ready: func(ctx context.Context) {
			discover(ctx, h, d.house, log)
			d.announce(stdout, h.pdp)
		}})
}

// devSetup is development mode, prepared.
type devSetup struct {
	house       houseConfig
	mail        string // the demo server's URL
	agentSecret string // path of the file
	notes       []string
}

// prepareDev makes the data folder and fills in what the flags leave open.
func prepareDev(cfg devConfig, issuer, mail string) (*devSetup, error) {
	if err := os.MkdirAll(cfg.data, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	d := &devSetup{mail: mail, house: houseConfig{Data: cfg.data, Issuer: issuer, Access: filepath.Join(cfg.data, fileAccess), TrustFirstUse: true, Lifetimes: defaultLifetimes,
		Origins: []string{"http://localhost:6274", "http://127.0.0.1:6274"}}} // the MCP Inspector's page
	for _, name := range []string{"alice", "bob", "carol"} {
		s, err := identity.ParseSubject(name)
		if err != nil {
			return nil, err
		}
		d.house.Users = append(d.house.Users, s)
	}
	if err := d.addServers(cfg, mail); err != nil {
		return nil, err
	}
	for i, u := range d.house.Upstreams {
		r, err := redact.New(devRedaction(u.URL == mail))
		if err != nil {
			return nil, err
		}
		shown, err := r.Without("email", "phone") // or nobody knows to whom a message goes
		if err != nil {
			return nil, err
		}
		d.house.Upstreams[i].Redactor, d.house.Upstreams[i].Shown, d.house.Upstreams[i].Budget = r, shown, defaultBudget
	}
	if err := createFile(d.house.Access, devAccess, 0o644); err != nil {
		return nil, fmt.Errorf("write %s: %w", d.house.Access, err)
	}
	return d, d.addAgent(cfg.data)
}

// addAgent gives development mode its confidential client, with a secret of its own.
func (d *devSetup) addAgent(data string) error {
	d.agentSecret = filepath.Join(data, devAgent+".secret")
	if err := createFile(d.agentSecret, []byte(rand.Text()+rand.Text()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", d.agentSecret, err)
	}
	secret, err := os.ReadFile(d.agentSecret)
	if err != nil {
		return fmt.Errorf("read client secret: %w", err)
	}
	s := strings.TrimSpace(string(secret))
	if len(s) < 32 {
		return fmt.Errorf("%s is too short for a secret: delete it and start again", d.agentSecret)
	}
	sum := sha256.Sum256([]byte(s))
	d.house.Static = []authz.Client{{ID: identity.MustClientID(devAgent), Name: "Development agent", AuthMethod: oauth.AuthBasic, SecretHash: sum[:],
		GrantTypes: []string{oauth.GrantClientCredentials, oauth.GrantTokenExchange}}}
	return nil
}

// createFile writes a file that is not there yet.
func createFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// listenLoopback refuses every address that another machine could reach: in
// development mode anybody may log in as anybody.
func listenLoopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--listen %q: want HOST:PORT, for example 127.0.0.1:8420", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--listen %s: development mode lets anybody log in by a click, so it listens on loopback only (127.0.0.1, [::1] or localhost)", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", addr, err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() { // localhost may be anything in a hosts file
		return nil, errors.Join(fmt.Errorf("--listen %s: resolves to %s, which is not loopback", addr, l.Addr()), l.Close())
	}
	return l, nil
}

// advertised is the listener's address as the person wrote it, with the real port.
func advertised(listen string, l net.Listener) string {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return l.Addr().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// listenBeside takes the next port, or any where that one is taken.
func listenBeside(front net.Listener) (net.Listener, error) {
	if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(front.Addr().(*net.TCPAddr).Port+1))); err == nil {
		return l, nil
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// discover has the gateway look at the servers with an identity of its own.
func discover(ctx context.Context, h *house, cfg houseConfig, log *slog.Logger) {
	if h.gateway == nil {
		return
	}
	for _, u := range cfg.Upstreams {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := h.gateway.Discover(ctx, u.Name)
		cancel()
		if err != nil {
			log.Warn("server does not answer yet", "server", u.Name, "url", u.URL, "error", err)
		}
	}
}

// announce says where everything is, and ready last.
func (d *devSetup) announce(w io.Writer, pdp *policies.Live) {
	abs, err := filepath.Abs(d.house.Data)
	if err != nil {
		abs = d.house.Data
	}
	base := d.house.Issuer
	fmt.Fprintf(w, `
Wicketgate, development mode: anybody on this machine may log in as alice, bob or carol.

  mail      %s   (demo server; takes nothing but call tokens)
  metadata  %s/.well-known/oauth-authorization-server
  policy    %s
  audit     %s
  agent     client %s, secret in %s
  all       %s/mcp   (every server below at one URL)
  console   %s/console/   (approve calls that wait)

`, d.mail, base, filepath.Join(abs, fileAccess), filepath.Join(abs, fileAudit), devAgent, d.agentSecret, base, base)
	for _, u := range d.house.Upstreams {
		r := u.Resource.String()
		fmt.Fprintf(w, `Connect to %[1]s:
  Claude Code    claude mcp add --transport http %[1]s %[2]s
  VS Code        code --add-mcp '{"name":"%[1]s","type":"http","url":"%[2]s"}'
  Cursor         in ~/.cursor/mcp.json: {"mcpServers":{"%[1]s":{"url":"%[2]s"}}}
  MCP Inspector  npx @modelcontextprotocol/inspector --cli %[2]s --transport http --method tools/list

`, u.Name, r)
	}
	for _, u := range d.house.Upstreams {
		if !pdp.Names(u.Name) {
			fmt.Fprintf(w, "Note: no role names server %s yet, so nobody may call its tools: add it to %s\n", u.Name, d.house.Access)
		}
	}
	for _, note := range d.notes {
		fmt.Fprintln(w, "Note:", note)
	}
	fmt.Fprintln(w, "ready", base)
}
