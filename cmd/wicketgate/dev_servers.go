package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// addServers puts the servers of the flags behind the gateway.
func (d *devSetup) addServers(cfg devConfig, mail string) error {
	d.house.Commands = map[string]commandServer{}
	if err := d.addServer("mail", mail); err != nil {
		return err
	}
	for _, flag := range cfg.upstreams {
		name, target, ok := strings.Cut(flag, "=")
		if !ok {
			return fmt.Errorf("--upstream %q: want NAME=URL or 'NAME=stdio:COMMAND ARGUMENTS', for example files=http://127.0.0.1:3001/mcp", flag)
		}
		if err := d.addServer(name, target); err != nil {
			return err
		}
	}
	for _, file := range cfg.mcpJSON {
		if err := d.addFile(file); err != nil {
			return fmt.Errorf("--mcp-json %s: %w", file, err)
		}
	}
	for _, flag := range cfg.sandbox {
		if err := d.changeSandbox(flag); err != nil {
			return fmt.Errorf("--sandbox %q: %w", flag, err)
		}
	}
	return nil
}

// addServer adds what --upstream names.
func (d *devSetup) addServer(name, target string) error {
	line, command := strings.CutPrefix(target, "stdio:")
	if !command {
		u, err := parseUpstream(name, target, d.house.Issuer)
		if err != nil {
			return err
		}
		d.house.Upstreams = append(d.house.Upstreams, u)
		return nil
	}
	words, err := shellquote.Split(line)
	if err == nil && len(words) == 0 {
		err = errors.New("there is no command")
	}
	if err != nil {
		return fmt.Errorf("--upstream %s: %w: write 'NAME=stdio:COMMAND ARGUMENTS', quoted as for a shell", name, err)
	}
	return d.addCommand(name, commandServer{Command: words})
}

func (d *devSetup) addCommand(name string, c commandServer) error {
	u, err := commandUpstream(d.house.Issuer, name)
	if err != nil {
		return fmt.Errorf("server %q: name: %w", name, err)
	}
	if _, ok := d.house.Commands[name]; ok {
		return fmt.Errorf("server %s is given twice: give each a name of its own", name)
	}
	if why := fetches(c.Command[0]); why != "" {
		d.notes = append(d.notes, fmt.Sprintf("server %s: %s", name, why))
	}
	c.Mode, c.Sandbox = sandboxBestEffort, defaultSandbox
	d.house.Upstreams = append(d.house.Upstreams, u)
	d.house.Commands[name] = c
	return nil
}

// fetches says what is the matter with commands that fetch a program and run it.
func fetches(program string) string {
	switch name := filepath.Base(program); name {
	case "npx", "uvx", "pipx", "bunx", "pnpx":
		return name + " fetches the server anew, which the sandbox does not let it: install the server and name its program, with --sandbox NAME=read:FOLDER for where it is, or --sandbox NAME=off to let it do anything"
	case "docker", "podman":
		return name + " talks to an engine outside of the sandbox, which does not let it: run the server itself, or --sandbox NAME=off to let it do anything"
	}
	return ""
}

// addFile adds the servers of a file of another client.
func (d *devSetup) addFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	servers, notes, err := readMCPJSON(b)
	if err != nil {
		return err
	}
	d.notes = append(d.notes, notes...)
	for _, s := range servers {
		if len(s.Headers) > 0 {
			d.notes = append(d.notes, fmt.Sprintf("server %s: headers are not used: development mode keeps no keys of servers; wicketgate import moves them into Vault", s.Name))
		}
		if s.URL != "" {
			err = d.addServer(s.Name, s.URL)
		} else {
			err = d.addCommand(s.Name, commandServer{Command: s.Command, Env: s.Env, Dir: s.Dir})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changeSandbox reads NAME=read:PATH, write:PATH, connect:PORT, off or required.
func (d *devSetup) changeSandbox(flag string) error {
	name, change, _ := strings.Cut(flag, "=")
	c, ok := d.house.Commands[name]
	if !ok {
		return errors.New("there is no such stdio server: want NAME=read:PATH, NAME=write:PATH, NAME=connect:PORT, NAME=off or NAME=required")
	}
	what, value, _ := strings.Cut(change, ":")
	var err error
	switch what {
	case "read":
		value, err = absolute(value)
		c.Sandbox.Read = append(slices.Clone(c.Sandbox.Read), value)
	case "write":
		value, err = absolute(value)
		c.Sandbox.Write = append(slices.Clone(c.Sandbox.Write), value)
	case "connect":
		var port uint16
		port, err = parsePort(value)
		c.Sandbox.Connect = append(slices.Clone(c.Sandbox.Connect), port)
	case sandboxOff, sandboxRequired:
		c.Mode = what
	default:
		err = errors.New("want read:PATH, write:PATH, connect:PORT, off or required")
	}
	d.house.Commands[name] = c
	return err
}

// parsePort reads a port of an allow-list. Hosts cannot be enforced, and are not pretended.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("want a port from 1 to 65535, on any host: the kernel limits ports, not hosts")
	}
	return uint16(n), nil
}

// parseUpstream is the server at a URL.
func parseUpstream(name, raw, issuer string) (gateway.Upstream, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return gateway.Upstream{}, fmt.Errorf("--upstream %s: %q is neither an http or https URL nor stdio:COMMAND", name, raw)
	}
	public, err := oauth.ParseResource(issuer + "/mcp/" + name)
	if err != nil {
		return gateway.Upstream{}, fmt.Errorf("--upstream %s: name: %w", name, err)
	}
	internal, err := oauth.ParseResource(raw)
	if err != nil {
		return gateway.Upstream{}, fmt.Errorf("--upstream %s: %w", name, err)
	}
	return gateway.Upstream{Name: name, Resource: public, URL: raw, Audience: internal, Budget: defaultBudget}, nil
}
