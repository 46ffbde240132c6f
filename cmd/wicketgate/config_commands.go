package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/sandbox"
)

// isCommand tells a server that is a command from one at a URL, and refuses what
// belongs to the other kind, or to both.
func (c configCheck) isCommand(at string, s ServerConfig) bool {
	command := c.nodes[at+".command"] != nil
	for _, key := range []string{"url", "audience", "spiffe_id", "insecure_plaintext"} {
		if command && c.nodes[at+"."+key] != nil {
			c.refuse(at+"."+key, "%s.%s does not go with command: keep one", at, key)
		}
	}
	for _, key := range []string{"env", "dir", "idle", "sandbox"} {
		if !command && c.nodes[at+"."+key] != nil {
			c.refuse(at+"."+key, "%s.%s goes with command only: remove it", at, key)
		}
	}
	if !command && s.URL == "" {
		c.refuse(at+".url", "%s has neither url nor command: add one", at)
	}
	return command
}

// serverCommand checks a server that is a command.
func (c configCheck) serverCommand(at string, s ServerConfig) {
	if !c.good(at+".command") || !c.good(at+".name") {
		return
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		c.refuse(at+".command", "%s.command is empty: write [PROGRAM, ARGUMENT]", at)
		return
	}
	u, err := commandUpstream(c.s.house.Issuer, s.Name)
	if err != nil {
		return // the issuer is wrong, which was said
	}
	if a, ok := c.forVault(s); ok {
		u.Audience = a
	}
	u = c.ofEvery(at, s, u)
	h := &c.s.house
	if h.Commands == nil {
		h.Commands = map[string]commandServer{}
	}
	h.Upstreams = append(h.Upstreams, u)
	h.Commands[s.Name] = commandServer{Command: s.Command, Env: c.commandEnv(at, s), Dir: c.folderOf(at+".dir", s.Dir), Idle: time.Duration(s.Idle), PerCall: s.Vault != nil && s.Vault.Per == "call",
		Mode: s.Sandbox.Mode, Sandbox: c.commandSandbox(at+".sandbox", s.Sandbox)}
	if why := fetches(s.Command[0]); why != "" && s.Sandbox.Mode != sandboxOff {
		c.note("server %s: %s", s.Name, strings.ReplaceAll(strings.ReplaceAll(why, "--sandbox NAME=read:FOLDER", "sandbox.read"), "--sandbox NAME=off", "sandbox.mode: off"))
	}
	if s.Sandbox.Mode == sandboxOff {
		c.note("server %s runs without a sandbox: it may do whatever Wicketgate may, and read its keys", s.Name)
	}
}

func (c configCheck) commandEnv(at string, s ServerConfig) []string {
	var out []string
	for i, e := range s.Env {
		at := fmt.Sprintf("%s.env[%d]", at, i)
		value := e.Value
		if (e.Value == "") == (e.File == "") {
			c.refuse(at, "%s: write either value or file", at)
			continue
		}
		if e.File != "" {
			secret, ok := c.secretFile(at+".file", e.File)
			if !ok {
				continue
			}
			value = secret
		}
		if strings.ContainsRune(value, 0) {
			c.refuse(at, "%s has a NUL in it, which no variable can have", at)
		}
		out = append(out, e.Name+"="+value)
	}
	return out
}

func (c configCheck) commandSandbox(at string, s SandboxConfig) sandbox.Spec {
	spec := sandbox.Spec{Memory: int64(s.Memory) << 20, CPU: time.Duration(s.CPU), Tasks: s.Processes, FileSize: int64(s.Output) << 20, Files: defaultSandbox.Files}
	for i, p := range s.Read {
		spec.Read = append(spec.Read, c.folderOf(fmt.Sprintf("%s.read[%d]", at, i), p))
	}
	for i, p := range s.Write {
		spec.Write = append(spec.Write, c.folderOf(fmt.Sprintf("%s.write[%d]", at, i), p))
	}
	for i, p := range s.Connect {
		port, err := parsePort(p)
		if err != nil {
			c.refuse(fmt.Sprintf("%s.connect[%d]", at, i), "%s.connect[%d] is %s: %v", at, i, shown(p), err)
			continue
		}
		spec.Connect = append(spec.Connect, port)
	}
	return spec
}

// folderOf is a path for a command, which must be there and is absolute.
func (c configCheck) folderOf(at, path string) string {
	if path == "" {
		return ""
	}
	abs, err := absolute(c.file(path))
	if err == nil {
		_, err = os.Stat(abs)
	}
	if err != nil {
		c.refuse(at, "%s: %v", at, err)
	}
	return abs
}
