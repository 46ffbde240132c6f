package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/internal/sandbox"
	"github.com/wicketgate/wicketgate/internal/stdio"
)

// How the sandbox of a command is taken.
const (
	sandboxBestEffort = "best-effort" // what this machine cannot enforce is said at the start
	sandboxRequired   = "required"    // what this machine cannot enforce, it does not start without
	sandboxOff        = "off"
)

// commandServer is an MCP server that is a command, for each session anew.
type commandServer struct {
	Command []string
	Env     []string // NAME=VALUE; values are secrets
	Dir     string
	Idle    time.Duration // 0: the default
	PerCall bool          // each request has a process of its own, with its credential
	Mode    string        // of the sandbox
	Sandbox sandbox.Spec
}

// defaultSandbox is that of development mode; wicketgate.yaml says the same.
var defaultSandbox = sandbox.Spec{Memory: 1024 << 20, CPU: time.Hour, Tasks: 256, FileSize: 256 << 20, Files: 1024}

// commandUpstream is the server as package gateway is to see it. Nobody else uses its
// audience: no call token goes to a command.
func commandUpstream(issuer, name string) (gateway.Upstream, error) {
	public, err := oauth.ParseResource(issuer + "/mcp/" + name)
	if err != nil {
		return gateway.Upstream{}, err
	}
	internal, err := oauth.ParseResource(issuer + "/internal/stdio/" + name)
	if err != nil {
		return gateway.Upstream{}, err
	}
	return gateway.Upstream{Name: name, Resource: public, URL: "stdio://" + name, Audience: internal, Budget: defaultBudget}, nil
}

// withCommands gives those upstreams a transport that are commands.
func (h *house) withCommands(cfg houseConfig, upstreams []gateway.Upstream) ([]gateway.Upstream, error) {
	if len(cfg.Commands) == 0 {
		return upstreams, nil
	}
	can := sandbox.Probe()
	for i, u := range upstreams {
		c, ok := cfg.Commands[u.Name]
		if !ok {
			continue
		}
		t, err := c.transport(u.Name, can, cfg.Log)
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", u.Name, err)
		}
		h.closers = append(h.closers, t.Close)
		upstreams[i].Transport = t
	}
	return upstreams, nil
}

func (c commandServer) transport(name string, can sandbox.Support, log *slog.Logger) (*stdio.Transport, error) {
	cfg := stdio.Config{Name: name, Command: c.Command, Env: c.Env, Dir: c.Dir, Idle: c.Idle,
		PerCall: c.PerCall, Owner: gateway.SubjectOf, Mask: maskSecrets, Log: log, Now: time.Now}
	if c.Mode == sandboxOff {
		log.Warn("stdio server is not confined: it may do whatever Wicketgate may", "server", name)
		return stdio.New(cfg)
	}
	box, err := c.box(can)
	if err != nil {
		return nil, err
	}
	gaps := box.Gaps()
	if c.Mode == sandboxRequired && len(gaps) > 0 {
		return nil, fmt.Errorf("sandbox is required, and %w", joined(gaps))
	}
	for _, gap := range gaps {
		log.Warn("sandbox of stdio server: "+gap, "server", name)
	}
	cfg.Sandbox = box
	return stdio.New(cfg)
}

func maskSecrets(secrets []string, text string) string {
	return (*redact.Redactor)(nil).Literal(secrets).Text(text)
}

// box is the sandbox, in which the working directory may be read.
func (c commandServer) box(can sandbox.Support) (*sandbox.Sandbox, error) {
	spec := c.Sandbox
	if c.Dir != "" {
		spec.Read = append(spec.Read[:len(spec.Read):len(spec.Read)], c.Dir)
	}
	box, err := sandbox.New(spec, can)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return box, nil
}

func joined(lines []string) error {
	var errs []error
	for _, l := range lines {
		errs = append(errs, errors.New(l))
	}
	return errors.Join(errs...)
}

// absolute is a path of a person, who is in a folder of theirs.
func absolute(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty")
	}
	return filepath.Abs(path)
}
